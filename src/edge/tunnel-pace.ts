/**
 * The pace of one tunnel: which bytes leave at once, which wait for others, and when it has been silent for too long.
 *
 * `websocket_poll_mode = "adaptive"` as completions make it possible (SPEC "WebSocket"). The back-off is the document's: it is
 * `websocket_poll_timeout_ms` after any traffic, and each time that it passes in silence it is multiplied, up to
 * `websocket_poll_max_timeout_ms`. A piece that comes after a silence leaves at once and opens a window as long as the back-off
 * had become. Small pieces that follow in the same direction within the window wait for its end and leave together; then the
 * next window, as long as the first back-off, begins. So a message on its own, or at regular intervals, never waits, and a burst
 * costs one system call, one packet and one wake-up of its reader for each window. What comes the other way is traffic too: an
 * answer means that somebody waits, and cuts the window short.
 *
 * Owns what it has gathered: at most one small buffer for each direction, and only while something is in it. Never reorders;
 * never holds anything behind an end.
 */

import { copyBytes } from '../base/bytes.ts';
import { Timer, type TimerHandler } from '../base/timer-wheel.ts';
import type { RouteSecurity } from '../config/model.ts';
import { type BufferId, NO_BUFFER, SMALL, SMALL_BYTES } from '../io/buffer-pool.ts';
import type { Reactor } from '../io/reactor.ts';

export const TO_BACKEND = 0;
export const TO_CLIENT = 1;
export type Direction = typeof TO_BACKEND | typeof TO_CLIENT;

/** Longer pieces are not messages that are worth gathering: they leave at once, behind what was gathered. */
const PIECE_BYTES_MAX = 1024;
/** First bytes of the control frames that nobody may hold back: close, ping, pong (RFC 6455 §5.5), with FIN and no extension. */
const FRAME_CLOSE = 0x88;
const FRAME_PONG = 0x8a;

const KIND_SILENCE = 2;

/** How tunnels of a route are paced; milliseconds. */
export interface PaceTerms {
  /** WebSockets gather small messages. */
  readonly gathers: boolean;
  readonly firstMs: number;
  readonly maxMs: number;
  /** At least 1. */
  readonly multiplier: number;
  /** A tunnel ends after that long a silence; 0: never. */
  readonly silenceMs: number;
}

export function paceTermsOf(security: RouteSecurity): PaceTerms {
  return {
    gathers: security.websocketPollMode === 'adaptive',
    firstMs: security.websocketPollTimeoutMs,
    maxMs: Math.max(security.websocketPollTimeoutMs, security.websocketPollMaxTimeoutMs),
    multiplier: security.websocketPollBackoffMultiplier,
    silenceMs: security.websocketIdleTimeoutSecs * 1000,
  };
}

/** The two ends of the tunnel, which get what is due. */
export interface TunnelEnds {
  /** Bytes leave now; one reference of `buffer` passes. The tunnel may be over when this returns. */
  onTunnelBytes(direction: Direction, buffer: BufferId, offset: number, length: number): void;
  /** What was sent is all for now. The tunnel may be over when this returns. */
  onTunnelQuiet(direction: Direction): void;
  /** Nothing came from either side for too long. The tunnel is over when this returns. */
  onTunnelSilent(): void;
}

/**
 * The back-off `silentMs` after the last traffic: polls of `firstMs`, then `multiplier` times as long each, never longer than
 * `maxMs`, have passed by then; this is the one under way. Whole milliseconds.
 */
export function backOffMs(terms: PaceTerms, silentMs: number): number {
  const { firstMs, maxMs, multiplier } = terms;
  if (multiplier === 1 || silentMs < firstMs) return firstMs;
  // n polls take firstMs * (multiplier^n - 1) / (multiplier - 1).
  const polls = Math.floor(
    Math.log(1 + (silentMs * (multiplier - 1)) / firstMs) / Math.log(multiplier) + 1e-9,
  );
  return Math.round(Math.min(maxMs, firstMs * multiplier ** polls));
}

/** One direction: what has been gathered, and until when. The timer is armed while there is something. */
class Gathering {
  readonly timer: Timer;
  buffer: BufferId;
  length: number;
  /** The end of the window. */
  untilMs: number;

  constructor(handler: TimerHandler, direction: Direction) {
    this.timer = new Timer(handler, direction);
    this.buffer = NO_BUFFER;
    this.length = 0;
    this.untilMs = 0;
  }
}

export class TunnelPace implements TimerHandler {
  private readonly reactor: Reactor;
  private readonly ends: TunnelEnds;
  private readonly terms: PaceTerms;
  private readonly toBackend: Gathering;
  private readonly toClient: Gathering;
  private readonly silence: Timer;
  private trafficMs: number;
  /** False: every piece leaves at once. */
  private gathers: boolean;

  /** `isWebSocket`: small messages may be gathered; other protocols' bytes never are. */
  constructor(reactor: Reactor, ends: TunnelEnds, terms: PaceTerms, isWebSocket: boolean) {
    this.reactor = reactor;
    this.ends = ends;
    this.terms = terms;
    this.toBackend = new Gathering(this, TO_BACKEND);
    this.toClient = new Gathering(this, TO_CLIENT);
    this.silence = new Timer(this, KIND_SILENCE);
    this.trafficMs = reactor.nowMs;
    this.gathers = isWebSocket && terms.gathers;
    if (terms.silenceMs > 0) reactor.timers.arm(this.silence, this.trafficMs + terms.silenceMs);
  }

  /** Bytes have come that go this way; one reference of `buffer` passes. The tunnel may be over when this returns. */
  pass(direction: Direction, buffer: BufferId, offset: number, length: number): void {
    const { reactor, terms } = this;
    const { nowMs } = reactor;
    const silentMs = nowMs - this.trafficMs;
    this.trafficMs = nowMs;
    if (!this.gathers) {
      this.ends.onTunnelBytes(direction, buffer, offset, length);
      return;
    }
    this.hasten(direction === TO_CLIENT ? this.toBackend : this.toClient, nowMs + terms.firstMs);
    const gathering = direction === TO_CLIENT ? this.toClient : this.toBackend;
    if (nowMs >= gathering.untilMs && gathering.length === 0) {
      gathering.untilMs = nowMs + backOffMs(terms, silentMs);
    } else if (this.gather(gathering, buffer, offset, length)) {
      return;
    } else {
      this.release(direction);
    }
    this.ends.onTunnelBytes(direction, buffer, offset, length);
  }

  /** False: it is not for gathering, or there is no room. */
  private gather(gathering: Gathering, buffer: BufferId, offset: number, length: number): boolean {
    const { pool, timers } = this.reactor;
    if (length > PIECE_BYTES_MAX || gathering.length + length > SMALL_BYTES) return false;
    const first = pool.bytes[offset];
    // A piece that begins within a frame may look like that too, and then leaves early: no harm.
    if (first >= FRAME_CLOSE && first <= FRAME_PONG) return false;
    if (gathering.buffer === NO_BUFFER) {
      gathering.buffer = pool.acquire(SMALL);
      if (gathering.buffer === NO_BUFFER) return false;
      timers.arm(gathering.timer, gathering.untilMs);
    }
    copyBytes(pool.bytes, pool.offsetOf(gathering.buffer) + gathering.length, offset, length);
    gathering.length += length;
    pool.release(buffer);
    return true;
  }

  private hasten(gathering: Gathering, untilMs: number): void {
    if (gathering.untilMs <= untilMs) return;
    gathering.untilMs = untilMs;
    if (gathering.length > 0) this.reactor.timers.arm(gathering.timer, untilMs);
  }

  /** What was gathered for this direction leaves now. The tunnel may be over when this returns. */
  release(direction: Direction): void {
    const gathering = direction === TO_CLIENT ? this.toClient : this.toBackend;
    const { buffer, length } = gathering;
    if (buffer === NO_BUFFER) return;
    const { pool, timers } = this.reactor;
    timers.disarm(gathering.timer);
    gathering.buffer = NO_BUFFER;
    gathering.length = 0;
    this.ends.onTunnelBytes(direction, buffer, pool.offsetOf(buffer), length);
  }

  /** Whether something waits to go this way. */
  holds(direction: Direction): boolean {
    return (direction === TO_CLIENT ? this.toClient : this.toBackend).length > 0;
  }

  /** One side has ended: from here on nothing waits. What was gathered is to be released before more is passed. */
  stopGathering(): void {
    this.gathers = false;
  }

  /** The tunnel is over: forgets what is left. */
  close(): void {
    const { pool, timers } = this.reactor;
    timers.disarm(this.silence);
    for (const gathering of [this.toBackend, this.toClient]) {
      timers.disarm(gathering.timer);
      if (gathering.buffer !== NO_BUFFER) pool.release(gathering.buffer);
      gathering.buffer = NO_BUFFER;
      gathering.length = 0;
    }
  }

  onTimer(timer: Timer): void {
    const { reactor, terms } = this;
    if (timer.kind === KIND_SILENCE) {
      const dueMs = this.trafficMs + terms.silenceMs;
      if (reactor.nowMs < dueMs) reactor.timers.arm(timer, dueMs);
      else this.ends.onTunnelSilent();
      return;
    }
    const direction = timer.kind === TO_CLIENT ? TO_CLIENT : TO_BACKEND;
    (direction === TO_CLIENT ? this.toClient : this.toBackend).untilMs = reactor.nowMs + terms.firstMs;
    this.release(direction);
    this.ends.onTunnelQuiet(direction);
  }
}
