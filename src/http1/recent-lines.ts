/**
 * Field lines that came lately, with what was found in them. Most lines of most heads are the same ones again and
 * again (`Host`, `Accept-Encoding`, `Server`, a whole second long `Date`): comparing a line with one that was taken
 * before costs less than taking it apart. What a line means depends on nothing but its bytes, so one memory serves
 * all connections of a worker, requests and responses.
 *
 * Direct-mapped by the first 12 bytes of a line. Cookies, credentials and what is named like them are never remembered,
 * nor are lines that hardly ever come twice.
 */

import { copyWords, equalViews, viewOf } from '../base/bytes.ts';
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
  F_OTHER,
  F_PROXY_AUTHORIZATION,
  F_RANGE,
  F_REFERER,
  F_SEC_WEBSOCKET_ACCEPT,
  F_SEC_WEBSOCKET_KEY,
  F_SET_COOKIE,
  F_X_FORWARDED_FOR,
  F_X_REQUEST_ID,
  FIELD_NAMES,
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
const PATIENCE = 7;
/** The same where one was not to be remembered: most likely the next ones aren't either. */
const REFUSED_PATIENCE = 255;

/** What other fields are called whose value may open a door. */
const SECRET_NAME = /auth|credential|csrf|jwt|key|pass|secret|session|sign|token|xsrf/i;
/** And whose value names a single request. */
const EVER_NEW_NAME = /trace|span|b3|correlation|request-?id|timestamp|nonce/i;

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

/**
 * Int32 words of a slot, with the line's bytes behind them: what is looked at together lies together. Positions count
 * from the line's start.
 */
/** CRLF included; 0: none is remembered. */
const LENGTH = 0;
const NAME_LENGTH = 1;
const VALUE_AT = 2;
const VALUE_LENGTH = 3;
const ID = 4;
/** So many other lines may come before one of them is remembered instead. */
const PATIENCE_LEFT = 5;
/** How the name of a secret that was refused is long and begins: mostly it is the same one that comes again. */
const SECRET_LENGTH = 6;
const SECRET_START = 7;
const BYTES_AT = 32;
const SLOT_BYTES = BYTES_AT + LINE_BYTES_MAX;

export class RecentLines {
  private readonly words: Int32Array;
  private readonly memory: DataView;

  constructor() {
    const memory = new ArrayBuffer(SLOTS * SLOT_BYTES);
    this.words = new Int32Array(memory);
    this.memory = new DataView(memory);
  }

  /** As `takeFieldLine`, with the same results. */
  take(fields: FieldSection, bytes: Uint8Array, at: number, stop: number): number {
    if (stop - at < KEY_BYTES) return takeFieldLine(fields, bytes, at, stop);
    const view = viewOf(bytes);
    const { words } = this;
    const start = slotOf(view, at) * SLOT_BYTES;
    const slot = start >> 2;
    const length = words[slot + LENGTH];
    if (length > 0 && length <= stop - at && equalViews(view, at, this.memory, start + BYTES_AT, length)) {
      const valueAt = at + words[slot + VALUE_AT];
      const added = fields.add(
        at,
        words[slot + NAME_LENGTH],
        valueAt,
        words[slot + VALUE_LENGTH],
        words[slot + ID],
      );
      return added ? at + length : E_TOO_MANY_FIELDS;
    }
    const next = takeFieldLine(fields, bytes, at, stop);
    if (next > 0 && --words[slot + PATIENCE_LEFT] < 0)
      words[slot + PATIENCE_LEFT] = this.remember(start, fields, view, at, next - at);
    return next;
  }

  /** Remembers the line that was just added to `fields`, if it may. Returns how many others come before the next one is tried. */
  private remember(start: number, fields: FieldSection, view: DataView, at: number, length: number): number {
    const { words } = this;
    const slot = start >> 2;
    const index = fields.count - 1;
    const id = fields.id(index);
    if (id < 0 || REMEMBERED[id] === 0 || length < LINE_BYTES_MIN || length > LINE_BYTES_MAX)
      return REFUSED_PATIENCE;
    if (id === F_OTHER && this.isSecret(slot, fields, index, view.getInt32(at, true)))
      return REFUSED_PATIENCE;
    copyWords(this.memory, start + BYTES_AT, view, at, length);
    words[slot + LENGTH] = length;
    words[slot + NAME_LENGTH] = fields.nameLength(index);
    words[slot + VALUE_AT] = fields.valueOffset(index) - at;
    words[slot + VALUE_LENGTH] = fields.valueLength(index);
    words[slot + ID] = id;
    return PATIENCE;
  }

  /** `lineStart` is how the line begins. */
  private isSecret(slot: number, fields: FieldSection, index: number, lineStart: number): boolean {
    const { words } = this;
    const nameLength = fields.nameLength(index);
    if (words[slot + SECRET_LENGTH] === nameLength && words[slot + SECRET_START] === lineStart) return true;
    if (!SECRET_NAME.test(fields.nameText(index))) return false;
    words[slot + SECRET_LENGTH] = nameLength;
    words[slot + SECRET_START] = lineStart;
    return true;
  }
}

/** Whether a field may be kept in memory: it opens no door, and may well come again with the same value. Allocates. */
export function isRemembered(fields: FieldSection, index: number): boolean {
  const id = fields.id(index);
  if (id === F_OTHER) {
    const name = fields.nameText(index);
    return !SECRET_NAME.test(name) && !EVER_NEW_NAME.test(name);
  }
  return id > 0 && REMEMBERED[id] === 1;
}

function slotOf(view: DataView, at: number): number {
  const first = Math.imul(view.getInt32(at, true), 0x2c1b3c6d);
  const second = Math.imul(view.getInt32(at + 4, true), 0x297a2d39);
  const third = Math.imul(view.getInt32(at + 8, true), 0x5bd1e995);
  return (first ^ second ^ third) >>> (32 - SLOT_BITS);
}
