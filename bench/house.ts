/**
 * What the whole house costs while nothing happens: master, two workers, and whoever stands beside them, with TLS (so
 * that there is a keeper of keys) and health checks (so that somebody makes connections to the outside). Proportional
 * memory of each process, and together.
 *
 * It runs from a copy of the program: pages of Node.js that other programs on the machine have mapped as well would count
 * as theirs in part, and the sum would fall with every one of them.
 */

import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Child, LOAD_CORE } from './children.ts';
import { memoryOf, ProcessTree, roleOf } from './proc.ts';
import type { HouseMember } from './results.ts';
import { fill, LAUNCHER, type Workplace } from './systems.ts';

/** What --only calls it. */
export const HOUSE_NAME = 'house';

/** Beyond the ports of all other instances. */
const PORT_OFFSET = 90;
const WORKERS = 2;
const START_TIMEOUT_MS = 20_000;
/** For the start's garbage to be collected, and health to be checked. */
const SETTLE_MS = 5000;

const HEALTH_CHECK = '[upstreams."origin".health_check]\ninterval_secs = 1\npath = "/api/0"\n';

export async function measureHouse(place: Workplace): Promise<HouseMember[]> {
  const port = place.portBase + PORT_OFFSET;
  const config = fill(place, 'sallyport.toml', port, { fresh: true, secure: true, http2: true });
  const text = readFileSync(config, 'utf8').replace('threads = 1', `threads = ${WORKERS}`);
  writeFileSync(config, text.replace('[host_routes.', `${HEALTH_CHECK}\n[host_routes.`));
  const child = new Child('idle house', LOAD_CORE, [copyOfProgram(place), 'serve', '-c', config], {});
  try {
    await child.listening(port, START_TIMEOUT_MS);
    await sleep(SETTLE_MS);
    return new ProcessTree(child.pid).pids().map((pid) => ({ role: roleOf(pid), ...memoryOf([pid]) }));
  } finally {
    await child.stop();
  }
}

/** What the program consists of, as `bin/sallyport` looks for it. */
const PROGRAM = [
  'bin',
  'dist',
  'package.json',
  'node_modules/koffi',
  'node_modules/@koromix',
  'node_modules/smol-toml',
];

/** The launcher of the copy. */
function copyOfProgram(place: Workplace): string {
  const from = dirname(dirname(LAUNCHER));
  const to = join(place.dir, 'program');
  const node = `node_modules/node-linux-${process.arch}/bin/node`;
  for (const part of [...PROGRAM, node])
    cpSync(join(from, part), join(to, part), { recursive: true, dereference: true });
  return join(to, 'bin/sallyport');
}
