/**
 * What the master tells all rooms about the house, for the metrics and the status page: up to TEXT_BYTES_MAX bytes of
 * JSON behind a sequence number, which is odd while they are being written. Readers never wait: what they can't read
 * whole within a few tries, or what isn't the shape of a house, is not there.
 */

const SEQUENCE = 0;
const LENGTH = 1;
const HEADER_WORDS = 4;
const TEXT_BYTES_MAX = 65_536;
const READS_MAX = 8;

/** What is read of a house at most, whatever was written: more rooms, measures or longer texts are cut. */
const ROOMS_MAX = 300;
const MEASURES_MAX = 32;
const TEXT_CHARS_MAX = 200;

export type RoomStateWord = 'starting' | 'ready' | 'draining' | 'ended';
const STATES: readonly RoomStateWord[] = ['starting', 'ready', 'draining', 'ended'];

/** One room, the master itself included. */
export interface HouseRoom {
  /** Unique: `edge-1`. */
  readonly name: string;
  readonly role: string;
  readonly state: RoomStateWord;
  /** 0: there is no process. */
  readonly pid: number;
  /** Times that it was started again since the house stands. */
  readonly restarts: number;
  /** Resident memory; 0: unknown. */
  readonly residentBytes: number;
  /** Seconds since 1970. */
  readonly startedSeconds: number;
  /** What confines it, in words: `seccomp filter`, `no network`. */
  readonly measures: readonly string[];
}

export interface House {
  readonly version: string;
  /** Seconds since 1970. */
  readonly startedSeconds: number;
  /** Of the configuration in force; 1 is the first. */
  readonly generation: number;
  /** When it came into force, seconds since 1970. */
  readonly configuredSeconds: number;
  /** The last reload; null: there was none. `reason`: why it was refused, else empty. */
  readonly lastReload: {
    readonly atSeconds: number;
    readonly succeeded: boolean;
    readonly reason: string;
  } | null;
  /** Since the start. */
  readonly reloads: { readonly succeeded: number; readonly failed: number };
  /** Entries of the log that the journal got and could not write. */
  readonly logDropped: number;
  readonly rooms: readonly HouseRoom[];
}

export function houseBytes(): number {
  return HEADER_WORDS * 4 + TEXT_BYTES_MAX;
}

export class HouseBoard {
  private readonly words: Int32Array;
  private readonly bytes: Uint8Array;

  /** `words`: `houseBytes`, all zero at first. */
  constructor(words: Int32Array) {
    this.words = words;
    this.bytes = new Uint8Array(words.buffer, words.byteOffset + HEADER_WORDS * 4, TEXT_BYTES_MAX);
  }

  /** By the master alone. False: it is too long, and the board shows what it showed. */
  write(house: House): boolean {
    const text = new TextEncoder().encode(JSON.stringify(house));
    if (text.length > TEXT_BYTES_MAX) return false;
    const { words } = this;
    // A room may have written there: what is odd now is made even first.
    const sequence = (Atomics.load(words, SEQUENCE) & ~1) | 0;
    Atomics.store(words, SEQUENCE, sequence | 1);
    Atomics.store(words, LENGTH, text.length);
    this.bytes.set(text);
    Atomics.store(words, SEQUENCE, (sequence + 2) | 0);
    return true;
  }

  /** Null: nothing was written yet, or what is there can't be read. */
  read(): House | null {
    const { words } = this;
    for (let attempt = 0; attempt < READS_MAX; attempt++) {
      const sequence = Atomics.load(words, SEQUENCE);
      if (sequence === 0) return null;
      const length = Atomics.load(words, LENGTH);
      if ((sequence & 1) !== 0 || length <= 0 || length > TEXT_BYTES_MAX) continue;
      // Shared memory can't be decoded in place.
      const copy = this.bytes.slice(0, length);
      if (Atomics.load(words, SEQUENCE) === sequence) return houseOf(copy);
    }
    return null;
  }
}

function houseOf(bytes: Uint8Array): House | null {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
  const given = recordOf(value);
  if (given === null || !Array.isArray(given['rooms'])) return null;
  const rooms = given['rooms'].slice(0, ROOMS_MAX).map(roomOf);
  const names = new Set(rooms.map((room) => room?.name));
  if (rooms.includes(null) || names.size < rooms.length) return null;
  const reload = recordOf(given['lastReload']);
  const reloads = recordOf(given['reloads']);
  return {
    version: textOf(given['version']),
    startedSeconds: countOf(given['startedSeconds']),
    generation: countOf(given['generation']),
    configuredSeconds: countOf(given['configuredSeconds']),
    lastReload:
      reload === null
        ? null
        : {
            atSeconds: countOf(reload['atSeconds']),
            succeeded: reload['succeeded'] === true,
            reason: textOf(reload['reason']),
          },
    reloads: { succeeded: countOf(reloads?.['succeeded']), failed: countOf(reloads?.['failed']) },
    logDropped: countOf(given['logDropped']),
    rooms: rooms as HouseRoom[],
  };
}

function roomOf(value: unknown): HouseRoom | null {
  const given = recordOf(value);
  const state = STATES.find((each) => each === given?.['state']);
  if (given === null || state === undefined) return null;
  const measures: unknown[] = Array.isArray(given['measures']) ? given['measures'] : [];
  return {
    name: textOf(given['name']),
    role: textOf(given['role']),
    state,
    pid: countOf(given['pid']),
    restarts: countOf(given['restarts']),
    residentBytes: countOf(given['residentBytes']),
    startedSeconds: countOf(given['startedSeconds']),
    measures: measures.slice(0, MEASURES_MAX).map(textOf),
  };
}

function recordOf(value: unknown): Record<string, unknown> | null {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, TEXT_CHARS_MAX) : '';
}

function countOf(value: unknown): number {
  return typeof value === 'number' && value >= 0 && value <= Number.MAX_SAFE_INTEGER ? value : 0;
}
