/**
 * What each byte may be in HTTP's grammars, as one table of bit flags: one load and one test a byte.
 * Sources: RFC 9110 §5.5, §5.6; RFC 3986 §2, §3; RFC 9112 §3.
 */

/** `tchar`: methods, field names, tokens (RFC 9110 §5.6.2). */
export const TCHAR = 1;
/** `tchar` but for `_`, so that a scan of a field name stops at an underscore and its rule costs nothing elsewhere. */
export const NAME = 2;
/** What a field value may hold: HTAB, SP, visible ASCII, obs-text (RFC 9110 §5.5). */
export const VALUE = 4;
/**
 * `pchar` and `/` (RFC 3986 §3.3) but for `%`, which is looked at by itself; and `[`, `]`, `|`, which are not
 * in the grammar but which browsers send as they are (WHATWG URL, path percent-encode set) and no parser
 * takes for a delimiter of a path. Backslash, `^`, `{`, `}`, `"`, `<`, `>`, backtick stay refused.
 */
export const PATH = 8;
/**
 * A query as browsers write it: all visible ASCII but for `"`, `<`, `>`, `#` (WHATWG URL, query
 * percent-encode set), wider than RFC 3986 §3.4 by ``[]{}|\^` `` and a `%` without two digits.
 */
export const QUERY = 16;
/** HEXDIG. */
export const HEX = 32;
/**
 * A label of a registered name: letters, digits, `-`, `_`, `~` (RFC 3986 `unreserved`, the dot apart). Its
 * `sub-delims` and percent-encoding are refused: no name in DNS has them, and readers of `Host` differ on them.
 */
export const LABEL = 64;
/** `qdtext` (RFC 9110 §5.6.4). */
export const QDTEXT = 128;

export const HTAB = 0x09;
export const LF = 0x0a;
export const CR = 0x0d;
export const SP = 0x20;
export const COLON = 0x3a;
export const COMMA = 0x2c;
export const SEMICOLON = 0x3b;
export const EQUALS = 0x3d;
export const DQUOTE = 0x22;
export const BACKSLASH = 0x5c;
export const SLASH = 0x2f;
export const QUESTION = 0x3f;
export const PERCENT = 0x25;
export const UNDERSCORE = 0x5f;
export const ASTERISK = 0x2a;

/** Index: the byte; value: the flags above. */
export const CHAR_CLASS: Uint8Array = classify();

function classify(): Uint8Array {
  const table = new Uint8Array(256);
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
  const digits = '0123456789';
  mark(table, `${letters}${digits}!#$%&'*+-.^_\`|~`, TCHAR);
  mark(table, `${letters}${digits}!#$%&'*+-.^\`|~`, NAME);
  mark(table, `${letters}${digits}-._~!$&'()*+,;=:@/[]|`, PATH);
  mark(table, `${digits}abcdefABCDEF`, HEX);
  mark(table, `${letters}${digits}-_~`, LABEL);
  for (let byte = 0x21; byte <= 0x7e; byte++) {
    if (byte !== 0x22 && byte !== 0x23 && byte !== 0x3c && byte !== 0x3e) table[byte] |= QUERY;
  }
  for (let byte = 0; byte < 256; byte++) {
    if (byte !== HTAB && (byte < 0x20 || byte === 0x7f)) continue;
    table[byte] |= VALUE;
    if (byte !== DQUOTE && byte !== BACKSLASH) table[byte] |= QDTEXT;
  }
  return table;
}

function mark(table: Uint8Array, characters: string, flag: number): void {
  for (let index = 0; index < characters.length; index++) table[characters.charCodeAt(index)] |= flag;
}
