/**
 * The memory that one worker counts in: a fixed layout of AREA_BYTES bytes, so that the areas of several workers can
 * lie behind one another in one mapping that all of them share.
 *
 * Only the owner writes, with plain stores, and nobody locks: every cell is a 64-bit float on an 8-byte boundary, which
 * processors store and load whole, and counts are exact up to 2^53. Whoever adds up the areas sees each cell as it was
 * at some moment. An area tells itself what its cells are for: the names of hosts and servers are in it, so that
 * workers need not agree on numbers.
 *
 * Bytes: HEADER_WORDS 32-bit words; names of hosts, then of servers, NAME_BYTES each (a length, then UTF-8); the keys of
 * request series, 32 bits each; then all cells.
 */

import { SIZE_BUCKETS, TIME_BUCKETS } from './buckets.ts';

export const LAYOUT_MAGIC = 0x534d4131;

export const H_MAGIC = 0;
/** How many names of hosts and of servers are there, and how many request series. */
export const H_HOSTS = 1;
export const H_SERVERS = 2;
export const H_SERIES = 3;
export const HEADER_WORDS = 16;

/** Names beyond these are counted as OTHER. Our own choice: an operator with more of them looks at other things. */
export const HOSTS_MAX = 512;
export const SERVERS_MAX = 512;
/** Longer ones are cut. */
export const NAME_BYTES = 256;
/** The first name of either kind, for whatever has none of its own. */
export const OTHER = 0;
export const OTHER_NAME = 'other';

/** Method numbers are the caller's, below this; 0 is for methods that it has no number for. */
export const METHODS_MAX = 16;
/** Statuses that a series of their own is kept for; others, and none at all, are 0. */
export const STATUS_MIN = 100;
export const STATUS_MAX = 599;

/** Request series: places of the table, a power of two, and how many are given away before labels are folded. */
export const SERIES_SLOTS = 16384;
export const SERIES_MAX = 12288;

/** Causes that are counted by number, the caller's: of failed requests, and of each server's failures. */
export const FAULTS_MAX = 128;
export const FAILURES_MAX = 16;

// ---- Cells that stand alone ----------------------------------------------------------------------------

/** Counters: they go on when a worker is replaced. */
export const C_CONNECTIONS_ACCEPTED = 0;
export const C_ACCEPT_PAUSES = 1;
export const C_ACCEPT_ERRORS = 2;
export const C_BYTES_RECEIVED = 3;
export const C_BYTES_SENT = 4;
export const C_BUFFER_STARVATIONS = 5;
export const C_LOG_DROPPED = 6;
/** Microseconds. */
export const C_CPU = 9;
export const C_TUNNEL_RECEIVED = 10;
export const C_TUNNEL_SENT = 11;
export const C_TLS_FULL = 12;
export const C_TLS_RESUMED = 13;
export const C_REFUSED_BY_ADDRESS = 14;
export const C_REFUSED_BY_TOTAL = 15;
/** Failed handshakes by class: this many cells. */
export const C_TLS_FAILED = 16;
export const TLS_FAILURES_MAX = 16;
/** HTTP/2 connections that were cut, by what they did too much of: this many cells. */
export const C_HTTP2_FLOODS = 32;
export const HTTP2_FLOODS_MAX = 16;
/** Gauges: what is at the moment; cleared when another worker takes the area over. */
export const G_FIRST = 64;
export const G_CONNECTIONS_OPEN = 64;
export const G_CONNECTIONS_SHAKING = 65;
export const G_TUNNELS = 67;
export const G_FDS_OPEN = 68;
export const G_FDS_MAX = 69;
export const G_RESIDENT_BYTES = 70;
export const G_HEAP_USED = 71;
export const G_HEAP_TOTAL = 72;
export const G_WORKERS = 73;
/** Free buffers, then used ones, of each of three size classes. */
export const G_BUFFERS_FREE = 74;
export const G_BUFFERS_USED = 77;
export const SCALARS = 96;

// ---- Cells of one server -------------------------------------------------------------------------------

export const S_LATENCY = 0;
export const S_LATENCY_SUM = TIME_BUCKETS;
export const S_CONNECTS = TIME_BUCKETS + 1;
export const S_RETRIES = TIME_BUCKETS + 2;
/** Gauges. */
export const S_IDLE = TIME_BUCKETS + 3;
export const S_BUSY = TIME_BUCKETS + 4;
export const S_IN_FLIGHT = TIME_BUCKETS + 5;
export const S_FAILURES = TIME_BUCKETS + 6;
export const SERVER_CELLS = S_FAILURES + FAILURES_MAX;

/** A histogram of times or sizes: its buckets, then the sum. */
export const TIME_CELLS = TIME_BUCKETS + 1;
export const SIZE_CELLS = SIZE_BUCKETS + 1;

// ---- Where it all is -----------------------------------------------------------------------------------

export const HOST_NAMES_AT = HEADER_WORDS * 4;
export const SERVER_NAMES_AT = HOST_NAMES_AT + HOSTS_MAX * NAME_BYTES;
export const SERIES_KEYS_AT = SERVER_NAMES_AT + SERVERS_MAX * NAME_BYTES;
export const CELLS_AT = SERIES_KEYS_AT + SERIES_SLOTS * 4;

/** Cells, counted from CELLS_AT. */
export const FAULTS_CELL = SCALARS;
export const REQUEST_SIZE_CELL = FAULTS_CELL + FAULTS_MAX;
export const RESPONSE_SIZE_CELL = REQUEST_SIZE_CELL + SIZE_CELLS;
export const SERIES_CELL = RESPONSE_SIZE_CELL + SIZE_CELLS;
export const ACTIVE_CELL = SERIES_CELL + SERIES_SLOTS;
export const DURATION_CELL = ACTIVE_CELL + HOSTS_MAX;
export const SERVER_CELL = DURATION_CELL + HOSTS_MAX * METHODS_MAX * TIME_CELLS;
export const CELLS = SERVER_CELL + SERVERS_MAX * SERVER_CELLS;

const PAGE_BYTES = 4096;
/** Whole pages. Untouched ones cost nothing. */
export const AREA_BYTES: number = Math.ceil((CELLS_AT + CELLS * 8) / PAGE_BYTES) * PAGE_BYTES;
