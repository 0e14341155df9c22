/** Frames of HTTP/2 as a peer without scruples writes them, and the frames that an engine has written. */

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

export interface Frame {
  type: number;
  flags: number;
  id: number;
  payload: Buffer;
}

export function frame(type: number, flags: number, id: number, payload: Uint8Array | string = ''): Buffer {
  const body = Buffer.from(payload as Uint8Array);
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(id >>> 0, 5);
  return Buffer.concat([head, body]);
}

export function uint32(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => {
    bytes.writeUInt32BE(value >>> 0, index * 4);
  });
  return bytes;
}

export function settings(...entries: [number, number][]): Buffer {
  const payload = Buffer.alloc(entries.length * 6);
  entries.forEach(([setting, value], index) => {
    payload.writeUInt16BE(setting, index * 6);
    payload.writeUInt32BE(value >>> 0, index * 6 + 2);
  });
  return frame(4, 0, 0, payload);
}

/** A client's first bytes: preface and empty SETTINGS. */
export const HELLO = Buffer.concat([PREFACE, settings()]);
export const SETTINGS_ACK = frame(4, 1, 0);

/** Literal fields without indexing, names as they are. */
export function block(fields: readonly (readonly [string, string])[]): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.of(0), string(name), string(value)]));
}

function string(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  const length: number[] = [];
  if (bytes.length < 127) {
    length.push(bytes.length);
  } else {
    length.push(127);
    let rest = bytes.length - 127;
    for (; rest >= 128; rest = Math.floor(rest / 128)) length.push(128 + (rest % 128));
    length.push(rest);
  }
  return Buffer.concat([Buffer.from(length), bytes]);
}

export const GET: [string, string][] = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':path', '/'],
  [':authority', 'example.com'],
];
export const POST: [string, string][] = [[':method', 'POST'], ...GET.slice(1)];

/** HEADERS with END_HEADERS. */
export function headers(
  id: number,
  fields: readonly (readonly [string, string])[],
  endStream = true,
): Buffer {
  return frame(1, endStream ? 5 : 4, id, block(fields));
}

/** Cuts bytes into frames; a client's preface first is passed over. */
export function framesOf(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  let at = bytes.subarray(0, PREFACE.length).equals(PREFACE) ? PREFACE.length : 0;
  while (at < bytes.length) {
    const length = bytes.readUIntBE(at, 3);
    if (at + 9 + length > bytes.length) throw new Error('a frame that is cut short');
    frames.push({
      type: bytes[at + 3],
      flags: bytes[at + 4],
      id: bytes.readUInt32BE(at + 5),
      payload: bytes.subarray(at + 9, at + 9 + length),
    });
    at += 9 + length;
  }
  return frames;
}

const TYPES = [
  'DATA',
  'HEADERS',
  'PRIORITY',
  'RST_STREAM',
  'SETTINGS',
  'PUSH_PROMISE',
  'PING',
  'GOAWAY',
  'WINDOW_UPDATE',
  'CONTINUATION',
];

/** A frame as one short line: `RST_STREAM 1 code 7`. */
export function describeFrame({ type, flags, id, payload }: Frame): string {
  const name = TYPES[type] ?? `type ${type}`;
  switch (type) {
    case 3:
      return `${name} ${id} code ${payload.readUInt32BE(0)}`;
    case 4:
      return (flags & 1) !== 0 ? 'SETTINGS ack' : 'SETTINGS';
    case 6:
      return (flags & 1) !== 0 ? `PING ack ${payload.toString('hex')}` : 'PING';
    case 7: {
      const debug = payload.toString('latin1', 8);
      return `GOAWAY ${payload.readUInt32BE(0)} code ${payload.readUInt32BE(4)}${debug === '' ? '' : ` ${debug}`}`;
    }
    case 8:
      return `${name} ${id} ${payload.readUInt32BE(0)}`;
    default:
      return `${name} ${id}${(flags & 1) !== 0 ? ' end' : ''} ${payload.length}`;
  }
}
