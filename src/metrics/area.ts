/**
 * One worker's area, as its owner writes it. Counting is a few additions in a typed array: nothing is allocated, looked
 * up by text, or waited for. Names are given numbers when a configuration comes into force, never for a request.
 */

import { assert } from '../base/assert.ts';
import { sizeBucket, TIME_BUCKETS, timeBucket } from './buckets.ts';
import {
  ACTIVE_CELL,
  AREA_BYTES,
  CELLS,
  CELLS_AT,
  DURATION_CELL,
  FAILURES_MAX,
  FAULTS_CELL,
  FAULTS_MAX,
  G_FIRST,
  H_HOSTS,
  H_MAGIC,
  H_SERIES,
  H_SERVERS,
  HEADER_WORDS,
  HOST_NAMES_AT,
  HOSTS_MAX,
  LAYOUT_MAGIC,
  METHODS_MAX,
  NAME_BYTES,
  OTHER,
  OTHER_NAME,
  REQUEST_SIZE_CELL,
  RESPONSE_SIZE_CELL,
  S_BUSY,
  S_CONNECTS,
  S_FAILURES,
  S_IDLE,
  S_IN_FLIGHT,
  S_LATENCY,
  S_LATENCY_SUM,
  S_RETRIES,
  SCALARS,
  SERIES_CELL,
  SERIES_KEYS_AT,
  SERIES_MAX,
  SERIES_SLOTS,
  SERVER_CELL,
  SERVER_CELLS,
  SERVER_NAMES_AT,
  SERVERS_MAX,
  SIZE_CELLS,
  STATUS_MAX,
  STATUS_MIN,
  TIME_CELLS,
} from './layout.ts';

const SIZE_SUM = SIZE_CELLS - 1;
/** Fibonacci hashing: 2^32 divided by the golden ratio. */
const HASH_FACTOR = 0x9e3779b1;
const HASH_SHIFT = 32 - Math.log2(SERIES_SLOTS);
const STATUS_BITS = 10;
const METHOD_BITS = 4;

/** The key of a series; never 0, which is an empty place. */
export function seriesKey(host: number, method: number, status: number): number {
  return ((((host << METHOD_BITS) | method) << STATUS_BITS) | status) + 1;
}

export function hostOfKey(key: number): number {
  return (key - 1) >>> (METHOD_BITS + STATUS_BITS);
}

export function methodOfKey(key: number): number {
  return ((key - 1) >>> STATUS_BITS) & (METHODS_MAX - 1);
}

/** 0: none. */
export function statusOfKey(key: number): number {
  return (key - 1) & ((1 << STATUS_BITS) - 1);
}

/** The views of an area, for its owner and for those who add up. */
export class AreaViews {
  readonly header: Int32Array;
  readonly bytes: Uint8Array;
  readonly keys: Int32Array;
  readonly cells: Float64Array;

  constructor(memory: ArrayBufferLike, offset: number) {
    assert(offset % 8 === 0 && memory.byteLength >= offset + AREA_BYTES, 'metrics need their whole area');
    this.header = new Int32Array(memory, offset, HEADER_WORDS);
    this.bytes = new Uint8Array(memory, offset, AREA_BYTES);
    this.keys = new Int32Array(memory, offset + SERIES_KEYS_AT, SERIES_SLOTS);
    this.cells = new Float64Array(memory, offset + CELLS_AT, CELLS);
  }

  get isUsed(): boolean {
    return this.header[H_MAGIC] === LAYOUT_MAGIC;
  }

  hostNames(): string[] {
    return this.names(HOST_NAMES_AT, this.header[H_HOSTS], HOSTS_MAX);
  }

  serverNames(): string[] {
    return this.names(SERVER_NAMES_AT, this.header[H_SERVERS], SERVERS_MAX);
  }

  /** Nothing is at the moment: the area has no owner, or a new one. */
  clearGauges(): void {
    this.cells.fill(0, G_FIRST, SCALARS);
    this.cells.fill(0, ACTIVE_CELL, ACTIVE_CELL + HOSTS_MAX);
    this.clearConnections();
  }

  /** No server has a connection. */
  clearConnections(): void {
    const servers = Math.min(this.header[H_SERVERS], SERVERS_MAX);
    for (let server = 0; server < servers; server++) {
      const at = SERVER_CELL + server * SERVER_CELLS;
      this.cells[at + S_IDLE] = 0;
      this.cells[at + S_BUSY] = 0;
      this.cells[at + S_IN_FLIGHT] = 0;
    }
  }

  /** Another room may have written anything there: never more names than there can be. */
  private names(at: number, given: number, most: number): string[] {
    const count = Math.min(Math.max(given, 0), most);
    // Shared memory can't be decoded in place.
    const copy = this.bytes.slice(at, at + count * NAME_BYTES);
    const decoder = new TextDecoder();
    return Array.from({ length: count }, (_, index) => {
      const from = index * NAME_BYTES;
      return decoder.decode(copy.subarray(from + 1, from + 1 + copy[from]));
    });
  }
}

export class MetricsArea {
  readonly views: AreaViews;
  private readonly cells: Float64Array;
  private readonly keys: Int32Array;
  private readonly hosts: Map<string, number>;
  private readonly servers: Map<string, number>;

  /**
   * Takes over the area at `offset`: memory that is all zeros, or what another worker left, whose counters go on and
   * whose gauges end.
   */
  constructor(memory: ArrayBufferLike, offset: number) {
    this.views = new AreaViews(memory, offset);
    this.cells = this.views.cells;
    this.keys = this.views.keys;
    if (!this.views.isUsed) {
      this.views.bytes.fill(0);
      this.addName(HOST_NAMES_AT, H_HOSTS, OTHER_NAME);
      this.addName(SERVER_NAMES_AT, H_SERVERS, OTHER_NAME);
      this.views.header[H_MAGIC] = LAYOUT_MAGIC;
    }
    this.hosts = new Map(this.views.hostNames().map((name, index) => [name, index]));
    this.servers = new Map(this.views.serverNames().map((name, index) => [name, index]));
    this.clearGauges();
  }

  /** Nothing is at the moment: the owner begins, or ends. */
  clearGauges(): void {
    this.views.clearGauges();
  }

  /** An area of its own, in memory that nobody shares. */
  static alone(): MetricsArea {
    return new MetricsArea(new ArrayBuffer(AREA_BYTES), 0);
  }

  // ---- Names: when a configuration comes into force -------------------------------------------------------

  /** The number of a host's name; OTHER where there are too many of them. */
  hostNumber(name: string): number {
    return this.numberOf(this.hosts, HOSTS_MAX, HOST_NAMES_AT, H_HOSTS, name);
  }

  serverNumber(name: string): number {
    return this.numberOf(this.servers, SERVERS_MAX, SERVER_NAMES_AT, H_SERVERS, name);
  }

  private numberOf(
    numbers: Map<string, number>,
    most: number,
    at: number,
    countAt: number,
    name: string,
  ): number {
    const known = numbers.get(name);
    if (known !== undefined) return known;
    const used = this.views.header[countAt];
    if (used < 1 || used >= most) return OTHER;
    const number = this.addName(at, countAt, name);
    numbers.set(name, number);
    return number;
  }

  private addName(at: number, countAt: number, name: string): number {
    const { bytes, header } = this.views;
    const number = header[countAt];
    const from = at + number * NAME_BYTES;
    const encoded = new TextEncoder().encode(name);
    let length = Math.min(encoded.length, NAME_BYTES - 1);
    // Not in the middle of a character.
    while (length < encoded.length && (encoded[length] & 0xc0) === 0x80) length--;
    bytes.set(encoded.subarray(0, length), from + 1);
    bytes[from] = length;
    // The name is there before it counts.
    Atomics.store(header, countAt, number + 1);
    return number;
  }

  // ---- Requests --------------------------------------------------------------------------------------------

  /** A request is over. `status` 0: it was not answered. */
  countRequest(host: number, method: number, status: number): void {
    const known = status >= STATUS_MIN && status <= STATUS_MAX ? status : 0;
    this.cells[SERIES_CELL + this.seriesSlot(host, method, known)]++;
  }

  private seriesSlot(host: number, method: number, status: number): number {
    const { keys } = this;
    const key = seriesKey(host, method, status);
    let slot = Math.imul(key, HASH_FACTOR) >>> HASH_SHIFT;
    // A free place is always met, but where another room has written here.
    for (let probes = 0; probes < SERIES_SLOTS && keys[slot] !== key; probes++) {
      if (keys[slot] === 0) return this.addSeries(slot, host, method, status);
      slot = (slot + 1) & (SERIES_SLOTS - 1);
    }
    return slot;
  }

  /** When most places are taken a new series goes to those of the host OTHER, which there is always room for. */
  private addSeries(slot: number, host: number, method: number, status: number): number {
    const { header } = this.views;
    if (header[H_SERIES] >= SERIES_MAX && (host !== OTHER || method !== 0))
      return this.seriesSlot(OTHER, 0, status);
    header[H_SERIES]++;
    this.keys[slot] = seriesKey(host, method, status);
    return slot;
  }

  /** `ms` is an integer. */
  observeDuration(host: number, method: number, ms: number): void {
    const at = DURATION_CELL + (host * METHODS_MAX + method) * TIME_CELLS;
    this.cells[at + timeBucket(ms)]++;
    this.cells[at + TIME_BUCKETS] += ms;
  }

  observeSizes(requestBytes: number, responseBytes: number): void {
    const { cells } = this;
    cells[REQUEST_SIZE_CELL + sizeBucket(requestBytes)]++;
    cells[REQUEST_SIZE_CELL + SIZE_SUM] += requestBytes;
    cells[RESPONSE_SIZE_CELL + sizeBucket(responseBytes)]++;
    cells[RESPONSE_SIZE_CELL + SIZE_SUM] += responseBytes;
  }

  addActive(host: number, difference: number): void {
    this.cells[ACTIVE_CELL + host] += difference;
  }

  countFault(fault: number): void {
    assert(fault >= 0 && fault < FAULTS_MAX, 'a fault beyond those that are counted');
    this.cells[FAULTS_CELL + fault]++;
  }

  // ---- Servers ---------------------------------------------------------------------------------------------

  /** The head of a server's response came this many milliseconds after its request was begun. */
  observeLatency(server: number, ms: number): void {
    const at = SERVER_CELL + server * SERVER_CELLS;
    this.cells[at + S_LATENCY + timeBucket(ms)]++;
    this.cells[at + S_LATENCY_SUM] += ms;
  }

  countConnect(server: number): void {
    this.cells[SERVER_CELL + server * SERVER_CELLS + S_CONNECTS]++;
  }

  countRetry(server: number): void {
    this.cells[SERVER_CELL + server * SERVER_CELLS + S_RETRIES]++;
  }

  countFailure(server: number, failure: number): void {
    assert(failure >= 0 && failure < FAILURES_MAX, 'a failure beyond those that are counted');
    this.cells[SERVER_CELL + server * SERVER_CELLS + S_FAILURES + failure]++;
  }

  addConnections(server: number, idle: number, busy: number, inFlight: number): void {
    const at = SERVER_CELL + server * SERVER_CELLS;
    this.cells[at + S_IDLE] += idle;
    this.cells[at + S_BUSY] += busy;
    this.cells[at + S_IN_FLIGHT] += inFlight;
  }

  /** No server has a connection, until they are added. */
  clearConnections(): void {
    this.views.clearConnections();
  }

  // ---- Cells that stand alone ------------------------------------------------------------------------------

  add(cell: number, difference: number): void {
    this.cells[cell] += difference;
  }

  set(cell: number, value: number): void {
    this.cells[cell] = value;
  }
}
