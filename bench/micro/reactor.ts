/**
 * The cost of the reactor alone: a server that finds the end of each request and answers with constant bytes,
 * under 64 kept-alive connections, and with a new connection for each request; on io_uring, on epoll, and
 * nginx's `return 200` for comparison, alternating in one run. Prints microseconds of processor time a request
 * (medians).
 *
 * The servers run on core 0, wrk on core 1. Arguments: rounds (5), seconds a round (2).
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SMALL } from '../../src/io/buffer-pool.ts';
import { runReactor } from '../../src/io/loop.ts';
import { openReactor } from '../../src/io/open.ts';
import type { Handle, SocketHandler } from '../../src/io/reactor.ts';
import { ProcessTree } from '../proc.ts';
import { median, medianRatio } from '../statistics.ts';

const SERVER_CORE = '0';
const LOAD_CORE = '1';
const CONNECTIONS = '64';
const FIRST_PORT = 20100;
const LINE_FEED = 10;

const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!';
const LAST_ANSWER = ANSWER.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n');

/** Serves on `port` until SIGTERM; then prints how often it turned. */
function serve(port: number, closes: boolean): void {
  const { reactor } = openReactor();
  const { pool } = reactor;
  const answer = pool.acquire(SMALL);
  const answerOffset = pool.offsetOf(answer);
  const answerLength = pool.text.latin1Write(closes ? LAST_ANSWER : ANSWER, answerOffset, 4096);
  const connection: SocketHandler = {
    onConnect(): void {},
    onReceive(handle: Handle, buffer: number, offset: number, length: number): void {
      const { bytes } = pool;
      for (let at = offset + 2; at < offset + length; at++) {
        if (bytes[at] !== LINE_FEED || bytes[at - 2] !== LINE_FEED) continue;
        pool.retain(answer);
        reactor.send(handle, answer, answerOffset, answerLength, closes ? 1 : 0);
      }
      pool.release(buffer);
    },
    onReceiveEnd(handle: Handle): void {
      reactor.close(handle, false);
    },
    onSend(handle: Handle): void {
      reactor.close(handle, false);
    },
    onClose(): void {},
  };
  const listener = reactor.listen(
    { family: 'ipv4', address: '127.0.0.1', port },
    { backlog: 1024, reusePort: false },
    {
      onAccept(_listener: Handle, handle: Handle): void {
        reactor.adopt(handle, connection);
        reactor.receiveStart(handle);
      },
      onAcceptError(_listener: Handle, errno: number): void {
        throw new Error(`accepting failed: ${errno}`);
      },
    },
  );
  if (listener < 0) throw new Error(`cannot listen: ${listener}`);
  const loop = runReactor(reactor);
  process.on('SIGTERM', () => {
    loop.stop();
    process.stdout.write(`${reactor.counters.turns}\n`);
    process.exit(0);
  });
  process.stdout.write('listening\n');
}

interface Server {
  readonly name: string;
  readonly port: number;
  readonly process: ChildProcess;
  readonly costs: number[];
}

function startReactor(backend: string, port: number, closes: boolean): Server {
  const child = spawn(
    'taskset',
    ['-c', SERVER_CORE, process.execPath, import.meta.filename, 'serve', String(port), closes ? 'close' : ''],
    { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, SALLYPORT_IO: backend } },
  );
  return { name: backend === 'uring' ? 'io_uring' : 'epoll', port, process: child, costs: [] };
}

function startNginx(port: number, closes: boolean, directory: string): Server {
  const file = join(directory, `${port}.conf`);
  writeFileSync(
    file,
    `daemon off; master_process off; worker_processes 1; pid ${directory}/${port}.pid; error_log stderr crit;
     events { worker_connections 4096; }
     http { access_log off; keepalive_requests 1000000000; ${closes ? 'keepalive_timeout 0;' : ''}
       client_body_temp_path ${directory}; proxy_temp_path ${directory}; fastcgi_temp_path ${directory};
       uwsgi_temp_path ${directory}; scgi_temp_path ${directory};
       server { listen 127.0.0.1:${port} backlog=1024; location / { default_type text/plain; return 200 "Hello, World!"; } } }`,
  );
  const child = spawn('taskset', ['-c', SERVER_CORE, 'nginx', '-c', file], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return { name: 'nginx', port, process: child, costs: [] };
}

/** Loads a server and returns how many requests it answered. */
function load(server: Server, seconds: number): number {
  const url = `http://127.0.0.1:${server.port}/`;
  const { stdout } = spawnSync(
    'taskset',
    ['-c', LOAD_CORE, 'wrk', '-t1', `-c${CONNECTIONS}`, `-d${seconds}s`, url],
    { encoding: 'utf8' },
  );
  const answered = /(\d+) requests in/.exec(stdout);
  if (answered === null || /Non-2xx/.test(stdout)) throw new Error(`wrk against ${server.name}: ${stdout}`);
  return Number(answered[1]);
}

async function compare(title: string, closes: boolean, rounds: number, seconds: number): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-bench-'));
  const first = FIRST_PORT + (closes ? 10 : 0);
  const servers = [
    startReactor('uring', first, closes),
    startReactor('epoll', first + 1, closes),
    startNginx(first + 2, closes, directory),
  ];
  await new Promise((resolve) => setTimeout(resolve, 1000));
  try {
    for (const server of servers) load(server, 1);
    for (let round = 0; round < rounds; round++) {
      for (const server of servers) {
        const processes = new ProcessTree(server.process.pid ?? 0);
        const before = processes.processorNs();
        const requests = load(server, seconds);
        server.costs.push((processes.processorNs() - before) / requests / 1000);
      }
    }
  } finally {
    for (const server of servers) {
      server.process.kill('SIGTERM');
      await new Promise((resolve) => server.process.once('exit', resolve));
    }
    rmSync(directory, { recursive: true });
  }
  for (const server of servers) {
    const cost = median(server.costs);
    process.stdout.write(
      `${title.padEnd(26)} ${server.name.padEnd(9)} ${cost.toFixed(2).padStart(6)} µs/request   ` +
        `${medianRatio(server.costs, servers[2].costs).toFixed(2)} of nginx   (${server.costs.map((each) => each.toFixed(1)).join(' ')})\n`,
    );
  }
}

if (process.argv[2] === 'serve') serve(Number(process.argv[3]), process.argv[4] === 'close');
else {
  const rounds = Number(process.argv[2] ?? 5);
  const seconds = Number(process.argv[3] ?? 2);
  await compare('64 kept-alive connections', false, rounds, seconds);
  await compare('a connection a request', true, rounds, seconds);
}
