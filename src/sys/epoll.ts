/**
 * epoll: constants and the layout of struct epoll_event, which is events u32 and data u64: packed to 12
 * bytes on x86-64, 16 bytes elsewhere. `data` holds a handle in its low word.
 */

import { epoll_create1, epoll_ctl, epoll_wait, negated } from './libc.ts';
import { mapPrivate } from './memory.ts';

export const EPOLLIN = 0x001;
export const EPOLLOUT = 0x004;
export const EPOLLERR = 0x008;
export const EPOLLHUP = 0x010;
export const EPOLLRDHUP = 0x2000;
/** Reports changes only: a descriptor that stays ready is not told twice. */
export const EPOLLET = 1 << 31;

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;

const EVENT_WORDS = process.arch === 'x64' ? 3 : 4;
const DATA_WORD = process.arch === 'x64' ? 1 : 2;

/** Events that one wait delivers at most. */
const EVENTS_MAX = 512;

/** One epoll instance and the memory of its events. */
export class EpollSet {
  readonly fd: number;
  private readonly events: Int32Array;
  private readonly eventsAddress: number;
  /** The event of a control call, behind the others. */
  private readonly control: number;

  private constructor(fd: number) {
    const memory = mapPrivate((EVENTS_MAX + 1) * EVENT_WORDS * 4);
    this.fd = fd;
    this.events = memory.words;
    this.eventsAddress = memory.address;
    this.control = EVENTS_MAX * EVENT_WORDS;
  }

  /** Returns the set or -errno. */
  static create(): EpollSet | number {
    const fd = negated(epoll_create1(EPOLL_CLOEXEC));
    return fd < 0 ? fd : new EpollSet(fd);
  }

  /** Returns 0 or -errno. */
  add(fd: number, mask: number, data: number): number {
    return this.change(EPOLL_CTL_ADD, fd, mask, data);
  }

  modify(fd: number, mask: number, data: number): number {
    return this.change(EPOLL_CTL_MOD, fd, mask, data);
  }

  remove(fd: number): number {
    return this.change(EPOLL_CTL_DEL, fd, 0, 0);
  }

  /** Collects events, and waits for the first when `mayWait`. Returns how many there are, or -errno. */
  wait(mayWait: boolean): number {
    return negated(epoll_wait(this.fd, this.eventsAddress, EVENTS_MAX, mayWait ? -1 : 0));
  }

  mask(index: number): number {
    return this.events[index * EVENT_WORDS];
  }

  data(index: number): number {
    return this.events[index * EVENT_WORDS + DATA_WORD];
  }

  private change(operation: number, fd: number, mask: number, data: number): number {
    const { events, control } = this;
    events[control] = mask;
    events[control + DATA_WORD] = data;
    events[control + DATA_WORD + 1] = 0;
    return negated(epoll_ctl(this.fd, operation, fd, this.eventsAddress + control * 4));
  }
}
