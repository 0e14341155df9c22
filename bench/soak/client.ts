/**
 * The clients of a soak run: raw sockets that send a mix of everything an edge meets (small and large bodies
 * in both directions and both framings, files, errors, redirects, malformed requests, clients that leave in
 * the middle) and check each response: its status, and that its content is their own.
 */

import { connect, type Socket } from 'node:net';
import type { Random } from '../../src/base/random.ts';
import { ID_BYTES, padId } from './origin.ts';

/** What a client does with the connection after the response. */
type After = 'keep' | 'closed-by-edge' | 'leave-early';

interface Kind {
  readonly name: string;
  /** Of a thousand requests. */
  readonly share: number;
  readonly status: number;
  readonly after: After;
  /** The content starts with the request's id. */
  readonly echoesId: boolean;
  readonly request: (id: string) => string;
}

const LAST_CHUNK = '\r\n0\r\n\r\n';
const HOST = 'Host: bench.example.com\r\n';

function fieldLines(id: string): string {
  return `${HOST}User-Agent: soak\r\nX-Soak-Id: ${id}\r\n`;
}

function get(path: string): (id: string) => string {
  return (id) => `GET ${path} HTTP/1.1\r\n${fieldLines(id)}\r\n`;
}

const POSTED = 'p'.repeat(9000);
const CHUNKED = '3e8\r\n'.concat('c'.repeat(1000), '\r\n').repeat(5).concat('0\r\n\r\n');

const KINDS: readonly Kind[] = [
  kind('proxy 1 KiB', 560, 200, get('/api/length/1024')),
  kind('proxy no more than the id', 100, 200, get('/api/length/12')),
  kind('proxy 64 KiB', 20, 200, get('/api/length/65536')),
  kind('proxy 256 KiB', 4, 200, get('/api/length/262144')),
  kind('proxy chunked', 40, 200, get('/api/chunked/3000')),
  kind('POST with a length', 50, 200, (id) => {
    return `POST /api/post HTTP/1.1\r\n${fieldLines(id)}Content-Length: ${POSTED.length}\r\n\r\n${POSTED}`;
  }),
  kind('POST chunked', 40, 200, (id) => {
    return `POST /api/post HTTP/1.1\r\n${fieldLines(id)}Transfer-Encoding: chunked\r\n\r\n${CHUNKED}`;
  }),
  { ...kind('file', 100, 200, get('/static/1k.bin')), echoesId: false },
  { ...kind('missing file', 30, 404, get('/static/none')), echoesId: false },
  { ...kind('redirect', 30, 301, get('/elsewhere?a=1')), echoesId: false },
  {
    ...kind('close asked for', 12, 200, (id) => {
      return `GET /api/length/500 HTTP/1.1\r\n${fieldLines(id)}Connection: close\r\n\r\n`;
    }),
    after: 'closed-by-edge',
  },
  {
    ...kind(
      'malformed',
      8,
      400,
      (id) => `GET /api/1k HTTP/1.1\r\n${fieldLines(id)}Content-Length: +1\r\n\r\n`,
    ),
    after: 'closed-by-edge',
    echoesId: false,
  },
  { ...kind('client leaves', 6, 200, get('/api/length/262144')), after: 'leave-early' },
];

function kind(name: string, share: number, status: number, request: (id: string) => string): Kind {
  return { name, share, status, after: 'keep', echoesId: true, request };
}

const SHARES = KINDS.reduce((sum, each) => sum + each.share, 0);

function pick(random: Random): Kind {
  let at = random.below(SHARES);
  for (const each of KINDS) {
    if (at < each.share) return each;
    at -= each.share;
  }
  return KINDS[0];
}

/** Many clients that share a quota of requests. */
export class Clients {
  completed: number;
  /** What was wrong, in words; the run fails when there is anything. */
  readonly problems: string[];
  private readonly port: number;
  private readonly random: Random;
  private left: number;
  private active: number;
  private done: () => void;

  constructor(port: number, random: Random) {
    this.completed = 0;
    this.problems = [];
    this.port = port;
    this.random = random;
    this.left = 0;
    this.active = 0;
    this.done = () => undefined;
  }

  /** Sends `requests` over `connections` connections, each request after the response before it. */
  run(requests: number, connections: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.left = requests;
    this.active = connections;
    this.done = resolve;
    for (let index = 0; index < connections; index++) this.open();
    return promise;
  }

  private open(): void {
    new Client(this, connect({ port: this.port, host: '127.0.0.1', noDelay: true })).next();
  }

  /** The next kind of request, or undefined when the quota is used up. */
  take(): { kind: Kind; id: string } | undefined {
    if (this.left === 0 || this.problems.length > 0) return undefined;
    this.left--;
    return { kind: pick(this.random), id: String(this.left) };
  }

  finish(problem: string): void {
    if (problem !== '') this.problems.push(problem);
    this.completed++;
  }

  /** A client's connection is gone: another takes its place while requests are left. */
  gone(): void {
    if (this.left > 0 && this.problems.length === 0) this.open();
    else if (--this.active === 0) this.done();
  }
}

class Client {
  private readonly owner: Clients;
  private readonly socket: Socket;
  private current: Kind | undefined;
  private id: string;
  private head: string;
  /** Bytes of content still to come; -1 before the head, -2 for chunked content. */
  private contentLeft: number;
  private start: string;
  /** The last bytes of chunked content. */
  private end: string;

  constructor(owner: Clients, socket: Socket) {
    this.owner = owner;
    this.socket = socket;
    this.current = undefined;
    this.id = '';
    this.head = '';
    this.contentLeft = -1;
    this.start = '';
    this.end = '';
    socket.on('data', (chunk: Buffer) => this.onData(chunk));
    socket.on('error', () => undefined);
    socket.on('close', () => this.onClose());
  }

  next(): void {
    const taken = this.owner.take();
    if (taken === undefined) {
      this.socket.end();
      return;
    }
    this.current = taken.kind;
    this.id = taken.id;
    this.head = '';
    this.start = '';
    this.end = '';
    this.contentLeft = -1;
    this.socket.write(taken.kind.request(taken.id));
  }

  private onData(chunk: Buffer): void {
    const kind = this.current;
    if (kind === undefined) return;
    let at = 0;
    if (this.contentLeft === -1) {
      this.head += chunk.toString('latin1');
      const end = this.head.indexOf('\r\n\r\n');
      if (end < 0) return;
      at = chunk.length - (this.head.length - end - 4);
      this.head = this.head.slice(0, end + 2);
      this.contentLeft = contentLength(this.head);
    }
    if (kind.after === 'leave-early') {
      this.finish('');
      this.socket.resetAndDestroy();
      return;
    }
    this.content(chunk, at);
  }

  private content(chunk: Buffer, at: number): void {
    const needed = this.contentLeft === -2 ? 64 : ID_BYTES;
    if (this.start.length < needed) {
      this.start += chunk.latin1Slice(at, Math.min(chunk.length, at + needed - this.start.length));
    }
    if (this.contentLeft === -2) {
      // Content here never looks like the last chunk.
      this.end = (this.end + chunk.latin1Slice(Math.max(at, chunk.length - 7), chunk.length)).slice(-7);
      if (this.end === LAST_CHUNK) this.complete();
      return;
    }
    this.contentLeft -= chunk.length - at;
    if (this.contentLeft < 0) this.finish(`${this.current?.name}: more bytes than declared`);
    else if (this.contentLeft === 0) this.complete();
  }

  private complete(): void {
    const kind = this.current as Kind;
    const status = Number(this.head.slice(9, 12));
    const own = this.contentLeft === -2 ? this.start.includes(padId(this.id)) : this.start === padId(this.id);
    if (status !== kind.status) this.finish(`${kind.name}: status ${status}`);
    else if (kind.echoesId && !own) this.finish(`${kind.name}: content of another request: ${this.start}`);
    else this.finish('');
    if (kind.after === 'keep') this.next();
  }

  private finish(problem: string): void {
    this.current = undefined;
    this.owner.finish(problem);
  }

  private onClose(): void {
    if (this.current !== undefined) this.finish(`${this.current.name}: closed without a complete response`);
    this.owner.gone();
  }
}

function contentLength(head: string): number {
  const match = /\r\ncontent-length: *(\d+)\r\n/i.exec(head);
  return match === null ? -2 : Number(match[1]);
}
