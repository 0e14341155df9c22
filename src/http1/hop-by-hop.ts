/**
 * What ends at this hop (RFC 9110 §7.6.1): the fields of the connection itself and those that Connection
 * names. Removed before a request or response is passed on; the edge writes its own framing and Connection.
 */

import { rangesEqualIgnoreCase } from '../base/bytes.ts';
import { fieldIdOf } from '../http/field-names.ts';
import {
  F_CLIENT_CERT,
  F_CLIENT_CERT_CHAIN,
  F_CONNECTION,
  F_CONTENT_LENGTH,
  F_FORWARDED,
  F_HOST,
  F_HTTP2_SETTINGS,
  F_KEEP_ALIVE,
  F_OTHER,
  F_PROXY_AUTHENTICATE,
  F_PROXY_AUTHORIZATION,
  F_PROXY_CONNECTION,
  F_REMOVED,
  F_TE,
  F_TRAILER,
  F_TRANSFER_ENCODING,
  F_UPGRADE,
  F_VIA,
  F_X_FORWARDED_FOR,
  F_X_FORWARDED_HOST,
  F_X_FORWARDED_PORT,
  F_X_FORWARDED_PROTO,
  F_X_REAL_IP,
  F_X_REQUEST_ID,
  FIELD_NAMES,
  type FieldSection,
  idSet,
} from '../http/fields.ts';
import { endOfToken, skipSeparators } from './connection-options.ts';

/** Always removed. */
const HOP = 1;
/** Not to be named in Connection: what the edge sets or routes by. */
const PROTECTED = 2;

const KINDS: Uint8Array = kindsOf();

/** Sections without any of these are left as they are, at once. */
const [HOP_LOW, HOP_HIGH] = idSet([...[...KINDS.keys()].filter((id) => KINDS[id] === HOP), F_TRAILER]);

function kindsOf(): Uint8Array {
  const kinds = new Uint8Array(FIELD_NAMES.length);
  for (const id of [
    F_CONNECTION,
    F_KEEP_ALIVE,
    F_PROXY_CONNECTION,
    F_TE,
    F_TRANSFER_ENCODING,
    F_UPGRADE,
    F_HTTP2_SETTINGS,
    // For the proxy that asked (RFC 9110 §11.7), which the edge is not.
    F_PROXY_AUTHENTICATE,
    F_PROXY_AUTHORIZATION,
  ]) {
    kinds[id] = HOP;
  }
  for (const id of [
    F_HOST,
    F_CONTENT_LENGTH,
    F_TRAILER,
    F_VIA,
    F_FORWARDED,
    F_X_FORWARDED_FOR,
    F_X_FORWARDED_PROTO,
    F_X_FORWARDED_HOST,
    F_X_FORWARDED_PORT,
    F_X_REAL_IP,
    F_X_REQUEST_ID,
    F_CLIENT_CERT,
    F_CLIENT_CERT_CHAIN,
  ]) {
    kinds[id] = PROTECTED;
  }
  return kinds;
}

/**
 * Marks as removed what must not pass this hop. `keepTrailer`: the Trailer field stays, because the
 * trailers that it announces will be passed on too. Positions of removed fields stay readable (Upgrade).
 */
export function removeHopByHop(fields: FieldSection, keepTrailer: boolean): void {
  if (!fields.hasAnyOf(HOP_LOW, HOP_HIGH)) return;
  for (let index = 0; index < fields.count; index++) {
    const id = fields.id(index);
    if (id <= F_OTHER) continue;
    if (id === F_CONNECTION) removeNominated(fields, fields.valueOffset(index), fields.valueLength(index));
    if (KINDS[id] === HOP || (id === F_TRAILER && !keepTrailer)) fields.remove(index);
  }
}

/** Removes the fields that a Connection value names. The parser has bounded how many it can be. */
function removeNominated(fields: FieldSection, offset: number, length: number): void {
  const bytes = fields.bytes;
  const end = offset + length;
  let at = skipSeparators(bytes, offset, end);
  while (at < end) {
    const tokenEnd = endOfToken(bytes, at, end);
    if (tokenEnd === at) return;
    const id = fieldIdOf(bytes, at, tokenEnd - at);
    if (id === F_OTHER) removeNamed(fields, at, tokenEnd - at);
    else if (KINDS[id] === 0) fields.removeAll(id);
    at = skipSeparators(bytes, tokenEnd, end);
  }
}

function removeNamed(fields: FieldSection, offset: number, length: number): void {
  for (let index = 0; index < fields.count; index++) {
    if (fields.id(index) === F_REMOVED || fields.nameLength(index) !== length) continue;
    if (rangesEqualIgnoreCase(fields.bytes, fields.nameOffset(index), offset, length)) fields.remove(index);
  }
}
