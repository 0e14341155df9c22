/**
 * What a peer may make us do for nothing, in budgets that refill with time. Each names an attack; a peer that spends more
 * is told ENHANCE_YOUR_CALM with that name, and its connection ends. Ordinary clients stay far below: the
 * numbers are bursts that a browser's or a gRPC client's worst moment fits in several times.
 */

/** Bounds on one connection. The defaults are our own choices; clients' are keys of `[http2]`. */
export interface Http2Budgets {
  /** By reason (the D_ numbers): events at once. */
  readonly bursts: readonly number[];
  /** By reason: events that a second gives back. */
  readonly perSecond: readonly number[];
  /** CONTINUATION frames of one field block. */
  readonly continuationsMax: number;
  /** Bytes of one field block as received. At least the list's limit is taken, whatever is said here. */
  readonly blockBytesMax: number;
  /** A list that decodes to this many times its limit is a bomb. Below that it is answered with 431. */
  readonly bombFactor: number;
  /** Settings in one SETTINGS frame. */
  readonly settingsPerFrameMax: number;
  /** DATA frames of less content than this, but for those that end a stream, are tiny. */
  readonly tinyDataBytes: number;
}

// Reasons: indexes of the budgets, and further ones of what is counted otherwise.
/**
 * Streams that end before their time: RST_STREAM from the peer (Rapid Reset, CVE-2023-44487), and streams that we reset
 * for the peer's errors (MadeYouReset, CVE-2025-8671) or refuse because it opens too many.
 */
export const D_RESET = 0;
/** SETTINGS, each of which has to be acknowledged (CVE-2019-9515). */
export const D_SETTINGS = 1;
/** PING, likewise (CVE-2019-9512). */
export const D_PING = 2;
/** PRIORITY and PRIORITY_UPDATE (CVE-2019-9513). */
export const D_PRIORITY = 3;
/** DATA without content that ends nothing, and frames of unknown types (CVE-2019-9518). */
export const D_EMPTY = 4;
/** WINDOW_UPDATE, beyond what was sent to be acknowledged by it, and RST_STREAM of streams that are over. */
export const D_WINDOW_UPDATE = 5;
/** DATA of a byte or two. */
export const D_TINY_DATA = 6;
const BUDGETS = 7;
/** One field block in many frames (CVE-2024-27316 and others). */
export const D_CONTINUATION = 7;
/** One field block that is too long to be decoded. */
export const D_BLOCK = 8;
/** One field block that decodes to a multiple of the limit (CVE-2016-6581). */
export const D_HPACK_BOMB = 9;
/** Others of its address were cut not long ago: the owner's reason for a connection that may begin nothing. */
export const D_PENALTY = 10;

/** By reason: the debug data of GOAWAY, and the word in logs and metrics. */
export const REASON_WORDS: readonly string[] = [
  'reset-flood',
  'settings-flood',
  'ping-flood',
  'priority-flood',
  'empty-frame-flood',
  'window-update-flood',
  'tiny-data-flood',
  'continuation-flood',
  'field-block-too-long',
  'hpack-bomb',
  'penalty',
];

/** Also the defaults of `[http2]`. */
export const DEFAULT_BUDGETS: Http2Budgets = {
  bursts: [200, 50, 200, 500, 100, 2000, 1000],
  perSecond: [30, 5, 50, 50, 10, 500, 200],
  continuationsMax: 16,
  blockBytesMax: 65_536,
  bombFactor: 4,
  settingsPerFrameMax: 64,
  tinyDataBytes: 5,
};

/** The same, halved so often: for a peer of which little good is known. */
export function halvedBudgets(budgets: Http2Budgets, times: number): Http2Budgets {
  const halved = (events: number): number => Math.max(1, Math.floor(events / 2 ** times));
  return { ...budgets, bursts: budgets.bursts.map(halved), perSecond: budgets.perSecond.map(halved) };
}

export class SpentBudgets {
  private readonly budgets: Http2Budgets;
  /** By reason: what is left, in thousandths of an event. Made with the first event. */
  private left: Float64Array;
  /** When it was last refilled. */
  private refilledMs: number;

  constructor(budgets: Http2Budgets) {
    this.budgets = budgets;
    this.left = NONE;
    this.refilledMs = 0;
  }

  /** Takes one event; false when there was nothing left. */
  spend(reason: number, nowMs: number): boolean {
    if (this.left === NONE) this.fill(nowMs);
    const left = this.left;
    if (left[reason] < 1000) {
      this.refill(nowMs);
      if (left[reason] < 1000) return false;
    }
    left[reason] -= 1000;
    return true;
  }

  /** Gives events back, up to the burst: what we did has called for them. */
  grant(reason: number, events: number): void {
    if (this.left === NONE) return;
    this.left[reason] = Math.min(this.left[reason] + events * 1000, this.budgets.bursts[reason] * 1000);
  }

  private fill(nowMs: number): void {
    this.left = new Float64Array(BUDGETS);
    this.refilledMs = nowMs;
    for (let reason = 0; reason < BUDGETS; reason++) this.left[reason] = this.budgets.bursts[reason] * 1000;
  }

  private refill(nowMs: number): void {
    const elapsedMs = nowMs - this.refilledMs;
    this.refilledMs = nowMs;
    for (let reason = 0; reason < BUDGETS; reason++) {
      const full = this.budgets.bursts[reason] * 1000;
      this.left[reason] = Math.min(this.left[reason] + elapsedMs * this.budgets.perSecond[reason], full);
    }
  }
}

const NONE = new Float64Array(0);
