/** Heads of HTTP/1.1 messages as the edge writes them, on the primitives of src/http1/writer.ts. */

import { assert } from '../base/assert.ts';
import { ConstantText, type Memory } from '../base/bytes.ts';
import { F_CONTENT_LENGTH } from '../http/fields.ts';
import { BODY_LENGTH, BODY_NONE, M_HEAD, type RequestHead, type ResponseHead } from '../http/message.ts';
import {
  writeConstant,
  writeFieldDecimal,
  writeFields,
  writeLineEnd,
  writeStatusLine,
} from '../http1/writer.ts';
import type { MessageOut } from './message-out.ts';

const CHUNKED = new ConstantText('Transfer-Encoding: chunked\r\n');
const CLOSE = new ConstantText('Connection: close\r\n');
const KEEP_ALIVE = new ConstantText('Connection: keep-alive\r\n');
const UPGRADE = new ConstantText('Connection: upgrade\r\n');

/** An interim response. False: memory is exhausted. */
export function writeInformational(out: MessageOut, memory: Memory, head: ResponseHead): boolean {
  return inSmallOrLarge(out, () => {
    let at = writeStatusLine(memory, out.at, out.limit, head.status, head.reasonOffset, head.reasonLength);
    at = writeFields(memory, at, out.limit, head.fields);
    return writeLineEnd(memory, at, out.limit);
  });
}

/** A final response's head, or a 101. Leaves it in the open buffer. False: memory is exhausted. */
export function writeResponseHead(
  out: MessageOut,
  memory: Memory,
  request: RequestHead,
  head: ResponseHead,
  chunked: boolean,
  close: boolean,
  keepAlive10: boolean,
): boolean {
  if (!out.open()) return false;
  let at = responseHead(out, memory, request, head, chunked, close, keepAlive10);
  if (at < 0) {
    if (!out.reopenLarge()) return false;
    at = responseHead(out, memory, request, head, chunked, close, keepAlive10);
    if (at < 0) return false;
  }
  out.at = at;
  return true;
}

function responseHead(
  out: MessageOut,
  memory: Memory,
  request: RequestHead,
  head: ResponseHead,
  chunked: boolean,
  close: boolean,
  keepAlive10: boolean,
): number {
  const limit = out.limit;
  const fields = head.fields;
  let at = writeStatusLine(memory, out.at, limit, head.status, head.reasonOffset, head.reasonLength);
  at = writeFields(memory, at, limit, fields);
  if (chunked) {
    at = writeConstant(memory, at, limit, CHUNKED);
  } else if (needsLength(request, head) && fields.find(F_CONTENT_LENGTH, 0) < 0) {
    at = writeFieldDecimal(memory, at, limit, F_CONTENT_LENGTH, Math.max(0, head.contentLength));
  }
  if (head.status === 101) at = writeConstant(memory, at, limit, UPGRADE);
  else if (close) at = writeConstant(memory, at, limit, CLOSE);
  else if (keepAlive10) at = writeConstant(memory, at, limit, KEEP_ALIVE);
  return writeLineEnd(memory, at, limit);
}

/** Whether the head must declare its content's length (RFC 9110 §8.6). */
function needsLength(request: RequestHead, head: ResponseHead): boolean {
  const status = head.status;
  if (status === 204 || status < 200) return false;
  if (status === 304 || request.methodId === M_HEAD) return head.contentLength >= 0;
  return head.bodyKind === BODY_LENGTH || head.bodyKind === BODY_NONE;
}

/** Writes with `write` into a small buffer, or into a large one where that is too small. Not for the hot path. */
function inSmallOrLarge(out: MessageOut, write: () => number): boolean {
  if (!out.open()) return false;
  let at = write();
  if (at < 0) {
    if (!out.reopenLarge()) return false;
    at = write();
  }
  if (at < 0) return false;
  assert(at <= out.limit, 'a head beyond its buffer');
  out.at = at;
  return true;
}
