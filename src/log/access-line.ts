/**
 * A request's line of the log, byte by byte, where nothing in it needs an escape: nearly always, and several times as fast as
 * making text of it first. What formatAccess of line.ts writes is what is written here.
 */

import { asciiBytes, copyAcross, putDecimal } from '../base/bytes.ts';
import { type AccessRecord, type Format, putTime, TIME_BYTES, VALUE_CHARS_MAX } from './line.ts';

/** The request's line can't be written like that: a value has to be quoted, escaped or cut. */
export const NOT_PLAIN = -1;

/** Bytes of a line beside its values: names, the time, four numbers, quotes. */
const FRAME_BYTES_MAX = 320;

/** What stands between the values. */
interface Frame {
  readonly begin: Uint8Array;
  readonly client: Uint8Array;
  readonly method: Uint8Array;
  readonly host: Uint8Array;
  readonly path: Uint8Array;
  readonly status: Uint8Array;
  readonly bytes: Uint8Array;
  readonly durationMs: Uint8Array;
  readonly upstream: Uint8Array;
  readonly requestId: Uint8Array;
  readonly reason: Uint8Array;
  readonly end: Uint8Array;
  /** Stands for an empty value. */
  readonly empty: Uint8Array;
  /** 1 for each byte that stands for itself in a value. */
  readonly plain: Uint8Array;
}

const TEXT: Frame = {
  begin: asciiBytes(''),
  client: asciiBytes(' [INFO] access client='),
  method: asciiBytes(' method='),
  host: asciiBytes(' host='),
  path: asciiBytes(' path='),
  status: asciiBytes(' status='),
  bytes: asciiBytes(' bytes='),
  durationMs: asciiBytes(' duration_ms='),
  upstream: asciiBytes(' upstream='),
  requestId: asciiBytes(' request_id='),
  reason: asciiBytes(' reason='),
  end: asciiBytes('\n'),
  empty: asciiBytes('-'),
  plain: visibleBut(' "=\\'),
};

const JSON_LINE: Frame = {
  begin: asciiBytes('{"time":"'),
  client: asciiBytes('","level":"info","message":"access","client":"'),
  method: asciiBytes('","method":"'),
  host: asciiBytes('","host":"'),
  path: asciiBytes('","path":"'),
  status: asciiBytes('","status":'),
  bytes: asciiBytes(',"bytes":'),
  durationMs: asciiBytes(',"duration_ms":'),
  upstream: asciiBytes(',"upstream":"'),
  requestId: asciiBytes('","request_id":"'),
  reason: asciiBytes('","reason":"'),
  end: asciiBytes('"}\n'),
  empty: asciiBytes(''),
  plain: visibleBut('"\\'),
};

function visibleBut(others: string): Uint8Array {
  const plain = new Uint8Array(256);
  for (let byte = 0x20; byte < 0x7f; byte++) plain[byte] = others.includes(String.fromCharCode(byte)) ? 0 : 1;
  return plain;
}

/** Bytes that the line takes at most, where it is plain. */
export function accessBytesMax(record: AccessRecord): number {
  const located = record.located ? record.hostLength + record.pathLength : 0;
  const { client, method, host, path, upstream, requestId, reason } = record;
  const values =
    client.length + method.length + host.length + path.length + upstream.length + requestId.length;
  return FRAME_BYTES_MAX + values + reason.length + located;
}

/**
 * Writes the line at `at`, where `accessBytesMax` bytes are free. Returns where it ends, or NOT_PLAIN: what was written until
 * then is of no meaning.
 */
export function putAccess(
  bytes: Uint8Array,
  at: number,
  format: Format,
  wallMs: number,
  record: AccessRecord,
): number {
  const frame = format === 'json' ? JSON_LINE : TEXT;
  let end = put(bytes, at, frame.begin);
  putTime(bytes, end, wallMs);
  end = put(bytes, end + TIME_BYTES, frame.client);
  end = putValue(bytes, end, frame, record.client);
  if (end >= 0) end = putValue(bytes, put(bytes, end, frame.method), frame, record.method);
  if (end < 0) return NOT_PLAIN;
  end = put(bytes, end, frame.host);
  end = record.located
    ? putLocated(bytes, end, frame, record.source, record.hostOffset, record.hostLength)
    : putValue(bytes, end, frame, record.host);
  if (end < 0) return NOT_PLAIN;
  end = put(bytes, end, frame.path);
  end = record.located
    ? putLocated(bytes, end, frame, record.source, record.pathOffset, record.pathLength)
    : putValue(bytes, end, frame, record.path);
  if (end < 0) return NOT_PLAIN;
  end = putDecimal(bytes, put(bytes, end, frame.status), record.status);
  end = putDecimal(bytes, put(bytes, end, frame.bytes), record.bytes);
  end = putDecimal(bytes, put(bytes, end, frame.durationMs), record.durationMs);
  end = putValue(bytes, put(bytes, end, frame.upstream), frame, record.upstream);
  if (end >= 0) end = putValue(bytes, put(bytes, end, frame.requestId), frame, record.requestId);
  if (end >= 0) end = putValue(bytes, put(bytes, end, frame.reason), frame, record.reason);
  return end < 0 ? NOT_PLAIN : put(bytes, end, frame.end);
}

function put(bytes: Uint8Array, at: number, part: Uint8Array): number {
  for (let index = 0; index < part.length; index++) bytes[at + index] = part[index];
  return at + part.length;
}

function putValue(bytes: Uint8Array, at: number, frame: Frame, value: string): number {
  const { length } = value;
  if (length === 0) return put(bytes, at, frame.empty);
  if (length > VALUE_CHARS_MAX || isDash(frame, length, value.charCodeAt(0))) return NOT_PLAIN;
  const { plain } = frame;
  for (let index = 0; index < length; index++) {
    const code = value.charCodeAt(index);
    if (code > 0xff || plain[code] === 0) return NOT_PLAIN;
    bytes[at + index] = code;
  }
  return at + length;
}

function putLocated(
  bytes: Uint8Array,
  at: number,
  frame: Frame,
  source: Uint8Array,
  offset: number,
  length: number,
): number {
  if (length === 0) return put(bytes, at, frame.empty);
  if (length > VALUE_CHARS_MAX || isDash(frame, length, source[offset])) return NOT_PLAIN;
  const { plain } = frame;
  for (let index = 0; index < length; index++) if (plain[source[offset + index]] === 0) return NOT_PLAIN;
  copyAcross(bytes, at, source, offset, length);
  return at + length;
}

/** What stands for an empty value has to be quoted where it is one. */
function isDash(frame: Frame, length: number, first: number): boolean {
  return length === 1 && frame.empty.length === 1 && first === frame.empty[0];
}
