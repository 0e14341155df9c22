/** Blocks of HPACK for tests: decoded to names and values, and encoded from them. */

import { FIELD_NAMES } from '../../src/http/fields.ts';
import {
  HPACK_END,
  HPACK_ERROR,
  HPACK_FIELD,
  type HpackDecoder,
  NAME_VALID,
  VALUE_VALID,
} from '../../src/http2/hpack-decoder.ts';
import type { HpackEncoder } from '../../src/http2/hpack-encoder.ts';
import { fieldBytesMax } from '../../src/http2/hpack-encoder.ts';

export interface DecodedField {
  name: string;
  value: string;
  /** An F_ id or a P_ id. */
  id: number;
  valid: boolean;
  never: boolean;
}

export interface DecodedBlock {
  fields: DecodedField[];
  /** Fields that came beyond the limit. */
  dropped: number;
  listBytes: number;
  /** HPACK_END or HPACK_ERROR. */
  result: number;
}

const LEAD = 11;
const target = Buffer.alloc(1 << 18);

/** Decodes a block that is surrounded by garbage. */
export function decodeBlock(decoder: HpackDecoder, block: Uint8Array, listBytesMax = 16_384): DecodedBlock {
  const source = Buffer.alloc(block.length + 2 * LEAD, 0xbf);
  source.set(block, LEAD);
  decoder.begin(source, LEAD, LEAD + block.length, target, 5, target.length, listBytesMax);
  const fields: DecodedField[] = [];
  let dropped = 0;
  let result = HPACK_FIELD;
  while ((result = decoder.next()) === HPACK_FIELD) {
    if (!decoder.kept) {
      dropped++;
      continue;
    }
    const { nameOffset, nameLength, valueOffset, valueLength, id, flags, neverIndexed } = decoder;
    fields.push({
      name: target.latin1Slice(nameOffset, nameOffset + nameLength),
      value: target.latin1Slice(valueOffset, valueOffset + valueLength),
      id,
      valid: flags === (NAME_VALID | VALUE_VALID),
      never: neverIndexed,
    });
  }
  if (result !== HPACK_END && result !== HPACK_ERROR) throw new Error(`a result of ${result}`);
  return { fields, dropped, listBytes: decoder.listBytes, result };
}

/** Names and values alone. */
export function pairs(block: DecodedBlock): [string, string][] {
  return block.fields.map(({ name, value }) => [name, value]);
}

/** Encodes fields, all but pseudo-fields. */
export function encodeBlock(encoder: HpackEncoder, fields: readonly (readonly [string, string])[]): Buffer {
  const room = fields.reduce((sum, [name, value]) => sum + fieldBytesMax(name.length, value.length), 64);
  const bytes = Buffer.alloc(room);
  let at = encoder.begin(bytes, 0);
  for (const [name, value] of fields) {
    const source = Buffer.from(name + value, 'latin1');
    const id = Math.max(
      0,
      FIELD_NAMES.findIndex((known) => known.toLowerCase() === name.toLowerCase()),
    );
    at = encoder.field(bytes, at, id, source, 0, name.length, name.length, value.length);
  }
  return bytes.subarray(0, at);
}
