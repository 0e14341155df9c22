/** A configuration in as many messages as it takes, and back; bounded by PARTS_MAX × PART_BYTES_MAX. */

import { type Message, PART_BYTES_MAX, PARTS_MAX } from './message.ts';

type Part = Message & { readonly kind: 'configure' };

/** The messages that carry a configuration; null: it is too long. */
export function splitConfiguration(generation: number, bytes: Uint8Array): Part[] | null {
  const parts = Math.max(1, Math.ceil(bytes.length / PART_BYTES_MAX));
  if (parts > PARTS_MAX) return null;
  return Array.from({ length: parts }, (_, part) => ({
    kind: 'configure',
    generation,
    part,
    parts,
    bytes: bytes.subarray(part * PART_BYTES_MAX, (part + 1) * PART_BYTES_MAX),
  }));
}

/** The receiving side. Parts come in order; a new generation may begin before the old one is complete. */
export class ConfigurationParts {
  /** Of the configuration that is coming or came last. */
  generation = 0;
  private parts: Uint8Array[] = [];

  /** The whole configuration once its last part is there, `incomplete` before, `wrong` where parts don't fit together. */
  add(message: Part): Uint8Array | 'incomplete' | 'wrong' {
    if (message.part === 0) {
      if (message.generation <= this.generation) return 'wrong';
      this.generation = message.generation;
      this.parts = [];
    }
    if (message.generation !== this.generation || message.part !== this.parts.length) return 'wrong';
    this.parts.push(message.bytes.slice());
    if (this.parts.length < message.parts) return 'incomplete';
    const whole = Buffer.concat(this.parts);
    this.parts = [];
    return whole;
  }
}
