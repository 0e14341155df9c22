/**
 * A short run of bytes that was seen last, for work whose result is the same for the same bytes: most peers say the
 * same again and again, and comparing words is quicker than the work. Only exactly the same bytes match.
 */

import { viewOf } from './bytes.ts';

const WORDS = 16;
/** Longer and shorter runs never match. */
export const RECENT_BYTES_MAX = WORDS * 4;
const RECENT_BYTES_MIN = 4;

export class RecentBytes {
  /** -1: none. */
  private length: number;
  private readonly words: Int32Array;
  private lastWord: number;

  constructor() {
    this.length = -1;
    this.words = new Int32Array(WORDS);
    this.lastWord = 0;
  }

  matches(bytes: Uint8Array, offset: number, length: number): boolean {
    if (length !== this.length) return false;
    const { words } = this;
    const view = viewOf(bytes);
    const last = length - 4;
    for (let at = 0; at < last; at += 4) {
      if (view.getInt32(offset + at, true) !== words[at >> 2]) return false;
    }
    return view.getInt32(offset + last, true) === this.lastWord;
  }

  set(bytes: Uint8Array, offset: number, length: number): void {
    this.length = -1;
    if (length < RECENT_BYTES_MIN || length > RECENT_BYTES_MAX) return;
    const view = viewOf(bytes);
    const last = length - 4;
    for (let at = 0; at < last; at += 4) this.words[at >> 2] = view.getInt32(offset + at, true);
    this.lastWord = view.getInt32(offset + last, true);
    this.length = length;
  }
}
