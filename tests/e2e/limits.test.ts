/** Every limit of a route just under, at, and just over; methods, addresses, rates. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { type Origin, parseEcho, serveEcho, startOrigin } from '../fixtures/origin.ts';
import { exchangeOnce, RawClient } from '../fixtures/raw-client.ts';

const HOST = 'Host: example.com\r\n';
const HEAD_BYTES_MAX = 2048;
const BODY_BYTES_MAX = 1000;
const CHUNKED_BYTES_MAX = 1500;

function route(path: string, url: string, security: string): string {
  return `[path_routes."example.com"."${path}"]\ntype = "Proxy"\nurl = "${url}"\n[path_routes."example.com"."${path}".security]\n${security}\n`;
}

/** A GET of exactly `length` bytes of head. */
function headOf(length: number): string {
  const rest = `GET / HTTP/1.1\r\n${HOST}X-Pad: \r\n\r\n`;
  return rest.replace('X-Pad: ', `X-Pad: ${'p'.repeat(length - rest.length)}`);
}

/** A GET whose request line has exactly `length` bytes, its CRLF included. */
function lineOf(length: number): string {
  const rest = 'GET / HTTP/1.1\r\n';
  return `GET /${'p'.repeat(length - rest.length)} HTTP/1.1\r\n${HOST}\r\n`;
}

function chunks(length: number, each: number): string {
  let coded = '';
  for (let sent = 0; sent < length; sent += each) {
    const size = Math.min(each, length - sent);
    coded += `${size.toString(16)}\r\n${'c'.repeat(size)}\r\n`;
  }
  return `${coded}0\r\n\r\n`;
}

function suite(io: IoBackend): void {
  describe(`limits (${io})`, { concurrency: 8 }, () => {
    let origin: Origin;
    let edge: Edge;
    let small: Edge;

    before(async () => {
      origin = await startOrigin(serveEcho);
      const { url } = origin;
      edge = await startEdge(
        route('/', url, '') +
          route(
            '/body',
            url,
            `max_request_body_size = ${BODY_BYTES_MAX}\nmax_chunked_body_size = ${CHUNKED_BYTES_MAX}`,
          ) +
          route('/nobody', url, 'max_request_body_size = 0\nmax_chunked_body_size = 0') +
          route('/methods', url, 'allowed_methods = ["GET", "POST"]') +
          route('/denied', url, 'denied_ips = ["127.0.0.1"]') +
          route('/denied-cidr', url, 'denied_ips = ["127.0.0.0/8"]') +
          route('/allowed', url, 'allowed_ips = ["127.0.0.0/8"]') +
          route('/allowed-others', url, 'allowed_ips = ["10.0.0.0/8", "::1"]') +
          route('/deny-beats', url, 'allowed_ips = ["127.0.0.1"]\ndenied_ips = ["127.0.0.0/8"]') +
          route(
            '/order',
            url,
            'denied_ips = ["127.0.0.1"]\nallowed_methods = ["GET"]\nmax_request_body_size = 1',
          ) +
          route(
            '/order-method',
            url,
            'allowed_methods = ["GET"]\nmax_request_body_size = 1\nrate_limit_requests_per_min = 1',
          ) +
          route('/order-size', url, 'max_request_body_size = 1\nrate_limit_requests_per_min = 1') +
          route('/rate', url, 'rate_limit_requests_per_min = 5') +
          route('/rate-other', url, 'rate_limit_requests_per_min = 5') +
          route('/rate-many', url, 'rate_limit_requests_per_min = 50'),
        { io },
      );
      small = await startEdge(route('/', url, `max_request_header_size = ${HEAD_BYTES_MAX}`), { io });
    });

    after(async () => {
      await edge.stop();
      await small.stop();
      assert.deepEqual(origin.violations, []);
      await origin.close();
    });

    const statusOf = async (target: number, request: string): Promise<number> =>
      (await exchangeOnce(target, request)).status;

    for (const [name, length, status] of [
      ['just under', HEAD_BYTES_MAX - 1, 200],
      ['at', HEAD_BYTES_MAX, 200],
      ['just over', HEAD_BYTES_MAX + 1, 431],
      ['far over', HEAD_BYTES_MAX * 2, 431],
    ] as const) {
      test(`a head ${name} max_request_header_size is ${status}`, async () => {
        assert.equal(await statusOf(small.port, headOf(length)), status);
      });
    }

    for (const [name, length, status] of [
      ['just over', 8193, 431],
      ['at', 8192, 200],
    ] as const) {
      test(`a head ${name} the default of 8 KiB is ${status}`, async () => {
        assert.equal(await statusOf(edge.port, headOf(length)), status);
      });
    }

    test('a request line longer than the head may be is 414', async () => {
      assert.equal(await statusOf(small.port, lineOf(HEAD_BYTES_MAX + 1)), 414);
      assert.equal(await statusOf(small.port, lineOf(HEAD_BYTES_MAX * 3)), 414);
      assert.equal(await statusOf(edge.port, lineOf(8193)), 414);
    });

    test('a request line that leaves room for its fields is served', async () => {
      assert.equal(await statusOf(small.port, lineOf(HEAD_BYTES_MAX - HOST.length - 2)), 200);
    });

    for (const [name, length, status] of [
      ['just under', BODY_BYTES_MAX - 1, 200],
      ['at', BODY_BYTES_MAX, 200],
      ['just over', BODY_BYTES_MAX + 1, 413],
      ['far over', 10_000_000_000, 413],
    ] as const) {
      test(`declared content ${name} max_request_body_size is ${status}`, async () => {
        const content = status === 200 ? 'd'.repeat(length) : '';
        const response = await exchangeOnce(
          edge.port,
          `POST /body HTTP/1.1\r\n${HOST}Content-Length: ${length}\r\n\r\n${content}`,
        );
        assert.equal(response.status, status);
        if (status === 200) assert.equal(parseEcho(response.body).bodyLength, length);
      });
    }

    test('declared content over the limit is refused before any of it is forwarded', async () => {
      const client = await RawClient.connect(edge.port);
      await client.send(`POST /body/unforwarded HTTP/1.1\r\n${HOST}Content-Length: 2000\r\n\r\n`);
      assert.equal((await client.response('POST')).status, 413);
      assert.ok(!origin.text().includes('/unforwarded'));
      client.destroy();
    });

    for (const each of [1, 100, 4096]) {
      for (const [name, length, status] of [
        ['just under', CHUNKED_BYTES_MAX - 1, 200],
        ['at', CHUNKED_BYTES_MAX, 200],
        ['just over', CHUNKED_BYTES_MAX + 1, 413],
      ] as const) {
        test(`chunked content ${name} max_chunked_body_size in chunks of ${each} is ${status}`, async () => {
          const client = await RawClient.connect(edge.port);
          const target = `/body/chunked-${each}-${length}`;
          await client.send(
            `POST ${target} HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n${chunks(length, each)}`,
          );
          const response = await client.response('POST');
          assert.equal(response.status, status);
          if (status === 200) assert.equal(parseEcho(response.body).bodyLength, length);
          else await client.closed();
          const completed = origin
            .requests()
            .some((request) => request.target.endsWith(target.slice('/body'.length)));
          assert.equal(completed, status === 200);
          client.destroy();
        });
      }
    }

    test('a limit of 0 allows no content, and requests without any', async () => {
      assert.equal(await statusOf(edge.port, `GET /nobody HTTP/1.1\r\n${HOST}\r\n`), 200);
      assert.equal(
        await statusOf(edge.port, `POST /nobody HTTP/1.1\r\n${HOST}Content-Length: 0\r\n\r\n`),
        200,
      );
      assert.equal(
        await statusOf(edge.port, `POST /nobody HTTP/1.1\r\n${HOST}Content-Length: 1\r\n\r\nx`),
        413,
      );
      assert.equal(
        await statusOf(
          edge.port,
          `POST /nobody HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n`,
        ),
        413,
      );
    });

    for (const [method, status] of [
      ['GET', 200],
      ['POST', 200],
      ['PUT', 405],
      ['DELETE', 405],
      // Who may GET may HEAD.
      ['HEAD', 200],
      ['get', 405],
      ['PURGE', 405],
    ] as const) {
      test(`${method} where GET and POST are allowed is ${status}`, async () => {
        const response = await exchangeOnce(edge.port, `${method} /methods HTTP/1.1\r\n${HOST}\r\n`);
        assert.equal(response.status, status);
        if (status === 405) {
          const allow = (response.get('allow') ?? '').split(/\s*,\s*/).sort();
          assert.deepEqual(allow, ['GET', 'POST']);
        }
      });
    }

    for (const [path, status] of [
      ['/denied', 403],
      ['/denied-cidr', 403],
      ['/allowed', 200],
      ['/allowed-others', 403],
      ['/deny-beats', 403],
    ] as const) {
      test(`127.0.0.1 at ${path} is ${status}`, async () => {
        assert.equal(await statusOf(edge.port, `GET ${path} HTTP/1.1\r\n${HOST}\r\n`), status);
      });
    }

    test('another address of this machine is judged by its own', async () => {
      const target = { port: edge.port, host: '127.0.0.1', localAddress: '127.0.0.9' };
      assert.equal((await exchangeOnce(target, `GET /denied HTTP/1.1\r\n${HOST}\r\n`)).status, 200);
      assert.equal((await exchangeOnce(target, `GET /denied-cidr HTTP/1.1\r\n${HOST}\r\n`)).status, 403);
    });

    test('a forged X-Forwarded-For opens no door', async () => {
      const request = `GET /allowed-others HTTP/1.1\r\n${HOST}X-Forwarded-For: 10.0.0.1\r\n\r\n`;
      assert.equal(await statusOf(edge.port, request), 403);
    });

    test('the checks come in the order address, method, size, rate', async () => {
      const content = 'Content-Length: 9\r\n\r\nxxxxxxxxx';
      assert.equal(await statusOf(edge.port, `PUT /order HTTP/1.1\r\n${HOST}${content}`), 403);
      assert.equal(await statusOf(edge.port, `PUT /order-method HTTP/1.1\r\n${HOST}${content}`), 405);
      for (let round = 0; round < 3; round++) {
        assert.equal(await statusOf(edge.port, `PUT /order-size HTTP/1.1\r\n${HOST}${content}`), 413);
      }
    });

    test('exactly as many requests pass as the rate allows, then 429 with Retry-After', async () => {
      const client = await RawClient.connect(edge.port);
      const statuses: number[] = [];
      for (let round = 0; round < 9; round++) {
        const response = await client.request(`GET /rate HTTP/1.1\r\n${HOST}\r\n`);
        statuses.push(response.status);
        if (response.status === 429) {
          const seconds = Number(response.get('retry-after'));
          assert.ok(
            Number.isInteger(seconds) && seconds >= 1 && seconds <= 60,
            response.get('retry-after') ?? '',
          );
        }
      }
      assert.deepEqual(statuses, [200, 200, 200, 200, 200, 429, 429, 429, 429]);
      client.destroy();
    });

    test('a rate counts for its route and its client alone', async () => {
      const other = { port: edge.port, host: '127.0.0.1', localAddress: '127.0.0.77' };
      for (let round = 0; round < 5; round++) {
        assert.equal(await statusOf(edge.port, `GET /rate-other HTTP/1.1\r\n${HOST}\r\n`), 200);
      }
      assert.equal(await statusOf(edge.port, `GET /rate-other HTTP/1.1\r\n${HOST}\r\n`), 429);
      assert.equal((await exchangeOnce(other, `GET /rate-other HTTP/1.1\r\n${HOST}\r\n`)).status, 200);
      assert.equal(await statusOf(edge.port, `GET / HTTP/1.1\r\n${HOST}\r\n`), 200);
    });

    test('a rate is exact for requests that come at once on many connections', async () => {
      const statuses = await Promise.all(
        Array.from({ length: 80 }, () => statusOf(edge.port, `GET /rate-many HTTP/1.1\r\n${HOST}\r\n`)),
      );
      assert.equal(statuses.filter((status) => status === 200).length, 50);
      assert.equal(statuses.filter((status) => status === 429).length, 30);
    });

    test('a refused request leaves its connection in order, or closed', async () => {
      const client = await RawClient.connect(edge.port);
      const first = await client.request(`PUT /methods HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`);
      assert.equal(first.status, 405);
      if (/close/i.test(first.get('connection') ?? '')) await client.closed();
      else assert.equal((await client.request(`GET /methods HTTP/1.1\r\n${HOST}\r\n`)).status, 200);
      client.destroy();
    });
  });
}

for (const io of IO_BACKENDS) suite(io);
