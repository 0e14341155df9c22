/**
 * Answers one exchange with a file: finds it, negotiates a precompressed neighbour, evaluates conditions and
 * ranges, and sends the head and the content.
 *
 * Owns, until the response has ended: the file's handle, a small buffer with its path, a buffer that is being
 * read into. Every step may end at once or later; `run` drives the steps, so that both are the same code.
 *
 * The content is never another file's, never a mixture, and never of the wrong length: it comes from one
 * handle, and unless it is read at once when the file is opened, the last piece is held back until a second
 * look at the file has found it unchanged. A file that has changed is opened once more as long as no head was
 * sent, and cut after that. One that was replaced or removed goes on to its end: the handle holds it.
 */

import { assert } from '../base/assert.ts';
import { AcceptedCodings, CODING_IDENTITY, CODING_SUFFIXES } from '../http/accept-encoding.ts';
import {
  evaluatePreconditions,
  HAS_ACCEPT_ENCODING,
  HAS_RANGE,
  ifRangeHolds,
  NOT_MODIFIED,
  PRECONDITION_FAILED,
  selectingFields,
} from '../http/conditional.ts';
import {
  E_FILE,
  E_FILE_CHANGED,
  E_FORBIDDEN,
  E_METHOD_REFUSED,
  E_NOT_FOUND,
  E_OVERLOAD,
} from '../http/fault.ts';
import { F_RANGE } from '../http/fields.ts';
import { M_GET, M_HEAD } from '../http/message.ts';
import { RANGE_UNSATISFIABLE, RangeSet } from '../http/ranges.ts';
import {
  type BufferId,
  LARGE,
  MEDIUM,
  MEDIUM_BYTES,
  NO_BUFFER,
  SMALL,
  SMALL_BYTES,
} from '../io/buffer-pool.ts';
import { DIRECTORY, type FileHandle, type FileHandler, PENDING, REGULAR } from '../io/reactor.ts';
import { ENOENT } from '../sys/errno.ts';
import { isAbsent, openFault } from './file-faults.ts';
import { sendDirectoryRedirect, sendFileHead, sendUnsatisfiable, sendVerdict } from './file-head.ts';
import { writeRelativePath } from './file-path.ts';
import type { FileRoute } from './file-route.ts';
import { type FileEntry, RECHECK_MS } from './file-table.ts';
import type { MemoryContent } from './memory-files.ts';
import { MultipartRanges } from './multipart-ranges.ts';
import { type Responder, type ResponseTarget, SEND_HIGH_BYTES } from './responder.ts';

/** A piece of a file up to this length is read into the buffer that is sent; a longer one goes by sendfile. */
const READ_BYTES_MAX = 65536;
/** What is held back of a longer one, and read, for the second look. */
const TAIL_BYTES = MEDIUM_BYTES;
/** A neighbour may be older than its original by this much: archives and copies round times. */
const NEIGHBOUR_AGE_MS = 1000;
/** Room kept at the end of a path: the longest suffix and a NUL. */
const PATH_RESERVE_BYTES = 5;
const NO_FILE: FileHandle = 0;
const SLASH = 0x2f;

/** What the next result means. */
const S_FREE = 0;
/** Of the file itself, or of a directory's index. */
const S_OPEN = 1;
/** There is no index: of the directory that would hold it. */
const S_OPEN_DIRECTORY = 2;
const S_OPEN_NEIGHBOUR = 3;
/** Of a file's content into memory that is kept. */
const S_LOAD = 4;
/** Of a piece into the buffer that is sent. */
const S_READ = 5;
/** `sendFile` is under way. */
const S_SENDFILE = 6;
/** The client has to take what is queued. */
const S_FULL = 7;

export class FileResponder implements Responder, FileHandler {
  private readonly route: FileRoute;
  private readonly codings: AcceptedCodings;
  private readonly ranges: RangeSet;
  private readonly multipart: MultipartRanges;
  private target: ResponseTarget | null;
  private state: number;
  /** Counts the exchanges that this object has answered. */
  private serial: number;
  /** An operation of the reactor is under way: nothing it uses may be given back. */
  private pending: boolean;
  /** `selectingFields` of the request. */
  private bits: number;
  private path: BufferId;
  private pathOffset: number;
  private pathLength: number;
  /** The path without a neighbour's suffix. */
  private originalLength: number;
  /** Length of the directory's path (its slash included) when the path is its index; -1 otherwise. */
  private directoryLength: number;
  private file: FileHandle;
  /** The coding that `file` is in, and the place in `codings.order` of the one that is tried. */
  private coding: number;
  private tried: number;
  /** Neighbours that were found to be missing, as bits. */
  private missing: number;
  private entry: FileEntry | null;
  private entryVersion: number;
  private content: MemoryContent | null;
  /** Of the representation that is sent. */
  private size: number;
  private status: number;
  private headSent: boolean;
  private isMultipart: boolean;
  /** The range that is being sent, and the part of it that is still to be. */
  private part: number;
  private position: number;
  private partEnd: number;
  /** A piece that is read, and how much of it there is. */
  private piece: BufferId;
  private pieceBytes: number;
  private pieceWanted: number;
  /** Time has passed since the file was opened, or it was read in several pieces: the second look is due. */
  private unsteady: boolean;
  /** The file was found changed before, and opened again. */
  private restarted: boolean;

  constructor(route: FileRoute) {
    this.route = route;
    this.codings = new AcceptedCodings();
    this.ranges = new RangeSet();
    this.multipart = new MultipartRanges(route.reactor.pool);
    this.target = null;
    this.state = S_FREE;
    this.serial = 0;
    this.pending = false;
    this.bits = 0;
    this.path = NO_BUFFER;
    this.pathOffset = 0;
    this.pathLength = 0;
    this.originalLength = 0;
    this.directoryLength = -1;
    this.file = NO_FILE;
    this.coding = CODING_IDENTITY;
    this.tried = 0;
    this.missing = 0;
    this.entry = null;
    this.entryVersion = 0;
    this.content = null;
    this.size = 0;
    this.status = 0;
    this.headSent = false;
    this.isMultipart = false;
    this.part = 0;
    this.position = 0;
    this.partEnd = 0;
    this.piece = NO_BUFFER;
    this.pieceBytes = 0;
    this.pieceWanted = 0;
    this.unsteady = false;
    this.restarted = false;
  }

  /** Begins to answer. False: the exchange has ended already, and this object may be another's. */
  begin(target: ResponseTarget): boolean {
    assert(this.state === S_FREE, 'a file responder is used twice');
    const serial = ++this.serial;
    this.target = target;
    this.state = S_OPEN;
    this.directoryLength = -1;
    this.coding = CODING_IDENTITY;
    this.tried = 0;
    this.missing = 0;
    this.headSent = false;
    this.isMultipart = false;
    this.unsteady = false;
    this.restarted = false;
    const { methodId } = target.request;
    const fault = methodId === M_GET || methodId === M_HEAD ? this.resolve(target) : E_METHOD_REFUSED;
    if (fault !== 0) this.fail(fault);
    else if (this.findInMemory(target)) this.run(this.select(target));
    else this.run(this.open(S_OPEN, this.pathLength));
    return this.serial === serial && this.target !== null;
  }

  onRequestData(buffer: BufferId): void {
    this.route.reactor.pool.release(buffer);
  }

  onRequestEnd(): void {}

  onWritable(): void {
    if (this.state === S_FULL && this.target !== null) this.run(this.pump(this.target));
  }

  onFileSent(result: number): void {
    if (this.state === S_SENDFILE) this.run(result);
  }

  /** A file is never forwarded from a socket. */

  onAbort(): void {
    this.target = null;
    if (!this.pending) this.release();
  }

  onOpen(_tag: number, file: number): void {
    this.pending = false;
    this.route.openEnded();
    if (this.target !== null) {
      this.run(file);
      return;
    }
    if (file > 0) this.route.reactor.closeFile(file);
    this.release();
  }

  onRead(_tag: number, result: number): void {
    this.pending = false;
    if (this.target !== null) this.run(result);
    else this.release();
  }

  /** Carries on until a step has to wait, or the exchange has ended. */
  private run(first: number): void {
    let result = first;
    while (result !== PENDING) result = this.advance(result);
  }

  /** Takes the result of one step and begins the next. */
  private advance(result: number): number {
    const { target } = this;
    assert(target !== null, 'a step without an exchange');
    switch (this.state) {
      case S_OPEN:
        return this.opened(target, result);
      case S_OPEN_DIRECTORY:
        return this.directoryOpened(result);
      case S_OPEN_NEIGHBOUR:
        return this.neighbourOpened(target, result);
      case S_LOAD:
        return this.loaded(target, result);
      case S_READ:
        return this.pieceRead(target, result);
      case S_SENDFILE:
        return this.fileSent(target, result);
      default:
        assert(false, 'a result that nothing waits for');
        return PENDING;
    }
  }

  // ---- Finding the file -------------------------------------------------------------------------------

  /** Writes the file's path beneath the root into a buffer. Returns 0 or a fault. */
  private resolve(target: ResponseTarget): number {
    const { route } = this;
    const { pool } = route.reactor;
    const { bytes } = pool;
    const prefixLength = target.prefixLength;
    const restOffset = target.pathOffset + prefixLength;
    const restLength = target.pathLength - prefixLength;
    if (!route.isDirectory && restLength > (prefixLength === 0 ? 1 : 0)) return E_NOT_FOUND;
    const id = pool.acquire(SMALL);
    if (id === NO_BUFFER) return E_OVERLOAD;
    this.path = id;
    this.pathOffset = pool.offsetOf(id);
    const room = SMALL_BYTES - PATH_RESERVE_BYTES - route.index.length;
    if (room < 0) return E_NOT_FOUND;
    let length = route.isDirectory
      ? writeRelativePath(bytes, restOffset, restLength, this.pathOffset, room)
      : 0;
    if (length < 0) return E_NOT_FOUND;
    if (length === 0 || bytes[this.pathOffset + length - 1] === SLASH) {
      if (route.isDirectory) this.directoryLength = length;
      const { index } = route;
      for (let at = 0; at < index.length; at++) bytes[this.pathOffset + length + at] = index[at];
      length += index.length;
    }
    this.pathLength = length;
    this.originalLength = length;
    return 0;
  }

  /** Opens the first `length` bytes of the path, which stay there; `state` says what the result means. */
  private open(state: number, length: number): number {
    const { reactor } = this.route;
    this.state = state;
    reactor.pool.bytes[this.pathOffset + length] = 0;
    if (!this.route.hasRoot) return -ENOENT;
    const result = reactor.openFile(this.route.root, this.pathOffset, length, this, 0);
    if (result === PENDING) {
      this.pending = true;
      this.unsteady = true;
      this.route.openBegan();
    }
    return result;
  }

  private opened(target: ResponseTarget, file: number): number {
    const { reactor } = this.route;
    if (file < 0) {
      if (this.directoryLength >= 0 && isAbsent(file))
        return this.open(S_OPEN_DIRECTORY, this.directoryLength);
      return this.fail(openFault(file));
    }
    if (reactor.fileKind(file) === DIRECTORY) {
      reactor.closeFile(file);
      if (this.directoryLength >= 0 || !this.route.isDirectory) return this.fail(E_FORBIDDEN);
      sendDirectoryRedirect(target);
      return this.end(target);
    }
    this.file = file;
    this.unsteady = false;
    return this.negotiate(target);
  }

  /** A directory without its index is forbidden; what isn't there isn't found. */
  private directoryOpened(file: number): number {
    if (file < 0) return this.fail(openFault(file));
    const { reactor } = this.route;
    const kind = reactor.fileKind(file);
    reactor.closeFile(file);
    return this.fail(kind === DIRECTORY ? E_FORBIDDEN : E_NOT_FOUND);
  }

  // ---- Choosing the representation --------------------------------------------------------------------

  /**
   * In memory mode: a representation that was looked at within the last second is answered from without
   * asking the kernel. True: `entry` and `content` are set.
   */
  private findInMemory(target: ResponseTarget): boolean {
    if (this.route.memory === null) return false;
    this.bits = selectingFields(target.request.fields);
    const original = this.freshEntry(this.pathLength, CODING_IDENTITY);
    if (original === null) return false;
    let chosen = original;
    let chosenCoding = CODING_IDENTITY;
    if (original.type.compressible && (this.bits & HAS_ACCEPT_ENCODING) !== 0) {
      this.codings.read(target.request.fields);
      const absent = original.absentCodings(this.route.reactor.nowMs);
      for (let index = 0; index < this.codings.count && chosen === original; index++) {
        const coding = this.codings.order[index];
        if ((absent & (1 << coding)) !== 0) continue;
        const neighbour = this.freshEntry(this.appendSuffix(coding), coding);
        if (neighbour === null) return false;
        chosenCoding = coding;
        chosen = neighbour;
      }
    }
    if (!this.useContent(chosen)) return false;
    this.coding = chosenCoding;
    this.useEntry(chosen);
    return true;
  }

  /** The entry of a path whose content is in memory and was checked within the last second. */
  private freshEntry(pathLength: number, coding: number): FileEntry | null {
    const { nowMs } = this.route.reactor;
    const entry = this.route.table.find(this.pathOffset, pathLength, coding);
    if (entry === null || entry.content === null || nowMs - entry.checkedMs >= RECHECK_MS) return null;
    entry.usedMs = nowMs;
    return entry;
  }

  /** Writes a coding's suffix after the path; returns the length with it. */
  private appendSuffix(coding: number): number {
    const { bytes } = this.route.reactor.pool;
    const suffix = CODING_SUFFIXES[coding];
    const at = this.pathOffset + this.pathLength;
    for (let index = 0; index < suffix.length; index++) bytes[at + index] = suffix.charCodeAt(index);
    return this.pathLength + suffix.length;
  }

  /** The original is open: tries its neighbours in the client's order. */
  private negotiate(target: ResponseTarget): number {
    this.bits = selectingFields(target.request.fields);
    if (!this.lookUpEntry()) return this.fail(E_OVERLOAD);
    if ((this.bits & HAS_ACCEPT_ENCODING) === 0 || !this.entry?.type.compressible) {
      return this.chosen(target);
    }
    this.codings.read(target.request.fields);
    this.tried = 0;
    return this.tryNeighbour(target);
  }

  private tryNeighbour(target: ResponseTarget): number {
    const absent = (this.entry?.absentCodings(this.route.reactor.nowMs) ?? 0) | this.missing;
    while (this.tried < this.codings.count) {
      const coding = this.codings.order[this.tried];
      if ((absent & (1 << coding)) === 0) return this.open(S_OPEN_NEIGHBOUR, this.appendSuffix(coding));
      this.tried++;
    }
    return this.chosen(target);
  }

  private neighbourOpened(target: ResponseTarget, file: number): number {
    const { reactor } = this.route;
    const coding = this.codings.order[this.tried];
    if (file > 0) {
      const originalMs = reactor.fileModifiedMs(this.file);
      const isRegular = reactor.fileKind(file) === REGULAR;
      if (isRegular && reactor.fileModifiedMs(file) + NEIGHBOUR_AGE_MS >= originalMs) {
        reactor.closeFile(this.file);
        this.file = file;
        this.unsteady = false;
        this.coding = coding;
        this.pathLength += CODING_SUFFIXES[coding].length;
        return this.lookUpEntry() ? this.chosen(target) : this.fail(E_OVERLOAD);
      }
      reactor.closeFile(file);
    }
    if (file > 0 || isAbsent(file)) {
      if (!this.lookUpEntry()) return this.fail(E_OVERLOAD);
      this.entry?.noteAbsent(1 << coding, reactor.nowMs);
    }
    this.missing |= 1 << coding;
    return this.tryNeighbour(target);
  }

  /** `file` is what is sent. */
  private chosen(target: ResponseTarget): number {
    const { memory, reactor } = this.route;
    const { entry } = this;
    if (memory === null || entry === null) return this.select(target);
    if (this.useContent(entry)) return this.select(target);
    if (entry.content !== null) return this.select(target);
    const content = memory.take(reactor.fileSize(this.file));
    if (content === null) return this.select(target);
    this.content = content;
    this.position = 0;
    this.state = S_LOAD;
    return content.size === 0 ? 0 : this.load(content);
  }

  /** Reads on where the content in memory ends. */
  private load(content: MemoryContent): number {
    const { reactor } = this.route;
    const index = Math.floor(this.position / content.unit);
    const within = this.position - index * content.unit;
    const length = Math.min(content.unit - within, content.size - this.position);
    const to = reactor.pool.offsetOf(content.buffers[index]) + within;
    const result = reactor.readFile(this.file, this.position, to, length, this, 0);
    this.noteRead(result, length);
    return result;
  }

  private noteRead(result: number, wanted: number): void {
    this.pending = result === PENDING;
    if (result !== wanted) this.unsteady = true;
  }

  private loaded(target: ResponseTarget, result: number): number {
    const { content } = this;
    assert(content !== null, 'loading without memory');
    if (result < 0) return this.fail(E_FILE);
    this.position += result;
    if (this.position < content.size) {
      if (result === 0) return this.changed();
      this.unsteady = true;
      return this.load(content);
    }
    if (this.hasChanged()) return this.changed();
    // Another exchange may have loaded it meanwhile: the table keeps one.
    if (!this.lookUpEntry()) return this.fail(E_OVERLOAD);
    if (this.entry !== null && this.entry.content === null) {
      content.retain();
      this.entry.content = content;
    }
    return this.select(target);
  }

  /** Sets `entry` to the one of the open file; it may have been evicted while something was pending. */
  private lookUpEntry(): boolean {
    const { entry } = this;
    if (entry !== null && entry.version === this.entryVersion && entry.coding === this.coding) return true;
    const { table, reactor } = this.route;
    const found = table.entryFor(reactor, this.file, this.pathOffset, this.pathLength, this.coding);
    if (found === null) return false;
    this.useEntry(found);
    return true;
  }

  private useEntry(entry: FileEntry): void {
    this.entry = entry;
    this.entryVersion = entry.version;
  }

  /** Sends from the content that an entry has, if it may be. */
  private useContent(entry: FileEntry): boolean {
    const { content } = entry;
    if (content === null || this.route.memory?.sendable(content) !== true) return false;
    content.retain();
    this.content = content;
    return true;
  }

  // ---- Conditions and ranges ----------------------------------------------------------------------------

  /** Decides between 200, 206, 304, 412 and 416, in the order of RFC 9110 §13.2.2. */
  private select(target: ResponseTarget): number {
    const { entry, bits, ranges } = this;
    const { reactor } = this.route;
    const { request } = target;
    assert(entry !== null, 'a representation without an entry');
    if (this.content === null) {
      this.size = reactor.fileSize(this.file);
    } else {
      this.size = this.content.size;
      this.closeFile();
    }
    const nowSeconds = Math.floor(reactor.wallMs / 1000);
    const { etag, modifiedSeconds } = entry;
    const { fields, methodId } = request;
    const verdict = evaluatePreconditions(fields, bits, methodId, etag, modifiedSeconds, nowSeconds);
    if (verdict === NOT_MODIFIED || verdict === PRECONDITION_FAILED) {
      sendVerdict(target, entry, verdict);
      return this.end(target);
    }
    this.status = 200;
    ranges.setSingle(0, this.size);
    if (
      (bits & HAS_RANGE) !== 0 &&
      methodId === M_GET &&
      ifRangeHolds(fields, etag, modifiedSeconds, nowSeconds)
    ) {
      const count = this.readRange(target);
      if (count === RANGE_UNSATISFIABLE) {
        sendUnsatisfiable(target, entry, this.size);
        return this.end(target);
      }
      if (count > 0) this.status = 206;
      else ranges.setSingle(0, this.size);
    }
    this.isMultipart = ranges.count > 1;
    if (this.isMultipart && !this.multipart.prepare(ranges, entry.type.value, this.size)) {
      return this.fail(E_OVERLOAD);
    }
    if (this.isMultipart) this.unsteady = true;
    this.part = 0;
    this.position = ranges.starts[0];
    this.partEnd = ranges.ends[0];
    if (methodId === M_HEAD || this.partEnd === 0) {
      if (!this.sendHead(target)) return this.fail(E_OVERLOAD);
      return this.end(target);
    }
    if (this.isMultipart) {
      if (!this.sendHead(target)) return this.fail(E_OVERLOAD);
      this.sendDelimiter(target, 0);
    }
    return this.pump(target);
  }

  /** Range may stand only once; several lines are ignored. */
  private readRange(target: ResponseTarget): number {
    const { fields } = target.request;
    const index = fields.find(F_RANGE, 0);
    if (fields.find(F_RANGE, index + 1) >= 0) return 0;
    return this.ranges.parse(fields.bytes, fields.valueOffset(index), fields.valueLength(index), this.size);
  }

  /** The head of a 200 or 206. False: there is no memory for it. */
  private sendHead(target: ResponseTarget): boolean {
    if (this.headSent) return true;
    if (this.file !== NO_FILE && !this.lookUpEntry()) return false;
    const { entry } = this;
    assert(entry !== null, 'a head without an entry');
    this.headSent = true;
    sendFileHead(
      target,
      entry,
      this.status,
      this.ranges,
      this.isMultipart ? this.multipart.bytes : 0,
      this.size,
    );
    return true;
  }

  // ---- Content ----------------------------------------------------------------------------------------

  /** Sends until something has to be waited for, or all is sent. */
  private pump(target: ResponseTarget): number {
    while (true) {
      if (this.position === this.partEnd) {
        if (!this.isMultipart) return this.end(target);
        if (this.part + 1 === this.ranges.count) return this.endParts(target);
        this.part++;
        this.position = this.ranges.starts[this.part];
        this.partEnd = this.ranges.ends[this.part];
        this.sendDelimiter(target, this.part);
      }
      if (this.headSent && target.sendQueuedBytes() > SEND_HIGH_BYTES) {
        this.state = S_FULL;
        target.flush();
        return PENDING;
      }
      const left = this.partEnd - this.position;
      if (this.content !== null) {
        if (!this.sendHead(target)) return this.fail(E_OVERLOAD);
        this.sendContent(target, this.content, left);
      } else if (left <= MEDIUM_BYTES || (left <= READ_BYTES_MAX && this.hasLargeBuffers())) {
        return this.readPiece(left);
      } else {
        if (!this.sendHead(target)) return this.fail(E_OVERLOAD);
        this.pieceWanted = this.isMultipart ? left : left - TAIL_BYTES;
        this.state = S_SENDFILE;
        this.unsteady = true;
        target.sendFile(this.file, this.position, this.pieceWanted);
        return PENDING;
      }
    }
  }

  /** Large buffers are for bulk that others receive, too: slow readers of files may hold half of them. */
  private hasLargeBuffers(): boolean {
    const { pool } = this.route.reactor;
    return pool.freeCount(LARGE) * 2 > pool.shape.large;
  }

  /** The part of a content in memory that lies in one buffer. */
  private sendContent(target: ResponseTarget, content: MemoryContent, left: number): void {
    const { pool } = this.route.reactor;
    const index = Math.floor(this.position / content.unit);
    const within = this.position - index * content.unit;
    const length = Math.min(left, content.unit - within);
    const buffer = content.buffers[index];
    pool.retain(buffer);
    this.position += length;
    target.sendData(buffer, pool.offsetOf(buffer) + within, length);
  }

  private sendDelimiter(target: ResponseTarget, part: number): void {
    const { multipart } = this;
    this.route.reactor.pool.retain(multipart.buffer);
    target.sendData(multipart.buffer, multipart.offset(part), multipart.length(part));
  }

  private readPiece(length: number): number {
    const { pool } = this.route.reactor;
    const sizeClass = length <= SMALL_BYTES ? SMALL : length <= MEDIUM_BYTES ? MEDIUM : LARGE;
    this.piece = pool.acquire(sizeClass);
    if (this.piece === NO_BUFFER) return this.fail(E_OVERLOAD);
    this.pieceBytes = 0;
    this.pieceWanted = length;
    this.state = S_READ;
    return this.readOn();
  }

  private readOn(): number {
    const { reactor } = this.route;
    const to = reactor.pool.offsetOf(this.piece) + this.pieceBytes;
    const from = this.position + this.pieceBytes;
    const result = reactor.readFile(this.file, from, to, this.pieceWanted - this.pieceBytes, this, 0);
    this.noteRead(result, this.pieceWanted - this.pieceBytes);
    if (this.pending && this.headSent) this.target?.flush();
    return result;
  }

  private pieceRead(target: ResponseTarget, result: number): number {
    if (result < 0) return this.fail(E_FILE);
    if (result === 0) return this.changed();
    this.pieceBytes += result;
    if (this.pieceBytes < this.pieceWanted) return this.readOn();
    if (!this.isMultipart && this.hasChanged()) return this.changed();
    if (!this.sendHead(target)) return this.fail(E_OVERLOAD);
    this.sendPiece(target);
    return this.pump(target);
  }

  private sendPiece(target: ResponseTarget): void {
    const buffer = this.piece;
    this.piece = NO_BUFFER;
    this.position += this.pieceWanted;
    target.sendData(buffer, this.route.reactor.pool.offsetOf(buffer), this.pieceWanted);
  }

  private fileSent(target: ResponseTarget, result: number): number {
    if (result < 0) return this.fail(E_FILE);
    if (result !== this.pieceWanted) return this.changed();
    this.position += result;
    return this.pump(target);
  }

  private endParts(target: ResponseTarget): number {
    if (this.content === null && this.hasChanged()) return this.changed();
    this.sendDelimiter(target, this.ranges.count);
    return this.end(target);
  }

  /** The second look at the file, where one is due. */
  private hasChanged(): boolean {
    return this.unsteady && this.route.reactor.fileChanged(this.file);
  }

  /** What was read may be a mixture. Before the head is sent, the file is opened once more; then it is cut. */
  private changed(): number {
    if (this.headSent || this.restarted) return this.fail(E_FILE_CHANGED);
    this.restarted = true;
    this.closeFile();
    this.releaseContent();
    this.entry = null;
    this.coding = CODING_IDENTITY;
    this.missing = 0;
    this.pathLength = this.originalLength;
    return this.open(S_OPEN, this.pathLength);
  }

  // ---- The end ------------------------------------------------------------------------------------------

  /** The response is complete. What this object holds goes first: the exchange may begin the next at once. */
  private end(target: ResponseTarget): number {
    this.release();
    target.sendEnd();
    return PENDING;
  }

  private fail(code: number): number {
    const { target } = this;
    assert(target !== null, 'a fault without an exchange');
    this.release();
    target.fail(code);
    return PENDING;
  }

  private closeFile(): void {
    if (this.file !== NO_FILE) this.route.reactor.closeFile(this.file);
    this.file = NO_FILE;
  }

  private releaseContent(): void {
    if (this.piece !== NO_BUFFER) this.route.reactor.pool.release(this.piece);
    this.piece = NO_BUFFER;
    this.multipart.release();
    this.content?.release();
    this.content = null;
  }

  private release(): void {
    assert(!this.pending && this.state !== S_FREE, 'a file responder is released in the middle');
    const { reactor } = this.route;
    this.closeFile();
    if (this.path !== NO_BUFFER) reactor.pool.release(this.path);
    this.releaseContent();
    this.path = NO_BUFFER;
    this.entry = null;
    this.target = null;
    this.state = S_FREE;
    this.route.recycle(this);
  }
}
