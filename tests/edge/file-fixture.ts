/**
 * A file route without an edge around it: files in memory, a reactor that does nothing but files (at once, or
 * later when told, or with an errno), and an exchange that writes down what it is told.
 */

import assert from 'node:assert/strict';
import type { FileAction, RedirectAction } from '../../src/config/model.ts';
import { FileRoute } from '../../src/edge/file-route.ts';
import { RedirectRoute } from '../../src/edge/redirect-responder.ts';
import type { Responder, ResponseTarget } from '../../src/edge/responder.ts';
import type { RouteAction } from '../../src/edge/route.ts';
import { faultOf } from '../../src/http/fault.ts';
import { F_OTHER, FIELD_NAMES } from '../../src/http/fields.ts';
import { M_OTHER, METHOD_NAMES, RequestHead, ResponseHead } from '../../src/http/message.ts';
import { normalizePath } from '../../src/http/path.ts';
import { type BufferId, type BufferPool, SMALL } from '../../src/io/buffer-pool.ts';
import {
  DIRECTORY,
  type FileHandle,
  type FileHandler,
  type FileKind,
  PENDING,
  REGULAR,
  type Reactor,
} from '../../src/io/reactor.ts';
import { SimBufferPool } from '../../src/io/sim.ts';
import { INODE_DIRECTORY, INODE_REGULAR, SimFileSystem, type SimInode } from '../../src/io/sim-files.ts';

const EACCES = 13;

/** 2025-06-01, well after the times of the files. */
export const WALL_MS = Date.UTC(2025, 5, 1);
/** When the files of a test were modified, unless it says otherwise. */
export const FILE_MS = Date.UTC(2024, 0, 2, 3, 4, 5, 678);
export const FILE_DATE = 'Tue, 02 Jan 2024 03:04:05 GMT';

interface Opened {
  readonly inode: SimInode;
  readonly size: number;
  readonly modifiedMs: number;
}

/** The files of a reactor; everything else of it is missing. */
export class FileReactor {
  readonly pool: BufferPool;
  readonly files: SimFileSystem;
  nowMs = 1_000_000;
  wallMs = WALL_MS;
  /** Operations end when `settle` is called, not at once. */
  pending = false;
  /** Result of the operation with this number (opens and reads, from 0) instead of its own. */
  failAt = -1;
  failErrno = 0;
  /** Bytes that one read gives at most. */
  readMost = Number.MAX_SAFE_INTEGER;
  /** Called before each operation, with its number. */
  before: (operation: number) => void = () => {};
  operations = 0;
  /** Whether the operation that runs now is an open. */
  lastOperationOpens = false;
  opens: string[] = [];
  private readonly open = new Map<FileHandle, Opened>();
  private readonly waiting: (() => void)[] = [];
  private lastHandle = 0;

  constructor() {
    this.pool = new SimBufferPool({ small: 64, medium: 32, large: 32 });
    this.files = new SimFileSystem();
  }

  get openCount(): number {
    return this.open.size;
  }

  get waitingCount(): number {
    return this.waiting.length;
  }

  /** Ends the oldest operation that is under way; false when there is none. */
  settleOne(): boolean {
    const next = this.waiting.shift();
    next?.();
    return next !== undefined;
  }

  openRoot(path: string): number {
    const inode = this.files.open(path);
    return typeof inode === 'number' ? inode : this.keep(inode);
  }

  openFile(
    root: FileHandle,
    pathOffset: number,
    pathLength: number,
    handler: FileHandler,
    tag: number,
  ): number {
    assert.equal(this.pool.bytes[pathOffset + pathLength], 0, 'a path without its NUL');
    const path = this.pool.text.latin1Slice(pathOffset, pathOffset + pathLength);
    const from = this.at(root).inode;
    this.opens.push(path);
    return this.perform(
      true,
      () => {
        const inode = this.files.openBeneath(from, path);
        if (typeof inode === 'number') return inode;
        if (!inode.readable) return -EACCES;
        const isFile = inode.kind === INODE_REGULAR || inode.kind === INODE_DIRECTORY;
        return isFile ? this.keep(inode) : -EACCES;
      },
      (result) => handler.onOpen(tag, result),
    );
  }

  fileKind(file: FileHandle): FileKind {
    return this.at(file).inode.kind === INODE_DIRECTORY ? DIRECTORY : REGULAR;
  }
  fileSize(file: FileHandle): number {
    return this.at(file).size;
  }
  fileModifiedMs(file: FileHandle): number {
    return this.at(file).modifiedMs;
  }
  fileInode(file: FileHandle): number {
    return this.at(file).inode.number;
  }

  fileChanged(file: FileHandle): boolean {
    const { inode, size, modifiedMs } = this.at(file);
    return inode.bytes.length !== size || inode.modifiedMs !== modifiedMs;
  }

  readFile(
    file: FileHandle,
    fileOffset: number,
    offset: number,
    length: number,
    handler: FileHandler,
    tag: number,
  ): number {
    return this.perform(
      false,
      () => {
        const { bytes } = this.at(file).inode;
        const most = Math.min(length, this.readMost);
        const piece = bytes.subarray(fileOffset, fileOffset + most);
        this.pool.bytes.set(piece, offset);
        return piece.length;
      },
      (result) => handler.onRead(tag, result),
    );
  }

  closeFile(file: FileHandle): void {
    assert.ok(this.open.delete(file), 'a file is closed twice');
  }

  /** What a file holds from `offset` on, at this moment. */
  contentOf(file: FileHandle, offset: number, length: number): Uint8Array {
    return this.at(file).inode.bytes.slice(offset, offset + length);
  }

  private perform(opens: boolean, operate: () => number, deliver: (result: number) => void): number {
    const number = this.operations++;
    const result = (): number => {
      this.lastOperationOpens = opens;
      this.before(number);
      return number === this.failAt ? this.failErrno : operate();
    };
    if (!this.pending) return result();
    this.waiting.push(() => deliver(result()));
    return PENDING;
  }

  private keep(inode: SimInode): FileHandle {
    const handle = ++this.lastHandle;
    this.open.set(handle, { inode, size: inode.bytes.length, modifiedMs: inode.modifiedMs });
    return handle;
  }

  private at(file: FileHandle): Opened {
    const opened = this.open.get(file);
    assert.ok(opened, 'a file that is not open is used');
    return opened;
  }
}

export interface Question {
  readonly method?: string;
  /** As received; a `?` begins the query. */
  readonly target: string;
  readonly host?: string;
  /** The client takes nothing until it is told to. */
  readonly slow?: boolean;
  /** The route's key. */
  readonly route?: string;
  readonly fields?: readonly (readonly [string, string])[];
}

/** An exchange: what its responder told it, and the means to tell the responder. */
export class FakeTarget implements ResponseTarget {
  readonly reactor: Reactor;
  readonly request: RequestHead;
  readonly response: ResponseHead;
  readonly pathOffset: number;
  readonly pathLength: number;
  readonly prefixLength: number;
  status = 0;
  readonly fields = new Map<string, string>();
  body = Buffer.alloc(0);
  ended = false;
  /** The fault that ended it; 0: none. */
  fault = 0;
  cut = false;
  /** The client takes nothing until `take`. */
  slow: boolean;
  flushes = 0;
  private readonly files: FileReactor;
  private readonly memory: BufferId;
  private headSent = false;
  private queued = 0;
  private sending: { file: FileHandle; offset: number; length: number } | null = null;
  responder: Responder | null = null;

  constructor(files: FileReactor, question: Question) {
    const { pool } = files;
    this.slow = question.slow ?? false;
    this.files = files;
    this.reactor = files as unknown as Reactor;
    this.request = new RequestHead(pool.bytes);
    this.response = new ResponseHead(pool.bytes);
    this.memory = pool.acquire(SMALL);
    let at = pool.offsetOf(this.memory);
    const put = (text: string): readonly [number, number] => {
      const from = at;
      at += pool.text.latin1Write(text, at, text.length);
      return [from, text.length];
    };
    const { request } = this;
    const method = question.method ?? 'GET';
    request.methodId = Math.max(M_OTHER, METHOD_NAMES.indexOf(method));
    [request.methodOffset, request.methodLength] = put(method);
    const mark = question.target.indexOf('?');
    const path = mark < 0 ? question.target : question.target.slice(0, mark);
    [request.pathOffset, request.pathLength] = put(path);
    if (mark >= 0) [request.queryOffset, request.queryLength] = put(question.target.slice(mark + 1));
    [request.authorityOffset, request.authorityLength] = put(question.host ?? 'example.com');
    for (const [name, value] of question.fields ?? []) {
      const id = FIELD_NAMES.findIndex((known) => known.toLowerCase() === name.toLowerCase());
      request.fields.add(...put(name), ...put(value), id < 0 ? F_OTHER : id);
    }
    this.pathOffset = at;
    this.pathLength = normalizePath(pool.bytes, request.pathOffset, request.pathLength, at);
    assert.ok(this.pathLength > 0, 'a path that no exchange would have passed on');
    const route = (question.route ?? '/').replace(/\/$/, '');
    this.prefixLength = route.length;
  }

  addResponseField(id: number, name: string, value: string): void {
    this.check(false);
    this.fields.set((id === F_OTHER ? name : FIELD_NAMES[id]).toLowerCase(), value);
  }

  sendHead(): void {
    this.check(false);
    this.headSent = true;
    this.status = this.response.status;
    const { fields } = this.response;
    for (let index = 0; index < fields.count; index++) {
      this.fields.set(fields.nameText(index).toLowerCase(), fields.valueText(index));
    }
  }

  sendData(buffer: BufferId, offset: number, length: number): void {
    this.check(true);
    assert.equal(this.sending, null, 'data while a file is being sent');
    this.body = Buffer.concat([this.body, this.files.pool.bytes.slice(offset, offset + length)]);
    if (this.slow) this.queued += length;
    this.files.pool.release(buffer);
  }

  sendFile(file: FileHandle, offset: number, length: number): void {
    this.check(true);
    assert.equal(this.sending, null, 'two files at once');
    assert.ok(length > 0);
    this.sending = { file, offset, length };
  }

  flush(): void {
    this.flushes++;
  }
  pauseRequest(): void {}
  resumeRequest(): void {}

  sendQueuedBytes(): number {
    return this.queued;
  }

  sendEnd(): void {
    this.check(true);
    assert.equal(this.sending, null, 'the end while a file is being sent');
    this.end();
  }

  fail(code: number): void {
    assert.ok(!this.ended, 'a fault after the end');
    this.fault = code;
    const { status } = faultOf(code);
    if (this.headSent || status === 0) this.cut = true;
    else this.status = status;
    this.end();
  }

  /** The client has taken all that was queued. */
  take(): void {
    this.queued = 0;
    this.responder?.onWritable();
  }

  /** What `sendFile` began has left; false when nothing has. */
  fileLeaves(): boolean {
    const { sending } = this;
    if (sending === null) return false;
    this.sending = null;
    const piece = this.files.contentOf(sending.file, sending.offset, sending.length);
    this.body = Buffer.concat([this.body, piece]);
    this.responder?.onFileSent(piece.length);
    return true;
  }

  abort(): void {
    const { responder } = this;
    this.end();
    responder?.onAbort();
  }

  /** The exchange's own memory goes home. */
  private end(): void {
    this.ended = true;
    this.responder = null;
    this.files.pool.release(this.memory);
  }

  private check(headSent: boolean): void {
    assert.ok(!this.ended, 'the target is used after the end');
    assert.equal(this.headSent, headSent, 'a head too early or too late');
  }
}

/** A route and its reactor; `ask` sends it a question and sees it through. */
export class RouteBench {
  readonly reactor: FileReactor;
  readonly route: RouteAction;
  private readonly key: string;

  constructor(reactor: FileReactor, route: RouteAction, key: string) {
    this.reactor = reactor;
    this.route = route;
    this.key = key;
  }

  static files(action: Partial<FileAction> & { path: string }, key = '/'): RouteBench {
    const reactor = new FileReactor();
    const full: FileAction = {
      type: 'File',
      isDirectory: true,
      mode: 'sendfile',
      index: 'index.html',
      ...action,
    };
    if (full.isDirectory) reactor.files.makeDirectory(full.path);
    const route = new FileRoute(reactor as unknown as Reactor, full);
    const bench = new RouteBench(reactor, route, key);
    reactor.files.makeDirectory(full.isDirectory ? full.path : full.path.replace(/\/[^/]*$/, ''));
    assert.equal(route.openRoots(), 0);
    return bench;
  }

  static redirect(action: Partial<RedirectAction> & { url: string }, key = '/'): RouteBench {
    const reactor = new FileReactor();
    const full: RedirectAction = { type: 'Redirect', status: 301, preservePath: false, ...action };
    return new RouteBench(reactor, new RedirectRoute(reactor as unknown as Reactor, full), key);
  }

  write(path: string, content: string | Uint8Array, modifiedMs = FILE_MS): void {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    const directory = path.replace(/\/[^/]*$/, '');
    this.reactor.files.makeDirectory(directory);
    this.reactor.files.writeFile(path, new Uint8Array(bytes), modifiedMs);
  }

  begin(question: Question | string): FakeTarget {
    const full = typeof question === 'string' ? { target: question } : question;
    const target = new FakeTarget(this.reactor, { route: this.key, ...full });
    const responder = this.route.respond(target as never);
    if (!target.ended) target.responder = responder;
    assert.equal(responder === null, target.ended, 'a responder is returned for what has ended');
    return target;
  }

  /** Lets everything happen that can. */
  settle(target: FakeTarget): void {
    while (!target.ended && (this.reactor.settleOne() || target.fileLeaves()));
  }

  ask(question: Question | string): FakeTarget {
    const target = this.begin(question);
    this.settle(target);
    assert.ok(target.ended, 'the exchange never ends');
    return target;
  }

  /** Closes the route; every buffer must be home, and every file closed. */
  close(): void {
    this.route.close();
    assert.equal(this.reactor.openCount, 0, 'files are left open');
    assert.equal(this.reactor.pool.heldCount(), 0, 'buffers are left');
    assert.equal(this.reactor.waitingCount, 0, 'operations are left');
  }
}
