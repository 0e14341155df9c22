/** Messages that TLS signs, made up byte by byte. */

import { ROLE_SERVER, type Role } from '../../src/tls/signature-request.ts';

/** Not a Buffer, whose `slice` would be no copy. */
function joined(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** RFC 8446 §4.4.3, with a hash of that many bytes. */
export function tls13Message(role: Role, hashBytes: number): Uint8Array {
  const name = role === ROLE_SERVER ? 'server' : 'client';
  const context = `${' '.repeat(64)}TLS 1.3, ${name} CertificateVerify\0`;
  return joined([Buffer.from(context, 'latin1'), Buffer.alloc(hashBytes, 0x5a)]);
}

const POINT_BYTES = new Map([
  [23, 65],
  [24, 97],
  [25, 133],
  [29, 32],
  [30, 56],
]);

/** RFC 8422 §5.4: randoms, then the parameters in a group. */
export function serverKeyExchange(group: number): Uint8Array {
  const point = Buffer.alloc(POINT_BYTES.get(group) ?? 0, 0x77);
  if (group < 29) point[0] = 4;
  return joined([Buffer.alloc(64, 0xab), Buffer.of(3, 0, group, point.length), point]);
}

/** A handshake message: type, length in 24 bits, body (RFC 5246 §7.4). */
export function handshakeMessage(type: number, body: Uint8Array): Uint8Array {
  return joined([Buffer.of(type, 0, body.length >> 8, body.length & 0xff), body]);
}

/**
 * What a TLS 1.2 client signs: the handshake up to its ClientKeyExchange, possibly with a stapled response, without
 * one of the messages, or with a ServerHelloDone of `done` bytes.
 */
export function clientTranscript(
  options: { stapled?: boolean; without?: number; done?: number } = {},
): Uint8Array {
  const hello = Buffer.concat([Buffer.of(3, 3), Buffer.alloc(40, 0xcd)]);
  const messages: readonly (readonly [number, Uint8Array])[] = [
    [1, hello],
    [2, hello],
    [11, Buffer.alloc(300, 1)],
    ...(options.stapled === true ? [[22, Buffer.alloc(50, 2)] as const] : []),
    [12, Buffer.alloc(140, 3)],
    [13, Buffer.alloc(30, 4)],
    [14, Buffer.alloc(options.done ?? 0)],
    [11, Buffer.alloc(200, 5)],
    [16, Buffer.alloc(66, 6)],
  ];
  return joined(
    messages.filter(([type]) => type !== options.without).map(([type, body]) => handshakeMessage(type, body)),
  );
}
