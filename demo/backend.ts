/**
 * The demo's application: plain Node.js on a Unix socket, as anything behind the edge may be. Started by
 * main.ts with the socket's path. It ends when main.ts does, and stops the server then, of which main.ts has
 * told it: even a main.ts that was killed leaves nothing behind.
 */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

const CLOCK_LINES = 10;

function hello(request: IncomingMessage, response: ServerResponse): void {
  const { method, url, headers } = request;
  response.setHeader('Content-Type', 'application/json; charset=utf-8');
  response.end(`${JSON.stringify({ hello: 'from the application', method, url, headers }, null, 2)}\n`);
}

/** A line a second: what is sent arrives at once, through the edge too. */
function clock(response: ServerResponse): void {
  response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  let lines = 0;
  const tick = (): void => {
    response.write(`${new Date().toISOString()}\n`);
    if (++lines < CLOCK_LINES) return;
    clearInterval(timer);
    response.end();
  };
  const timer = setInterval(tick, 1000);
  tick();
  response.on('close', () => clearInterval(timer));
}

const application = createServer((request, response) => {
  const path = (request.url ?? '/').split('?')[0];
  if (path === '/clock') clock(response);
  else if (path === '/echo') request.pipe(response);
  else hello(request, response);
});

// A Ctrl-C reaches every process of the terminal; the edge may still have requests to finish here.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});
let server = 0;
process.on('message', (pid: number) => {
  server = pid;
});
process.on('disconnect', () => {
  if (server !== 0) process.kill(server, 'SIGTERM');
  process.exit(0);
});
application.listen({ path: process.argv[2], readableAll: true, writableAll: true }, () =>
  process.send?.('ready'),
);
