/** Starting, reloading, stopping: signals, exit codes, what is said, and what goes on meanwhile. */

import assert from 'node:assert/strict';
import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Edge, runCommand, runEdge, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import { IO_BACKENDS, type IoBackend } from '../fixtures/io-backends.ts';
import { type Origin, type OriginConnection, responseText, startOrigin } from '../fixtures/origin.ts';
import { pause, until, within } from '../fixtures/patience.ts';
import { freePort } from '../fixtures/ports.ts';
import { exchangeOnce, PATIENCE_MS, RawClient } from '../fixtures/raw-client.ts';

/** Each starts a judge and a new worker, since another backend is another port. */
const RELOADS = Number(process.env['LIFECYCLE_RELOADS'] ?? 10);
const HOST = 'Host: example.com\r\n';
const HUGE_PAGES = '/sys/kernel/mm/transparent_hugepage/enabled';
const STACK_TRACE = /^ {4}at .*:\d+:\d+\)?$/m;

function get(target = '/'): string {
  return `GET ${target} HTTP/1.1\r\n${HOST}\r\n`;
}

function named(name: string): (connection: OriginConnection) => Promise<void> {
  return async (connection) => {
    for (;;) {
      const request = await connection.readRequest();
      if (request === null) break;
      if (request.target.startsWith('/slow')) await pause(1200);
      if (request.target === '/upgrade') {
        await connection.write(
          'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: custom\r\n\r\n',
        );
        connection.socket.pipe(connection.socket);
        return;
      }
      if (request.target.startsWith('/never')) return;
      await connection.write(responseText('200 OK', `${name} ${request.text()}`.trim()));
    }
    connection.end();
  };
}

function route(url: string, host = 'example.com'): string {
  return `[host_routes."${host}"]\ntype = "Proxy"\nurl = "${url}"\nallowed_upgrades = ["custom"]\n`;
}

function suite(io: IoBackend): void {
  describe(`lifecycle (${io})`, { concurrency: 6 }, () => {
    let one: Origin;
    let two: Origin;

    before(async () => {
      one = await startOrigin(named('one'));
      two = await startOrigin(named('two'));
    });

    after(async () => {
      await one.close();
      await two.close();
    });

    const reload = async (edge: Edge, toml: string): Promise<string> => {
      const from = edge.stderr().length;
      edge.rewrite(toml);
      edge.signal('SIGHUP');
      return edge.logged(/reload|configuration/i, from);
    };

    test('SIGHUP changes the routes for new connections at once, and drops none', async () => {
      const edge = await startEdge(route(one.url), { io });
      const kept = await RawClient.connect(edge.port);
      assert.equal((await kept.request(get())).text(), 'one');
      const slow = await RawClient.connect(edge.port);
      await slow.send(get('/slow/reload'));
      const upgraded = await RawClient.connect(edge.port);
      const response = await upgraded.request(
        `GET /upgrade HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: custom\r\n\r\n`,
      );
      assert.equal(response.status, 101);
      await until(() => one.text().includes('/slow/reload'), PATIENCE_MS, 'the slow request at the origin');

      await reload(edge, route(two.url));
      await until(async () => (await exchangeOnce(edge.port, get())).text() === 'two', 5000, 'the new route');
      // In flight: it ends as it began.
      assert.equal((await slow.response()).text(), 'one');
      // Kept alive: with a worker that was replaced, it has one more request.
      await kept.send(get());
      assert.match((await kept.response()).text(), /^(one|two)$/);
      await kept.closed();
      // Upgraded: it lives on.
      await upgraded.send('still here');
      assert.equal((await upgraded.unreadAtLeast(10)).toString('latin1'), 'still here');
      for (const client of [kept, slow, upgraded]) client.destroy();
      await edge.stop();
    });

    test('an invalid configuration keeps the old one and says why', async () => {
      const edge = await startEdge(route(one.url), { io });
      for (const [toml, word] of [
        ['[host_routes."example.com"]\ntype = "Proxy"\nurl = "invalid-url"\n', /invalid-url|url/i],
        ['this is no toml', /line|toml|syntax/i],
        [`${route(one.url)}\nunknown_key = 1\n`, /unknown_key/],
        [
          '[host_routes."example.com"]\ntype = "Proxy"\nupstream = "missing"\n',
          /Upstream 'missing' not found/,
        ],
      ] as const) {
        const from = edge.stderr().length;
        edge.rewrite(toml);
        edge.signal('SIGHUP');
        await edge.logged(word, from);
        assert.equal((await exchangeOnce(edge.port, get())).text(), 'one');
      }
      await reload(edge, route(two.url));
      await until(async () => (await exchangeOnce(edge.port, get())).text() === 'two', 5000, 'the new route');
      await edge.stop();
    });

    test('a reload that changes a listen address says that it needs a restart', async () => {
      const port = await freePort();
      const edge = await startEdge(route(one.url), { io });
      const from = edge.stderr().length;
      const changed = readFileSync(edge.configPath, 'utf8').replace(
        /listen = .*/,
        `listen = "127.0.0.1:${port}"`,
      );
      edge.rewriteWhole(changed);
      edge.signal('SIGHUP');
      await edge.logged(/restart/i, from);
      assert.equal((await exchangeOnce(edge.port, get())).text(), 'one');
      await edge.stop();
    });

    test('SIGHUP opens a log file that was moved away anew, and does from then on what [logging] says', async () => {
      const folder = openFolder('logging');
      const [first, second] = [join(folder, 'first.log'), join(folder, 'second.log')];
      const logging = `level = "info"\nfile_path = "${first}"\nflush_interval_ms = 10`;
      const edge = await startEdge(route(one.url), { io, logging });
      const textOf = (path: string): string => (existsSync(path) ? readFileSync(path, 'utf8') : '');
      const ready = (): boolean => textOf(first).includes('ready');
      await until(ready, 5000, 'the first log');
      renameSync(first, `${first}.1`);
      // Even where the configuration is wrong.
      edge.rewrite('this is no toml');
      edge.signal('SIGHUP');
      await until(() => textOf(first).includes('stays in force'), 5000, 'a log anew');
      assert.ok(!textOf(`${first}.1`).includes('stays in force'));

      const changed = logging.replace(first, second).replace('"info"', '"info"\nformat = "json"');
      const whole = (text: string): string =>
        readFileSync(edge.configPath, 'utf8').replace(
          /\[logging\][\s\S]*$/,
          `[logging]\n${text}\n${route(one.url)}`,
        );
      edge.rewriteWhole(whole(changed));
      edge.signal('SIGHUP');
      await until(() => textOf(second).includes('in force'), 5000, 'another log');
      await exchangeOnce(edge.port, get('/in-json'));
      await until(() => textOf(second).includes('/in-json'), 5000, 'an access entry');
      for (const line of textOf(second).trimEnd().split('\n')) JSON.parse(line);

      edge.rewriteWhole(
        whole(changed.replace(second, join(folder, 'none', 'x.log')).replace('"info"', '"warn"')),
      );
      const length = textOf(second).length;
      edge.signal('SIGHUP');
      await until(
        () => /logging stays as it was|file_path/.test(textOf(second).slice(length)),
        5000,
        'why not',
      );

      // At this level nothing tells that it is in force but what it does.
      edge.rewriteWhole(whole(changed.replace('"info"', '"warn"')).replace(one.url, two.url));
      edge.signal('SIGHUP');
      const says = async (): Promise<string> => (await exchangeOnce(edge.port, get())).text();
      await until(async () => (await says()) === 'two', 5000, 'the next configuration');
      edge.rewrite('this is no toml');
      edge.signal('SIGHUP');
      await until(() => /"error"[\s\S]*stays in force/i.test(textOf(second).slice(length)), 5000, 'an error');
      const before = textOf(second).length;
      await exchangeOnce(edge.port, get('/unseen'));
      await edge.stop();
      assert.ok(!textOf(second).slice(before).includes('/unseen'));
      rmSync(folder, { recursive: true });
    });

    test('huge pages that can’t be had are told, and ordinary ones used', async () => {
      const edge = await startEdge(`[performance]\nhuge_pages_enabled = true\n${route(one.url)}`, { io });
      assert.equal((await exchangeOnce(edge.port, get())).text(), 'one');
      const enabled = existsSync(HUGE_PAGES) && !readFileSync(HUGE_PAGES, 'utf8').includes('[never]');
      assert.equal(edge.stderr().includes('performance.huge_pages_enabled: this kernel'), !enabled);
      await edge.stop();
    });

    test('reloads under load answer every request', async () => {
      const edge = await startEdge(route(one.url), { io });
      let reloading = true;
      const answered: string[] = [];
      const load = Array.from({ length: 4 }, async () => {
        while (reloading) answered.push((await exchangeOnce(edge.port, get())).text());
      });
      try {
        for (let round = 0; round < RELOADS; round++) {
          const from = edge.stderr().length;
          edge.rewrite(route(round % 2 === 0 ? two.url : one.url));
          edge.signal('SIGHUP');
          await edge.logged('reload: the new configuration is in force', from);
        }
      } finally {
        reloading = false;
        await Promise.all(load);
      }
      assert.ok(answered.length > RELOADS);
      assert.ok(answered.every((text) => text === 'one' || text === 'two'));
      assert.ok(answered.includes('two'));
      await edge.stop();
    });

    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      test(`${signal} finishes what is in flight, accepts nothing more, and exits 0`, async () => {
        const edge = await startEdge(route(one.url), { io });
        const idle = await RawClient.connect(edge.port);
        await idle.request(get());
        const inFlight = await RawClient.connect(edge.port);
        const path = `/slow/${signal}-${io}`;
        await inFlight.send(get(path));
        const uploading = await RawClient.connect(edge.port);
        await uploading.send(`POST ${path} HTTP/1.1\r\n${HOST}Content-Length: 10\r\n\r\nhello`);
        const arrived = (): boolean =>
          ['GET', 'POST'].every((method) => one.text().includes(`${method} ${path} `));
        await until(arrived, PATIENCE_MS, 'both requests at the origin');
        edge.signal(signal);
        await idle.closed();
        // Requests are in flight, and nobody is let in who would only wait.
        const isRefused = (): Promise<boolean> =>
          RawClient.connect(edge.port).then(
            (client) => {
              client.destroy();
              return false;
            },
            (error) => error.code === 'ECONNREFUSED',
          );
        await until(isRefused, 5000, 'new connections to be refused');
        await uploading.send('world');
        assert.equal((await inFlight.response()).text(), 'one');
        assert.equal((await uploading.response('POST')).text(), 'one helloworld');
        await inFlight.closed();
        const exit = await within(edge.exited, 8000, 'the exit');
        assert.deepEqual(exit, { code: 0, signal: null }, edge.stderr());
      });
    }

    test('shutdown_timeout_secs bounds the wait for what never ends', async () => {
      const edge = await startEdge(route(one.url), { io, server: 'shutdown_timeout_secs = 1' });
      const client = await RawClient.connect(edge.port);
      await client.send(get(`/never?${io}`));
      const upgraded = await RawClient.connect(edge.port);
      await upgraded.request(
        `GET /upgrade HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: custom\r\n\r\n`,
      );
      await until(() => one.text().includes(`/never?${io}`), PATIENCE_MS, 'the request at the origin');
      const startMs = performance.now();
      edge.signal('SIGTERM');
      const exit = await within(edge.exited, 6000, 'the exit');
      assert.equal(exit.code, 0, edge.stderr());
      const ms = performance.now() - startMs;
      // By default it would be 30 s.
      assert.ok(ms > 500 && ms < 15_000, `after ${ms} ms`);
      client.destroy();
      upgraded.destroy();
    });

    test('a second SIGTERM doesn’t break the first', async () => {
      const edge = await startEdge(route(one.url), { io });
      const client = await RawClient.connect(edge.port);
      await client.send(get(`/slow/second-${io}`));
      const arrived = (): boolean => one.text().includes(`/slow/second-${io}`);
      await until(arrived, 5000, 'the request at the origin');
      edge.signal('SIGTERM');
      await pause(50);
      edge.signal('SIGTERM');
      const exit = await within(edge.exited, 8000, 'the exit');
      assert.equal(exit.signal, null);
      client.destroy();
    });

    test('SIGUSR1 opens no inspector', async () => {
      const edge = await startEdge(route(one.url), { io });
      edge.signal('SIGUSR1');
      await pause(300);
      assert.ok(!/debugger|inspector/i.test(edge.stderr()), edge.stderr());
      assert.equal((await exchangeOnce(edge.port, get())).text(), 'one');
      await edge.stop();
    });

    test('a port that is taken is exit 3, with the reason', async () => {
      const holder = createServer();
      await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
      const { port } = holder.address() as { port: number };
      const { exit, output } = await runEdge(`[server]\nlisten = "127.0.0.1:${port}"\n${route(one.url)}`, io);
      await new Promise((resolve) => holder.close(resolve));
      assert.deepEqual(exit, { code: 3, signal: null }, output);
      assert.match(output, new RegExp(`${port}`));
      assert.match(output, /in use|taken|EADDRINUSE/i);
      assert.doesNotMatch(output, STACK_TRACE);
    });

    for (const [name, config, words] of [
      ['no TOML', 'server = [', /line|syntax|toml/i],
      [
        'an unknown key',
        '[server]\nlisten = "127.0.0.1:1"\nlissten = "x"\n',
        /lissten.*listen|listen.*lissten/is,
      ],
      [
        'an invalid URL',
        '[server]\nlisten = "127.0.0.1:1"\n[path_routes."example.com"."/api/"]\ntype = "Proxy"\nurl = "invalid-url"\n',
        /Invalid proxy URL for route 'example\.com:\/api\/': /,
      ],
      [
        'a missing upstream',
        '[server]\nlisten = "127.0.0.1:1"\n[path_routes."example.com"."/api/"]\ntype = "Proxy"\nupstream = "backend-pool"\n',
        /Upstream 'backend-pool' not found/,
      ],
      [
        'a bad CIDR',
        `[server]\nlisten = "127.0.0.1:1"\ntrusted_proxies = ["10.0.0.0/33"]\n`,
        /10\.0\.0\.0\/33/,
      ],
      [
        'a feature that is not built',
        '[server]\nlisten = "127.0.0.1:1"\nhttp3_enabled = true\n',
        /not supported|HTTP\/3/i,
      ],
    ] as const) {
      test(`a wrong configuration is exit 1, with the reason: ${name}`, async () => {
        const { exit, output } = await runEdge(config, io);
        assert.deepEqual(exit, { code: 1, signal: null }, output);
        assert.match(output, words);
        assert.doesNotMatch(output, STACK_TRACE);
      });
    }

    test('several problems are told at once', async () => {
      const config =
        '[server]\nlisten = "nonsense"\nfoo = 1\n[path_routes."example.com"."/"]\ntype = "Proxy"\nurl = "x"\n';
      const { exit, output } = await runEdge(config, io);
      assert.equal(exit.code, 1);
      for (const word of ['listen', 'foo', 'example.com']) assert.ok(output.includes(word), output);
    });
  });
}

describe('command line', () => {
  for (const args of [['--nonsense'], ['serve', '--nonsense'], ['serve', '-c'], ['nonsense']]) {
    test(`wrong usage is exit 2: ${args.join(' ')}`, () => {
      const { code, stderr } = runCommand(args);
      assert.equal(code, 2, stderr);
      assert.notEqual(stderr, '');
    });
  }

  test('a configuration file that doesn’t exist is exit 1 with its path', () => {
    const { code, stderr } = runCommand(['serve', '-c', '/nonexistent/config.toml']);
    assert.equal(code, 1, stderr);
    assert.match(stderr, /\/nonexistent\/config\.toml/);
  });

  test('--help and --version are exit 0', () => {
    const help = runCommand(['--help']);
    assert.equal(help.code, 0);
    assert.match(help.stdout, /serve/);
    const version = runCommand(['--version']);
    assert.equal(version.code, 0);
    assert.match(version.stdout, /\d+\.\d+\.\d+/);
  });
});

for (const io of IO_BACKENDS) suite(io);
