/**
 * Host names, addresses and address ranges as they are written in a configuration, checked and brought
 * into one form: lower case, no trailing dot, IPv6 literals shortened (RFC 5952) and in brackets.
 */

import { isIPv4, isIPv6 } from 'node:net';
import { domainToASCII } from 'node:url';
import type { ListenAddress } from './model.ts';
import { Complaint } from './problem.ts';

/** RFC 1035 §2.3.4. */
const NAME_CHARS_MAX = 253;
/** Underscores are not host names by RFC 952, but are met in practice. */
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
/** Bytes that sockaddr_un holds before its NUL. */
export const UNIX_PATH_BYTES_MAX = 107;

/** A DNS name in lower case, or why it isn't one. Names in other scripts become A-labels (RFC 5890). */
export function parseDnsName(text: string): string | Complaint {
  if (text === '') return new Complaint('the host name is empty');
  const ascii = /[^\x00-\x7f]/.test(text) ? domainToASCII(text) : text.toLowerCase();
  if (ascii === '') return new Complaint('it is not a host name');
  const name = ascii.endsWith('.') ? ascii.slice(0, -1) : ascii;
  if (name.length > NAME_CHARS_MAX)
    return new Complaint(`a host name has at most ${NAME_CHARS_MAX} characters`);
  const labels = name.split('.');
  if (!labels.every((label) => LABEL.test(label))) {
    return new Complaint(
      'it is not a host name',
      'a name has labels of letters, digits and hyphens between single dots',
    );
  }
  // A last label of digits is an IPv4 address to everything that resolves names (WHATWG URL §3.5).
  if (/^[0-9]+$/.test(labels[labels.length - 1]))
    return new Complaint('it is neither a name nor an IPv4 address');
  return name;
}

/** The shortest form of a valid IPv6 address without a zone, in brackets. */
function bracketIpv6(address: string): string {
  return new URL(`http://[${address}]/`).hostname;
}

function isPlainIpv6(text: string): boolean {
  return isIPv6(text) && !text.includes('%');
}

/** A name or an IP literal without a port: `example.com`, `192.0.2.1`, `[2001:db8::1]` (brackets may be left out). */
export function parseHost(text: string): string | Complaint {
  if (text.startsWith('[')) {
    const end = text.indexOf(']');
    if (end < 0 || !isPlainIpv6(text.slice(1, end)))
      return new Complaint('it is not an IPv6 address in brackets');
    if (end !== text.length - 1) return new Complaint('nothing may follow the bracket', 'leave the port out');
    return bracketIpv6(text.slice(1, end));
  }
  if (isPlainIpv6(text)) return bracketIpv6(text);
  if (isIPv4(text)) return text;
  if (text.includes(':')) return new Complaint('a port has no place here', 'leave the port out');
  return parseDnsName(text);
}

/** The host of a route: what `parseHost` takes, `*.example.com`, or `*`. */
export function parseRouteHost(text: string): string | Complaint {
  if (text === '*') return text;
  if (!text.includes('*')) return parseHost(text);
  if (!text.startsWith('*.') || text.includes('*', 1)) {
    return new Complaint(
      'a wildcard stands for whole labels at the beginning',
      'write *.example.com, or * for any host',
    );
  }
  const rest = parseDnsName(text.slice(2));
  return rest instanceof Complaint ? rest : `*.${rest}`;
}

/** A port, or -1. `min` is 0 where the kernel may choose. */
export function parsePort(text: string, min: number): number {
  if (!/^[0-9]{1,5}$/.test(text)) return -1;
  const port = Number(text);
  return port >= min && port <= 65535 ? port : -1;
}

/** `192.0.2.1:80`, `[::]:80`, or `unix:/path`. Port 0 lets the kernel choose. */
export function parseListenAddress(text: string): ListenAddress | Complaint {
  if (text.startsWith('unix:')) {
    const path = parseUnixPath(text.slice('unix:'.length));
    return path instanceof Complaint ? path : { family: 'unix', path };
  }
  const colon = text.lastIndexOf(':');
  const host = text.slice(0, colon);
  const port = colon < 0 ? -1 : parsePort(text.slice(colon + 1), 0);
  if (host === '' || /^[0-9]+$/.test(text)) {
    const digits = /[0-9]+$/.exec(text)?.[0] ?? '8080';
    return new Complaint(
      'the address is missing',
      `write 0.0.0.0:${digits} for IPv4, [::]:${digits} for IPv6`,
    );
  }
  if (host.startsWith('[') && host.endsWith(']') && isPlainIpv6(host.slice(1, -1))) {
    if (port < 0) return new Complaint('the port is not a number from 0 to 65535');
    return { family: 'ipv6', address: bracketIpv6(host.slice(1, -1)).slice(1, -1), port };
  }
  if (text.endsWith(']')) return new Complaint('the port is missing', `write ${text}:8080`);
  if (isIPv6(text)) return new Complaint('the port is missing', `write [${text}]:8080`);
  if (isIPv4(text)) return new Complaint('the port is missing', `write ${text}:8080`);
  if (!isIPv4(host)) {
    return new Complaint(
      'it is not an IP address and a port',
      'names are not resolved here: write the address',
    );
  }
  if (port < 0) return new Complaint('the port is not a number from 0 to 65535');
  return { family: 'ipv4', address: host, port };
}

/** The path of a Unix socket, which the kernel bounds. */
export function parseUnixPath(path: string): string | Complaint {
  if (path.startsWith('//')) return new Complaint('two slashes follow unix:', `write unix:${path.slice(2)}`);
  if (path === '') return new Complaint('the path is missing', 'write unix:/run/app.sock');
  if (path.includes('\0')) return new Complaint('the path holds a NUL');
  if (Buffer.byteLength(path) > UNIX_PATH_BYTES_MAX) {
    return new Complaint(`the path of a Unix socket has at most ${UNIX_PATH_BYTES_MAX} bytes`);
  }
  return path;
}

/** As it was written in one place: what tells whether two listeners are the same. */
export function formatListenAddress(address: ListenAddress): string {
  if (address.family === 'unix') return `unix:${address.path}`;
  const host = address.family === 'ipv6' ? `[${address.address}]` : address.address;
  return `${host}:${address.port}`;
}

/** An IP address, or a range `address/prefix`. */
export function parseIpRange(text: string): string | Complaint {
  const slash = text.indexOf('/');
  const address = slash < 0 ? text : text.slice(0, slash);
  const bits = isIPv4(address) ? 32 : isPlainIpv6(address) ? 128 : 0;
  if (bits === 0)
    return new Complaint(
      'it is not an IP address',
      'write 192.0.2.1, 192.0.2.0/24, 2001:db8::1 or 2001:db8::/32',
    );
  if (slash < 0) return text;
  const prefix = text.slice(slash + 1);
  if (!/^[0-9]{1,3}$/.test(prefix) || Number(prefix) > bits) {
    return new Complaint(`the prefix length is not a number from 0 to ${bits}`);
  }
  return text;
}

/** The range with the bits beyond its prefix set to zero; the same text where they are zero already. */
export function maskIpRange(range: string): string {
  const slash = range.indexOf('/');
  if (slash < 0) return range;
  const address = range.slice(0, slash);
  const prefix = Number(range.slice(slash + 1));
  const groups = isIPv4(address) ? address.split('.').map(Number) : ipv6Groups(address);
  const width = isIPv4(address) ? 8 : 16;
  let isChanged = false;
  const masked = groups.map((group, index) => {
    const kept = Math.min(Math.max(prefix - index * width, 0), width);
    const value = group & ~((1 << (width - kept)) - 1);
    if (value !== group) isChanged = true;
    return value;
  });
  if (!isChanged) return range;
  if (width === 8) return `${masked.join('.')}/${prefix}`;
  return `${bracketIpv6(masked.map((group) => group.toString(16)).join(':')).slice(1, -1)}/${prefix}`;
}

function ipv6Groups(address: string): number[] {
  const [head, tail] = bracketIpv6(address).slice(1, -1).split('::');
  const first = head === '' ? [] : head.split(':');
  const last = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = new Array<string>(8 - first.length - last.length).fill('0');
  return [...first, ...zeros, ...last].map((group) => Number.parseInt(group, 16));
}
