/** What a client gets that speaks HTTP without TLS on a port that speaks TLS. */

const BODY = 'This port speaks TLS: use https:// instead of http://.\n';

/** ASCII. */
export const PLAIN_HTTP_ANSWER: string = [
  'HTTP/1.1 400 Bad Request',
  'Content-Type: text/plain; charset=utf-8',
  `Content-Length: ${BODY.length}`,
  'Connection: close',
  '',
  BODY,
].join('\r\n');
