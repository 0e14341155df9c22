/**
 * Memory that is not there: each single request for a buffer fails once, in scenarios that need many. Whatever
 * fails, nothing leaks, no assertion fails, and nobody gets a message that looks complete and is not.
 */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { type BufferId, NO_BUFFER, type SizeClass } from '../../src/io/buffer-pool.ts';
import { SimBufferPool } from '../../src/io/sim.ts';
import {
  bodyOf,
  dechunked,
  EdgeWorld,
  type EdgeWorldOptions,
  fieldsOf,
  get,
  statuses,
} from './edge-world.ts';

/** The `failAt`th `acquire` from now on finds nothing. */
class ForgetfulPool extends SimBufferPool {
  failAt = -1;
  asked = 0;

  override acquire(sizeClass: SizeClass): BufferId {
    if (this.failAt >= 0 && this.asked++ === this.failAt) return NO_BUFFER;
    return super.acquire(sizeClass);
  }
}

const CONTENT = 'abcdefghij'.repeat(2000);
const SECURITY = `max_request_header_size = 65536
add_request_headers = { "X-What" = "$request_uri" }
add_response_headers = { "X-Rule" = "1" }`;

function chunks(content: string, bytes: number): string {
  let text = '';
  for (let at = 0; at < content.length; at += bytes) {
    const part = content.slice(at, at + bytes);
    text += `${part.length.toString(16)}\r\n${part}\r\n`;
  }
  return `${text}0\r\n`;
}

/** The content of a response, or null where it is not complete. */
function contentOf(text: string, ended: boolean): string | null {
  const at = text.lastIndexOf('HTTP/1.1 ');
  const response = text.slice(at);
  if (!response.includes('\r\n\r\n')) return null;
  const body = bodyOf(response);
  if (fieldsOf(response, 'transfer-encoding').length > 0) {
    const end = body.lastIndexOf('\r\n0\r\n');
    return end < 0 || !body.endsWith('\r\n\r\n') ? null : dechunked(`${body.slice(0, end)}\r\n0\r\n\r\n`);
  }
  const [length] = fieldsOf(response, 'content-length');
  if (length === undefined) return ended ? body : null;
  return body.length === Number(length) ? body : null;
}

/** Plays a scenario with the first, the second, the third … buffer missing, until none is asked for. */
function withEachBufferMissing(options: EdgeWorldOptions, scenario: (world: EdgeWorld) => void): number {
  for (let failAt = 0; ; failAt++) {
    let pool: ForgetfulPool | null = null;
    const world = new EdgeWorld({
      ...options,
      edgePool: (shape) => {
        pool = new ForgetfulPool(shape);
        return pool;
      },
    });
    const forgetful = pool as ForgetfulPool | null;
    assert.ok(forgetful !== null);
    forgetful.failAt = failAt;
    try {
      scenario(world);
      world.end();
    } catch (error) {
      throw new Error(`with buffer ${failAt} missing`, { cause: error });
    }
    if (forgetful.asked <= failAt) return failAt;
  }
}

describe('when a buffer is missing', () => {
  it('an exchange with chunks, trailers, rules and a long head fails or succeeds as a whole', () => {
    const times = withEachBufferMissing({ security: SECURITY, faults: { partialReceive: 0.3 } }, (world) => {
      const origin = world.origin();
      const long = `X-Long: ${'v'.repeat(20_000)}`;
      const client = world.client();
      client.send(
        `${get('/%41/../b', 'Transfer-Encoding: chunked', long).replace('GET', 'POST')}${chunks(CONTENT, 3000)}X-Sum: 1\r\n\r\n`,
      );
      world.settle();
      for (const peer of origin.peers) {
        const body = bodyOf(peer.text);
        if (body.endsWith('X-Sum: 1\r\n\r\n')) {
          assert.ok(dechunked(body.replace('X-Sum: 1\r\n', '')) === CONTENT, 'the request has a hole');
        }
        peer.send(
          `HTTP/1.1 103 Early\r\n${long}\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n${long}\r\n\r\n${chunks(CONTENT, 5000)}X-End: 1\r\n\r\n`,
        );
      }
      world.pass(5000);
      const seen = statuses(client.text);
      if (seen.at(-1) === 200) {
        const content = contentOf(client.text, client.end === 0);
        assert.ok(
          content === CONTENT || (content === null && client.end !== null),
          'the response has a hole',
        );
      } else assert.ok([503, 502, 103, undefined].includes(seen.at(-1)), `status ${seen.at(-1)}`);
      assert.ok(seen.length > 0 || client.end !== null, 'the client is left alone');
    });
    assert.ok(times > 20);
  });

  it('an exchange of HTTP/1.0 fails or succeeds as a whole', () => {
    withEachBufferMissing({ security: SECURITY }, (world) => {
      const origin = world.origin();
      const client = world.client('GET /a HTTP/1.0\r\nHost: example.com\r\n\r\n');
      for (const peer of origin.peers) {
        peer.send(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunks(CONTENT, 700)}\r\n`);
      }
      world.pass(3000);
      if (statuses(client.text)[0] === 200 && client.end === 0) {
        assert.ok(bodyOf(client.text) === CONTENT, 'the response has a hole');
      }
      assert.notEqual(client.end, null);
    });
  });

  it('pipelined requests and a slow reader fail or succeed one by one', () => {
    const faults = { windowBytesMin: 3000, windowBytesMax: 3000 };
    withEachBufferMissing({ security: SECURITY, faults }, (world) => {
      const origin = world.origin();
      origin.answers(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunks(CONTENT, 900)}\r\n`);
      const client = world.client();
      client.stopReading();
      client.send(get('/1') + get('/2') + get('/3'));
      world.settle();
      client.read();
      world.pass(10_000);
      for (const response of client.text.split('HTTP/1.1 200 OK').slice(1)) {
        const body = bodyOf(response);
        const complete = body.endsWith('\r\n0\r\n\r\n');
        if (complete) assert.ok(dechunked(body) === CONTENT, 'a response has a hole');
        else assert.ok(client.end !== null || body.includes('HTTP/1.1 503'), 'a response that ends nowhere');
      }
    });
  });

  it('a tunnel is cut or carries everything', () => {
    const key = 'dGhlIHNhbXBsZSBub25jZQ==';
    const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
    const faults = { windowBytesMin: 3000, windowBytesMax: 3000 };
    withEachBufferMissing({ security: SECURITY, faults }, (world) => {
      const origin = world.origin();
      const client = world.client(
        get('/', 'Connection: upgrade', 'Upgrade: websocket', `Sec-WebSocket-Key: ${key}`),
      );
      for (const peer of origin.peers) {
        peer.text = '';
        peer.send(
          `HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
        );
      }
      world.settle();
      if (statuses(client.text)[0] === 101) {
        const { last } = origin;
        for (let at = 0; at < CONTENT.length; at += 500) {
          client.send(CONTENT.slice(at, at + 500));
          last.send(CONTENT.slice(at, at + 500));
        }
        world.settle();
        client.finish();
        last.finish();
        world.pass(1000);
        assert.ok(client.end !== null && last.end !== null);
        if (client.end === 0) assert.equal(bodyOf(client.text), CONTENT);
        if (last.end === 0) assert.equal(last.text, CONTENT);
      } else world.pass(3000);
    });
  });
});
