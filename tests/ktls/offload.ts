/** Kernel TLS on a kernel that has it. Run by tools/test-ktls.ts in a virtual machine. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { connect } from 'node:tls';
import { probeKernelTls } from '../../src/sys/kernel-tls.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { until, within } from '../fixtures/patience.ts';
import {
  ANSWER_MS_MAX,
  Client,
  clientOf,
  counted,
  Http2Client,
  kernelCounters,
  OpensslClient,
  type Site,
  sha256,
  startRelay,
  startSite,
} from './site.ts';

const support = probeKernelTls();
const REQUIRED = 'ktls_enabled = true\nktls_fallback_enabled = false';
const GET_SMALL = 'GET /small HTTP/1.1\r\nHost: one.example\r\n\r\n';

/** Version, OpenSSL's name of the suite, and whether the whole large file is fetched with it. */
const SUITES = [
  ['TLSv1.3', 'TLS_AES_128_GCM_SHA256', true],
  ['TLSv1.3', 'TLS_AES_256_GCM_SHA384', false],
  ['TLSv1.3', 'TLS_CHACHA20_POLY1305_SHA256', false],
  ['TLSv1.2', 'ECDHE-ECDSA-AES128-GCM-SHA256', true],
  ['TLSv1.2', 'ECDHE-ECDSA-AES256-GCM-SHA384', false],
  ['TLSv1.2', 'ECDHE-ECDSA-CHACHA20-POLY1305', false],
] as const;

test('the kernel has all versions and ciphers', () => {
  assert.equal(support.problem, '');
  assert.equal(support.combinations.length, 6);
  console.log(`  new keys: ${support.rekeys ? 'taken' : 'not taken'} by this kernel`);
});

function suite(io: IoBackend): void {
  describe(`kernel TLS (${io})`, { concurrency: 1 }, () => {
    let site: Site;

    before(async () => {
      site = await startSite(io, REQUIRED);
      const name = io === 'uring' ? 'io_uring' : 'epoll';
      await site.edge.logged(`ready, with ${name}`);
    });

    after(async () => {
      await site.stop();
      const { TlsCurrTxSw, TlsCurrRxSw } = kernelCounters();
      assert.deepEqual([TlsCurrTxSw, TlsCurrRxSw], [0, 0], 'connections that the kernel still has');
    });

    test('the worker is a locked room: a user of its own, no capabilities, filtered system calls', () => {
      const status = readFileSync(`/proc/${site.edge.workerPid}/status`, 'utf8');
      assert.match(status, /^Seccomp:\t2$/m);
      assert.match(status, /^NoNewPrivs:\t1$/m);
      assert.match(status, /^CapEff:\t0+$/m);
      assert.doesNotMatch(status, /^Uid:.*\b0\b/m);
      assert.doesNotMatch(
        site.edge.stderr(),
        /confinement is degraded: (seccomp|namespaces|user|capabilities)/,
      );
    });

    for (const [version, name, isLong] of SUITES) {
      test(`${version} ${name}: files, bodies and requests, sealed and opened by the kernel`, async () => {
        const counts = await counted(async () => {
          const client = new Client(site, { minVersion: version, maxVersion: version, ciphers: name });
          const file = await client.ask('GET', '/small');
          assert.equal(file.body.toString(), 'a small file\n');
          assert.match(client.cipher, new RegExp(`^${version} `));
          assert.equal((await client.ask('POST', '/', site.body)).body.toString(), sha256(site.body));
          assert.equal(sha256((await client.ask('GET', '/download')).body), sha256(site.body));
          if (isLong) assert.equal(sha256((await client.ask('GET', '/big')).body), sha256(site.big));
          client.close();
        });
        assert.equal(counts('TlsTxSw'), 1, 'connections whose records the kernel seals');
        assert.equal(counts('TlsRxSw'), 1, 'connections whose records the kernel opens');
        assert.equal(counts('TlsDecryptError'), 0);
      });
    }

    for (const [version, long] of [
      ['TLSv1.3', '/big'],
      ['TLSv1.2', '/download'],
    ] as const) {
      test(`HTTP/2 over ${version}: files, bodies and requests at once, sealed and opened by the kernel`, async () => {
        const counts = await counted(async () => {
          const client = new Http2Client(site, { minVersion: version, maxVersion: version });
          const answers = await Promise.all([
            client.ask('GET', long),
            client.ask('POST', '/', site.body),
            client.ask('GET', '/download'),
            client.ask('GET', '/small'),
          ]);
          assert.deepEqual(
            answers.map(({ status }) => status),
            [200, 200, 200, 200],
          );
          const [first, hash, download, small] = answers.map(({ body }) => body);
          assert.equal(sha256(first), sha256(long === '/big' ? site.big : site.body));
          assert.equal(hash.toString(), sha256(site.body));
          assert.equal(sha256(download), sha256(site.body));
          assert.equal(small.toString(), 'a small file\n');
          await client.close();
        });
        assert.equal(counts('TlsTxSw'), 1, 'connections whose records the kernel seals');
        assert.equal(counts('TlsRxSw'), 1, 'connections whose records the kernel opens');
        assert.equal(counts('TlsDecryptError'), 0);
      });
    }

    test('content in pieces, of a request that was begun with the end of the handshake', async () => {
      for (const version of ['TLSv1.3', 'TLSv1.2'] as const) {
        const counts = await counted(async () => {
          const client = new Client(site, { minVersion: version, maxVersion: version });
          const pieces = Array.from({ length: 30 }, (_, index) =>
            site.body.subarray(index * 10_000, (index + 1) * 10_000),
          );
          assert.equal((await client.ask('POST', '/', pieces)).body.toString(), sha256(site.body), version);
          client.close();
        });
        assert.equal(counts('TlsRxSw'), 1, version);
      }
    });

    test('the end is a close_notify both ways', async () => {
      const client = connect(clientOf(site));
      await once(client, 'secureConnect');
      client.write(GET_SMALL);
      await within(once(client, 'data'), ANSWER_MS_MAX, 'a response');
      const ended = once(client, 'end');
      client.end();
      await within(ended, ANSWER_MS_MAX, 'the end of the stream');
      const openssl = new OpensslClient(site, '-ign_eof');
      await openssl.says(/New, TLSv1.3/);
      openssl.write('GET /small HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n');
      await within(openssl.ended, ANSWER_MS_MAX, 'the end of openssl');
      assert.match(openssl.output, /a small file\n[\s\S]*closed/);
      assert.doesNotMatch(openssl.output, /unexpected eof|alert/i);
    });

    test('a body that is cut off without a close_notify is not complete for the backend', async () => {
      const relay = await startRelay(site);
      const { aborted, contentBytes } = site.backend;
      const client = connect(clientOf(site, { port: relay.port }));
      client.on('error', () => {});
      await once(client, 'secureConnect');
      client.write('POST / HTTP/1.1\r\nHost: one.example\r\nContent-Length: 100000\r\n\r\n');
      client.write(site.body.subarray(0, 50_000));
      const arrived = (): boolean => site.backend.contentBytes === contentBytes + 50_000;
      await until(arrived, ANSWER_MS_MAX, 'the content that was sent');
      relay.cut();
      await until(() => site.backend.aborted === aborted + 1, ANSWER_MS_MAX, 'an aborted request');
      client.destroy();
      relay.close();
    });

    test('a record that was tampered with ends the connection with an alert, and no other', async () => {
      const relay = await startRelay(site);
      const other = new Client(site);
      assert.equal((await other.ask('GET', '/small')).status, 200);
      const client = connect(clientOf(site, { port: relay.port }));
      await once(client, 'secureConnect');
      client.write(GET_SMALL);
      // By its answer it is known that the kernel opens what follows.
      await within(once(client, 'data'), ANSWER_MS_MAX, 'a response');
      relay.flip();
      const failed = once(client, 'error');
      client.write(GET_SMALL);
      const [error] = (await within(failed, ANSWER_MS_MAX, 'an alert')) as [Error];
      assert.match(error.message, /bad record mac/i);
      assert.equal((await other.ask('GET', '/small')).status, 200);
      client.destroy();
      other.close();
      relay.close();
    });

    test('new keys of a client: followed where the kernel can, else refused with an alert', async () => {
      for (const command of ['k', 'K']) {
        const client = new OpensslClient(site, '-tls1_3');
        await client.says(/New, TLSv1.3/);
        client.write(GET_SMALL);
        await client.says(/a small file/, 1);
        client.write(`${command}\n`);
        await client.says(/KEYUPDATE/);
        client.write(GET_SMALL);
        if (support.rekeys) {
          await client.says(/a small file/, 2);
          client.write(`${command}\n`);
          await client.says(/KEYUPDATE/, 2);
          client.write(GET_SMALL);
          await client.says(/a small file/, 3);
          await client.stop();
        } else {
          await within(client.ended, ANSWER_MS_MAX, 'the end of the connection');
          assert.match(client.output, /alert internal error/);
          assert.equal(client.output.match(/a small file/g)?.length, 1);
        }
      }
      if (!support.rekeys) await site.edge.logged('a client changed its keys');
      const later = new Client(site);
      assert.equal((await later.ask('GET', '/small')).status, 200);
      later.close();
    });

    const connectionsOfTheKernel = async (): Promise<number> => {
      const counts = await counted(async () => {
        const client = new Client(site);
        assert.equal((await client.ask('GET', '/small')).status, 200);
        client.close();
      });
      return counts('TlsTxSw');
    };

    test('a worker in the place of one that died has the kernel seal, too', async () => {
      const { workerPid } = site.edge;
      process.kill(workerPid, 'SIGKILL');
      await site.nextWorker(workerPid);
      assert.equal(await connectionsOfTheKernel(), 1);
    });

    test('a reload leaves records to user space, the next one to the kernel again', async () => {
      await site.reload('ktls_enabled = false');
      assert.equal(await connectionsOfTheKernel(), 0);
      await site.reload(REQUIRED);
      assert.equal(await connectionsOfTheKernel(), 1);
    });
  });
}

for (const io of IO_BACKENDS) suite(io);
