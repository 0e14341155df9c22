/**
 * Socket addresses as the program speaks of them, and their kernel layouts.
 *
 * sockaddr_in (16 bytes): family u16, port u16 big-endian, address 4 bytes, padding.
 * sockaddr_in6 (28): family u16, port u16 big-endian, flow information u32, address 16, scope u32.
 * sockaddr_un (2 + path): family u16, path; NUL-terminated, or beginning with NUL (abstract), or empty.
 */

export type SocketAddress =
  | { readonly family: 'ipv4' | 'ipv6'; readonly address: string; readonly port: number }
  | { readonly family: 'unix'; readonly path: string };

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;

/** Bytes of the longest sockaddr that is written or read here (sockaddr_un with 108 bytes of path). */
export const SOCKADDR_BYTES_MAX = 110;
/** Bytes of a Unix socket's path without its NUL. */
export const UNIX_PATH_BYTES_MAX = 107;

/** What an unnamed Unix peer is called. */
export const UNNAMED_UNIX: SocketAddress = { family: 'unix', path: '' };

export function addressFamily(address: SocketAddress): number {
  return address.family === 'unix' ? AF_UNIX : address.family === 'ipv4' ? AF_INET : AF_INET6;
}

/**
 * Writes the kernel's form of an address at `offset`, where SOCKADDR_BYTES_MAX bytes are free.
 * Returns its length, or 0 when the address is not valid (bad literal, port, or a path that is too long).
 */
export function encodeAddress(address: SocketAddress, bytes: Uint8Array, offset: number): number {
  const family = addressFamily(address);
  bytes[offset] = family;
  bytes[offset + 1] = 0;
  if (address.family === 'unix') return encodeUnixPath(address.path, bytes, offset);
  if (!Number.isInteger(address.port) || address.port < 0 || address.port > 65535) return 0;
  bytes[offset + 2] = address.port >>> 8;
  bytes[offset + 3] = address.port & 255;
  if (address.family === 'ipv4') {
    bytes.fill(0, offset + 4, offset + 16);
    return parseIPv4(address.address, bytes, offset + 4) ? 16 : 0;
  }
  bytes.fill(0, offset + 4, offset + 28);
  return parseIPv6(address.address, bytes, offset + 8) ? 28 : 0;
}

/** Reads a kernel address of `length` bytes. An IPv4 address that is mapped into IPv6 comes out as IPv4. */
export function decodeAddress(bytes: Uint8Array, offset: number, length: number): SocketAddress {
  const family = length >= 2 ? bytes[offset] | (bytes[offset + 1] << 8) : AF_UNIX;
  if (family === AF_INET) {
    return { family: 'ipv4', address: formatIPv4(bytes, offset + 4), port: portAt(bytes, offset) };
  }
  if (family === AF_INET6) {
    const port = portAt(bytes, offset);
    return isMappedIPv4(bytes, offset + 8)
      ? { family: 'ipv4', address: formatIPv4(bytes, offset + 20), port }
      : { family: 'ipv6', address: formatIPv6(bytes, offset + 8), port };
  }
  let end = offset + 2;
  const abstract = length > 2 && bytes[end] === 0;
  while (end < offset + length && (abstract || bytes[end] !== 0)) end++;
  const path = Buffer.from(bytes.subarray(offset + 2, end)).toString('utf8');
  return path === '' ? UNNAMED_UNIX : { family: 'unix', path };
}

function portAt(bytes: Uint8Array, offset: number): number {
  return (bytes[offset + 2] << 8) | bytes[offset + 3];
}

function encodeUnixPath(path: string, bytes: Uint8Array, offset: number): number {
  const encoded = Buffer.from(path, 'utf8');
  const abstract = encoded.length > 0 && encoded[0] === 0;
  if (encoded.length === 0 || encoded.length > UNIX_PATH_BYTES_MAX) return 0;
  if (!abstract && encoded.includes(0)) return 0;
  bytes.set(encoded, offset + 2);
  if (abstract) return 2 + encoded.length;
  bytes[offset + 2 + encoded.length] = 0;
  return 3 + encoded.length;
}

/** Four decimal octets, without leading zeros. */
function parseIPv4(text: string, bytes: Uint8Array, offset: number): boolean {
  const parts = text.split('.');
  if (parts.length !== 4) return false;
  for (let index = 0; index < 4; index++) {
    const part = parts[index];
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return false;
    bytes[offset + index] = Number(part);
  }
  return true;
}

/** RFC 4291 §2.2; no zone. */
function parseIPv6(text: string, bytes: Uint8Array, offset: number): boolean {
  const halves = text.split('::');
  if (halves.length > 2) return false;
  const head = groupsOf(halves[0]);
  const tail = halves.length === 2 ? groupsOf(halves[1]) : [];
  if (head === undefined || tail === undefined) return false;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return false;
  const groups = [...head, ...new Array<number>(halves.length === 2 ? missing : 0).fill(0), ...tail];
  for (let index = 0; index < 8; index++) {
    bytes[offset + index * 2] = groups[index] >>> 8;
    bytes[offset + index * 2 + 1] = groups[index] & 255;
  }
  return true;
}

/** The 16-bit groups of one side of `::`, the last of which may be an IPv4 address. */
function groupsOf(text: string): number[] | undefined {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (let index = 0; index < parts.length; index++) {
    const part = parts[index];
    if (index === parts.length - 1 && part.includes('.')) {
      const octets = new Uint8Array(4);
      if (!parseIPv4(part, octets, 0)) return undefined;
      groups.push((octets[0] << 8) | octets[1], (octets[2] << 8) | octets[3]);
    } else if (/^[0-9A-Fa-f]{1,4}$/.test(part)) groups.push(Number.parseInt(part, 16));
    else return undefined;
  }
  return groups;
}

function formatIPv4(bytes: Uint8Array, offset: number): string {
  return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`;
}

function isMappedIPv4(bytes: Uint8Array, offset: number): boolean {
  for (let index = 0; index < 10; index++) if (bytes[offset + index] !== 0) return false;
  return bytes[offset + 10] === 255 && bytes[offset + 11] === 255;
}

/** RFC 5952: lower case, no leading zeros, the longest (first) run of two zero groups or more as `::`. */
function formatIPv6(bytes: Uint8Array, offset: number): string {
  const groups: number[] = [];
  for (let index = 0; index < 16; index += 2) {
    groups.push((bytes[offset + index] << 8) | bytes[offset + index + 1]);
  }
  let runStart = -1;
  let runLength = 1;
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (end < 8 && groups[end] === 0) end++;
    if (end - start > runLength) {
      runStart = start;
      runLength = end - start;
    }
    if (end > start) start = end;
  }
  const hex = groups.map((group) => group.toString(16));
  if (runStart < 0) return hex.join(':');
  return `${hex.slice(0, runStart).join(':')}::${hex.slice(runStart + runLength).join(':')}`;
}
