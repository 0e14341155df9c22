/** Rooms for tests: plans for the files in rooms/, started by the real launcher. */

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmdirSync,
  rmSync,
  statSync,
} from 'node:fs';
import { stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { rolldown } from 'rolldown';
import { splitConfiguration } from '../../src/ipc/configuration-parts.ts';
import { COMPARTMENTS } from '../../src/master/compartments.ts';
import { type Machine, probeMachine } from '../../src/master/machine.ts';
import { type Planned, planRoom, type RoomRequest, STRONGEST, type Wishes } from '../../src/master/plan.ts';
import { Room, type RoomMaking, type RoomOwner } from '../../src/master/room.ts';
import type { RoomSource } from '../../src/master/supervisor.ts';

const ROOT = join(import.meta.dirname, '../..');
if (!isOpen(ROOT)) runElsewhere();

/** Whether every user may enter this folder: rooms run as users of their own. */
function isOpen(folder: string): boolean {
  const mayEnter = (statSync(folder).mode & 0o001) !== 0;
  return mayEnter && (folder === '/' || isOpen(dirname(folder)));
}

/** The same test file, seen through a folder that every user may enter; that mount is this run's alone. */
function runElsewhere(): never {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-project-'));
  chmodSync(folder, 0o755);
  const again = [process.execPath, ...process.argv.slice(1)].map((path) =>
    path.startsWith(ROOT) ? join(folder, relative(ROOT, path)) : path,
  );
  const script = 'mount --bind "$0" "$1" && shift && cd / && exec "$@"';
  const { status } = spawnSync(
    'unshare',
    ['--mount', 'sh', '-c', script, ROOT, folder, again[0], ...process.execArgv, ...again.slice(1)],
    { stdio: 'inherit' },
  );
  rmdirSync(folder);
  process.exit(status ?? 1);
}

/**
 * Rooms run JavaScript, as in production: type stripping is WebAssembly, which V8 goes on compiling in the background
 * when memory to execute can't be had any more.
 */
const ROOMS = join(ROOT, `node_modules/.rooms-${process.pid}`);
const ROOM_FILES = ['edge-room', 'plain-room', 'probe-room', 'chatterbox'] as const;
/** Programs of the product. */
const PROGRAMS = {
  launcher: 'src/master/launcher-main.ts',
  keys: 'src/keys/main.ts',
  journal: 'src/journal/main.ts',
  outbound: 'src/outbound/main.ts',
} as const;
export type RoomFile = (typeof ROOM_FILES)[number] | keyof typeof PROGRAMS;
await buildRooms();

export const LAUNCHER = [roomFile('launcher')];
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

async function buildRooms(): Promise<void> {
  process.once('exit', () => rmSync(ROOMS, { recursive: true, force: true }));
  const build = await rolldown({
    cwd: ROOT,
    input: {
      ...PROGRAMS,
      ...Object.fromEntries(ROOM_FILES.map((name) => [name, `tests/master/rooms/${name}.ts`])),
    },
    platform: 'node',
    external: [/^node:/, 'koffi', 'smol-toml'],
  });
  await build.write({ dir: ROOMS, format: 'esm', entryFileNames: '[name].js' });
  await build.close();
}

/** The compiled file of a room. */
export function roomFile(name: RoomFile): string {
  return join(ROOMS, `${name}.js`);
}

/** A plan for one of the files in rooms/. */
export function planFor(
  role: keyof typeof COMPARTMENTS,
  file: RoomFile,
  parameters: readonly string[] = [],
  wishes: Wishes = STRONGEST,
  more: Partial<RoomRequest> = {},
  machine = MACHINE,
): Planned {
  const program = [
    'node_modules/koffi',
    'node_modules/@koromix',
    'node_modules/smol-toml',
    'package.json',
  ].map((path) => join(ROOT, path));
  program.push(ROOMS);
  const request: RoomRequest = {
    instance: 0,
    io: 'io_uring',
    main: roomFile(file),
    arguments: parameters,
    files: [],
    socketFolders: [],
    connectPorts: [],
    core: -1,
    ...more,
    program: [...program, ...(more.program ?? [])],
  };
  return planRoom(COMPARTMENTS[role], request, wishes, machine);
}

/** libuv's threads must be there before a namespace for process ids is made. */
export async function prepareMaster(): Promise<void> {
  await stat('/');
}

export interface Ended {
  readonly reason: string;
  readonly output: string;
}

/** The ends for reading of pipes, by those for writing: Node.js makes those that it inherits block. */
const readingEnds = new Map<number, number>();

/** A pipe for the output of rooms, which may write no files: the descriptor that they are given. */
export function openPipe(): number {
  const path = join(openFolder(), 'output');
  execFileSync('mkfifo', [path]);
  const writing = openSync(path, constants.O_RDWR);
  readingEnds.set(writing, openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));
  return writing;
}

/** What has been written to it since the last call. */
export function drainPipe(pipe: number): string {
  const buffer = Buffer.alloc(65536);
  let text = '';
  try {
    for (;;) text += buffer.toString('utf8', 0, readSync(readingEnds.get(pipe) ?? -1, buffer));
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

/** A place for a plain room; `says` is its configuration. */
export function plainSource(
  role: keyof typeof COMPARTMENTS,
  name: string,
  says: () => string,
  wishes: Wishes = STRONGEST,
): RoomSource {
  const { plan } = planFor(role, 'plain-room', [], wishes);
  return {
    role,
    name,
    prepare: () => ({
      plan,
      descriptors: [],
      onStarted: (channel) => {
        for (const part of splitConfiguration(1, Buffer.from(says())) ?? []) channel.send(part);
      },
    }),
  };
}
