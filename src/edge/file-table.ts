/**
 * What a route remembers of the files it has sent: validators, the lines of their heads ready to be copied,
 * which precompressed neighbours they lack, and (mode `memory`) their contents.
 *
 * A table of ENTRIES_MAX entries in sets of WAYS; the one used longest ago makes room. An entry is true only
 * for the file that it was made for (same path, inode, size and modification time): whoever holds one over a
 * pending operation compares `version` before using it again.
 */

import { CODING_IDENTITY, CODING_NAMES, CODING_SUFFIXES, CODING_TAGS } from '../http/accept-encoding.ts';
import { formatHttpDate } from '../http/dates.ts';
import { formatEntityTag } from '../http/etag.ts';
import {
  F_ACCEPT_RANGES,
  F_CONTENT_ENCODING,
  F_CONTENT_TYPE,
  F_ETAG,
  F_LAST_MODIFIED,
  F_VARY,
  FIELD_NAMES,
  type FieldSection,
} from '../http/fields.ts';
import { type MediaType, mediaTypeOf, OCTET_STREAM } from '../http/media-types.ts';
import { type BufferId, type BufferPool, NO_BUFFER, SMALL_BYTES } from '../io/buffer-pool.ts';
import type { FileHandle, Reactor } from '../io/reactor.ts';
import type { MemoryBudget, MemoryContent } from './memory-files.ts';

const WAYS = 4;
const SETS = 256;
/** Files that one route remembers. Our own choice: some 600 KiB when full. */
export const ENTRIES_MAX = WAYS * SETS;
/** How long it is believed that a neighbour is missing, and that a file in memory is unchanged. */
export const RECHECK_MS = 1000;
/** Bytes of an entry's lines in the arena; what doesn't fit (a very long media type) can't happen with our table. */
const LINES_BYTES = 512;
const SLOTS_PER_BUFFER = SMALL_BYTES / LINES_BYTES;

/** Lines of an entry, in the order in which they stand in memory. */
const L_CONTENT_TYPE = 0;
const L_CONTENT_ENCODING = 1;
const L_ACCEPT_RANGES = 2;
const L_LAST_MODIFIED = 3;
const L_ETAG = 4;
const L_VARY = 5;
const LINE_IDS: readonly number[] = [
  F_CONTENT_TYPE,
  F_CONTENT_ENCODING,
  F_ACCEPT_RANGES,
  F_LAST_MODIFIED,
  F_ETAG,
  F_VARY,
];
const LINE_COUNT = LINE_IDS.length;

export class FileEntry {
  /** Changes whenever the entry is made for another file. */
  version: number;
  hash: number;
  path: Uint8Array;
  /** How the file is served: `a.js.br` is one thing by its own name and another as the neighbour of `a.js`. */
  coding: number;
  inode: number;
  size: number;
  modifiedMs: number;
  /** Last-Modified, whole seconds since 1970. */
  modifiedSeconds: number;
  etag: string;
  type: MediaType;
  content: MemoryContent | null;
  /** When the file was last seen to be this one, and when the entry was last used; the reactor's clock. */
  checkedMs: number;
  usedMs: number;
  /** Bit of each coding that has no neighbour, until `absentUntilMs`. */
  private absent: number;
  private absentUntilMs: number;
  /** Arena offset of the lines. */
  private readonly lines: number;
  /** Value offset and length by line, relative to `lines`; length 0: no such line. */
  private readonly values: Int16Array;

  constructor(lines: number) {
    this.version = 0;
    this.hash = 0;
    this.path = NO_PATH;
    this.coding = CODING_IDENTITY;
    this.inode = 0;
    this.size = 0;
    this.modifiedMs = 0;
    this.modifiedSeconds = 0;
    this.etag = '';
    this.type = OCTET_STREAM;
    this.content = null;
    this.checkedMs = 0;
    this.usedMs = 0;
    this.absent = 0;
    this.absentUntilMs = 0;
    this.lines = lines;
    this.values = new Int16Array(LINE_COUNT * 2);
  }

  /** Codings whose neighbours are known to be missing, as bits. */
  absentCodings(nowMs: number): number {
    return nowMs < this.absentUntilMs ? this.absent : 0;
  }

  noteAbsent(codings: number, nowMs: number): void {
    if (nowMs >= this.absentUntilMs) {
      this.absent = 0;
      this.absentUntilMs = nowMs + RECHECK_MS;
    }
    this.absent |= codings;
  }

  dropContent(): void {
    this.content?.release();
    this.content = null;
  }

  /** Makes the entry stand for a file. `wallMs` bounds Last-Modified (RFC 9110 §8.8.2.1). */
  describe(text: Buffer, coding: number, type: MediaType, wallMs: number): void {
    this.version++;
    this.coding = coding;
    this.absent = 0;
    this.absentUntilMs = 0;
    this.type = type;
    this.modifiedSeconds = Math.floor(Math.min(this.modifiedMs, wallMs) / 1000);
    this.etag = formatEntityTag(this.modifiedMs, this.size, CODING_TAGS[coding]);
    let at = this.writeLine(text, L_CONTENT_TYPE, 0, type.value);
    at = this.writeLine(text, L_CONTENT_ENCODING, at, coding === CODING_IDENTITY ? '' : CODING_NAMES[coding]);
    at = this.writeLine(text, L_ACCEPT_RANGES, at, 'bytes');
    at = this.writeLine(text, L_LAST_MODIFIED, at, formatHttpDate(this.modifiedSeconds));
    at = this.writeLine(text, L_ETAG, at, this.etag);
    this.writeLine(text, L_VARY, at, type.compressible ? 'Accept-Encoding' : '');
  }

  private writeLine(text: Buffer, line: number, at: number, value: string): number {
    this.values[line * 2 + 1] = value.length;
    if (value === '') return at;
    const written = `${FIELD_NAMES[LINE_IDS[line]]}: ${value}\r\n`;
    this.values[line * 2] = at + written.length - value.length - 2;
    text.latin1Write(written, this.lines + at, written.length);
    return at + written.length;
  }

  /** Fields of a response with all of the file, or one range of it. */
  addAll(fields: FieldSection): void {
    for (let line = 0; line < LINE_COUNT; line++) this.addLine(fields, line);
  }

  /** The same but for Content-Type: several ranges. */
  addForParts(fields: FieldSection): void {
    for (let line = L_CONTENT_ENCODING; line < LINE_COUNT; line++) this.addLine(fields, line);
  }

  /** What identifies the representation: for 304 and 412. */
  addValidators(fields: FieldSection): void {
    for (let line = L_LAST_MODIFIED; line < LINE_COUNT; line++) this.addLine(fields, line);
  }

  private addLine(fields: FieldSection, line: number): void {
    const length = this.values[line * 2 + 1];
    if (length === 0) return;
    const id = LINE_IDS[line];
    const nameLength = FIELD_NAMES[id].length;
    const valueAt = this.lines + this.values[line * 2];
    fields.add(valueAt - 2 - nameLength, nameLength, valueAt, length, id);
  }
}

const NO_PATH = new Uint8Array(0);

export class FileTable {
  private readonly pool: BufferPool;
  private readonly entries: (FileEntry | null)[];
  private readonly held: BufferId[];
  private readonly budget: MemoryBudget;
  private slotAt: number;
  private slotsLeft: number;
  /** Stands for one file after another where there is no memory to remember more. */
  private spare: FileEntry | null;

  constructor(pool: BufferPool, budget: MemoryBudget) {
    this.pool = pool;
    this.budget = budget;
    this.entries = new Array<FileEntry | null>(ENTRIES_MAX).fill(null);
    this.held = [];
    this.slotAt = 0;
    this.slotsLeft = 0;
    this.spare = null;
  }

  /** The entry of a path that is served in this coding, whatever file it stands for; or null. */
  find(pathOffset: number, pathLength: number, coding: number): FileEntry | null {
    const hash = hashOf(this.pool.bytes, pathOffset, pathLength, coding);
    return this.findHashed(hash, pathOffset, pathLength, coding);
  }

  private findHashed(hash: number, pathOffset: number, pathLength: number, coding: number): FileEntry | null {
    const set = (hash & (SETS - 1)) * WAYS;
    for (let way = 0; way < WAYS; way++) {
      const entry = this.entries[set + way];
      if (entry === null) return null;
      if (entry.hash !== hash || entry.coding !== coding) continue;
      if (isPath(entry.path, this.pool.bytes, pathOffset, pathLength)) return entry;
    }
    return null;
  }

  /**
   * The entry of an open file, made or renewed where needed; null when the arena is exhausted. The path of a
   * neighbour ends in its coding's suffix; what stands before it names the type.
   */
  entryFor(
    reactor: Reactor,
    file: FileHandle,
    pathOffset: number,
    pathLength: number,
    coding: number,
  ): FileEntry | null {
    const { bytes } = this.pool;
    const hash = hashOf(bytes, pathOffset, pathLength, coding);
    let entry = this.findHashed(hash, pathOffset, pathLength, coding);
    if (entry !== null && isFile(entry, reactor, file)) {
      entry.checkedMs = reactor.nowMs;
      entry.usedMs = reactor.nowMs;
      return entry;
    }
    if (entry === null) entry = this.placeFor(hash);
    if (entry === null) return null;
    entry.dropContent();
    entry.hash = hash;
    if (!isPath(entry.path, bytes, pathOffset, pathLength)) {
      entry.path = bytes.slice(pathOffset, pathOffset + pathLength);
    }
    entry.inode = reactor.fileInode(file);
    entry.size = reactor.fileSize(file);
    entry.modifiedMs = reactor.fileModifiedMs(file);
    entry.checkedMs = reactor.nowMs;
    entry.usedMs = reactor.nowMs;
    const type = mediaTypeOf(bytes, pathOffset, pathLength - CODING_SUFFIXES[coding].length);
    entry.describe(this.pool.text, coding, type, reactor.wallMs);
    return entry;
  }

  /** A free place of the set, its entry that was used longest ago, or the spare. Null: no memory for its lines. */
  private placeFor(hash: number): FileEntry | null {
    if (this.spare === null) {
      const lines = this.takeLines();
      if (lines < 0) return null;
      this.spare = new FileEntry(lines);
    }
    const set = (hash & (SETS - 1)) * WAYS;
    let oldest: FileEntry | null = null;
    for (let way = 0; way < WAYS; way++) {
      const entry = this.entries[set + way];
      if (entry === null) {
        const lines = this.takeLines();
        // Without memory for one more, one that is there makes room.
        if (lines < 0) return oldest ?? this.spare;
        const made = new FileEntry(lines);
        this.entries[set + way] = made;
        return made;
      }
      if (oldest === null || entry.usedMs < oldest.usedMs) oldest = entry;
    }
    return oldest;
  }

  private takeLines(): number {
    if (this.slotsLeft === 0) {
      const id = this.budget.takeSmall();
      if (id === NO_BUFFER) return -1;
      this.held.push(id);
      this.slotAt = this.pool.offsetOf(id);
      this.slotsLeft = SLOTS_PER_BUFFER;
    }
    const at = this.slotAt;
    this.slotAt += LINES_BYTES;
    this.slotsLeft--;
    return at;
  }

  /** Gives all memory back. */
  release(): void {
    for (const entry of this.entries) entry?.dropContent();
    this.entries.fill(null);
    this.spare?.dropContent();
    this.spare = null;
    for (const id of this.held.splice(0)) this.budget.giveSmall(id);
    this.slotsLeft = 0;
  }
}

/** Whether an entry was made for this file, and says of it what is still true (a time in the future is not sent). */
function isFile(entry: FileEntry, reactor: Reactor, file: FileHandle): boolean {
  return (
    entry.inode === reactor.fileInode(file) &&
    entry.size === reactor.fileSize(file) &&
    entry.modifiedMs === reactor.fileModifiedMs(file) &&
    entry.modifiedSeconds === Math.floor(Math.min(entry.modifiedMs, reactor.wallMs) / 1000)
  );
}

function hashOf(bytes: Uint8Array, offset: number, length: number, coding: number): number {
  let hash = (0x811c9dc5 ^ coding) | 0;
  for (let at = offset, end = offset + length; at < end; at++) hash = Math.imul(hash ^ bytes[at], 0x01000193);
  // FNV's low bits depend on few of the last bytes' bits.
  return hash ^ (hash >>> 15);
}

function isPath(path: Uint8Array, bytes: Uint8Array, offset: number, length: number): boolean {
  if (path.length !== length) return false;
  for (let index = 0; index < length; index++) if (path[index] !== bytes[offset + index]) return false;
  return true;
}
