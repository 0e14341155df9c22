/**
 * Mapped memory that the kernel sees as well: an ArrayBuffer and its address. A mapping lives as long as
 * the process unless `unmap` is called, after which nobody may touch its views.
 */

import { readFileSync } from 'node:fs';
import koffi from 'koffi';
import { assert } from '../base/assert.ts';
import { lastErrno, madvise, mmap, munmap } from './libc.ts';

const PROT_READ_WRITE = 3;
const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MAP_POPULATE = 0x8000;
const FOUR_GIB = 0x100000000;
const MADV_HUGEPAGE = 14;
const MADV_DONTDUMP = 16;
export const PAGE_BYTES = 4096;
/** A huge page on x86-64, and on arm64 with pages of 4 KiB. */
const HUGE_PAGE_BYTES = 2097152;

export class MappedMemory {
  readonly address: number;
  readonly length: number;
  readonly buffer: ArrayBuffer;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly view: DataView;
  /** Low word of the address, signed, and its high word: the address of byte `i` is (low + i) | 0 and high. */
  readonly low: number;
  readonly high: number;

  constructor(address: number, length: number) {
    this.address = address;
    this.length = length;
    this.buffer = koffi.view(address, length);
    this.bytes = new Uint8Array(this.buffer);
    this.words = new Int32Array(this.buffer);
    this.view = new DataView(this.buffer);
    this.low = address | 0;
    this.high = Math.floor(address / FOUR_GIB);
  }

  unmap(): void {
    munmap(this.address, this.length);
  }
}

/**
 * Private zeroed memory which takes up real memory only where it is touched, and which never straddles a
 * 4 GiB boundary, so that the high word of all its addresses is the same. Throws where the kernel has none:
 * set-up only.
 */
export function mapPrivate(bytes: number): MappedMemory {
  return mapAligned(bytes, PAGE_BYTES);
}

/** The same, for which huge pages were asked. `granted` says whether the kernel will try; ordinary pages otherwise. */
export function mapPrivateHuge(bytes: number): { readonly memory: MappedMemory; readonly granted: boolean } {
  const memory = mapAligned(bytes, HUGE_PAGE_BYTES);
  const asked = madvise(memory.address, memory.length, MADV_HUGEPAGE) === 0;
  return { memory, granted: asked && givesHugePages() };
}

/** Where the administrator has switched them off, the kernel takes the wish and does nothing. */
function givesHugePages(): boolean {
  try {
    return !readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'utf8').includes('[never]');
  } catch {
    return false;
  }
}

function mapAligned(bytes: number, alignment: number): MappedMemory {
  const length = Math.ceil(bytes / alignment) * alignment;
  assert(length < FOUR_GIB, 'a mapping must fit between two 4 GiB boundaries');
  const reservedLength = length * 2 + alignment;
  const reserved = mapAnonymous(reservedLength);
  const aligned = Math.ceil(reserved / alignment) * alignment;
  const boundary = Math.ceil((aligned + 1) / FOUR_GIB) * FOUR_GIB;
  // Either the first part lies before the next boundary, or all that begins at the boundary fits.
  const start = boundary - aligned >= length ? aligned : boundary;
  if (start > reserved) munmap(reserved, start - reserved);
  const end = start + length;
  const reservedEnd = reserved + reservedLength;
  if (end < reservedEnd) munmap(end, reservedEnd - end);
  return new MappedMemory(start, length);
}

/** Its bytes are left out of core dumps, where the kernel does that. */
export function excludeFromDumps(memory: MappedMemory): void {
  madvise(memory.address, memory.length, MADV_DONTDUMP);
}

/**
 * Memory that a descriptor shares with whoever maps it. `isTouched`: all of it will be used, as a ring is, and is made
 * real at once; otherwise where it is touched. Returns undefined where it cannot be mapped.
 */
export function mapShared(
  fd: number,
  offset: number,
  length: number,
  isTouched: boolean,
): MappedMemory | undefined {
  const flags = MAP_SHARED | (isTouched ? MAP_POPULATE : 0);
  const address = mmap(0, length, PROT_READ_WRITE, flags, fd, offset);
  return address === -1 ? undefined : new MappedMemory(address, length);
}

function mapAnonymous(length: number): number {
  const address = mmap(0, length, PROT_READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address === -1) throw new Error(`cannot map ${length} bytes of memory: errno ${lastErrno()}`);
  return address;
}
