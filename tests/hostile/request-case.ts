/**
 * What a hostile request is and what must become of it: the shape of the tables in framing-cases.ts,
 * head-cases.ts and target-cases.ts, and the pieces that they are built from.
 */

export interface RejectedCase {
  readonly name: string;
  /** What is sent; `$ID` stands for a word that marks the bytes of this case. */
  readonly request: string;
  /** Statuses that are right; more than one where RFC 9110 and SPEC leave a choice. */
  readonly status: readonly number[];
  /**
   * `head`: not one byte may reach the origin. `body`: the fault stands behind a head that was in order, so
   * the origin may have got the head, but never a complete request.
   */
  readonly stage: 'head' | 'body';
  /** Requests in front of the fault that are in order and are answered 200. */
  readonly answered: number;
  /** Its end is certain, so the connection may go on behind the refusal; nothing is sent behind it. */
  readonly mayContinue: boolean;
}

/** Sent behind every case: it must never be answered and never reach the origin. */
export const POISON = 'GET /poison-$ID HTTP/1.1\r\nHost: example.com\r\n\r\n';

export const HOST = 'Host: example.com\r\n';

export function rejected(
  name: string,
  request: string,
  status: number | readonly number[] = 400,
): RejectedCase {
  const statuses = typeof status === 'number' ? [status] : status;
  return { name, request, status: statuses, stage: 'head', answered: 0, mayContinue: false };
}

/** A request in perfect order that is refused for what it asks. */
export function refused(name: string, request: string, status: number | readonly number[]): RejectedCase {
  return { ...rejected(name, request, status), mayContinue: true };
}

/** The fault is in the content of a request whose head was in order. */
export function rejectedBody(
  name: string,
  request: string,
  status: number | readonly number[] = 400,
): RejectedCase {
  return { ...rejected(name, request, status), stage: 'body' };
}

/** A GET with these field lines (each with its CRLF) besides Host. */
export function get(fields: string): string {
  return `GET /$ID HTTP/1.1\r\n${HOST}${fields}\r\n`;
}

export function post(fields: string, body: string): string {
  return `POST /$ID HTTP/1.1\r\n${HOST}${fields}\r\n${body}`;
}

/** A chunked POST with this coded content. */
export function chunked(content: string): string {
  return post('Transfer-Encoding: chunked\r\n', content);
}
