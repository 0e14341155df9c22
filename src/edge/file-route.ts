/**
 * A route to files: one file, or a directory with all that lies beneath it. Owns the root's handle, what is
 * remembered of its files, and the responders that answer its exchanges.
 *
 * The root is opened anew once a second while requests come, so that a directory that was replaced (a
 * symbolic link that now points to the next release) is followed, as servers that resolve each path do.
 */

import { basename, dirname } from 'node:path';
import type { FileAction } from '../config/model.ts';
import type { FileHandle, Reactor } from '../io/reactor.ts';
import { ENOENT } from '../sys/errno.ts';
import { FileResponder } from './file-responder.ts';
import { FileTable } from './file-table.ts';
import { MemoryBudget } from './memory-files.ts';
import type { Responder, ResponseTarget } from './responder.ts';
import type { RouteAction } from './route.ts';

const ROOT_RECHECK_MS = 1000;
/** Responders kept for reuse; more go to the garbage collector. */
const RESPONDERS_MAX = 256;
const NO_ROOT: FileHandle = 0;

export class FileRoute implements RouteAction {
  /** Value of Allow. */
  readonly methods: string;
  readonly reactor: Reactor;
  readonly isDirectory: boolean;
  /** Name of the file that is sent for a directory, or (a route to one file) of that file; UTF-8. */
  readonly index: Buffer;
  readonly table: FileTable;
  /** Mode `memory`; null: `sendfile`. */
  readonly memory: MemoryBudget | null;
  root: FileHandle;
  private readonly rootPath: string;
  private rootCheckedMs: number;
  private opensPending: number;
  private readonly free: FileResponder[];

  constructor(reactor: Reactor, action: FileAction) {
    this.methods = 'GET, HEAD';
    this.reactor = reactor;
    this.isDirectory = action.isDirectory;
    this.index = Buffer.from(action.isDirectory ? action.index : basename(action.path), 'utf8');
    const budget = MemoryBudget.of(reactor.pool);
    this.table = new FileTable(reactor.pool, budget);
    this.memory = action.mode === 'memory' ? budget : null;
    this.root = NO_ROOT;
    this.rootPath = action.isDirectory ? action.path : dirname(action.path);
    this.rootCheckedMs = 0;
    this.opensPending = 0;
    this.free = [];
  }

  /**
   * Opens the directory to serve from. Returns 0 or -errno. Blocking: before the first exchange. One that was removed
   * since the configuration was judged is no error: nothing is found there until it is back.
   */
  openRoots(): number {
    const root = this.reactor.openRoot(this.rootPath);
    this.rootCheckedMs = this.reactor.nowMs;
    if (root === -ENOENT) return 0;
    if (root < 0) return root;
    this.root = root;
    return 0;
  }

  get hasRoot(): boolean {
    return this.root !== NO_ROOT;
  }

  /** Answers an exchange. Null: it has ended already. */
  respond(target: ResponseTarget): Responder | null {
    if (this.reactor.nowMs - this.rootCheckedMs >= ROOT_RECHECK_MS) this.reopenRoot();
    const responder = this.free.pop() ?? new FileResponder(this);
    return responder.begin(target) ? responder : null;
  }

  /** One that can't be opened now (removed, or out of descriptors) leaves the old one in its place. */
  private reopenRoot(): void {
    if (this.opensPending > 0) return;
    this.rootCheckedMs = this.reactor.nowMs;
    const root = this.reactor.openRoot(this.rootPath);
    if (root < 0) return;
    if (this.hasRoot) this.reactor.closeFile(this.root);
    this.root = root;
  }

  /** An open beneath the root is under way: the root stays as it is. */
  openBegan(): void {
    this.opensPending++;
  }

  openEnded(): void {
    this.opensPending--;
  }

  recycle(responder: FileResponder): void {
    if (this.free.length < RESPONDERS_MAX) this.free.push(responder);
  }

  close(): void {
    if (this.hasRoot) this.reactor.closeFile(this.root);
    this.root = NO_ROOT;
    this.table.release();
    this.free.length = 0;
  }
}
