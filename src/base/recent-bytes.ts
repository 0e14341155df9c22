/**
 * A short run of bytes that was seen last, for work whose result is the same for the same bytes: most peers say the
 * same again and again, and comparing eight bytes at once is quicker than the work. Only exactly the same bytes match.
 */

import { copyWords, equalViews, viewOf } from './bytes.ts';

/** Longer and shorter runs never match. */
export const RECENT_BYTES_MAX = 64;
const RECENT_BYTES_MIN = 8;

export class RecentBytes {
  /** -1: none. */
  private length: number;
  private readonly seen: DataView;

  constructor() {
    this.length = -1;
    this.seen = new DataView(new ArrayBuffer(RECENT_BYTES_MAX));
  }

  matches(bytes: Uint8Array, offset: number, length: number): boolean {
    return length === this.length && equalViews(viewOf(bytes), offset, this.seen, 0, length);
  }

  set(bytes: Uint8Array, offset: number, length: number): void {
    this.length = -1;
    if (length < RECENT_BYTES_MIN || length > RECENT_BYTES_MAX) return;
    copyWords(this.seen, 0, viewOf(bytes), offset, length);
    this.length = length;
  }
}
