/** The house stands whatever is killed: rooms come back, others carry on, nobody is left behind. As root. */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, before, beforeEach, describe, it } from 'node:test';
import { START_ORDER } from '../../src/master/compartments.ts';
import { type HouseOwner, type RoomSource, Supervisor } from '../../src/master/supervisor.ts';
import { until } from '../fixtures/patience.ts';
import {
  drainPipe,
  LAUNCHER,
  NOTHING,
  needRoot,
  openPipe,
  plainSource,
  planFor,
  prepareMaster,
  roomFile,
} from './house.ts';

const NAMES = ['journal', 'keys', 'outbound', 'edge'] as const;

class Diary implements HouseOwner {
  readonly ready: string[] = [];
  readonly lost: { name: string; reason: string; retryMs: number }[] = [];
  readonly said: string[] = [];

  onRoomReady(name: string): void {
    this.ready.push(name);
  }

  onRoomMessage(name: string, message: { kind: string }): void {
    this.said.push(`${name}: ${message.kind}`);
  }

  onRoomLost(name: string, reason: string, retryMs: number): void {
    this.lost.push({ name, reason, retryMs });
  }
}

let diary: Diary;
let house: Supervisor;

/** Whether a process of that id runs; one that is dead but not yet waited for doesn't. */
function isAlive(pid: number): boolean {
  if (!existsSync(`/proc/${pid}/status`)) return false;
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

function pidOf(name: string): number {
  return house.room(name)?.pid ?? -1;
}

before(async () => {
  needRoot();
  await prepareMaster();
});

beforeEach(() => {
  diary = new Diary();
  house = new Supervisor({ launcher: LAUNCHER, output: openPipe() }, diary);
});

afterEach(async () => {
  house.kill();
  await until(() => house.status().every(({ state }) => state === 'waiting'), 10_000, 'all rooms end');
});

const SOURCES: RoomSource[] = [];
function sources(): RoomSource[] {
  if (SOURCES.length === 0) for (const name of NAMES) SOURCES.push(plainSource(name, name, () => 'work'));
  return SOURCES;
}

describe('the supervisor', { timeout: 240_000 }, () => {
  it('starts rooms in order, each when those before are ready, and ends them in order', async () => {
    assert.equal(await house.start(sources()), null);
    assert.deepEqual(diary.ready, START_ORDER);
    const pids = NAMES.map(pidOf);
    assert.ok(pids.every(isAlive));
    await house.stop(5000);
    assert.ok(!pids.some(isAlive));
    assert.deepEqual(diary.lost, []);
  });

  it('puts another room in the place of each that is killed, and leaves the others alone', async () => {
    assert.equal(await house.start(sources()), null);
    for (const name of NAMES) {
      const others = NAMES.filter((other) => other !== name).map(pidOf);
      const before = pidOf(name);
      process.kill(before, 'SIGKILL');
      await until(
        () => house.room(name)?.state === 'ready' && pidOf(name) !== before,
        20_000,
        `${name} is back`,
      );
      assert.ok(!isAlive(before));
      assert.deepEqual(NAMES.filter((other) => other !== name).map(pidOf), others);
      assert.deepEqual(diary.lost.at(-1), { name, reason: 'SIGKILL', retryMs: 100 });
    }
    await house.stop(5000);
  });

  it('waits longer each time that a room dies at its start, and says why', async () => {
    house.add(plainSource('keys', 'keys', () => 'exit'));
    await until(() => diary.lost.length >= 3, 30_000, 'the room dies three times');
    assert.deepEqual(
      diary.lost.slice(0, 3),
      [100, 200, 400].map((retryMs) => ({ name: 'keys', reason: 'exit code 9', retryMs })),
    );
  });

  it('tells which room could not start', async () => {
    const [journal] = sources();
    const failure = await house.start([
      journal,
      plainSource('keys', 'keys', () => 'exit'),
      plainSource('edge', 'edge', () => 'work'),
    ]);
    assert.deepEqual(failure, { name: 'keys', reason: 'exit code 9' });
    assert.equal(house.room('edge'), null);
  });

  it('passes on that a room refuses its configuration', async () => {
    house.add(plainSource('keys', 'keys', () => 'refuse'));
    await until(() => diary.said.includes('keys: refused'), 20_000, 'the room refuses');
  });

  it('ends a room that is asked to and hangs', async () => {
    house.add(plainSource('keys', 'keys', () => 'hang'));
    await until(() => diary.ready.includes('keys'), 20_000, 'the room is ready');
    const pid = pidOf('keys');
    await house.remove('keys', 100);
    assert.ok(!isAlive(pid));
  });

  it('ends a room that says what it must not', async () => {
    const { plan } = planFor('keys', 'plain-room');
    house.add({
      role: 'keys',
      name: 'keys',

      prepare: () => ({
        plan: { ...plan, command: [...plan.command.slice(0, -1), roomFile('chatterbox')] },
        descriptors: [],
        onStarted() {},
      }),
    });
    await until(() => diary.lost.length > 0, 20_000, 'the room is ended');
    assert.match(diary.lost[0].reason, /^SIGKILL, since it sent a malformed message/);
  });

  it('says why a room could not be confined', async () => {
    const { plan } = planFor('keys', 'plain-room', [], NOTHING);
    const impossible = {
      paths: [{ path: '/does/not/exist', access: 'read' as const }],
      bindPorts: null,
      connectPorts: null,
      isScoped: false,
    };
    const output = openPipe();
    house = new Supervisor({ launcher: LAUNCHER, output }, diary);
    house.add({
      role: 'keys',
      name: 'keys',
      prepare: () => ({ plan: { ...plan, landlock: impossible }, descriptors: [], onStarted() {} }),
    });
    await until(() => diary.lost.length > 0, 20_000, 'the launcher gives up');
    assert.equal(diary.lost[0].reason, 'exit code 70');
    assert.match(drainPipe(output), /^Error: Landlock \(\/does\/not\/exist\): ENOENT/);
  });
});

describe('a master that is killed', { timeout: 240_000 }, () => {
  const rooms = async (master: ChildProcess): Promise<number[]> => {
    let text = '';
    master.stdout?.on('data', (data) => {
      text += data;
    });
    await until(() => text.includes('\n'), 40_000, 'its rooms are ready');
    const { failure, pids } = JSON.parse(text);
    assert.equal(failure, null);
    return pids;
  };

  it('leaves nobody behind', async () => {
    const file = join(import.meta.dirname, 'rooms/tiny-master.ts');
    const master = spawn(process.execPath, [file, ...NAMES], { stdio: ['ignore', 'pipe', 'inherit'] });
    const pids = await rooms(master);
    assert.ok(pids.every(isAlive));
    master.kill('SIGKILL');
    await until(() => !pids.some(isAlive), 10_000, 'all its rooms end');
  });
});
