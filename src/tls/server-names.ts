/**
 * Which certificates serve a name (RFC 6066 §3, RFC 9525 §6.3). A pure table: exact names beat wildcards, a
 * wildcard stands for one whole label, and looking up costs two look-ups in a map at most.
 */

/** The longest name of the DNS in text. Longer ones match nothing. */
const NAME_CHARS_MAX = 253;

/**
 * A name as the table knows it: lower case, no trailing dot, IPv6 without brackets. Empty for what can't be
 * served: nothing, too long, or a wildcard within a label.
 */
export function normaliseServerName(name: string): string {
  let plain = name.toLowerCase();
  if (plain.endsWith('.')) plain = plain.slice(0, -1);
  if (plain.startsWith('[') && plain.endsWith(']')) plain = plain.slice(1, -1);
  if (plain.length > NAME_CHARS_MAX) return '';
  const star = plain.lastIndexOf('*');
  if (star > 0 || (star === 0 && (plain[1] !== '.' || plain.length === 2))) return '';
  return plain;
}

/** The names that a certificate for `pattern` is good for: itself, or one label more for a wildcard. Both normalised. */
export function coversName(pattern: string, name: string): boolean {
  if (!pattern.startsWith('*.')) return pattern === name;
  const dot = name.indexOf('.');
  return dot > 0 && name.slice(dot) === pattern.slice(1);
}

export class ServerNames<T> {
  /** What to use for a name: wildcards are keys that begin with `*.`. */
  private readonly entries: Map<string, T>;

  constructor() {
    this.entries = new Map();
  }

  /** Normalised names. One that is there already stays. */
  add(name: string, value: T): void {
    if (name !== '' && !this.entries.has(name)) this.entries.set(name, value);
  }

  get size(): number {
    return this.entries.size;
  }

  /** What serves the name that a client asks for, as it wrote it; null: nothing does. */
  find(asked: string): T | null {
    const name = normaliseServerName(asked);
    if (name === '' || name.startsWith('*')) return null;
    const exact = this.entries.get(name);
    if (exact !== undefined) return exact;
    const dot = name.indexOf('.');
    if (dot <= 0) return null;
    return this.entries.get(`*${name.slice(dot)}`) ?? null;
  }
}
