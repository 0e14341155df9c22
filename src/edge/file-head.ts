/** Heads of responses that a file route sends; for those without content, that is all of them but the end. */

import { NOT_MODIFIED, type PRECONDITION_FAILED } from '../http/conditional.ts';
import { F_CONTENT_RANGE, F_CONTENT_TYPE, F_LOCATION } from '../http/fields.ts';
import { BODY_LENGTH, BODY_NONE, LENGTH_UNKNOWN } from '../http/message.ts';
import type { RangeSet } from '../http/ranges.ts';
import type { FileEntry } from './file-table.ts';
import { pathText, queryText } from './location.ts';
import { MULTIPART_TYPE } from './multipart-ranges.ts';
import type { ResponseTarget } from './responder.ts';

/**
 * The head of a 200 or 206 with these ranges of a representation of `size` bytes. `delimiterBytes` is what stands
 * between and around several ranges; 0 for a single one.
 */
export function sendFileHead(
  target: ResponseTarget,
  entry: FileEntry,
  status: number,
  ranges: RangeSet,
  delimiterBytes: number,
  size: number,
): void {
  const { response } = target;
  response.status = status;
  response.bodyKind = BODY_LENGTH;
  response.contentLength = ranges.totalBytes() + delimiterBytes;
  if (delimiterBytes > 0) {
    entry.addForParts(response.fields);
    target.addResponseField(F_CONTENT_TYPE, '', MULTIPART_TYPE);
  } else {
    entry.addAll(response.fields);
    if (status === 206) {
      const range = `bytes ${ranges.starts[0]}-${ranges.ends[0] - 1}/${size}`;
      target.addResponseField(F_CONTENT_RANGE, '', range);
    }
  }
  target.sendHead();
}

/** What the request's preconditions led to. */
export function sendVerdict(
  target: ResponseTarget,
  entry: FileEntry,
  verdict: typeof NOT_MODIFIED | typeof PRECONDITION_FAILED,
): void {
  const { response } = target;
  response.status = verdict;
  response.bodyKind = BODY_NONE;
  response.contentLength = verdict === NOT_MODIFIED ? LENGTH_UNKNOWN : 0;
  entry.addValidators(response.fields);
  target.sendHead();
}

/** 416: no range lies within the `size` bytes. */
export function sendUnsatisfiable(target: ResponseTarget, entry: FileEntry, size: number): void {
  const { response } = target;
  response.status = 416;
  response.bodyKind = BODY_NONE;
  response.contentLength = 0;
  entry.addValidators(response.fields);
  target.addResponseField(F_CONTENT_RANGE, '', `bytes */${size}`);
  target.sendHead();
}

/** `/docs/sub`, a directory: relative links in its index need the slash. The query is kept. */
export function sendDirectoryRedirect(target: ResponseTarget): void {
  const { pool } = target.reactor;
  const { request, response } = target;
  const path = pathText(pool, target.pathOffset, target.pathLength);
  response.status = 301;
  target.addResponseField(F_LOCATION, '', `${path}/${queryText(pool, request)}`);
  response.bodyKind = BODY_NONE;
  response.contentLength = 0;
  target.sendHead();
}
