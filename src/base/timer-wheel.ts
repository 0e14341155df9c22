/** Timers in a hierarchical wheel. */

export interface TimerHandler {
  onTimer(timer: Timer): void;
}

/** One timer, owned and reused by what it times; armed in at most one wheel. */
export class Timer {
  readonly handler: TimerHandler;
  /** What this timer means to its handler. */
  readonly kind: number;
  /** When it fires, on the reactor's clock; NOT_ARMED otherwise. */
  deadlineMs: number;

  constructor(handler: TimerHandler, kind: number) {
    this.handler = handler;
    this.kind = kind;
    this.deadlineMs = -1;
  }
}

/** Placeholder shape; see the io helper. */
export interface TimerWheel {
  /** Arms or moves a timer. Moving it later is one store: it is put right when its old place comes round. */
  arm(timer: Timer, deadlineMs: number): void;
  disarm(timer: Timer): void;
  /** Milliseconds until the wheel must be advanced next, at most `atMostMs`. */
  waitMs(nowMs: number, atMostMs: number): number;
  /** Fires all that is due at `nowMs`. */
  advance(nowMs: number): void;
}
