/**
 * Minimum progress of one connection, looked at about once a second. Only a connection that has had work for
 * longer than that owns one. Time counts only while it is the client that the edge waits for.
 */

/** Slow rates are forgiven for this long: a burst of loss, a phone in a tunnel. */
const GRACE_MS = 20_000;

export class StallWatch {
  private lastCheckMs: number;
  private lastReceivedMs: number;
  private awaitedMs: number;
  private receivedBytes: number;
  private lastSentMs: number;
  private blockedMs: number;
  private queuedBefore: number;
  private acknowledgedBefore: number;
  private acknowledgedFirst: number;

  constructor(nowMs: number) {
    this.lastCheckMs = nowMs;
    this.lastReceivedMs = nowMs;
    this.awaitedMs = 0;
    this.receivedBytes = 0;
    this.lastSentMs = nowMs;
    this.blockedMs = 0;
    this.queuedBefore = 0;
    this.acknowledgedBefore = -1;
    this.acknowledgedFirst = -1;
  }

  /** A new phase begins: nothing that was before counts. */
  restart(nowMs: number): void {
    this.lastCheckMs = nowMs;
    this.lastReceivedMs = nowMs;
    this.awaitedMs = 0;
    this.receivedBytes = 0;
    this.lastSentMs = nowMs;
    this.blockedMs = 0;
  }

  received(nowMs: number, length: number): void {
    this.lastReceivedMs = nowMs;
    this.receivedBytes += length;
  }

  /** `awaiting`: content is due and nobody but the client holds it up. Call it before `readerTooSlow`, once a check. */
  senderTooSlow(nowMs: number, awaiting: boolean, timeoutMs: number, minBytesPerSec: number): boolean {
    if (!awaiting) {
      this.lastReceivedMs = nowMs;
      return false;
    }
    this.awaitedMs += nowMs - this.lastCheckMs;
    if (nowMs - this.lastReceivedMs >= timeoutMs) return true;
    return this.awaitedMs > GRACE_MS && this.receivedBytes * 1000 < minBytesPerSec * this.awaitedMs;
  }

  /** `queued`: bytes the kernel has not taken; `acknowledged`: what the peer has, or -1 where that is unknown. */
  readerTooSlow(
    nowMs: number,
    queued: number,
    acknowledged: number,
    timeoutMs: number,
    minBytesPerSec: number,
  ): boolean {
    const elapsedMs = nowMs - this.lastCheckMs;
    this.lastCheckMs = nowMs;
    if (queued === 0) {
      this.lastSentMs = nowMs;
      this.blockedMs = 0;
      this.acknowledgedFirst = -1;
      this.acknowledgedBefore = -1;
      return false;
    }
    const moved = acknowledged < 0 ? queued < this.queuedBefore : acknowledged !== this.acknowledgedBefore;
    if (moved) this.lastSentMs = nowMs;
    this.queuedBefore = queued;
    this.acknowledgedBefore = acknowledged;
    if (this.acknowledgedFirst < 0) this.acknowledgedFirst = acknowledged;
    this.blockedMs += elapsedMs;
    if (nowMs - this.lastSentMs >= timeoutMs) return true;
    if (acknowledged < 0 || this.blockedMs <= GRACE_MS) return false;
    return (acknowledged - this.acknowledgedFirst) * 1000 < minBytesPerSec * this.blockedMs;
  }
}
