/**
 * The files and roots that a kernel backend has open, and the file operations that are under way.
 *
 * A file's descriptor is closed when its owner has closed it and no operation on it is pending.
 */

import { assert } from '../base/assert.ts';
import { NO_SLOT, SLOT_MASK, SlotTable } from '../base/slot-table.ts';
import { EACCES, EBADF, EMFILE } from '../sys/errno.ts';
import { closeDescriptor, openDirectory, stat, statDescriptor } from '../sys/file.ts';
import { DIRECTORY, type FileHandle, type FileHandler, type FileKind, REGULAR } from './reactor.ts';

class OpenFile {
  handle: FileHandle = 0;
  fd = -1;
  kind: FileKind = REGULAR;
  size = 0;
  modifiedMs = 0;
  inode = 0;
  pending = 0;
  closing = false;
}

/** A file operation whose result is to come. */
export class PendingOperation {
  handler: FileHandler | undefined = undefined;
  tag = 0;
  /** The file that is read, or 0 for an open. */
  file: FileHandle = 0;
}

export class OpenFiles {
  private readonly slots: SlotTable;
  private readonly files: OpenFile[];
  private readonly operations: PendingOperation[];
  private readonly freeOperations: number[];
  private readonly operationsMax: number;

  constructor(filesMax: number, operationsMax: number) {
    this.slots = new SlotTable(filesMax);
    this.files = [];
    this.operations = [];
    this.freeOperations = [];
    this.operationsMax = operationsMax;
  }

  /** See Reactor.openRoot. */
  openRoot(path: string): FileHandle {
    const fd = openDirectory(path);
    return fd < 0 ? fd : this.admit(fd);
  }

  /** Takes over a descriptor. Returns its handle, or -errno, after which it is closed; neither file nor directory: -EACCES. */
  admit(fd: number): FileHandle {
    const result = statDescriptor(fd);
    const handle = result < 0 || !(stat.regular || stat.directory) ? NO_SLOT : this.slots.take();
    if (handle === NO_SLOT) {
      closeDescriptor(fd);
      return result < 0 ? result : stat.regular || stat.directory ? -EMFILE : -EACCES;
    }
    const slot = handle & SLOT_MASK;
    if (slot === this.files.length) this.files.push(new OpenFile());
    const file = this.files[slot];
    file.handle = handle;
    file.fd = fd;
    file.kind = stat.directory ? DIRECTORY : REGULAR;
    file.size = stat.size;
    file.modifiedMs = stat.modifiedMs;
    file.inode = stat.inode;
    file.pending = 0;
    file.closing = false;
    return handle;
  }

  /** The descriptor of an open file, or -EBADF. */
  descriptor(handle: FileHandle): number {
    const slot = handle & SLOT_MASK;
    if (slot >= this.files.length) return -EBADF;
    const file = this.files[slot];
    return file.handle === handle && !file.closing ? file.fd : -EBADF;
  }

  kind(handle: FileHandle): FileKind {
    return this.file(handle).kind;
  }

  size(handle: FileHandle): number {
    return this.file(handle).size;
  }

  modifiedMs(handle: FileHandle): number {
    return this.file(handle).modifiedMs;
  }

  inode(handle: FileHandle): number {
    return this.file(handle).inode;
  }

  /** See Reactor.fileChanged. */
  changed(handle: FileHandle): boolean {
    const file = this.file(handle);
    return statDescriptor(file.fd) < 0 || stat.size !== file.size || stat.modifiedMs !== file.modifiedMs;
  }

  /** See Reactor.closeFile. */
  close(handle: FileHandle): void {
    if (this.descriptor(handle) < 0) return;
    const file = this.file(handle);
    file.closing = true;
    if (file.pending === 0) this.forget(file);
  }

  /** Notes an operation whose result will come. Returns its record's index, or -EMFILE when too many are under way. */
  begin(handler: FileHandler, tag: number, file: FileHandle): number {
    let index = this.freeOperations.pop() ?? -1;
    if (index < 0) {
      if (this.operations.length >= this.operationsMax) return -EMFILE;
      index = this.operations.push(new PendingOperation()) - 1;
    }
    const operation = this.operations[index];
    operation.handler = handler;
    operation.tag = tag;
    operation.file = file;
    if (file !== 0) this.file(file).pending++;
    return index;
  }

  /** Delivers the result of an operation: a descriptor or -errno for an open, bytes or -errno for a read. */
  finish(index: number, result: number): void {
    const { handler, tag, file } = this.operations[index];
    assert(handler !== undefined, 'a file operation ended twice');
    this.operations[index].handler = undefined;
    this.freeOperations.push(index);
    if (file === 0) {
      handler.onOpen(tag, result < 0 ? result : this.admit(result));
      return;
    }
    const read = this.file(file);
    if (--read.pending === 0 && read.closing) this.forget(read);
    handler.onRead(tag, result);
  }

  /** An operation ended after its owner has gone. */
  abandon(index: number, result: number): void {
    if (this.operations[index].file === 0 && result >= 0) closeDescriptor(result);
  }

  /** Closes everything; results of pending operations are not delivered. */
  destroy(): void {
    for (const file of this.files) if (file.fd >= 0) this.forget(file);
  }

  private file(handle: FileHandle): OpenFile {
    const file = this.files[handle & SLOT_MASK];
    assert(file !== undefined && file.handle === handle, 'a file that is not open');
    return file;
  }

  private forget(file: OpenFile): void {
    closeDescriptor(file.fd);
    this.slots.give(file.handle);
    file.fd = -1;
    file.handle = 0;
  }
}
