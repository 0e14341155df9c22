/**
 * A request's line of the log, byte by byte, where nothing in it needs an escape: nearly always, and several times as fast as
 * making text of it first. What formatAccess of line.ts writes is what is written here.
 */

import { asciiBytes, putDecimal } from '../base/bytes.ts';
import { type AccessRecord, type Format, putTime, TIME_BYTES, VALUE_CHARS_MAX } from './line.ts';

/** The request's line can't be written like that: a value has to be quoted, escaped or cut. */
export const NOT_PLAIN = -1;

/** Bytes of a line beside its values: names, the time, four numbers, quotes, and what is written beyond the end of a part. */
const FRAME_BYTES_MAX = 320;
const DASH = 0x2d;

/** What stands between two values, as words of four bytes, so that it is written with few stores. */
class Part {
  readonly length: number;
  readonly words: Int32Array;

  constructor(text: string) {
    const bytes = new Uint8Array((text.length + 3) & ~3);
    bytes.set(asciiBytes(text));
    const view = new DataView(bytes.buffer);
    this.length = text.length;
    this.words = Int32Array.from({ length: bytes.length >> 2 }, (_, index) => view.getInt32(index * 4, true));
  }
}

/** What stands between the values. */
interface Frame {
  readonly begin: Part;
  readonly client: Part;
  readonly method: Part;
  readonly host: Part;
  readonly path: Part;
  readonly status: Part;
  readonly bytes: Part;
  readonly durationMs: Part;
  readonly upstream: Part;
  readonly requestId: Part;
  readonly reason: Part;
  readonly end: Part;
  /** Stands for an empty value. */
  readonly empty: Part;
  /** 1 for each byte that stands for itself in a value. */
  readonly plain: Uint8Array;
}

const TEXT: Frame = {
  begin: new Part(''),
  client: new Part(' [INFO] access client='),
  method: new Part(' method='),
  host: new Part(' host='),
  path: new Part(' path='),
  status: new Part(' status='),
  bytes: new Part(' bytes='),
  durationMs: new Part(' duration_ms='),
  upstream: new Part(' upstream='),
  requestId: new Part(' request_id='),
  reason: new Part(' reason='),
  end: new Part('\n'),
  empty: new Part('-'),
  plain: visibleBut(' "=\\'),
};

const JSON_LINE: Frame = {
  begin: new Part('{"time":"'),
  client: new Part('","level":"info","message":"access","client":"'),
  method: new Part('","method":"'),
  host: new Part('","host":"'),
  path: new Part('","path":"'),
  status: new Part('","status":'),
  bytes: new Part(',"bytes":'),
  durationMs: new Part(',"duration_ms":'),
  upstream: new Part(',"upstream":"'),
  requestId: new Part('","request_id":"'),
  reason: new Part('","reason":"'),
  end: new Part('"}\n'),
  empty: new Part(''),
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
 * Writes the line at `at` of `bytes`, which `view` shows too, where `accessBytesMax` bytes are free. Returns where it ends, or NOT_PLAIN: what was written until
 * then is of no meaning.
 */
export function putAccess(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  format: Format,
  wallMs: number,
  record: AccessRecord,
): number {
  const frame = format === 'json' ? JSON_LINE : TEXT;
  let end = put(view, at, frame.begin);
  putTime(bytes, end, wallMs);
  end = put(view, end + TIME_BYTES, frame.client);
  end = putValue(bytes, view, end, frame, record.client);
  if (end >= 0) end = putValue(bytes, view, put(view, end, frame.method), frame, record.method);
  if (end < 0) return NOT_PLAIN;
  end = put(view, end, frame.host);
  end = record.located
    ? putLocated(bytes, view, end, frame, record.source, record.hostOffset, record.hostLength)
    : putValue(bytes, view, end, frame, record.host);
  if (end < 0) return NOT_PLAIN;
  end = put(view, end, frame.path);
  end = record.located
    ? putLocated(bytes, view, end, frame, record.source, record.pathOffset, record.pathLength)
    : putValue(bytes, view, end, frame, record.path);
  if (end < 0) return NOT_PLAIN;
  end = putDecimal(bytes, put(view, end, frame.status), record.status);
  end = putDecimal(bytes, put(view, end, frame.bytes), record.bytes);
  end = putDecimal(bytes, put(view, end, frame.durationMs), record.durationMs);
  end = putValue(bytes, view, put(view, end, frame.upstream), frame, record.upstream);
  if (end >= 0) end = putValue(bytes, view, put(view, end, frame.requestId), frame, record.requestId);
  if (end >= 0) end = putValue(bytes, view, put(view, end, frame.reason), frame, record.reason);
  return end < 0 ? NOT_PLAIN : put(view, end, frame.end);
}

/** Up to three bytes beyond the part are written too: what follows covers them. */
function put(view: DataView, at: number, part: Part): number {
  const { words } = part;
  for (let index = 0; index < words.length; index++) view.setInt32(at + index * 4, words[index], true);
  return at + part.length;
}

function putValue(bytes: Uint8Array, view: DataView, at: number, frame: Frame, value: string): number {
  const { length } = value;
  if (length === 0) return put(view, at, frame.empty);
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
  view: DataView,
  at: number,
  frame: Frame,
  source: Uint8Array,
  offset: number,
  length: number,
): number {
  if (length === 0) return put(view, at, frame.empty);
  if (length > VALUE_CHARS_MAX || isDash(frame, length, source[offset])) return NOT_PLAIN;
  const { plain } = frame;
  for (let index = 0; index < length; index++) {
    const byte = source[offset + index];
    if (plain[byte] === 0) return NOT_PLAIN;
    bytes[at + index] = byte;
  }
  return at + length;
}

/** What stands for an empty value has to be quoted where it is one. */
function isDash(frame: Frame, length: number, first: number): boolean {
  return length === 1 && frame.empty.length === 1 && first === DASH;
}
