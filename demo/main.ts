/**
 * `npm start`: Sallyport on a sample site, with a sample application behind it. Starts the application and
 * the server, prints what to try, and stops both on Ctrl-C (or when whoever started it is gone).
 */

import { type ChildProcess, fork, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const HERE = import.meta.dirname;
const LAUNCHER = join(HERE, '../bin/sallyport');
const PORT_FIRST = 8080;
/** Ports that are tried when the first one is taken. */
const PORTS_TRIED = 20;
const START_MS_MAX = 15_000;
const POLL_MS = 50;
const PARENT_POLL_MS = 1000;

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** The port that PORT names, or the first free one from 8080 on. */
function choosePort(): Promise<number> {
  const wanted = process.env['PORT'];
  return wanted !== undefined ? Promise.resolve(Number(wanted)) : freePortFrom(PORT_FIRST);
}

async function freePortFrom(first: number): Promise<number> {
  for (let port = first; port < first + PORTS_TRIED; port++) {
    if (await isFree(port)) return port;
  }
  throw new Error(`no port from ${first} on is free: name one, as in PORT=9000 npm start`);
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

async function untilAccepting(port: number, edge: ChildProcess): Promise<boolean> {
  const deadlineMs = Date.now() + START_MS_MAX;
  while (edge.exitCode === null && edge.signalCode === null && Date.now() < deadlineMs) {
    if (await accepts(port)) return true;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return false;
}

function startBackend(socket: string): Promise<ChildProcess> {
  return new Promise((resolve, reject) => {
    const backend = fork(join(HERE, 'backend.ts'), [socket]);
    backend.once('message', () => resolve(backend));
    backend.once('exit', (code) => reject(new Error(`the sample application ended (${code})`)));
  });
}

function whatToTry(port: number, statusPort: number, configPath: string): string {
  const url = `http://localhost:${port}`;
  return `
Sallyport is running. In a browser: ${url}/
How it is doing, live:              http://localhost:${statusPort}/
Or in another terminal:

  curl -i ${url}/                      # a file, with ETag and Last-Modified
  curl -i -r 0-99 ${url}/              # the first 100 bytes of it
  curl -i ${url}/api/hello             # an application on a Unix socket
  curl -N ${url}/api/clock             # a response that streams, a line a second
  curl -d 'some content' ${url}/api/echo
  curl -i ${url}/limited/hello         # ten times a minute, then 429
  curl -iL '${url}/old/style.css?x=1'  # a redirect that keeps path and query
  curl -i --path-as-is ${url}/../etc/passwd

Its configuration: ${configPath}
                   bin/sallyport check -c ${configPath}
Ctrl-C stops it.
`;
}

/** Runs the demo to its end and returns the exit code. */
async function run(folder: string): Promise<number> {
  const port = await choosePort();
  const statusPort = await freePortFrom(port + 1);
  const socket = join(folder, 'app.sock');
  const configPath = join(folder, 'config.toml');
  const template = readFileSync(join(HERE, 'config.toml'), 'utf8');
  const values: Record<string, string> = {
    port: String(port),
    status: String(statusPort),
    site: join(HERE, 'site'),
    backend: socket,
  };
  writeFileSync(
    configPath,
    template.replaceAll(/\{(port|status|site|backend)\}/g, (_, name: string) => values[name]),
  );

  // Another program there would answer in the server's place; the server will say that the port is taken.
  const willListen = await isFree(port);
  const backend = await startBackend(socket);
  // In a process group of its own, so that a Ctrl-C comes once, from here.
  const edge = spawn(LAUNCHER, ['serve', '-c', configPath], { stdio: 'inherit', detached: true });
  const ended = new Promise<number>((resolve) => {
    edge.once('error', (error) => {
      console.error(`Error: ${LAUNCHER} can't be started: ${error.message}`);
      resolve(3);
    });
    edge.once('exit', (code) => resolve(code ?? 1));
  });
  if (edge.pid !== undefined) backend.send(edge.pid);
  // One Ctrl-C may come by several ways, and a second signal would cut what is in flight.
  let isStopping = false;
  const stop = (): void => {
    if (!isStopping) edge.kill('SIGTERM');
    isStopping = true;
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
  const parent = process.ppid;
  const watch = setInterval(() => process.ppid !== parent && stop(), PARENT_POLL_MS);

  if (willListen && (await untilAccepting(port, edge))) console.log(whatToTry(port, statusPort, configPath));
  const code = await ended;
  clearInterval(watch);
  backend.send(0);
  backend.disconnect();
  return code;
}

const folder = mkdtempSync(join(tmpdir(), 'sallyport-demo-'));
// The server's rooms run as users of their own, who are to find the application's socket here.
chmodSync(folder, 0o755);
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
try {
  process.exitCode = await run(folder);
} catch (error) {
  console.error(`Error: ${(error as Error).message}`);
  process.exit(3);
}
