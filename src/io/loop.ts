/**
 * Runs a reactor inside Node. While a turn waits in the kernel, Node's own event loop stands still, so this
 * loop goes back to Node whenever Node has work: a readable descriptor of its own (signals, pipes, child
 * processes, its thread pool), which also ends a turn that waits; a timer that is due; and in any case
 * after SHIFT_MS of turns, which lets promises that a handler made continue.
 */

import { uv_backend_timeout, uv_default_loop } from '../sys/libc.ts';
import type { Reactor } from './reactor.ts';

/** How long turns go on without a look at Node's event loop while there is traffic. */
const SHIFT_MS = 4;
/** The same when nothing happens. */
const IDLE_WAIT_MS = 100;
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
  private readonly nodeLoop: number;
  private readonly shift: () => void;
  private keepAlive: NodeJS.Timeout | undefined;
  private stopped: boolean;
  /** Nothing happened in the last shift. */
  private idle: boolean;

  constructor(reactor: Reactor) {
    this.reactor = reactor;
    this.nodeLoop = uv_default_loop();
    this.shift = () => this.runShift();
    this.keepAlive = undefined;
    this.stopped = false;
    this.idle = false;
  }

  start(): void {
    // Without anything active libuv would say at all times that it must not wait.
    this.keepAlive = setInterval(() => {}, KEEP_ALIVE_MS);
    setImmediate(this.shift);
  }

  stop(): void {
    this.stopped = true;
    clearInterval(this.keepAlive);
  }

  /** Turns until Node has work or has had none for long enough, then comes back through Node's loop. */
  private runShift(): void {
    const startMs = performance.now();
    let waitMs = this.idle ? IDLE_WAIT_MS : SHIFT_MS;
    let spentMs = 0;
    for (let turns = 1; !this.stopped; turns++) {
      // Counted from when Node's loop last looked at its clock, which was at `startMs` or later: never too late.
      const nodeTimerMs = uv_backend_timeout(this.nodeLoop);
      if (nodeTimerMs >= 0) waitMs = Math.max(0, Math.min(waitMs, Math.ceil(nodeTimerMs - spentMs)));
      const nodeHasWork = this.reactor.turn(waitMs);
      spentMs = performance.now() - startMs;
      this.idle = turns === 1 && waitMs > 0 && spentMs >= waitMs;
      if (nodeHasWork || spentMs >= SHIFT_MS || (nodeTimerMs >= 0 && spentMs >= nodeTimerMs)) break;
      waitMs = Math.ceil(SHIFT_MS - spentMs);
    }
    if (!this.stopped) setImmediate(this.shift);
  }
}
