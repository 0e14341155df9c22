/** The static table of HPACK (RFC 7541 appendix A): names and values as bytes, and which of them are fields that the edge knows. */

import { asciiBytes } from '../base/bytes.ts';
import { NameTable } from '../http/field-names.ts';
import { F_OTHER, FIELD_NAMES } from '../http/fields.ts';

/** Names and values from index 1 on. */
const ENTRIES: readonly (readonly [string, string])[] = [
  [':authority', ''],
  [':method', 'GET'],
  [':method', 'POST'],
  [':path', '/'],
  [':path', '/index.html'],
  [':scheme', 'http'],
  [':scheme', 'https'],
  [':status', '200'],
  [':status', '204'],
  [':status', '206'],
  [':status', '304'],
  [':status', '400'],
  [':status', '404'],
  [':status', '500'],
  ['accept-charset', ''],
  ['accept-encoding', 'gzip, deflate'],
  ['accept-language', ''],
  ['accept-ranges', ''],
  ['accept', ''],
  ['access-control-allow-origin', ''],
  ['age', ''],
  ['allow', ''],
  ['authorization', ''],
  ['cache-control', ''],
  ['content-disposition', ''],
  ['content-encoding', ''],
  ['content-language', ''],
  ['content-length', ''],
  ['content-location', ''],
  ['content-range', ''],
  ['content-type', ''],
  ['cookie', ''],
  ['date', ''],
  ['etag', ''],
  ['expect', ''],
  ['expires', ''],
  ['from', ''],
  ['host', ''],
  ['if-match', ''],
  ['if-modified-since', ''],
  ['if-none-match', ''],
  ['if-range', ''],
  ['if-unmodified-since', ''],
  ['last-modified', ''],
  ['link', ''],
  ['location', ''],
  ['max-forwards', ''],
  ['proxy-authenticate', ''],
  ['proxy-authorization', ''],
  ['range', ''],
  ['referer', ''],
  ['refresh', ''],
  ['retry-after', ''],
  ['server', ''],
  ['set-cookie', ''],
  ['strict-transport-security', ''],
  ['transfer-encoding', ''],
  ['user-agent', ''],
  ['vary', ''],
  ['via', ''],
  ['www-authenticate', ''],
];

export const STATIC_COUNT = ENTRIES.length;

// Indexes that the encoder uses by name.
export const STATIC_AUTHORITY = 1;
export const STATIC_METHOD_GET = 2;
export const STATIC_METHOD_POST = 3;
export const STATIC_PATH_ROOT = 4;
export const STATIC_SCHEME_HTTP = 6;
export const STATIC_SCHEME_HTTPS = 7;
export const STATIC_STATUS_200 = 8;
export const STATIC_ACCEPT_ENCODING = 16;

// Ids that pseudo-fields have where fields have their F_ id (http/fields.ts); all below F_REMOVED.
export const P_AUTHORITY = -2;
export const P_METHOD = -3;
export const P_PATH = -4;
export const P_SCHEME = -5;
export const P_STATUS = -6;
export const P_PROTOCOL = -7;
/** A name that begins with a colon and is none of these. */
export const P_UNKNOWN = -8;

const PSEUDO_NAMES: readonly (readonly [string, number])[] = [
  [':authority', P_AUTHORITY],
  [':method', P_METHOD],
  [':path', P_PATH],
  [':scheme', P_SCHEME],
  [':status', P_STATUS],
  [':protocol', P_PROTOCOL],
];
const PSEUDO_BYTES = PSEUDO_NAMES.map(([name]) => asciiBytes(name));

/** All entries' bytes in a row: name, value, name, value … */
export const STATIC_BYTES = asciiBytes(ENTRIES.map(([name, value]) => name + value).join(''));
/** The same as lines, `name: value` CRLF, which is how they are decoded. */
const STATIC_LINES = asciiBytes(ENTRIES.map(([name, value]) => `${name}: ${value}\r\n`).join(''));
export const STATIC_LINES_VIEW = new DataView(STATIC_LINES.buffer);
/** By index (from 1): where the line begins. */
export const STATIC_LINE_OFFSETS = new Uint16Array(STATIC_COUNT + 1);
/** By index (from 1): where the name begins in STATIC_BYTES; its value follows it. */
export const STATIC_OFFSETS = new Uint16Array(STATIC_COUNT + 1);
export const STATIC_NAME_LENGTHS = new Uint8Array(STATIC_COUNT + 1);
export const STATIC_VALUE_LENGTHS = new Uint8Array(STATIC_COUNT + 1);
/** By index: the F_ or P_ id of the name. */
export const STATIC_IDS = new Int8Array(STATIC_COUNT + 1);
/** By F_ id: the first index whose entry has that name, or 0. */
export const STATIC_INDEX_OF_ID = new Uint8Array(FIELD_NAMES.length);

const OTHER_NAMES: string[] = [''];
const OTHER_INDEXES: number[] = [0];
fillTables();
/** Names of the table without an F_ id. */
const OTHERS = new NameTable(OTHER_NAMES);

function fillTables(): void {
  let at = 0;
  for (let index = 1; index <= STATIC_COUNT; index++) {
    const [name, value] = ENTRIES[index - 1];
    STATIC_OFFSETS[index] = at;
    STATIC_LINE_OFFSETS[index] = at + 4 * (index - 1);
    STATIC_NAME_LENGTHS[index] = name.length;
    STATIC_VALUE_LENGTHS[index] = value.length;
    at += name.length + value.length;
    if (name.startsWith(':')) {
      STATIC_IDS[index] = PSEUDO_NAMES.find(([pseudo]) => pseudo === name)?.[1] ?? P_UNKNOWN;
      continue;
    }
    const id = Math.max(
      F_OTHER,
      FIELD_NAMES.findIndex((known) => known.toLowerCase() === name),
    );
    STATIC_IDS[index] = id;
    if (id !== F_OTHER) {
      STATIC_INDEX_OF_ID[id] = index;
    } else {
      OTHER_NAMES.push(name);
      OTHER_INDEXES.push(index);
    }
  }
}

/** The index of a field name without an F_ id, whatever its case, or 0. The bytes are a token. */
export function staticIndexOfOther(bytes: Uint8Array, offset: number, length: number): number {
  return OTHER_INDEXES[OTHERS.find(bytes, offset, length)];
}

/** The P_ id of a name that begins with a colon. */
export function pseudoIdOf(bytes: Uint8Array, offset: number, length: number): number {
  for (let index = 0; index < PSEUDO_BYTES.length; index++) {
    const name = PSEUDO_BYTES[index];
    if (name.length !== length) continue;
    let at = 0;
    while (at < length && bytes[offset + at] === name[at]) at++;
    if (at === length) return PSEUDO_NAMES[index][1];
  }
  return P_UNKNOWN;
}
