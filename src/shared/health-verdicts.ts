/**
 * The table of what the prober has found: one slot for each checked server of a group. One writer, any number of
 * readers, in shared memory if need be: everything is in one Int32Array, read and written atomically, and readers look
 * at a single word (`epoch`) until something has changed.
 *
 * A slot belongs to a name, of which it holds a hash of 62 bits: readers find it by that, whoever assigned it, and
 * notice when it has become another's. A server without a slot is healthy.
 */

import { createHash } from 'node:crypto';

/** Slots of the default table: 64 KiB. Servers beyond them are not checked, which the log says. */
const SLOTS_DEFAULT = 4096;
/** Words before the first slot. */
const EPOCH = 0;
const HEADER_WORDS = 4;
// Layout of a slot.
const NAME_HIGH = 0;
const NAME_LOW = 1;
const STATE = 2;
const SLOT_WORDS = 4;

const FREE = 0;
const HEALTHY = 1;
const UNHEALTHY = 2;

/** Bytes of a table. */
export function verdictBytes(slots: number = SLOTS_DEFAULT): number {
  return (HEADER_WORDS + slots * SLOT_WORDS) * 4;
}

/** Who a slot belongs to. */
export class VerdictName {
  readonly high: number;
  readonly low: number;

  /** `server` is the key of the BackendServer. */
  constructor(upstream: string, server: string) {
    const hash = createHash('sha256').update(`${upstream}\n${server}`).digest();
    this.high = hash.readInt32LE(0) >> 1;
    this.low = hash.readInt32LE(4) >> 1;
  }
}

export class VerdictTable {
  private readonly words: Int32Array;
  private readonly slots: number;

  /** `words` is `verdictBytes` long and all zero at first. */
  constructor(words: Int32Array = new Int32Array(verdictBytes() / 4)) {
    this.words = words;
    this.slots = Math.trunc((words.length - HEADER_WORDS) / SLOT_WORDS);
  }

  /** Differs from what it was when any verdict has changed since. */
  get epoch(): number {
    return Atomics.load(this.words, EPOCH);
  }

  /** The slot of a name, or -1. Linear in the slots. */
  find(name: VerdictName): number {
    for (let slot = 0; slot < this.slots; slot++) if (this.belongsTo(slot, name)) return slot;
    return -1;
  }

  belongsTo(slot: number, name: VerdictName): boolean {
    if (slot < 0) return false;
    const { words } = this;
    const at = HEADER_WORDS + slot * SLOT_WORDS;
    return (
      Atomics.load(words, at + STATE) !== FREE &&
      Atomics.load(words, at + NAME_HIGH) === name.high &&
      Atomics.load(words, at + NAME_LOW) === name.low
    );
  }

  /** What is said of a name's slot. */
  isHealthy(slot: number): boolean {
    return Atomics.load(this.words, HEADER_WORDS + slot * SLOT_WORDS + STATE) !== UNHEALTHY;
  }

  // ---- For the writer ---------------------------------------------------------------------------------

  /** The name's slot, as it is, or a free one for it, healthy; -1 where none is left. */
  claim(name: VerdictName): number {
    const known = this.find(name);
    if (known >= 0) return known;
    const { words } = this;
    for (let slot = 0; slot < this.slots; slot++) {
      const at = HEADER_WORDS + slot * SLOT_WORDS;
      if (words[at + STATE] !== FREE) continue;
      Atomics.store(words, at + NAME_HIGH, name.high);
      Atomics.store(words, at + NAME_LOW, name.low);
      Atomics.store(words, at + STATE, HEALTHY);
      Atomics.add(words, EPOCH, 1);
      return slot;
    }
    return -1;
  }

  set(slot: number, healthy: boolean): void {
    Atomics.store(this.words, HEADER_WORDS + slot * SLOT_WORDS + STATE, healthy ? HEALTHY : UNHEALTHY);
    Atomics.add(this.words, EPOCH, 1);
  }

  release(slot: number): void {
    Atomics.store(this.words, HEADER_WORDS + slot * SLOT_WORDS + STATE, FREE);
    Atomics.add(this.words, EPOCH, 1);
  }

  /** Releases all slots but these: what a writer before this one has left behind. */
  releaseOthers(kept: ReadonlySet<number>): void {
    for (let slot = 0; slot < this.slots; slot++) {
      const at = HEADER_WORDS + slot * SLOT_WORDS;
      if (!kept.has(slot) && Atomics.load(this.words, at + STATE) !== FREE) this.release(slot);
    }
  }
}
