/**
 * Conditional requests (RFC 9110 §13): which of a request's preconditions hold for a representation that
 * exists, evaluated in the order of §13.2.2. Pure: positions in, a verdict out.
 */

import { NO_DATE, parseHttpDate } from './dates.ts';
import { entityTagIs, entityTagListHas } from './etag.ts';
import {
  F_ACCEPT_ENCODING,
  F_IF_MATCH,
  F_IF_MODIFIED_SINCE,
  F_IF_NONE_MATCH,
  F_IF_RANGE,
  F_IF_UNMODIFIED_SINCE,
  F_RANGE,
  type FieldSection,
  idSet,
} from './fields.ts';
import { M_GET, M_HEAD } from './message.ts';

/** Verdicts. */
export const PROCEED = 0;
export const NOT_MODIFIED = 304;
export const PRECONDITION_FAILED = 412;
export type Verdict = typeof PROCEED | typeof NOT_MODIFIED | typeof PRECONDITION_FAILED;

/** Bits of `selectingFields`: which fields that choose or condition a representation a request has. */
export const HAS_RANGE = 1;
export const HAS_IF_RANGE = 2;
export const HAS_IF_MATCH = 4;
export const HAS_IF_NONE_MATCH = 8;
export const HAS_IF_MODIFIED_SINCE = 16;
export const HAS_IF_UNMODIFIED_SINCE = 32;
export const HAS_ACCEPT_ENCODING = 64;
export const HAS_PRECONDITION =
  HAS_IF_MATCH | HAS_IF_NONE_MATCH | HAS_IF_MODIFIED_SINCE | HAS_IF_UNMODIFIED_SINCE;

const [SELECTING_LOW, SELECTING_HIGH] = idSet([
  F_RANGE,
  F_IF_RANGE,
  F_IF_MATCH,
  F_IF_NONE_MATCH,
  F_IF_MODIFIED_SINCE,
  F_IF_UNMODIFIED_SINCE,
  F_ACCEPT_ENCODING,
]);

/** One pass over the section, and none for the request that has none of these. */
export function selectingFields(fields: FieldSection): number {
  if (!fields.hasAnyOf(SELECTING_LOW, SELECTING_HIGH)) return 0;
  let bits = 0;
  for (let index = 0, count = fields.count; index < count; index++) bits |= bitOf(fields.id(index));
  return bits;
}

function bitOf(id: number): number {
  switch (id) {
    case F_RANGE:
      return HAS_RANGE;
    case F_IF_RANGE:
      return HAS_IF_RANGE;
    case F_IF_MATCH:
      return HAS_IF_MATCH;
    case F_IF_NONE_MATCH:
      return HAS_IF_NONE_MATCH;
    case F_IF_MODIFIED_SINCE:
      return HAS_IF_MODIFIED_SINCE;
    case F_IF_UNMODIFIED_SINCE:
      return HAS_IF_UNMODIFIED_SINCE;
    case F_ACCEPT_ENCODING:
      return HAS_ACCEPT_ENCODING;
    default:
      return 0;
  }
}

/**
 * `bits` come from `selectingFields`; `etag` is strong; times are seconds since 1970. Range and If-Range
 * (step 5) are asked for apart, by `ifRangeHolds`.
 */
export function evaluatePreconditions(
  fields: FieldSection,
  bits: number,
  methodId: number,
  etag: string,
  modifiedSeconds: number,
  nowSeconds: number,
): Verdict {
  if ((bits & HAS_PRECONDITION) === 0) return PROCEED;
  if ((bits & HAS_IF_MATCH) !== 0) {
    if (!tagsMatch(fields, F_IF_MATCH, etag, true)) return PRECONDITION_FAILED;
  } else if ((bits & HAS_IF_UNMODIFIED_SINCE) !== 0) {
    const since = singleDate(fields, F_IF_UNMODIFIED_SINCE, nowSeconds);
    if (since !== NO_DATE && modifiedSeconds > since) return PRECONDITION_FAILED;
  }
  const reads = methodId === M_GET || methodId === M_HEAD;
  if ((bits & HAS_IF_NONE_MATCH) !== 0) {
    if (tagsMatch(fields, F_IF_NONE_MATCH, etag, false)) return reads ? NOT_MODIFIED : PRECONDITION_FAILED;
  } else if (reads && (bits & HAS_IF_MODIFIED_SINCE) !== 0) {
    const since = singleDate(fields, F_IF_MODIFIED_SINCE, nowSeconds);
    if (since !== NO_DATE && modifiedSeconds <= since) return NOT_MODIFIED;
  }
  return PROCEED;
}

/**
 * Whether a Range field may be obeyed (§13.1.5). A date counts only when it is the exact Last-Modified and
 * a strong validator: the representation must not have changed within the second before now (§8.8.2.2).
 */
export function ifRangeHolds(
  fields: FieldSection,
  etag: string,
  modifiedSeconds: number,
  nowSeconds: number,
): boolean {
  const index = fields.find(F_IF_RANGE, 0);
  if (index < 0) return true;
  if (fields.find(F_IF_RANGE, index + 1) >= 0) return false;
  const offset = fields.valueOffset(index);
  const length = fields.valueLength(index);
  if (entityTagIs(fields.bytes, offset, length, etag)) return true;
  const date = parseHttpDate(fields.bytes, offset, length, nowSeconds);
  return date !== NO_DATE && date === modifiedSeconds && modifiedSeconds < nowSeconds;
}

const ASTERISK = 0x2a;

/** `*`, or a list over all lines of this field that holds `etag`. */
function tagsMatch(fields: FieldSection, id: number, etag: string, strongly: boolean): boolean {
  for (let index = fields.find(id, 0); index >= 0; index = fields.find(id, index + 1)) {
    const offset = fields.valueOffset(index);
    const length = fields.valueLength(index);
    if (length === 1 && fields.bytes[offset] === ASTERISK) return true;
    if (entityTagListHas(fields.bytes, offset, length, etag, strongly)) return true;
  }
  return false;
}

/** The date of a field that may stand only once; NO_DATE where it is repeated or unreadable, and so ignored. */
function singleDate(fields: FieldSection, id: number, nowSeconds: number): number {
  const index = fields.find(id, 0);
  if (fields.find(id, index + 1) >= 0) return NO_DATE;
  return parseHttpDate(fields.bytes, fields.valueOffset(index), fields.valueLength(index), nowSeconds);
}
