/** Rooms for tests: plans for the files in rooms/, started by the real launcher. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
} from 'node:fs';
import { stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { COMPARTMENTS } from '../../src/master/compartments.ts';
import { type Machine, probeMachine } from '../../src/master/machine.ts';
import { type Planned, planRoom, type RoomRequest, STRONGEST, type Wishes } from '../../src/master/plan.ts';
import { Room, type RoomMaking, type RoomOwner } from '../../src/master/room.ts';

const ROOT = join(import.meta.dirname, '../..');

export const LAUNCHER = [join(ROOT, 'src/master/launcher-main.ts')];
export const MACHINE: Machine = probeMachine();

/** Nothing at all, so that one measure can be tried for itself. */
export const NOTHING: Wishes = { ...STRONGEST, seccomp: 'disabled', landlock: false, sandbox: 'disabled' };

/** These tests are about what root can give up. */
export function needRoot(): void {
  assert.equal(process.getuid?.(), 0, 'these tests must be run by root: npm test as root, or in a container');
}

/** A folder that every user may enter, gone with the process. */
export function openFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-house-'));
  chmodSync(folder, 0o755);
  folders.push(folder);
  return folder;
}

const folders: string[] = [];
process.once('exit', () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

export type RoomFile = 'edge-room' | 'plain-room' | 'probe-room' | 'keys-room';

/** A plan for one of the files in rooms/. */
export function planFor(
  role: keyof typeof COMPARTMENTS,
  file: RoomFile,
  parameters: readonly string[] = [],
  wishes: Wishes = STRONGEST,
  more: Partial<RoomRequest> = {},
): Planned {
  const program = ['src', 'tests', 'node_modules', 'package.json'].map((path) => join(ROOT, path));
  const request: RoomRequest = {
    instance: 0,
    io: 'io_uring',
    main: join(ROOT, `tests/master/rooms/${file}.ts`),
    arguments: parameters,
    files: [],
    connectPorts: [],
    core: -1,
    ...more,
    program: [...program, ...(more.program ?? [])],
  };
  return planRoom(COMPARTMENTS[role], request, wishes, MACHINE);
}

/** libuv's threads must be there before a namespace for process ids is made. */
export async function prepareMaster(): Promise<void> {
  await stat('/');
}

export interface Ended {
  readonly reason: string;
  readonly output: string;
}

/** A pipe for the output of rooms, which may write no files: a descriptor for both ends. */
export function openPipe(): number {
  const path = join(openFolder(), 'output');
  execFileSync('mkfifo', [path]);
  return openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
}

/** What has been written to it since the last call. */
export function drainPipe(pipe: number): string {
  const buffer = Buffer.alloc(65536);
  let text = '';
  try {
    for (;;) text += buffer.toString('utf8', 0, readSync(pipe, buffer));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    return text;
  }
}

/** Starts a room and waits for its end. */
export async function runRoom(planned: Planned, timeoutMs = 20_000): Promise<Ended> {
  await prepareMaster();
  const pipe = openPipe();
  const reason = await new Promise<string>((resolve) => {
    const owner: RoomOwner = { onReady() {}, onMessage() {}, onEnded: (_, why) => resolve(why) };
    const room = startRoom('room', planned, [], pipe, owner);
    setTimeout(() => room.kill('the test waited long enough'), timeoutMs).unref();
  });
  const output = drainPipe(pipe);
  closeSync(pipe);
  return { reason, output };
}

export function startRoom(
  name: string,
  { plan }: Planned,
  descriptors: readonly number[],
  output: number,
  owner: RoomOwner,
): Room {
  const making: RoomMaking = { launcher: LAUNCHER, output };
  return new Room(name, { plan, descriptors, onStarted: () => {} }, making, owner);
}

/** Values of /proc/PID/status by name. */
export function statusOf(pid: number, task = pid): Record<string, string> {
  const lines = readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8').trim().split('\n');
  return Object.fromEntries(
    lines.map((line) => [line.split(':')[0], line.split(':').slice(1).join(':').trim()]),
  );
}
