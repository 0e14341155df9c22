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

/** A line that is remembered, and what was found in it; positions count from its start. */
class Line {
  /** CRLF included; 0: none is remembered. */
  length: number;
  nameLength: number;
  valueAt: number;
  valueLength: number;
  id: number;
  /** So many other lines may come before one of them is remembered instead. */
  patience: number;
  /** How the name of a secret that was refused is long and begins: mostly it is the same one that comes again. */
  secretLength: number;
  secretStart: number;
  readonly bytes: DataView;

  constructor(bytes: DataView) {
    this.length = 0;
    this.nameLength = 0;
    this.valueAt = 0;
    this.valueLength = 0;
    this.id = 0;
    this.patience = 0;
    this.secretLength = 0;
    this.secretStart = 0;
    this.bytes = bytes;
  }
}

export class RecentLines {
  private readonly slots: readonly Line[];

  constructor() {
    const memory = new ArrayBuffer(SLOTS * LINE_BYTES_MAX);
    this.slots = Array.from(
      { length: SLOTS },
      (_, slot) => new Line(new DataView(memory, slot * LINE_BYTES_MAX, LINE_BYTES_MAX)),
    );
  }

  /** As `takeFieldLine`, with the same results. */
  take(fields: FieldSection, bytes: Uint8Array, at: number, stop: number): number {
    if (stop - at < KEY_BYTES) return takeFieldLine(fields, bytes, at, stop);
    const view = viewOf(bytes);
    const line = this.slots[slotOf(view, at)];
    const { length } = line;
    if (length > 0 && length <= stop - at && equalViews(view, at, line.bytes, 0, length)) {
      const added = fields.add(at, line.nameLength, at + line.valueAt, line.valueLength, line.id);
      return added ? at + length : E_TOO_MANY_FIELDS;
    }
    const next = takeFieldLine(fields, bytes, at, stop);
    if (next > 0 && --line.patience < 0) line.patience = remember(line, fields, view, at, next - at);
    return next;
  }
}

/** Remembers the line that was just added to `fields`, if it may. Returns how many others come before the next one is tried. */
function remember(line: Line, fields: FieldSection, view: DataView, at: number, length: number): number {
  const index = fields.count - 1;
  const id = fields.id(index);
  if (id < 0 || REMEMBERED[id] === 0 || length < LINE_BYTES_MIN || length > LINE_BYTES_MAX)
    return REFUSED_PATIENCE;
  if (id === F_OTHER && isSecret(line, fields, index, view.getInt32(at, true))) return REFUSED_PATIENCE;
  copyWords(line.bytes, 0, view, at, length);
  line.length = length;
  line.nameLength = fields.nameLength(index);
  line.valueAt = fields.valueOffset(index) - at;
  line.valueLength = fields.valueLength(index);
  line.id = id;
  return PATIENCE;
}

/** `start` is how the line begins. */
function isSecret(line: Line, fields: FieldSection, index: number, start: number): boolean {
  const nameLength = fields.nameLength(index);
  if (line.secretLength === nameLength && line.secretStart === start) return true;
  if (!SECRET_NAME.test(fields.nameText(index))) return false;
  line.secretLength = nameLength;
  line.secretStart = start;
  return true;
}

function slotOf(view: DataView, at: number): number {
  const first = Math.imul(view.getInt32(at, true), 0x2c1b3c6d);
  const second = Math.imul(view.getInt32(at + 4, true), 0x297a2d39);
  const third = Math.imul(view.getInt32(at + 8, true), 0x5bd1e995);
  return (first ^ second ^ third) >>> (32 - SLOT_BITS);
}
