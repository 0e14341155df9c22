/**
 * Paths and URLs as they are written in a configuration: routes' prefixes, backends, redirect targets.
 * Prefixes are brought into the very form that request paths have when they are matched (SPEC "Paths").
 */

import type { ServerEntry } from './model.ts';
import { parseHost, parsePort, parseUnixPath } from './network-names.ts';
import { Complaint } from './problem.ts';

/** RFC 3986 §2.3. */
const UNRESERVED = /[A-Za-z0-9\-._~]/;
/**
 * What a path may hold beside percent-encoded bytes: unreserved, sub-delims, `:`, `@` and `/` (RFC 3986 §3.3),
 * and what browsers send as it is nevertheless (WHATWG URL, path percent-encode set).
 */
const PATH_CHAR = /[A-Za-z0-9\-._~!$&'()*+,;=:@/[\]|]/;

/**
 * A prefix as requests are matched against it: percent-encoded unreserved characters decoded, all other
 * encodings kept with upper-case digits, what must be encoded encoded (as UTF-8), `.` and `..` resolved, no
 * slash at the end but for `/` itself.
 */
export function normalisePrefix(text: string): string | Complaint {
  if (!text.startsWith('/')) return new Complaint('a path begins with /', `write "/${text}"`);
  const decoded = normaliseEncoding(text);
  if (decoded instanceof Complaint) return decoded;
  const segments: string[] = [];
  const parts = decoded.split('/').slice(1);
  for (const [index, part] of parts.entries()) {
    if (part === '.') continue;
    if (part === '..') {
      if (segments.pop() === undefined) return new Complaint('.. climbs above the root');
    } else if (part !== '') segments.push(part);
    else if (index !== parts.length - 1) return new Complaint('two slashes follow each other');
  }
  return `/${segments.join('/')}`;
}

function normaliseEncoding(text: string): string | Complaint {
  let path = '';
  for (let at = 0; at < text.length; ) {
    const char = String.fromCodePoint(text.codePointAt(at) as number);
    if (char === '?')
      return new Complaint('only paths are matched, never queries', 'leave out ? and what follows');
    if (char === '#')
      return new Complaint('a fragment never reaches a server', 'leave out # and what follows');
    if (char === '%') {
      const digits = text.slice(at + 1, at + 3);
      if (!/^[0-9A-Fa-f]{2}$/.test(digits))
        return new Complaint('% is not followed by two hexadecimal digits', 'write %25 for %');
      if (digits === '00') return new Complaint('it holds an encoded NUL');
      const byte = String.fromCharCode(Number.parseInt(digits, 16));
      path += UNRESERVED.test(byte) ? byte : `%${digits.toUpperCase()}`;
      at += 3;
      continue;
    }
    if (char === '\\')
      return new Complaint('it holds a backslash', 'write / between segments, %5C for a backslash');
    if (/\p{Cc}/u.test(char)) return new Complaint('it holds a control character');
    if (/\p{Cs}/u.test(char)) return new Complaint('it holds half a surrogate pair');
    path += PATH_CHAR.test(char) ? char : encodeURIComponent(char);
    at += char.length;
  }
  return path;
}

/** Where a backend is, as far as its URL says. */
export type BackendAddress = Pick<ServerEntry, 'scheme' | 'target' | 'basePath' | 'authority'>;

export const BACKEND_URL_WORDS =
  'http://host:port/base, https://host:port/base, or unix:/path.sock with :/base after it';

/** `http://host[:port][/base]`, `https://…`, or `unix:/path.sock[:/base]`. */
export function parseBackendUrl(url: string): BackendAddress | Complaint {
  if (/[\p{Cc}\s]/u.test(url)) return new Complaint('it holds a space or a control character');
  if (url.startsWith('unix:')) return parseUnixUrl(url.slice('unix:'.length));
  const match = /^(https?):\/\/([^/?#]*)([^?#]*)(.*)$/i.exec(url);
  if (match === null)
    return new Complaint('it has no scheme that is known', 'begin with http://, https:// or unix:/');
  const scheme = match[1].toLowerCase() === 'https' ? 'https' : 'http';
  if (match[4] !== '')
    return new Complaint('a query or fragment has no place in it', `leave out ${match[4]}`);
  const authority = match[2];
  if (authority.includes('@')) {
    return new Complaint(
      'credentials have no place in it',
      'set an Authorization field with add_request_headers',
    );
  }
  const portAt = /:[0-9]*$/.exec(authority)?.index ?? authority.length;
  const host = parseHost(authority.slice(0, portAt));
  if (host instanceof Complaint) return host;
  const defaultPort = scheme === 'https' ? 443 : 80;
  const port = portAt === authority.length ? defaultPort : parsePort(authority.slice(portAt + 1), 1);
  if (port < 0) return new Complaint('the port is not a number from 1 to 65535');
  const basePath = normalisePrefix(match[3] === '' ? '/' : match[3]);
  if (basePath instanceof Complaint) return basePath;
  return {
    scheme,
    target: { kind: 'tcp', host: host.startsWith('[') ? host.slice(1, -1) : host, port },
    basePath,
    authority: port === defaultPort ? host : `${host}:${port}`,
  };
}

function parseUnixUrl(rest: string): BackendAddress | Complaint {
  const colon = rest.indexOf(':');
  const path = parseUnixPath(colon < 0 ? rest : rest.slice(0, colon));
  if (path instanceof Complaint) return path;
  const base = colon < 0 ? '/' : rest.slice(colon + 1);
  if (/[?#]/.test(base)) return new Complaint('a query or fragment has no place in it');
  const basePath = normalisePrefix(base);
  if (basePath instanceof Complaint) return basePath;
  return { scheme: 'http', target: { kind: 'unix', path }, basePath, authority: 'localhost' };
}

/** Variables that `redirect_url` may hold. */
export const REDIRECT_VARIABLES = ['$request_uri', '$path', '$host'];

/** The first `$name` that is not a variable, or an empty string. A `$` without a name after it is itself. */
export function unknownVariable(text: string, known: readonly string[]): string {
  for (const [name] of text.matchAll(/\$[A-Za-z_][A-Za-z0-9_]*/g)) if (!known.includes(name)) return name;
  return '';
}

/** The target of a redirect: an http(s) URL or a path, with variables in it. */
export function parseRedirectUrl(url: string): string | Complaint {
  if (/[^\x21-\x7e]/.test(url)) {
    return new Complaint('it holds a space, a control character, or one outside ASCII', 'percent-encode it');
  }
  if (url.includes('\\')) return new Complaint('it holds a backslash', 'write %5C');
  const unknown = unknownVariable(url, REDIRECT_VARIABLES);
  if (unknown !== '')
    return new Complaint(`${unknown} is not a variable`, `known are ${REDIRECT_VARIABLES.join(', ')}`);
  if (url.startsWith('/') && !url.startsWith('//')) return url;
  const match = /^https?:\/\/([^/?#]*)/i.exec(url);
  if (match === null)
    return new Complaint('it is neither an http:// or https:// URL nor a path that begins with one /');
  const authority = match[1].replace(/(\$request_uri|\$path)$/, '');
  if (authority.includes('@')) return new Complaint('credentials have no place in it');
  const portAt = /:[0-9]+$/.exec(authority)?.index ?? authority.length;
  if (portAt < authority.length && parsePort(authority.slice(portAt + 1), 1) < 0) {
    return new Complaint('the port is not a number from 1 to 65535');
  }
  const host = parseHost(authority.slice(0, portAt).replaceAll('$host', 'host'));
  return host instanceof Complaint ? host : url;
}
