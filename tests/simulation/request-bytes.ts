/** Requests of a plan as bytes on the wire, valid and not. */

import { content, UP } from './content.ts';
import type { RequestPlan } from './plan.ts';
import { BODY_BYTES_MAX } from './plan.ts';
import type { Step } from './scripted-socket.ts';

export const HOST = 'edge.test';
/** The key and its answer of RFC 6455 §1.3. */
export const WEBSOCKET_KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
export const WEBSOCKET_ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';

const TRACE = 'TRACE';

function bytesOf(text: string): Uint8Array {
  return Buffer.from(text, 'latin1');
}

/** Fields that a malformed request has beside, or instead of, those of a valid one. */
function wrongFields(malformed: string): string[] {
  switch (malformed) {
    case 'two lengths':
      return ['Content-Length: 3', 'Content-Length: 4'];
    case 'length and coding':
      return ['Content-Length: 3', 'Transfer-Encoding: chunked'];
    case 'unknown coding':
      return ['Transfer-Encoding: chunked, cow'];
    case 'folded field':
      return ['X-Folded: one', ' two'];
    case 'bare LF':
      return ['X-Bare: one\nX-Smuggled: two'];
    case 'space before colon':
      return ['X-Space : one'];
    case 'two hosts':
      return ['Host: other.test'];
    case 'negative length':
      return ['Content-Length: -1'];
    case 'too large':
      return [`Content-Length: ${BODY_BYTES_MAX + 1}`];
    default:
      return [];
  }
}

/** The request line and fields. */
export function headBytes(plan: RequestPlan): Uint8Array {
  const { malformed } = plan;
  if (malformed === 'junk') return bytesOf('\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 junk\r\n\r\n');
  const version = malformed === 'bad version' ? 'HTTP/1.7x' : `HTTP/${plan.version}`;
  const method = malformed === 'trace' ? TRACE : plan.method;
  const lines = [`${method} ${plan.target} ${version}`];
  if (malformed !== 'no host') lines.push(`Host: ${HOST}`);
  lines.push(`X-Sim-Id: ${plan.id}`);
  if (plan.range !== null) lines.push(`Range: bytes=${plan.range[0]}-${plan.range[1]}`);
  // What a peer says of itself is replaced, and hop-by-hop fields end here.
  lines.push('X-Forwarded-For: 6.6.6.6', 'Keep-Alive: timeout=99');
  if (plan.tunnelBytes >= 0) {
    lines.push('Connection: Upgrade, Keep-Alive', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13');
    lines.push(`Sec-WebSocket-Key: ${WEBSOCKET_KEY}`);
  } else {
    lines.push(`Connection: ${plan.closes ? 'close, ' : ''}Keep-Alive, X-Hop`, 'X-Hop: ends here');
  }
  const wrong = wrongFields(malformed);
  const framed = wrong.some((field) => /^(Content-Length|Transfer-Encoding):/.test(field));
  if (!framed) {
    if (plan.body === 'chunked' || isChunkedMalformed(malformed)) lines.push('Transfer-Encoding: chunked');
    else if (plan.body === 'length') lines.push(`Content-Length: ${plan.bytes}`);
  }
  if (plan.expectContinue) lines.push('Expect: 100-continue');
  lines.push(...wrong);
  return bytesOf(`${lines.join('\r\n')}\r\n\r\n`);
}

function isChunkedMalformed(malformed: string): boolean {
  return malformed === 'bad chunk size' || malformed === 'bad chunk end' || malformed === 'too many chunks';
}

/** Content in `count` pieces of about the same size, each as a function of its place. */
export function split(bytes: number, count: number): { from: number; length: number }[] {
  const pieces: { from: number; length: number }[] = [];
  const each = Math.max(1, Math.ceil(bytes / count));
  for (let from = 0; from < bytes; from += each) pieces.push({ from, length: Math.min(each, bytes - from) });
  return pieces;
}

export function chunk(bytes: Uint8Array, extension: string): Uint8Array {
  return Buffer.concat([bytesOf(`${bytes.length.toString(16)}${extension}\r\n`), bytes, bytesOf('\r\n')]);
}

/** What follows the head. */
export function contentSteps(plan: RequestPlan): Step[] {
  const steps: Step[] = [];
  const pause = (): void => {
    if (plan.pauseMs > 0) steps.push({ kind: 'wait', ms: plan.pauseMs });
  };
  const { id, malformed } = plan;
  if (malformed === 'bad chunk size')
    return [{ kind: 'bytes', bytes: bytesOf('5\r\nhello\r\n+5\r\nworld\r\n0\r\n\r\n') }];
  if (malformed === 'bad chunk end') return [{ kind: 'bytes', bytes: bytesOf('5\r\nhelloXX\r\n0\r\n\r\n') }];
  if (malformed === 'too many chunks') {
    for (let from = 0; from <= BODY_BYTES_MAX; from += 16_000) {
      steps.push({ kind: 'bytes', bytes: chunk(content(id, UP, from, 16_000), '') });
    }
    return steps;
  }
  if (malformed !== '' || plan.body === 'none') return steps;
  for (const { from, length } of split(plan.bytes, plan.pieces)) {
    pause();
    const bytes = content(id, UP, from, length);
    const extension = from % 3 === 1 ? ';note="a;b"' : '';
    steps.push({ kind: 'bytes', bytes: plan.body === 'chunked' ? chunk(bytes, extension) : bytes });
  }
  pause();
  if (plan.body === 'chunked') {
    const trailer = id % 4 === 0 ? `X-Trailer: ${id}\r\n` : '';
    steps.push({ kind: 'bytes', bytes: bytesOf(`0\r\n${trailer}\r\n`) });
  }
  return steps;
}
