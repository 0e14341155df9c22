/**
 * Node's own event loop (libuv's default loop) seen from outside: what it waits for, and until when. Main
 * thread only.
 */

import koffi from 'koffi';
import { assert } from '../base/assert.ts';
import {
  uv_backend_fd,
  uv_default_loop,
  uv_handle_get_type,
  uv_is_active,
  uv_timer_get_due_in,
  uv_walk,
} from './libc.ts';

const UV_TIMER = 13;

/** The descriptor that is readable when Node's event loop has something to deliver. */
export function nodeLoopDescriptor(): number {
  return uv_backend_fd(uv_default_loop());
}

/** The timer in libuv that stands for all of Node's timers. */
export class NodeTimers {
  private readonly handle: number;

  constructor() {
    const timers: number[] = [];
    const visit = koffi.register(
      (handle: number | bigint) => {
        if (uv_handle_get_type(Number(handle)) === UV_TIMER) timers.push(Number(handle));
      },
      koffi.pointer(koffi.proto('void NodeLoopVisit(int64_t handle, int64_t argument)')),
    );
    uv_walk(uv_default_loop(), Number(visit), 0);
    koffi.unregister(visit);
    assert(timers.length > 0, "Node's event loop has no timer");
    // Later ones belong to libraries; Node creates its own first, and libuv walks in order of creation.
    this.handle = timers[0];
  }

  /**
   * Milliseconds until the next timer is due, by the loop's own clock, which stands still since the loop last
   * ran: early by that much, never late. -1: none is armed.
   */
  dueInMs(): number {
    const dueInMs = uv_timer_get_due_in(this.handle);
    return dueInMs === 0 && uv_is_active(this.handle) === 0 ? -1 : dueInMs;
  }
}
