/**
 * How an entry is written: as text (`time [LEVEL] message key=value …`) or as one JSON object, one line each.
 * Whatever a peer put into a value stays inside it: control characters, quotes and what turns the direction of
 * text are escaped, and every value is bounded. Pure.
 */

import { putText } from '../base/bytes.ts';

export type Level = 'trace' | 'debug' | 'info' | 'warn' | 'error';
export type Format = 'text' | 'json';

/** What an entry says beside its message. Names are our own constants. */
export type LogFields = Readonly<Record<string, string | number>>;

/** Characters of one value or message that are written; the rest becomes an ellipsis. */
export const VALUE_CHARS_MAX = 2048;

/** One request and its response, for the access log. Reused: filled before each `Log.access`. */
export class AccessRecord {
  client: string;
  method: string;
  host: string;
  /** As received, with its query. */
  path: string;
  /** 0: cut without a response. */
  status: number;
  /** Of the response's content. */
  bytes: number;
  durationMs: number;
  /** URL of the backend; empty: none was asked. */
  upstream: string;
  requestId: string;
  /** Word of the fault that ended it (http/fault.ts); empty: none. */
  reason: string;
  /** Host and path lie in `source`, Latin-1, and not in `host` and `path`. */
  located: boolean;
  source: Uint8Array;
  hostOffset: number;
  hostLength: number;
  pathOffset: number;
  pathLength: number;

  constructor() {
    this.client = '';
    this.method = '';
    this.host = '';
    this.path = '';
    this.status = 0;
    this.bytes = 0;
    this.durationMs = 0;
    this.upstream = '';
    this.requestId = '';
    this.reason = '';
    this.located = false;
    this.source = NO_BYTES;
    this.hostOffset = 0;
    this.hostLength = 0;
    this.pathOffset = 0;
    this.pathLength = 0;
  }

  /** Makes text of what lies in `source`. Allocates. */
  bringHome(): void {
    if (!this.located) return;
    this.located = false;
    this.host = latin1(this.source, this.hostOffset, this.hostLength);
    this.path = latin1(this.source, this.pathOffset, this.pathLength);
  }
}

const NO_BYTES = new Uint8Array(0);

function latin1(bytes: Uint8Array, offset: number, length: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + offset, length).latin1Slice(0, length);
}

/** A line with its newline. `wallMs` is milliseconds since 1970. */
export function formatEntry(
  format: Format,
  wallMs: number,
  level: Level,
  message: string,
  fields: LogFields,
): string {
  const time = formatTime(wallMs);
  if (format === 'json') {
    let line = `{"time":"${time}","level":"${level}","message":${quoted(message)}`;
    for (const name in fields) {
      const value = fields[name];
      line += `,"${name}":${typeof value === 'number' ? jsonNumber(value) : quoted(value)}`;
    }
    return `${line}}\n`;
  }
  let line = `${time} [${level.toUpperCase()}] ${escaped(message, false)}`;
  for (const name in fields) line += ` ${name}=${textValue(String(fields[name]))}`;
  return `${line}\n`;
}

/** The same for a request. access-line.ts writes the same of those that need no escape. */
export function formatAccess(format: Format, wallMs: number, record: AccessRecord): string {
  record.bringHome();
  const time = formatTime(wallMs);
  if (format === 'json') {
    return (
      `{"time":"${time}","level":"info","message":"access","client":${quoted(record.client)}` +
      `,"method":${quoted(record.method)},"host":${quoted(record.host)},"path":${quoted(record.path)}` +
      `,"status":${record.status},"bytes":${record.bytes},"duration_ms":${record.durationMs}` +
      `,"upstream":${quoted(record.upstream)},"request_id":${quoted(record.requestId)}` +
      `,"reason":${quoted(record.reason)}}\n`
    );
  }
  return (
    `${time} [INFO] access client=${textValue(record.client)} method=${textValue(record.method)}` +
    ` host=${textValue(record.host)} path=${textValue(record.path)} status=${record.status}` +
    ` bytes=${record.bytes} duration_ms=${record.durationMs} upstream=${textValue(record.upstream)}` +
    ` request_id=${textValue(record.requestId)} reason=${textValue(record.reason)}\n`
  );
}

/** Bytes of a time: RFC 3339 with milliseconds, UTC. */
export const TIME_BYTES = 24;

/** The second that was formatted last: most entries share theirs with the one before. */
let lastSecond = Number.NaN;
let lastSecondText = '';
const lastSecondBytes = new Uint8Array(TIME_BYTES);

function formatSecond(second: number): void {
  lastSecond = second;
  lastSecondText = new Date(second * 1000).toISOString().slice(0, 20);
  putText(lastSecondBytes, 0, lastSecondText);
}

function formatTime(wallMs: number): string {
  const second = Math.floor(wallMs / 1000);
  if (second !== lastSecond) formatSecond(second);
  const ms = Math.floor(wallMs) - second * 1000;
  return `${lastSecondText}${ms < 10 ? '00' : ms < 100 ? '0' : ''}${ms}Z`;
}

/** The same as TIME_BYTES bytes at `at`. */
export function putTime(bytes: Uint8Array, at: number, wallMs: number): void {
  const second = Math.floor(wallMs / 1000);
  if (second !== lastSecond) formatSecond(second);
  const ms = Math.floor(wallMs) - second * 1000;
  for (let index = 0; index < 20; index++) bytes[at + index] = lastSecondBytes[index];
  bytes[at + 20] = ZERO + Math.floor(ms / 100);
  bytes[at + 21] = ZERO + (Math.floor(ms / 10) % 10);
  bytes[at + 22] = ZERO + (ms % 10);
  bytes[at + 23] = UPPER_Z;
}

const ZERO = 0x30;
const UPPER_Z = 0x5a;

function jsonNumber(value: number): string {
  return Number.isFinite(value) ? String(value) : 'null';
}

/** A value as it is where it is plain, otherwise in quotes; `-` for an empty one. */
function textValue(value: string): string {
  if (value === '') return '-';
  return isPlain(value) ? value : quoted(value);
}

/** In JSON's quotes, with JSON's escapes. */
function quoted(value: string): string {
  return `"${escaped(value, true)}"`;
}

/** Characters that stand for themselves without quotes: visible ASCII but the quote, the backslash and `=`. */
function isPlain(value: string): boolean {
  if (value === '-' || value.length > VALUE_CHARS_MAX) return false;
  for (let index = 0; index < value.length; index++) {
    const code = value.charCodeAt(index);
    if (code <= 0x20 || code >= 0x7f || code === 0x22 || code === 0x3d || code === 0x5c) return false;
  }
  return true;
}

/** Controls (C0, DEL, C1), what changes the direction or the end of a line, half pairs: `\u` and four digits. */
function escaped(value: string, inQuotes: boolean): string {
  const bounded = value.length > VALUE_CHARS_MAX ? `${value.slice(0, VALUE_CHARS_MAX)}…` : value;
  let text = '';
  let from = 0;
  for (let index = 0; index < bounded.length; index++) {
    const code = bounded.charCodeAt(index);
    if (code >= 0x20 && code < 0x7f && code !== 0x5c && !(code === 0x22 && inQuotes)) continue;
    const replacement = escapeOf(bounded, index, code);
    if (replacement === '') continue;
    text += bounded.slice(from, index) + replacement;
    from = index + 1;
  }
  return from === 0 ? bounded : text + bounded.slice(from);
}

/** What to write for a character; empty: itself. */
function escapeOf(text: string, index: number, code: number): string {
  if (code === 0x22) return '\\"';
  if (code === 0x5c) return '\\\\';
  const isControl = code < 0x20 || (code >= 0x7f && code < 0xa0);
  const isDirection = (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e);
  const isIsolate = (code >= 0x2060 && code <= 0x206f) || code === 0xfeff;
  if (isControl || isDirection || isIsolate || isHalfPair(text, index, code)) {
    return `\\u${code.toString(16).padStart(4, '0')}`;
  }
  return '';
}

function isHalfPair(text: string, index: number, code: number): boolean {
  if (code >= 0xd800 && code <= 0xdbff) {
    const next = text.charCodeAt(index + 1);
    return !(next >= 0xdc00 && next <= 0xdfff);
  }
  if (code < 0xdc00 || code > 0xdfff) return false;
  const before = index > 0 ? text.charCodeAt(index - 1) : 0;
  return !(before >= 0xd800 && before <= 0xdbff);
}
