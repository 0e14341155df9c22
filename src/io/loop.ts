/**
 * Runs a reactor inside Node. While a turn waits in the kernel, Node's own event loop stands still, so this
 * loop goes back to Node whenever Node has work: a readable descriptor of its own (signals, pipes, child
 * processes, its thread pool), which also ends a turn that waits; a timer that is due; and in any case
 * after SHIFT_MS of turns, which lets promises that a handler made continue.
 */

import { performance } from 'node:perf_hooks';
import { NodeTimers } from '../sys/node-loop.ts';
import type { Reactor } from './reactor.ts';

/** How long turns go on without a look at Node's event loop while there is traffic. */
const SHIFT_MS = 16;
/** The same when nothing happens. */
const IDLE_WAIT_MS = 100;
/** A wait counts from the reactor's clock, which is coarse and was read before: by this much it may seem shorter. */
const CLOCK_SLACK_MS = 2;
/** The longest interval that setInterval takes; it never comes round. */
const KEEP_ALIVE_MS = 0x7fffffff;

export interface RunningReactor {
  /** Ends the loop after the present turn. The reactor is not destroyed. */
  stop(): void;
}

/** Repeats `reactor.turn` until `stop`; keeps the process alive meanwhile. Main thread only. */
export function runReactor(reactor: Reactor): RunningReactor {
  const loop = new ReactorLoop(reactor);
  loop.start();
  return loop;
}

class ReactorLoop implements RunningReactor {
  private readonly reactor: Reactor;
  private readonly nodeTimers: NodeTimers;
  private readonly shift: () => void;
  private keepAlive: NodeJS.Timeout | undefined;
  private stopped: boolean;
  /** How long the next shift may wait at first. */
  private firstWaitMs: number;

  constructor(reactor: Reactor) {
    this.reactor = reactor;
    this.nodeTimers = new NodeTimers();
    this.shift = () => this.runShift();
    this.keepAlive = undefined;
    this.stopped = false;
    this.firstWaitMs = 0;
  }

  start(): void {
    // Keeps the process, and Node's timer in libuv armed.
    this.keepAlive = setInterval(() => {}, KEEP_ALIVE_MS);
    setImmediate(this.shift);
  }

  stop(): void {
    this.stopped = true;
    clearInterval(this.keepAlive);
  }

  /**
   * Turns until Node has work or has had none for long enough, then comes back through Node's loop. What
   * Node runs may ask for `setImmediate`, which nothing outside can see: so the shift after it doesn't wait
   * at all, the next one for SHIFT_MS at most, and only when nothing happens in that one the loop is idle.
   */
  private runShift(): void {
    const { reactor } = this;
    const timerMs = this.nodeTimers.dueInMs();
    const startMs = performance.now();
    let waitMs = this.firstWaitMs;
    if (timerMs >= 0) waitMs = Math.min(waitMs, timerMs);
    let nextWaitMs = SHIFT_MS;
    for (let turns = 1; !this.stopped; turns++) {
      const nodeHasWork = reactor.turn(waitMs);
      // The reactor's clock is whole milliseconds, read after the wait.
      const spentMs = Math.max(0, reactor.nowMs - startMs);
      if (nodeHasWork || (timerMs >= 0 && spentMs >= timerMs)) {
        nextWaitMs = 0;
        break;
      }
      if (turns === 1 && waitMs >= SHIFT_MS && spentMs >= waitMs - CLOCK_SLACK_MS) {
        nextWaitMs = IDLE_WAIT_MS;
        break;
      }
      if (spentMs >= SHIFT_MS || this.firstWaitMs === 0) break;
      waitMs = Math.ceil(SHIFT_MS - spentMs);
      if (timerMs >= 0) waitMs = Math.min(waitMs, Math.ceil(timerMs - spentMs));
    }
    this.firstWaitMs = nextWaitMs;
    if (!this.stopped) setImmediate(this.shift);
  }
}
