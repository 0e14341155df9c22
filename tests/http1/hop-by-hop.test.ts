import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RequestHead } from '../../src/http/message.ts';
import { removeHopByHop } from '../../src/http1/hop-by-hop.ts';
import { RequestParser } from '../../src/http1/request-parser.ts';
import { bytesOf, fieldList, LIMITS } from './feed.ts';

/** What is left of these field lines after `Host: a`. */
function forwarded(lines: string, keepTrailer = false): [string, string][] {
  const bytes = bytesOf(`GET / HTTP/1.1\r\nHost: a\r\n${lines}\r\n`);
  const head = new RequestHead(bytes);
  assert.equal(new RequestParser(LIMITS).parse(head, bytes, 0, bytes.length), bytes.length);
  removeHopByHop(head.fields, keepTrailer);
  const list = fieldList(head.fields);
  assert.deepEqual(list[0], ['Host', 'a']);
  return list.slice(1);
}

const VECTORS: { name: string; lines: string; expected: [string, string][] }[] = [
  {
    name: 'removes the fields of the connection (RFC 9110 §7.6.1)',
    lines:
      'Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nUpgrade: x\r\nTrailer: A\r\nX: 1\r\n',
    expected: [['X', '1']],
  },
  {
    name: 'removes what is meant for a proxy (RFC 9110 §11.7)',
    lines: 'Proxy-Authorization: Basic x\r\nProxy-Authenticate: y\r\nAuthorization: z\r\n',
    expected: [['Authorization', 'z']],
  },
  {
    name: 'removes what an upgrade to h2c brings along',
    lines: 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n',
    expected: [],
  },
  {
    name: 'removes HTTP2-Settings that nothing names',
    lines: 'HTTP2-Settings: AAMA\r\n',
    expected: [],
  },
  {
    name: 'removes what Connection names, wherever it stands and in any case',
    lines:
      'X-A: 1\r\nConnection: x-a, ,X-b\r\nX-B: 2\r\nx-b: 3\r\nX-C: 4\r\nCookie: c\r\nConnection: cookie\r\n',
    expected: [['X-C', '4']],
  },
  {
    name: 'does not remove what Connection names only in part',
    lines: 'Connection: X\r\nX-A: 1\r\nXX: 2\r\n',
    expected: [
      ['X-A', '1'],
      ['XX', '2'],
    ],
  },
  {
    name: 'does not let Connection name what the edge routes by or sets',
    lines:
      'Connection: Host, Content-Length, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Port, Forwarded, Via, X-Real-IP, X-Request-ID\r\nContent-Length: 1\r\nX-Forwarded-For: 2\r\nX-Forwarded-Proto: 3\r\nX-Forwarded-Host: 4\r\nX-Forwarded-Port: 5\r\nForwarded: 6\r\nVia: 7\r\nX-Real-IP: 8\r\nX-Request-ID: 9\r\n',
    expected: [
      ['Content-Length', '1'],
      ['X-Forwarded-For', '2'],
      ['X-Forwarded-Proto', '3'],
      ['X-Forwarded-Host', '4'],
      ['X-Forwarded-Port', '5'],
      ['Forwarded', '6'],
      ['Via', '7'],
      ['X-Real-IP', '8'],
      ['X-Request-ID', '9'],
    ],
  },
  {
    name: 'leaves fields alone where there is nothing to remove',
    lines: 'Accept: */*\r\n',
    expected: [['Accept', '*/*']],
  },
];

for (const { name, lines, expected } of VECTORS) {
  test(name, () => assert.deepEqual(forwarded(lines), expected));
}

test('keeps Trailer where the trailers are passed on', () => {
  assert.deepEqual(forwarded('Trailer: A\r\nConnection: trailer\r\n', true), [['Trailer', 'A']]);
});
