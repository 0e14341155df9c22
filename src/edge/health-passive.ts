/**
 * What a worker has seen of a server with its own requests. After several failures in a row the server is out for a
 * time that grows from outage to outage, up to a bound; then one request probes it, and what becomes of that one
 * decides. Pure: failures, successes and the clock come in, the state goes out.
 *
 * States: IN → OUT (FAILURES_MAX failures in a row) → PROBING (`beginProbe`, not before `untilMs`) → IN or OUT.
 */

const IN = 0;
const OUT = 1;
const PROBING = 2;

/** Failures in a row, with no complete response between them, that take a server out. */
export const FAILURES_MAX = 3;
/** How long the first outage lasts; each further one twice as long as the last. */
export const OUT_MS_FIRST = 1000;
export const OUT_MS_MAX = 30_000;
/** A server that was in for this long begins its next outage with the shortest time again. */
export const CALM_MS = 60_000;
/** For how long a server that has recovered gets less than its share, which grows evenly. */
export const SLOW_START_MS = 10_000;
/** The least part of its weight that it gets then. */
const SLOW_START_MIN = 0.1;

export class PassiveHealth {
  private state: number;
  private failures: number;
  /** Outages without a calm time between them. */
  private outages: number;
  /** OUT: from when on it may be probed. Milliseconds on the reactor's clock. */
  untilMs: number;
  private recoveredMs: number;

  constructor() {
    this.state = IN;
    this.failures = 0;
    this.outages = 0;
    this.untilMs = 0;
    this.recoveredMs = Number.NEGATIVE_INFINITY;
  }

  get isIn(): boolean {
    return this.state === IN;
  }

  /** It is out, its time is over, and nobody probes it yet. */
  mayProbe(nowMs: number): boolean {
    return this.state === OUT && nowMs >= this.untilMs;
  }

  /** Out and not being probed. */
  get awaitsProbe(): boolean {
    return this.state === OUT;
  }

  beginProbe(): void {
    this.state = PROBING;
  }

  /** The probe has ended without telling anything: another one may follow at once. */
  dropProbe(): void {
    if (this.state === PROBING) this.state = OUT;
  }

  /** A request has failed; the server is to blame. Returns whether it goes out of use by that (or stays out, after a probe). */
  failed(nowMs: number, isProbe: boolean): boolean {
    if (this.state !== IN && !isProbe) return false;
    this.failures++;
    if (!isProbe && this.failures < FAILURES_MAX) return false;
    if (!isProbe && nowMs - this.recoveredMs >= CALM_MS) this.outages = 0;
    this.state = OUT;
    this.failures = 0;
    this.untilMs = nowMs + Math.min(OUT_MS_FIRST * 2 ** Math.min(this.outages, 16), OUT_MS_MAX);
    this.outages++;
    return true;
  }

  /** A complete response, or a probe's head, came. Returns whether the server is in use again by that. */
  succeeded(nowMs: number, isProbe: boolean): boolean {
    if (this.state === IN) {
      this.failures = 0;
      return false;
    }
    if (!isProbe) return false;
    this.recover(nowMs);
    return true;
  }

  /** Others have found that it is well: it is in use again, and starts slowly. */
  recover(nowMs: number): void {
    this.state = IN;
    this.failures = 0;
    this.recoveredMs = nowMs;
  }

  /** It has recovered a short time ago. */
  isWarming(nowMs: number): boolean {
    return nowMs - this.recoveredMs < SLOW_START_MS;
  }

  /** The part of its weight that it is to get, above 0 and up to 1. */
  share(nowMs: number): number {
    return Math.min(1, Math.max(SLOW_START_MIN, (nowMs - this.recoveredMs) / SLOW_START_MS));
  }
}
