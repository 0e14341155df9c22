/**
 * Routing: from a request's authority to its host's table, and from there, by its normalised path, to a route.
 * Compiled once for each configuration; a lookup hashes the bytes it is given and allocates nothing.
 *
 * Hosts: exact beats wildcard, the longer wildcard wins, `*` comes last. The most specific key that names a
 * request's host owns it alone: there is no falling through to a less specific one.
 * Paths: the longest prefix that ends at a segment boundary wins; a trailing slash in a key means nothing.
 * A route to a single file matches its path alone, and what would lie beneath it is nobody's (404).
 */

import { assert } from '../base/assert.ts';
import { RecentBytes } from '../base/recent-bytes.ts';
import { normalizePath } from '../http/path.ts';
import { AddressWords, FAMILY_NONE, parseAddress, parseAddressBytes } from './ip-list.ts';

export interface RouterEntry<T> {
  /** A name, `*.name` (one label or more), an IPv4 literal, an IPv6 literal in brackets, or `*`. */
  readonly host: string;
  /** Null: the whole host. */
  readonly path: string | null;
  readonly value: T;
  /** The route names a single file: it matches its path only (a host route: `/`). */
  readonly exact: boolean;
}

/** Which routes of one host are asked first: the one without a path, or those with one. */
export type Precedence = 'host' | 'path';

/** A byte as hosts are compared, and as paths are. */
const LOWER_CASE = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte >= 0x41 && byte <= 0x5a ? byte + 32 : byte,
);
const AS_IT_IS = Uint8Array.from({ length: 256 }, (_, byte) => byte);

const SLASH = 0x2f;
const DOT = 0x2e;
const COLON = 0x3a;
const BRACKET_OPEN = 0x5b;
const BRACKET_CLOSE = 0x5d;

/** 32-bit FNV-1a. Keys are the operator's, so nobody else can crowd a slot. */
const HASH_START = 0x811c9dc5 | 0;
const HASH_PRIME = 0x01000193;

export class Router<T> {
  /** Of all hosts that have keys. */
  readonly tables: readonly HostTable<T>[];
  private readonly hosts: HostTable<T>[];
  private readonly names: KeyTable;
  /** Keys without their `*`, the dot first. */
  private readonly wildcards: KeyTable;
  private readonly any: HostTable<T> | null;
  /** IPv6 literals are compared as addresses: they can be written in several ways. */
  private readonly ipv6Addresses: AddressWords[];
  private readonly ipv6Hosts: HostTable<T>[];
  private readonly scratch: AddressWords;
  /** The authority that was looked for last, and what was found. */
  private readonly recent: RecentBytes;
  private recentHost: HostTable<T> | null;

  /** Of two entries with the same host and path the first one counts. */
  constructor(entries: readonly RouterEntry<T>[], precedence: Precedence) {
    const byHost = new Map<string, RouterEntry<T>[]>();
    for (const entry of entries) {
      const host = entry.host.toLowerCase();
      const group = byHost.get(host);
      if (group === undefined) byHost.set(host, [entry]);
      else group.push(entry);
    }
    const names: string[] = [];
    const wildcards: string[] = [];
    const nameHosts: HostTable<T>[] = [];
    const wildcardHosts: HostTable<T>[] = [];
    this.ipv6Addresses = [];
    this.ipv6Hosts = [];
    const tables: HostTable<T>[] = [];
    let any: HostTable<T> | null = null;
    for (const [host, group] of byHost) {
      const table = new HostTable(host, group, precedence);
      tables.push(table);
      if (host === '*') {
        any = table;
      } else if (host.startsWith('*.')) {
        wildcards.push(host.slice(1));
        wildcardHosts.push(table);
      } else if (host.startsWith('[')) {
        const address = parseAddress(host.slice(1, -1));
        assert(address.family !== FAMILY_NONE, `not an IPv6 literal: ${host}`);
        this.ipv6Addresses.push(address);
        this.ipv6Hosts.push(table);
      } else {
        names.push(host);
        nameHosts.push(table);
      }
    }
    this.any = any;
    this.tables = tables;
    this.hosts = [...nameHosts, ...wildcardHosts];
    this.names = new KeyTable(names, 0, hashBackward, LOWER_CASE);
    this.wildcards = new KeyTable(wildcards, nameHosts.length, hashBackward, LOWER_CASE);
    this.scratch = new AddressWords();
    this.recent = new RecentBytes();
    this.recentHost = null;
  }

  /**
   * The table of the host that an authority names, which may have a port, a trailing dot and any case and has
   * been validated; null where no key knows it (421).
   */
  findHost(bytes: Uint8Array, offset: number, length: number): HostTable<T> | null {
    if (this.recent.matches(bytes, offset, length)) return this.recentHost;
    const host = this.findAnyHost(bytes, offset, length);
    this.recentHost = host;
    this.recent.set(bytes, offset, length);
    return host;
  }

  private findAnyHost(bytes: Uint8Array, offset: number, length: number): HostTable<T> | null {
    if (length > 0 && bytes[offset] === BRACKET_OPEN) return this.findIpv6(bytes, offset, length);
    let end = offset;
    const authorityEnd = offset + length;
    while (end < authorityEnd && bytes[end] !== COLON) end++;
    if (end > offset && bytes[end - 1] === DOT) end--;

    // From the right, so that one pass hashes the name and all its suffixes; the last suffix found is the longest.
    const wildcards = this.wildcards;
    let wildcard = -1;
    let hash = HASH_START;
    for (let at = end - 1; at >= offset; at--) {
      const byte = bytes[at];
      hash = Math.imul(hash ^ LOWER_CASE[byte], HASH_PRIME);
      if (byte === DOT && at > offset && wildcards.hasLength(end - at)) {
        const found = wildcards.find(hash, bytes, at, end - at);
        if (found >= 0) wildcard = found;
      }
    }
    const name = this.names.find(hash, bytes, offset, end - offset);
    if (name >= 0) return this.hosts[name];
    return wildcard >= 0 ? this.hosts[wildcard] : this.any;
  }

  private findIpv6(bytes: Uint8Array, offset: number, length: number): HostTable<T> | null {
    let close = offset + 1;
    while (close < offset + length && bytes[close] !== BRACKET_CLOSE) close++;
    if (parseAddressBytes(bytes, offset + 1, close - offset - 1, this.scratch)) {
      for (let index = 0; index < this.ipv6Addresses.length; index++) {
        if (this.ipv6Addresses[index].equals(this.scratch)) return this.ipv6Hosts[index];
      }
    }
    return this.any;
  }
}

/** What `findPath` returns beside an index. */
const NOTHING = -1;
const BENEATH_A_FILE = -2;

/** The routes of one host. */
export class HostTable<T> {
  /** The key in the configuration, for metrics and logs. */
  readonly host: string;
  /** Its number in the metrics; 0 until it has one. */
  number: number;
  private readonly hostFirst: boolean;
  private readonly whole: RouterEntry<T> | null;
  private readonly root: RouterEntry<T> | null;
  private readonly entries: RouterEntry<T>[];
  private readonly paths: KeyTable;

  constructor(host: string, entries: readonly RouterEntry<T>[], precedence: Precedence) {
    this.host = host;
    this.number = 0;
    this.hostFirst = precedence === 'host';
    this.entries = [];
    const keys: string[] = [];
    let whole: RouterEntry<T> | null = null;
    let root: RouterEntry<T> | null = null;
    for (const entry of entries) {
      if (entry.path === null) {
        whole ??= entry;
        continue;
      }
      const key = pathKey(entry.path);
      if (key === '') {
        root ??= entry;
      } else if (!keys.includes(key)) {
        keys.push(key);
        this.entries.push(entry);
      }
    }
    this.whole = whole;
    this.root = root;
    this.paths = new KeyTable(keys, 0, hashForward, AS_IT_IS);
  }

  /** The route for a normalised path, or null (404). */
  find(bytes: Uint8Array, offset: number, length: number): T | null {
    const whole = this.whole;
    const wholeMatches = whole !== null && (!whole.exact || length === 1);
    if (wholeMatches && this.hostFirst) return whole.value;
    const found = this.findPath(bytes, offset, length);
    if (found >= 0) return this.entries[found].value;
    if (found === BENEATH_A_FILE) return null;
    const root = this.root;
    if (root !== null && (!root.exact || length === 1)) return root.value;
    return wholeMatches ? whole.value : null;
  }

  /** Index of the longest prefix but the root, NOTHING, or BENEATH_A_FILE. */
  private findPath(bytes: Uint8Array, offset: number, length: number): number {
    const paths = this.paths;
    const lengthMax = Math.min(length, paths.lengthMax);
    let best = NOTHING;
    let bestLength = 0;
    let hash = HASH_START;
    for (let prefix = 0; prefix <= lengthMax; prefix++) {
      const byte = prefix < length ? bytes[offset + prefix] : SLASH;
      if (byte === SLASH && paths.hasLength(prefix)) {
        const found = paths.find(hash, bytes, offset, prefix);
        if (found >= 0) {
          best = found;
          bestLength = prefix;
        }
      }
      hash = Math.imul(hash ^ byte, HASH_PRIME);
    }
    if (best >= 0 && bestLength !== length && this.entries[best].exact) return BENEATH_A_FILE;
    return best;
  }
}

/** A configured path as requests come to be matched: escaped, normalised, without trailing slashes; '' for the root. */
export function pathKey(path: string): string {
  const escaped = Buffer.from(path.replaceAll(/[^\x21-\x7e]+/g, encodeURIComponent), 'latin1');
  const length = normalizePath(escaped, 0, escaped.length, 0);
  assert(length > 0, `not a path: ${path}`);
  let end = length;
  while (end > 0 && escaped[end - 1] === SLASH) end--;
  return escaped.latin1Slice(0, end);
}

function hashForward(key: Uint8Array): number {
  let hash = HASH_START;
  for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ key[at], HASH_PRIME);
  return hash;
}

function hashBackward(key: Uint8Array): number {
  let hash = HASH_START;
  for (let at = key.length - 1; at >= 0; at--) hash = Math.imul(hash ^ key[at], HASH_PRIME);
  return hash;
}

/** Int32 words of one slot: hash, offset of the key, its length, its number; a length of -1 is an empty slot. */
const SLOT_WORDS = 4;

/** A set of byte strings, each with its number: open addressing, at most half full. */
class KeyTable {
  /** Of the longest key; -1 without any. */
  readonly lengthMax: number;
  private readonly lengths: Uint8Array;
  private readonly bytes: Uint8Array;
  private readonly slots: Int32Array;
  private readonly mask: number;
  private readonly fold: Uint8Array;

  /** The numbers count from `first`, in the order of the keys, which are folded and differ. `hash` must be what callers of `find` compute. */
  constructor(keys: readonly string[], first: number, hash: (key: Uint8Array) => number, fold: Uint8Array) {
    const encoded = keys.map((key) => Buffer.from(key, 'latin1'));
    this.fold = fold;
    this.bytes = Buffer.concat(encoded);
    this.lengthMax = encoded.reduce((longest, key) => Math.max(longest, key.length), -1);
    this.lengths = new Uint8Array(this.lengthMax + 1);
    let count = 4;
    while (count < keys.length * 2) count *= 2;
    this.mask = count - 1;
    this.slots = new Int32Array(count * SLOT_WORDS);
    for (let slot = 0; slot < count; slot++) this.slots[slot * SLOT_WORDS + 2] = -1;
    let offset = 0;
    for (const [index, key] of encoded.entries()) {
      this.put(hash(key), offset, key.length, first + index);
      this.lengths[key.length] = 1;
      offset += key.length;
    }
  }

  private put(hash: number, offset: number, length: number, number: number): void {
    let slot = slotOf(hash) & this.mask;
    while (this.slots[slot * SLOT_WORDS + 2] >= 0) slot = (slot + 1) & this.mask;
    this.slots.set([hash, offset, length, number], slot * SLOT_WORDS);
  }

  /** Whether any key has this length: most prefixes need no look at the slots. */
  hasLength(length: number): boolean {
    return length <= this.lengthMax && this.lengths[length] === 1;
  }

  /** The number of the key that these bytes, folded, are; or -1. */
  find(hash: number, bytes: Uint8Array, offset: number, length: number): number {
    const slots = this.slots;
    for (let slot = slotOf(hash) & this.mask; ; slot = (slot + 1) & this.mask) {
      const at = slot * SLOT_WORDS;
      const keyLength = slots[at + 2];
      if (keyLength < 0) return -1;
      if (keyLength === length && slots[at] === hash && this.isKey(slots[at + 1], bytes, offset, length)) {
        return slots[at + 3];
      }
    }
  }

  private isKey(keyOffset: number, bytes: Uint8Array, offset: number, length: number): boolean {
    const key = this.bytes;
    const fold = this.fold;
    for (let index = 0; index < length; index++) {
      if (fold[bytes[offset + index]] !== key[keyOffset + index]) return false;
    }
    return true;
  }
}

/** The low bits of FNV-1a alone mix little of the last bytes' high bits. */
function slotOf(hash: number): number {
  return hash ^ (hash >>> 15);
}
