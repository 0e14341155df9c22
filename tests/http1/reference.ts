/**
 * The grammar once more, written with regular expressions and nothing else in mind than to be plainly right:
 * what the engine accepts must be accepted here, and framed alike, and the reverse. Works on the whole text.
 */

const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const PATH = "(?:[A-Za-z0-9\\-._~!$&'()*+,;=:@/\\[\\]|]|%[0-9A-Fa-f]{2})*";
const QUERY = '[!$-;=?-~]*';
const LABEL = '[A-Za-z0-9\\-_~]+';
const HOST = `(?:${LABEL}(?:\\.${LABEL})*\\.?|\\[[0-9A-Fa-f:.]+\\])`;
const AUTHORITY = `${HOST}(?::[0-9]{1,5})?`;
const ORIGIN = `(?<path>/${PATH})(?:\\?(?<query>${QUERY}))?`;
const ABSOLUTE = `[Hh][Tt][Tt][Pp][Ss]?://(?<authority>${AUTHORITY})(?<absolutePath>/${PATH})?(?:\\?(?<absoluteQuery>${QUERY}))?`;
const REQUEST_LINE = new RegExp(
  `^(?<method>${TOKEN}) (?<target>${ORIGIN}|${ABSOLUTE}|\\*) HTTP/1\\.(?<minor>[01])\\r\\n`,
);
const FIELD = new RegExp(`^(${TOKEN}):[ \\t]*([\\t\\x20-\\x7e\\x80-\\xff]*?)[ \\t]*\\r\\n`);
const CONNECTION = new RegExp(`^[ \\t,]*(?:${TOKEN}[ \\t]*(?:,[ \\t,]*${TOKEN}[ \\t]*)*)?[ \\t,]*$`);

const TRUSTED =
  /^(host|keep-alive|proxy-connection|transfer-encoding|content-length|via|forwarded|x-forwarded-(for|proto|host|port)|x-real-ip|x-request-id|http2-settings|proxy-authenticate|proxy-authorization)$/;

export interface Reference {
  length: number;
  method: string;
  authority: string;
  bodyKind: number;
  contentLength: number;
  closeAfter: boolean;
  expectContinue: boolean;
  upgrade: boolean;
  /** Names and values that pass. */
  fields: [string, string][];
}

function isAuthority(text: string): boolean {
  const match = new RegExp(`^(${HOST})(?::([0-9]{1,5}))?$`).exec(text);
  if (match === null || match[1].length > 255 || Number(match[2] ?? 0) > 65535) return false;
  if (!match[1].startsWith('[')) return true;
  return URL.canParse(`http://${match[1]}/`);
}

/** The request at the start of `text`, or null when it is refused or incomplete. */
export function referenceRequest(text: string): Reference | null {
  const skipped = text.startsWith('\r\n') ? 2 : 0;
  let rest = text.slice(skipped);
  const line = REQUEST_LINE.exec(rest);
  if (line === null) return null;
  const { method, target, minor, authority } = line.groups!;
  if (method.length > 32 || method === 'CONNECT' || method === 'TRACE') return null;
  if (target === '*' && method !== 'OPTIONS') return null;
  if (authority !== undefined && !isAuthority(authority)) return null;
  rest = rest.slice(line[0].length);
  const fields: [string, string][] = [];
  while (!rest.startsWith('\r\n')) {
    const field = FIELD.exec(rest);
    if (field === null) return null;
    fields.push([field[1], field[2]]);
    rest = rest.slice(field[0].length);
  }
  const length = text.length - rest.length + 2;
  return judge(method, minor === '1', authority, fields, length);
}

function judge(
  method: string,
  http11: boolean,
  authority: string | undefined,
  fields: [string, string][],
  length: number,
): Reference | null {
  const all = (name: string) => fields.filter(([n]) => n.toLowerCase() === name).map(([, v]) => v);
  const hosts = all('host');
  if (hosts.length > 1 || (http11 && hosts.length === 0)) return null;
  if (hosts.length === 1 && hosts[0] !== '' && !isAuthority(hosts[0])) return null;
  const lengths = all('content-length');
  const codings = all('transfer-encoding');
  if (lengths.length + codings.length > 1) return null;
  if (lengths.length === 1 && !/^(0|[1-9][0-9]{0,15})$/.test(lengths[0])) return null;
  if (lengths.length === 1 && BigInt(lengths[0]) > 9007199254740991n) return null;
  if (codings.length === 1 && (!http11 || codings[0].toLowerCase() !== 'chunked')) return null;
  const expectations = all('expect');
  if (expectations.some((value) => value.toLowerCase() !== '100-continue')) return null;
  const options: string[] = [];
  for (const value of all('connection')) {
    const list = value.split(/[ \t,]+/).filter((option) => option !== '');
    if (!CONNECTION.test(value) || list.length > 32) return null;
    options.push(...list.map((option) => option.toLowerCase()));
  }
  const contentLength = lengths.length === 1 ? Number(lengths[0]) : -1;
  const hasBody = codings.length === 1 || contentLength > 0;
  const upgrades = all('upgrade').filter((value) => value.toLowerCase() !== 'h2c');
  const upgrade = http11 && upgrades.length > 0 && options.includes('upgrade');
  if (upgrade && (hasBody || upgrades.length > 1)) return null;
  return {
    length,
    method,
    authority: authority ?? hosts[0] ?? '',
    bodyKind: codings.length === 1 ? 2 : contentLength > 0 ? 1 : 0,
    contentLength,
    closeAfter: options.includes('close') || (!http11 && !options.includes('keep-alive')),
    expectContinue: http11 && expectations.length > 0 && hasBody,
    upgrade,
    fields: fields
      .filter(([name]) => !name.includes('_') || !TRUSTED.test(name.toLowerCase().replaceAll('_', '-')))
      .map(([name, value]) => [name, name.toLowerCase() === 'host' ? (authority ?? value) : value]),
  };
}

const EXTENSION = `;${TOKEN}(?:=(?:${TOKEN}|"(?:[\\t \\x21\\x23-\\x5b\\x5d-\\x7e\\x80-\\xff]|\\\\[\\t\\x20-\\x7e\\x80-\\xff])*"))?`;
const CHUNK_LINE = new RegExp(`^([0-9A-Fa-f]{1,16})(?:${EXTENSION})*\\r\\n`);

/** The content of a complete chunked body at the start of `text` and its length, or null when it is refused or incomplete. */
export function referenceChunked(text: string): { content: string; used: number } | null {
  let rest = text;
  let content = '';
  for (;;) {
    const line = CHUNK_LINE.exec(rest);
    if (line === null) return null;
    const size = Number.parseInt(line[1], 16);
    rest = rest.slice(line[0].length);
    if (size === 0) break;
    if (rest.length < size + 2 || rest.slice(size, size + 2) !== '\r\n') return null;
    content += rest.slice(0, size);
    rest = rest.slice(size + 2);
  }
  while (!rest.startsWith('\r\n')) {
    const field = FIELD.exec(rest);
    if (field === null || /^(host|content-length|transfer-encoding)$/i.test(field[1])) return null;
    rest = rest.slice(field[0].length);
  }
  return { content, used: text.length - rest.length + 2 };
}
