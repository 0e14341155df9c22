/**
 * Where traffic keys live: native memory, kept out of core dumps, in slots of 128 bytes, one for each direction of a
 * connection. A slot: key at 0 (32 bytes), nonce at 32 (12), traffic secret at 48 (48; TLS 1.3 only).
 * Freed slots are wiped.
 */

import { assert } from '../base/assert.ts';
import { excludeFromDumps, type MappedMemory, mapPrivate } from '../sys/memory.ts';

const SLOT_BYTES = 128;
const SLOTS_MAX = 1 << 20;
export const NONCE_AT = 32;
export const SECRET_AT = 48;

/** Address of a slot's first byte is `secrets.address + slot`, its bytes begin at `secrets.bytes[slot]`. */
export type SecretSlot = number;

class SecretMemory {
  private readonly memory: MappedMemory;
  readonly address: number;
  readonly bytes: Uint8Array;
  /** The same, four bytes at a time, least significant first. */
  readonly words: Int32Array;
  private readonly free: SecretSlot[];
  private used: number;

  constructor() {
    // Address space only: real memory where slots were ever used.
    this.memory = mapPrivate(SLOTS_MAX * SLOT_BYTES);
    excludeFromDumps(this.memory);
    this.address = this.memory.address;
    this.bytes = this.memory.bytes;
    this.words = this.memory.words;
    this.free = [];
    this.used = 0;
  }

  /** Slots that are in use. */
  get count(): number {
    return this.used - this.free.length;
  }

  /** A zeroed slot, or -1 when all are taken. */
  acquire(): SecretSlot {
    const slot = this.free.pop();
    if (slot !== undefined) return slot;
    return this.used === SLOTS_MAX ? -1 : this.used++ * SLOT_BYTES;
  }

  release(slot: SecretSlot): void {
    assert(slot >= 0 && slot % SLOT_BYTES === 0, 'not a slot of secrets');
    this.bytes.fill(0, slot, slot + SLOT_BYTES);
    this.free.push(slot);
  }
}

export const secrets: SecretMemory = new SecretMemory();

/** Layout of `scratch`, a page that calls share: nothing in it outlives a call. */
export const SCRATCH_BYTES = 4096;
export const scratch: MappedMemory = mapPrivate(SCRATCH_BYTES);
excludeFromDumps(scratch);
