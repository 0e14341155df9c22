/**
 * Field lines that came lately, with what was found in them. Most lines of most heads are the same ones again and
 * again (`Host`, `Accept-Encoding`, `Server`, a whole second long `Date`): comparing a line with one that was taken
 * before costs a third of taking it apart. What a line means depends on nothing but its bytes, so one memory serves
 * all connections of a worker, requests and responses.
 *
 * Direct-mapped by the first 12 bytes of a line. Lines that hold secrets are never remembered, and none is that
 * hardly ever comes twice.
 */

import { equalViews, viewOf } from '../base/bytes.ts';
import { E_TOO_MANY_FIELDS } from '../http/fault.ts';
import {
  F_AUTHORIZATION,
  F_CLIENT_CERT,
  F_CLIENT_CERT_CHAIN,
  F_CONTENT_LENGTH,
  F_CONTENT_RANGE,
  F_COOKIE,
  F_ETAG,
  F_FORWARDED,
  F_IF_MATCH,
  F_IF_MODIFIED_SINCE,
  F_IF_NONE_MATCH,
  F_IF_RANGE,
  F_IF_UNMODIFIED_SINCE,
  F_LAST_MODIFIED,
  F_LOCATION,
  F_PROXY_AUTHORIZATION,
  F_RANGE,
  F_REFERER,
  F_SEC_WEBSOCKET_ACCEPT,
  F_SEC_WEBSOCKET_KEY,
  F_SET_COOKIE,
  F_X_FORWARDED_FOR,
  F_X_REQUEST_ID,
  FIELD_NAMES,
  FIELD_WORDS,
  type FieldSection,
} from '../http/fields.ts';
import { takeFieldLine } from './field-line.ts';

const SLOT_BITS = 8;
const SLOTS = 1 << SLOT_BITS;
/** Lines of these lengths are remembered, CRLF included. */
const LINE_BYTES_MIN = 8;
const LINE_BYTES_MAX = 192;
/** What a slot is chosen by must be there. */
const KEY_BYTES = 12;
/** A line that did not come again gives way at every so-manieth other one, so that ever new ones are not all copied. */
const PATIENCE_MASK = 7;

// Words of a slot: length of the line (0: none), of its name, offset and length of its value, id, misses.
const LENGTH = 0;
const NAME_LENGTH = 1;
const VALUE_AT = 2;
const VALUE_LENGTH = 3;
const ID = 4;
const MISSES = 5;
const SLOT_WORDS_SHIFT = 3;

/** By id: 1 where lines are remembered. */
const REMEMBERED = rememberedIds();

function rememberedIds(): Uint8Array {
  const ids = new Uint8Array(FIELD_NAMES.length).fill(1);
  const secrets = [
    F_AUTHORIZATION,
    F_PROXY_AUTHORIZATION,
    F_COOKIE,
    F_SET_COOKIE,
    F_CLIENT_CERT,
    F_CLIENT_CERT_CHAIN,
  ];
  const everNew = [
    F_CONTENT_LENGTH,
    F_CONTENT_RANGE,
    F_ETAG,
    F_FORWARDED,
    F_IF_MATCH,
    F_IF_MODIFIED_SINCE,
    F_IF_NONE_MATCH,
    F_IF_RANGE,
    F_IF_UNMODIFIED_SINCE,
    F_LAST_MODIFIED,
    F_LOCATION,
    F_RANGE,
    F_REFERER,
    F_SEC_WEBSOCKET_ACCEPT,
    F_SEC_WEBSOCKET_KEY,
    F_X_FORWARDED_FOR,
    F_X_REQUEST_ID,
  ];
  for (const id of [...secrets, ...everNew]) ids[id] = 0;
  return ids;
}

export class RecentLines {
  private readonly slots: Int32Array;
  /** LINE_BYTES_MAX for each slot. */
  private readonly lines: DataView;

  constructor() {
    this.slots = new Int32Array(SLOTS << SLOT_WORDS_SHIFT);
    this.lines = new DataView(new ArrayBuffer(SLOTS * LINE_BYTES_MAX));
  }

  /** As `takeFieldLine`, with the same results. */
  take(fields: FieldSection, bytes: Uint8Array, at: number, stop: number): number {
    if (stop - at < KEY_BYTES) return takeFieldLine(fields, bytes, at, stop);
    const view = viewOf(bytes);
    const slot = slotOf(view, at);
    const word = slot << SLOT_WORDS_SHIFT;
    const { slots } = this;
    const length = slots[word + LENGTH];
    if (
      length > 0 &&
      length <= stop - at &&
      equalViews(view, at, this.lines, slot * LINE_BYTES_MAX, length)
    ) {
      const valueAt = at + slots[word + VALUE_AT];
      const added = fields.add(
        at,
        slots[word + NAME_LENGTH],
        valueAt,
        slots[word + VALUE_LENGTH],
        slots[word + ID],
      );
      return added ? at + length : E_TOO_MANY_FIELDS;
    }
    const next = takeFieldLine(fields, bytes, at, stop);
    if (next > 0 && (length === 0 || (++slots[word + MISSES] & PATIENCE_MASK) === 0))
      this.remember(word, slot * LINE_BYTES_MAX, fields, view, at, next - at);
    return next;
  }

  /** The line that was just added to `fields`. */
  private remember(
    word: number,
    to: number,
    fields: FieldSection,
    view: DataView,
    at: number,
    length: number,
  ): void {
    const { slots, lines } = this;
    const index = fields.count - 1;
    const id = fields.table[index * FIELD_WORDS + 4];
    if (id < 0 || REMEMBERED[id] === 0 || length < LINE_BYTES_MIN || length > LINE_BYTES_MAX) return;
    for (let byte = 0; byte < length; byte++) lines.setUint8(to + byte, view.getUint8(at + byte));
    slots[word + LENGTH] = length;
    slots[word + NAME_LENGTH] = fields.nameLength(index);
    slots[word + VALUE_AT] = fields.valueOffset(index) - at;
    slots[word + VALUE_LENGTH] = fields.valueLength(index);
    slots[word + ID] = id;
    slots[word + MISSES] = 0;
  }
}

function slotOf(view: DataView, at: number): number {
  const first = Math.imul(view.getInt32(at, true), 0x2c1b3c6d);
  const second = Math.imul(view.getInt32(at + 4, true), 0x297a2d39);
  const third = Math.imul(view.getInt32(at + 8, true), 0x5bd1e995);
  return (first ^ second ^ third) >>> (32 - SLOT_BITS);
}
