/** A name server for tests (RFC 1035), over UDP, on the port that resolvers expect: of a loopback address of its own. */

import { createSocket, type Socket } from 'node:dgram';

const PORT = 53;
const TYPE_A = 1;
const TYPE_AAAA = 28;
const HEADER_BYTES = 12;
const FLAGS_ANSWER = 0x8180;
const CODE_SERVER_FAILURE = 2;
const CODE_NO_SUCH_NAME = 3;

export class NameServer {
  /** Addresses by name; `fails`: the server says that it can't tell. */
  readonly names: Map<string, readonly string[] | 'fails'>;
  /** Names that it was asked for, in order. */
  readonly asked: string[];
  private readonly socket: Socket;

  private constructor(socket: Socket) {
    this.names = new Map();
    this.asked = [];
    this.socket = socket;
    socket.on('message', (query, { address, port }) => {
      const answer = this.answer(query);
      if (answer !== null) socket.send(answer, port, address);
    });
  }

  /** On that loopback address; what resolv.conf needs is `nameserver ADDRESS`. */
  static async start(address: string): Promise<NameServer> {
    const socket = createSocket('udp4');
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.bind(PORT, address, resolve);
    });
    return new NameServer(socket);
  }

  private answer(query: Buffer): Buffer | null {
    let end = HEADER_BYTES;
    const labels: string[] = [];
    for (let length = query[end]; length > 0; length = query[end]) {
      labels.push(query.toString('latin1', end + 1, end + 1 + length));
      end += 1 + length;
    }
    const type = query.readUInt16BE(end + 1);
    const name = labels.join('.');
    this.asked.push(name);
    const known = this.names.get(name);
    const addresses = Array.isArray(known) ? (known as string[]) : [];
    const records = addresses.filter((each) => each.includes(':') === (type === TYPE_AAAA)).map(recordOf);
    const head = Buffer.from(query.subarray(0, end + 5));
    const code = known === 'fails' ? CODE_SERVER_FAILURE : known === undefined ? CODE_NO_SUCH_NAME : 0;
    head.writeUInt16BE(FLAGS_ANSWER | code, 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt16BE(records.length, 6);
    head.writeUInt32BE(0, 8);
    return Buffer.concat([head, ...records]);
  }

  close(): void {
    this.socket.close();
  }
}

/** A record for the name that was asked for, good for 1 s. */
function recordOf(address: string): Buffer {
  const bytes = address.includes(':') ? ipv6Of(address) : Buffer.from(address.split('.').map(Number));
  const head = Buffer.alloc(12);
  head.writeUInt16BE(0xc000 | HEADER_BYTES, 0);
  head.writeUInt16BE(address.includes(':') ? TYPE_AAAA : TYPE_A, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt32BE(1, 6);
  head.writeUInt16BE(bytes.length, 10);
  return Buffer.concat([head, bytes]);
}

/** All eight groups, or `::` and the last one. */
function ipv6Of(address: string): Buffer {
  const groups = address.startsWith('::') ? [0, 0, 0, 0, 0, 0, 0, Number.parseInt(address.slice(2), 16)] : [];
  const bytes = Buffer.alloc(16);
  const all = groups.length > 0 ? groups : address.split(':').map((each) => Number.parseInt(each, 16));
  for (const [index, group] of all.entries()) bytes.writeUInt16BE(group, index * 2);
  return bytes;
}
