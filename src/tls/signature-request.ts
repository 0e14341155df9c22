/**
 * What the edge asks of the process that holds the private keys, byte by byte, and what such a message may be.
 * Pure. The keys' side signs nothing but what TLS signs, so that whoever owns the edge can't have certificates,
 * tickets of other protocols or chosen digests signed; what a compromised edge can still do is handshakes.
 *
 * Request, REQUEST_HEAD_BYTES + message, at most REQUEST_BYTES_MAX; integers are big-endian:
 *
 *   0  u8   version (1)
 *   1  u8   role: 0 server, 1 client
 *   2  u16  signature scheme (TLS SignatureScheme, RFC 8446 §4.2.3)
 *   4  u32  key
 *   8  u32  sequence number, which the reply repeats
 *   12 u32  length of the message
 *   16      message
 *
 * Reply, REPLY_HEAD_BYTES + signature, at most REPLY_BYTES_MAX:
 *
 *   0  u8   version (1)
 *   1  u8   status; a signature follows STATUS_SIGNED only
 *   2  u16  length of the signature
 *   4  u32  sequence number
 *   8       signature
 *
 * A greeting is a reply that nobody asked for, with STATUS_READY: whoever sends it answers from now on.
 */

const VERSION = 1;
export const REQUEST_HEAD_BYTES = 16;
export const REPLY_HEAD_BYTES = 8;
/**
 * Longest message. A server's are below 256 bytes; a client's in TLS 1.2 is the whole handshake, in which the
 * server's chain is the bulk. With the head it fits one datagram of a socket with the kernel's default buffers.
 */
export const MESSAGE_BYTES_MAX = 65520;
export const REQUEST_BYTES_MAX = REQUEST_HEAD_BYTES + MESSAGE_BYTES_MAX;
/** That of an RSA key of 8,192 bits. */
export const SIGNATURE_BYTES_MAX = 1024;
export const REPLY_BYTES_MAX = REPLY_HEAD_BYTES + SIGNATURE_BYTES_MAX;

export const ROLE_SERVER = 0;
export const ROLE_CLIENT = 1;
export type Role = typeof ROLE_SERVER | typeof ROLE_CLIENT;

export const STATUS_SIGNED = 0;
/** The request could not be read. */
export const STATUS_MALFORMED = 1;
export const STATUS_UNKNOWN_KEY = 2;
/** The key has another role, the scheme doesn't fit the key, or the message is none that TLS signs. */
export const STATUS_REFUSED = 3;
/** More signatures were asked of this key than its rate allows. */
export const STATUS_RATE_LIMITED = 4;
/** The signature could not be made. */
export const STATUS_FAILED = 5;
/** No answer but a greeting; its sequence number is 0. */
export const STATUS_READY = 6;

export interface SignatureRequest {
  readonly role: Role;
  readonly scheme: number;
  readonly keyId: number;
  readonly sequence: number;
  readonly message: Uint8Array;
}

export interface SignatureReply {
  readonly status: number;
  readonly sequence: number;
  /** Empty unless the status is STATUS_SIGNED. */
  readonly signature: Uint8Array;
}

const EMPTY = new Uint8Array(0);

function u16(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8) | bytes[at + 1];
}

function u24(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 16) | (bytes[at + 1] << 8) | bytes[at + 2];
}

function u32(bytes: Uint8Array, at: number): number {
  return ((bytes[at] << 24) | u24(bytes, at + 1)) >>> 0;
}

function writeU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

function writeU32(bytes: Uint8Array, at: number, value: number): void {
  writeU16(bytes, at, value >>> 16);
  writeU16(bytes, at + 2, value);
}

/** Writes a request at the start of `target` (REQUEST_BYTES_MAX suffice). Its length; 0: the message is too long. */
export function encodeRequest(target: Uint8Array, request: SignatureRequest): number {
  const { message } = request;
  if (message.length > MESSAGE_BYTES_MAX) return 0;
  target[0] = VERSION;
  target[1] = request.role;
  writeU16(target, 2, request.scheme);
  writeU32(target, 4, request.keyId);
  writeU32(target, 8, request.sequence);
  writeU32(target, 12, message.length);
  target.set(message, REQUEST_HEAD_BYTES);
  return REQUEST_HEAD_BYTES + message.length;
}

/** Asks the same of another key. */
export function setKeyId(request: Uint8Array, keyId: number): void {
  writeU32(request, 4, keyId);
}

/** The request that `bytes` are from first to last, or null. Its message is a view of them. */
export function decodeRequest(bytes: Uint8Array): SignatureRequest | null {
  if (bytes.length < REQUEST_HEAD_BYTES || bytes.length > REQUEST_BYTES_MAX) return null;
  const role = bytes[1];
  if (bytes[0] !== VERSION || (role !== ROLE_SERVER && role !== ROLE_CLIENT)) return null;
  if (u32(bytes, 12) !== bytes.length - REQUEST_HEAD_BYTES) return null;
  return {
    role,
    scheme: u16(bytes, 2),
    keyId: u32(bytes, 4),
    sequence: u32(bytes, 8),
    message: bytes.subarray(REQUEST_HEAD_BYTES),
  };
}

/** The sequence number of what may not be a request at all, so that even a refusal finds its asker; 0 at worst. */
export function sequenceOf(bytes: Uint8Array): number {
  return bytes.length < REQUEST_HEAD_BYTES ? 0 : u32(bytes, 8);
}

/** Writes a reply at the start of `target` (REPLY_BYTES_MAX suffice). Its length; 0: the signature is too long. */
export function encodeReply(target: Uint8Array, reply: SignatureReply): number {
  const { signature } = reply;
  if (signature.length > SIGNATURE_BYTES_MAX) return 0;
  target[0] = VERSION;
  target[1] = reply.status;
  writeU16(target, 2, signature.length);
  writeU32(target, 4, reply.sequence);
  target.set(signature, REPLY_HEAD_BYTES);
  return REPLY_HEAD_BYTES + signature.length;
}

/** The number of the request that a reply of at least REPLY_HEAD_BYTES at `offset` answers. */
export function repliedSequence(bytes: Uint8Array, offset: number): number {
  return u32(bytes, offset + 4);
}

/** The reply that `bytes` are from first to last, or null. Its signature is a view of them. */
export function decodeReply(bytes: Uint8Array): SignatureReply | null {
  if (bytes.length < REPLY_HEAD_BYTES || bytes.length > REPLY_BYTES_MAX) return null;
  const status = bytes[1];
  if (bytes[0] !== VERSION || status > STATUS_READY) return null;
  const length = u16(bytes, 2);
  if (length !== bytes.length - REPLY_HEAD_BYTES || length > 0 !== (status === STATUS_SIGNED)) return null;
  const signature = length === 0 ? EMPTY : bytes.subarray(REPLY_HEAD_BYTES);
  return { status, sequence: u32(bytes, 4), signature };
}

// ---- Signature schemes ------------------------------------------------------------------------------

/** A scheme of RFC 8446 §4.2.3; those with SHA-1, with SHA-224 and for keys of type RSASSA-PSS are not here. */
export interface Scheme {
  readonly code: number;
  readonly algorithm: 'ecdsa' | 'rsa-pkcs1' | 'rsa-pss' | 'ed25519';
  /** 0: the algorithm digests by itself. */
  readonly digestBits: number;
  /** The curve that TLS 1.3 ties to the scheme; empty where it has none or where TLS 1.3 forbids the scheme. */
  readonly curve: string;
}

const SCHEMES: readonly Scheme[] = [
  { code: 0x0403, algorithm: 'ecdsa', digestBits: 256, curve: 'prime256v1' },
  { code: 0x0503, algorithm: 'ecdsa', digestBits: 384, curve: 'secp384r1' },
  // Its curve is secp521r1, which no key here has; TLS 1.2 takes it with any curve.
  { code: 0x0603, algorithm: 'ecdsa', digestBits: 512, curve: '' },
  { code: 0x0807, algorithm: 'ed25519', digestBits: 0, curve: '' },
  { code: 0x0804, algorithm: 'rsa-pss', digestBits: 256, curve: '' },
  { code: 0x0805, algorithm: 'rsa-pss', digestBits: 384, curve: '' },
  { code: 0x0806, algorithm: 'rsa-pss', digestBits: 512, curve: '' },
  { code: 0x0401, algorithm: 'rsa-pkcs1', digestBits: 256, curve: '' },
  { code: 0x0501, algorithm: 'rsa-pkcs1', digestBits: 384, curve: '' },
  { code: 0x0601, algorithm: 'rsa-pkcs1', digestBits: 512, curve: '' },
];

/** The scheme of a code point, or null. */
export function schemeOf(code: number): Scheme | null {
  for (const scheme of SCHEMES) if (scheme.code === code) return scheme;
  return null;
}

/** The code point of an algorithm with a digest; -1: there is none. */
export function schemeCode(algorithm: Scheme['algorithm'], digestBits: number): number {
  for (const scheme of SCHEMES) {
    if (scheme.algorithm === algorithm && scheme.digestBits === digestBits) return scheme.code;
  }
  return -1;
}

// ---- Messages ---------------------------------------------------------------------------------------

/** What a message is. No message is two of them: the first begins with a space, the third with a 1 and a 0. */
export type MessageKind =
  /** CertificateVerify of TLS 1.3 (RFC 8446 §4.4.3). */
  | 'tls13'
  /** The signed part of a ServerKeyExchange of TLS 1.2 (RFC 8422 §5.4). */
  | 'tls12-server'
  /** CertificateVerify of a TLS 1.2 client: the handshake so far (RFC 5246 §7.4.8). */
  | 'tls12-client'
  | 'none';

const SPACES = 64;
const SPACE = 0x20;
/** By role. Both are as long. */
const CONTEXTS = ['TLS 1.3, server CertificateVerify', 'TLS 1.3, client CertificateVerify'].map((text) =>
  Uint8Array.from(text, (character) => character.charCodeAt(0)),
);
const TLS13_HASH_OFFSET = SPACES + CONTEXTS[0].length + 1;

const RANDOMS_BYTES = 64;
const NAMED_CURVE = 3;
const UNCOMPRESSED = 4;

/** What `message` is when a key of that role is asked to sign it. */
export function messageKind(role: Role, message: Uint8Array): MessageKind {
  if (isTls13(role, message)) return 'tls13';
  if (role === ROLE_SERVER) return isServerKeyExchange(message) ? 'tls12-server' : 'none';
  return isClientTranscript(message) ? 'tls12-client' : 'none';
}

/**
 * 64 spaces, the context of the role, a zero, and the transcript's hash. That is the cipher suite's, not the
 * scheme's: 32 bytes (SHA-256) or 48 (SHA-384), whichever the scheme.
 */
function isTls13(role: Role, message: Uint8Array): boolean {
  const hashBytes = message.length - TLS13_HASH_OFFSET;
  if (hashBytes !== 32 && hashBytes !== 48) return false;
  for (let at = 0; at < SPACES; at++) if (message[at] !== SPACE) return false;
  const context = CONTEXTS[role];
  for (let at = 0; at < context.length; at++) if (message[SPACES + at] !== context[at]) return false;
  return message[TLS13_HASH_OFFSET - 1] === 0;
}

/** Bytes of a public key in a group of TLS 1.2 (RFC 8422 §5.4, §5.11); 0: not a group that is known here. */
function pointBytes(group: number): number {
  switch (group) {
    case 23: // secp256r1
      return 65;
    case 24: // secp384r1
      return 97;
    case 25: // secp521r1
      return 133;
    case 29: // x25519
      return 32;
    case 30: // x448
      return 56;
    default:
      return 0;
  }
}

/** Client random, server random, curve type, group, length of the point, point. */
function isServerKeyExchange(message: Uint8Array): boolean {
  if (message.length < RANDOMS_BYTES + 4 || message[RANDOMS_BYTES] !== NAMED_CURVE) return false;
  const group = u16(message, RANDOMS_BYTES + 1);
  const bytes = pointBytes(group);
  if (bytes === 0 || message[RANDOMS_BYTES + 3] !== bytes) return false;
  if (message.length !== RANDOMS_BYTES + 4 + bytes) return false;
  return group > 25 || message[RANDOMS_BYTES + 4] === UNCOMPRESSED;
}

// Handshake types (RFC 5246 §7.4).
const CLIENT_HELLO = 1;
const SERVER_HELLO = 2;
const CERTIFICATE = 11;
const SERVER_KEY_EXCHANGE = 12;
const CERTIFICATE_REQUEST = 13;
const SERVER_HELLO_DONE = 14;
const CLIENT_KEY_EXCHANGE = 16;
const CERTIFICATE_STATUS = 22;
const TLS12 = 0x0303;

/** The messages before a client's CertificateVerify, in their order; CertificateStatus may be missing. */
const TRANSCRIPT = [
  CLIENT_HELLO,
  SERVER_HELLO,
  CERTIFICATE,
  CERTIFICATE_STATUS,
  SERVER_KEY_EXCHANGE,
  CERTIFICATE_REQUEST,
  SERVER_HELLO_DONE,
  CERTIFICATE,
  CLIENT_KEY_EXCHANGE,
];

function isClientTranscript(message: Uint8Array): boolean {
  let at = 0;
  for (const type of TRANSCRIPT) {
    if (at + 4 > message.length) return false;
    if (message[at] !== type) {
      if (type === CERTIFICATE_STATUS) continue;
      return false;
    }
    const length = u24(message, at + 1);
    const end = at + 4 + length;
    if (end > message.length) return false;
    if (type <= SERVER_HELLO && (length < 2 || u16(message, at + 4) !== TLS12)) return false;
    if (type === SERVER_HELLO_DONE && length !== 0) return false;
    at = end;
  }
  return at === message.length;
}
