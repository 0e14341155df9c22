/** What `serve` would make of a configuration on this machine: workers, rooms, and what each would be confined by. */

import type { Config } from '../config/model.ts';
import { NOT_BUILT } from '../config/not-built.ts';
import { openReactor, ReactorUnavailable } from '../io/open.ts';
import { COMPARTMENTS, type IoBackend } from '../master/compartments.ts';
import { describe, measureLine, unmetDemands } from '../master/describe.ts';
import { type Machine, unservedFiles } from '../master/machine.ts';
import { neededRooms, workerCount } from '../master/needed-rooms.ts';
import type { Wishes } from '../master/plan.ts';
import { WishError, wishesOf } from '../master/wishes.ts';

/** What the reactor of a room would be. */
export interface IoOutlook {
  /** In words, with the reason. */
  readonly words: string;
  readonly backend: IoBackend;
  /** Whether buffers would be on huge pages; false where nobody asks. */
  readonly hugePages: boolean;
}

/** One line of text, and how deep it stands. */
export interface OutlookLine {
  readonly depth: number;
  readonly text: string;
}

/** Opens a reactor and closes it again. */
export function lookAtIo({ performance }: Config): IoOutlook {
  try {
    const opened = openReactor({ hugePages: performance.hugePagesEnabled });
    const { name } = opened.reactor;
    opened.reactor.destroy();
    return {
      words: opened.reason === '' ? name : `${name}, because ${opened.reason}`,
      backend: name === 'io_uring' ? 'io_uring' : 'epoll',
      hugePages: performance.hugePagesEnabled && opened.hugePages,
    };
  } catch (error) {
    if (!(error instanceof ReactorUnavailable)) throw error;
    return { words: `none: ${error.message}`, backend: 'epoll', hugePages: false };
  }
}

/** `cores` as coresOf gives them. */
export function machineLines(
  config: Config,
  io: IoOutlook,
  machine: Machine,
  cores: readonly number[],
): readonly OutlookLine[] {
  const lines: OutlookLine[] = [];
  const add = (depth: number, text: string): void => {
    lines.push({ depth, text });
  };
  add(1, `I/O: ${io.words}`);
  if (config.performance.hugePagesEnabled)
    add(1, `Huge pages: ${io.hugePages ? 'for buffers' : 'this kernel gives none, ordinary ones are used'}`);
  const unserved = unservedFiles(config);
  if (unserved !== '') add(1, `Files: ${unserved}`);
  add(1, `Workers: ${workerWords(config, cores)}`);
  let wishes: Wishes;
  try {
    wishes = wishesOf(config.security);
  } catch (error) {
    if (!(error instanceof WishError)) throw error;
    add(1, `Nothing would start: ${error.message}`);
    return lines;
  }
  const unmet = new Set<string>();
  add(1, 'Rooms, each a process, and what confines them:');
  for (const { role, why } of neededRooms(config)) {
    const measures = describe(role, machine, wishes, io.backend);
    add(2, `${role}: ${COMPARTMENTS[role].does} (runs ${why})`);
    for (const measure of measures) add(3, measureLine(measure));
    for (const measure of unmetDemands(measures)) unmet.add(measureLine(measure));
  }
  if (unmet.size > 0) add(1, demandWords([...unmet], config));
  const missing = [...new Set(NOT_BUILT.map(({ feature }) => feature))];
  add(1, `Not built yet, and refused when asked for: ${missing.join('; ')}`);
  return lines;
}

function workerWords(config: Config, cores: readonly number[]): string {
  const { threads } = config.server;
  const count = workerCount(config, cores);
  const isPinned = count > 1 && cores[0] >= 0;
  let words = `${count}`;
  if (threads > 0) words += ` (threads = ${threads})`;
  else if (cores[0] < 0) words += ', as a quota of processor time allows';
  else if (count > 1) words += ', one for each core that the program may use';
  if (isPinned)
    words += threads > cores.length ? `, bound to ${cores.length} cores in turn` : ', each bound to its core';
  else words += ', on any core';
  if (count === 1) return words;
  const byAddress = config.performance.reuseportBalancing === 'cbpf';
  return `${words}; connections are spread by ${byAddress ? 'the client’s address' : 'the kernel'}`;
}

function demandWords(unmet: readonly string[], { security }: Config): string {
  const what = unmet.join('; ');
  return security.allowDegraded
    ? `Asked for and not to be had here, which security.allow_degraded permits: ${what}`
    : `Nothing would start here, since [security] asks for what is not to be had: ${what}. Start with the privileges that it needs, change the keys, or set security.allow_degraded = true`;
}
