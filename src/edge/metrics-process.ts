/**
 * What a process knows of itself for the metrics page. Read when the page is asked for, from where it costs the same
 * however much is open; what a locked room may not read is told as 0.
 */

import { readFileSync, statSync } from 'node:fs';
import { getHeapStatistics } from 'node:v8';
import { RLIMIT_NOFILE, softLimit } from '../sys/process.ts';

export interface BuildWords {
  readonly version: string;
  readonly nodejs: string;
  readonly openssl: string;
  readonly io: string;
}

export function buildWords(io: string): BuildWords {
  return {
    version: productVersion(),
    nodejs: process.versions.node,
    openssl: process.versions.openssl ?? '',
    io,
  };
}

/** From package.json, which lies two folders above, in the sources as in what is built of them. */
function productVersion(): string {
  const text = textOf(new URL('../../package.json', import.meta.url));
  return text === '' ? 'unknown' : (JSON.parse(text) as { version: string }).version;
}

/** Seconds since 1970. */
export function processStartSeconds(): number {
  return Math.round((Date.now() - process.uptime() * 1000) / 1000);
}

/** Most descriptors that may be open (RLIMIT_NOFILE); 0: unknown. */
export function descriptorsMax(): number {
  const limit = softLimit(RLIMIT_NOFILE);
  return Number.isFinite(limit) && limit > 0 ? limit : 0;
}

/** Open descriptors: the size of their folder, which the kernel tells since 6.2; `known` where it doesn't. */
export function descriptorsOpen(known: number): number {
  try {
    return statSync('/proc/self/fd').size || known;
  } catch {
    return known;
  }
}

/**
 * Resident memory, bytes. A room without /proc can't know what it is now: there it is the most that it ever was, which is what a
 * worker needs again.
 */
export function residentBytes(): number {
  try {
    return process.memoryUsage.rss();
  } catch {
    return process.resourceUsage().maxRSS * 1024;
  }
}

/** The JavaScript heap, bytes. */
export function heapBytes(): { readonly used: number; readonly total: number } {
  const { used_heap_size: used, total_heap_size: total } = getHeapStatistics();
  return { used, total };
}

function textOf(path: string | URL): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
