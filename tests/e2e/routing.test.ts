/** Which route a request takes and what its backend is asked for: the tables of the configuration's document. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { HAS_IPV6 } from '../fixtures/ipv6.ts';
import { type Origin, type OriginConnection, responseText, startOrigin } from '../fixtures/origin.ts';
import { exchangeOnce } from '../fixtures/raw-client.ts';

/** Answers with its own name and the target that it was asked for. */
function named(name: string): (connection: OriginConnection) => Promise<void> {
  return async (connection) => {
    for (;;) {
      const request = await connection.readRequest();
      if (request === null) break;
      await connection.write(responseText('200 OK', `${name} ${request.target}`));
    }
    connection.end();
  };
}

/** Host, target, and what the backend says: its name and the target it got; or a status. */
type Row = readonly [host: string, target: string, outcome: string | number];

/** The document's table "Proxy Pass", and what follows from it. */
const REWRITING: readonly Row[] = [
  ['example.com', '/api/v1/users', 'a /app/v1/users'],
  ['example.com', '/api/', 'a /app/'],
  ['example.com', '/api', 'a /app/'],
  ['example.com', '/api?x=1', 'a /app/?x=1'],
  ['example.com', '/api/v1?x=/../y&z=%2F', 'a /app/v1?x=/../y&z=%2F'],
  ['example.com', '/api//double', 'a /app//double'],
  ['example.com', '/api/%2Fencoded', 'a /app/%2Fencoded'],
  ['example.com', '/api/./v1/../v2', 'a /app/v2'],
  ['example.com', '/api/%7Euser', 'a /app/~user'],
  ['example.com', '/api/a%20b', 'a /app/a%20b'],
  ['example.com', '/backend', 'b /'],
  ['example.com', '/backend/', 'b /'],
  ['example.com', '/backend/users', 'b /users'],
  ['example.com', '/backend/users/', 'b /users/'],
  ['example.com', '/backend?q', 'b /?q'],
  ['example.com', '/unix/x?y', 'u /base/x?y'],
  ['example.com', '/unix', 'u /base'],
  ['example.com', '/unix/', 'u /base/'],
  ['example.com', '/unix-root/x', 'u /x'],
  // A prefix matches at a segment boundary only.
  ['example.com', '/apix', 'root /apix'],
  ['example.com', '/api-v2/users', 'root /api-v2/users'],
  ['example.com', '/backends', 'root /backends'],
  ['example.com', '/api%2Fv1', 'root /api%2Fv1'],
  ['example.com', '/API/v1', 'root /API/v1'],
  // The path is normalised before it is matched, and what was matched is forwarded.
  ['example.com', '/other/../api/v1', 'a /app/v1'],
  ['example.com', '/%61pi/v1', 'a /app/v1'],
  ['example.com', '/backend/../api/x', 'a /app/x'],
  ['example.com', '/api/../secret', 'root /secret'],
  ['example.com', '/api/%2e%2e/secret', 'root /secret'],
  ['example.com', '/./api/x', 'a /app/x'],
  // The longest prefix wins.
  ['example.com', '/api/deep/x', 'b /deep-base/x'],
  ['example.com', '/api/deeper/x', 'a /app/deeper/x'],
  ['example.com', '/', 'root /'],
  ['example.com', '/anything?a=b', 'root /anything?a=b'],
];

const HOSTS: readonly Row[] = [
  ['EXAMPLE.com', '/api/x', 'a /app/x'],
  ['example.com:8443', '/api/x', 'a /app/x'],
  ['example.com.', '/api/x', 'a /app/x'],
  ['example.com.:80', '/api/x', 'a /app/x'],
  ['one.wild.example', '/x', 'wild /x'],
  ['two.one.wild.example', '/x', 'wild /x'],
  ['wild.example', '/x', 421],
  ['exact.wild.example', '/x', 'exact /x'],
  ['a.longer.wild.example', '/x', 'longer /x'],
  ['notwild.example', '/x', 421],
  ['unknown.example', '/x', 421],
  ['127.0.0.2', '/x', 'ip /x'],
  ['127.0.0.2:8080', '/x', 'ip /x'],
  ['[::1]:8080', '/x', 'ip6 /x'],
  ['[0:0:0:0:0:0:0:1]', '/x', 'ip6 /x'],
  ['hosted.example', '/x/y?z', 'hosted /base/x/y?z'],
  ['hosted.example', '/', 'hosted /base/'],
  ['few.example', '/known/x', 'few /x'],
  ['few.example', '/unknown', 404],
  ['few.example', '/', 404],
];

function pathRoute(host: string, path: string, url: string): string {
  return `[path_routes."${host}"."${path}"]\ntype = "Proxy"\nurl = "${url}"\n`;
}

function hostRoute(host: string, url: string): string {
  return `[host_routes."${host}"]\ntype = "Proxy"\nurl = "${url}"\n`;
}

function suite(io: IoBackend): void {
  describe(`routing (${io})`, { concurrency: 8 }, () => {
    const origins = new Map<string, Origin>();
    let edge: Edge;
    const url = (name: string): string => origins.get(name)!.url;

    before(async () => {
      for (const name of ['a', 'b', 'u', 'root', 'wild', 'exact', 'longer', 'ip', 'ip6', 'hosted', 'few']) {
        origins.set(name, await startOrigin(named(name), { unix: name === 'u' }));
      }
      edge = await startEdge(
        pathRoute('example.com', '/api/', `${url('a')}/app/`) +
          pathRoute('example.com', '/api/deep', `${url('b')}/deep-base`) +
          pathRoute('example.com', '/backend', url('b')) +
          pathRoute('example.com', '/unix', `${url('u')}:/base`) +
          pathRoute('example.com', '/unix-root/', url('u')) +
          pathRoute('example.com', '/', url('root')) +
          pathRoute('few.example', '/known/', url('few')) +
          pathRoute('127.0.0.2', '/', url('ip')) +
          pathRoute('[::1]', '/', url('ip6')) +
          hostRoute('*.wild.example', url('wild')) +
          hostRoute('*.longer.wild.example', url('longer')) +
          hostRoute('exact.wild.example', url('exact')) +
          hostRoute('hosted.example', `${url('hosted')}/base/`),
        { io },
      );
    });

    after(async () => {
      await edge.stop();
      for (const origin of origins.values()) {
        assert.deepEqual(origin.violations, []);
        await origin.close();
      }
    });

    for (const [host, target, outcome] of [...REWRITING, ...HOSTS]) {
      test(`${host}${target} goes to ${outcome}`, async () => {
        const response = await exchangeOnce(edge.port, `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
        if (typeof outcome === 'number') assert.equal(response.status, outcome, response.text());
        else assert.equal(response.text(), outcome);
      });
    }
  });

  describe(`precedence of host and path routes (${io})`, { concurrency: 4 }, () => {
    let byHost: Origin;
    let byPath: Origin;
    before(async () => {
      byHost = await startOrigin(named('host'));
      byPath = await startOrigin(named('path'));
    });
    after(async () => {
      await byHost.close();
      await byPath.close();
    });

    for (const [precedence, expected, elsewhere] of [
      ['', 'host /x', 'host /y'],
      ['route_precedence = "host"', 'host /x', 'host /y'],
      ['route_precedence = "path"', 'path /', 'host /y'],
    ]) {
      test(`${precedence === '' ? 'by default' : precedence}`, async () => {
        const toml = hostRoute('example.com', byHost.url) + pathRoute('example.com', '/x', byPath.url);
        const edge = await startEdge(toml, { io, server: precedence });
        const x = await exchangeOnce(edge.port, 'GET /x HTTP/1.1\r\nHost: example.com\r\n\r\n');
        const y = await exchangeOnce(edge.port, 'GET /y HTTP/1.1\r\nHost: example.com\r\n\r\n');
        await edge.stop();
        assert.deepEqual([x.text(), y.text()], [expected, elsewhere]);
      });
    }

    test('* takes every host that no other route knows', async () => {
      const toml = hostRoute('*', byHost.url) + hostRoute('known.example', byPath.url);
      const edge = await startEdge(toml, { io });
      for (const [host, expected] of [
        ['known.example', 'path /'],
        ['anything.example', 'host /'],
        ['10.0.0.1', 'host /'],
        ['[::1]', 'host /'],
      ]) {
        const response = await exchangeOnce(edge.port, `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
        assert.equal(response.text(), expected);
      }
      await edge.stop();
    });

    test('several listen addresses, one of them a Unix socket, serve the same routes', async () => {
      const path = `/tmp/sallyport-test-listen-${process.pid}-${io}.sock`;
      const edge = await startEdge('', {
        io,
        config: (port) =>
          `[server]\nlisten = ["127.0.0.1:${port}", ${HAS_IPV6 ? `"[::1]:${port}", ` : ''}"unix:${path}"]\nthreads = 1\n${hostRoute('*', byHost.url)}`,
      });
      const request = 'GET /l HTTP/1.1\r\nHost: example.com\r\n\r\n';
      const overIpv6 = HAS_IPV6 ? [{ port: edge.port, host: '::1' }] : [];
      for (const target of [edge.port, path, ...overIpv6]) {
        assert.equal((await exchangeOnce(target, request)).text(), 'host /l');
      }
      await edge.stop();
    });
  });
}

for (const io of IO_BACKENDS) suite(io);
