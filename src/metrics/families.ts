/**
 * What the page tells: each family's name, labels and meaning, in the order of the page. The first six are those that
 * the zerocopy-server document names. docs/METRICS.md describes all of them, and a test holds it to this list.
 */

import { hostOfKey, methodOfKey, statusOfKey } from './area.ts';
import { SIZE_BOUNDS, TIME_BOUNDS_MS } from './buckets.ts';
import type { Exposition, MetricType } from './exposition.ts';
import {
  C_ACCEPT_ERRORS,
  C_ACCEPT_PAUSES,
  C_BUFFER_STARVATIONS,
  C_BYTES_RECEIVED,
  C_BYTES_SENT,
  C_CONNECTIONS_ACCEPTED,
  C_CPU,
  C_HTTP2_FLOODS,
  C_LOG_DROPPED,
  C_REFUSED_BY_ADDRESS,
  C_REFUSED_BY_TOTAL,
  C_TLS_FAILED,
  C_TLS_FULL,
  C_TLS_RESUMED,
  C_TUNNEL_RECEIVED,
  C_TUNNEL_SENT,
  G_BUFFERS_FREE,
  G_BUFFERS_USED,
  G_CONNECTIONS_OPEN,
  G_CONNECTIONS_SHAKING,
  G_FDS_MAX,
  G_FDS_OPEN,
  G_HEAP_TOTAL,
  G_HEAP_USED,
  G_RESIDENT_BYTES,
  G_TUNNELS,
  G_WORKERS,
  OTHER,
  OTHER_NAME,
  REQUEST_SIZE_CELL,
  RESPONSE_SIZE_CELL,
  S_BUSY,
  S_CONNECTS,
  S_FAILURES,
  S_IDLE,
  S_LATENCY,
  S_RETRIES,
  TIME_CELLS,
} from './layout.ts';
import type { HostTotals, Totals } from './totals.ts';

/** What the cells' numbers mean, and what only the process that writes the page knows. */
export interface Facts {
  /** Labels by number; an empty text is a number that is not in use. */
  readonly methods: readonly string[];
  readonly faults: readonly string[];
  readonly failures: readonly string[];
  readonly tlsFailures: readonly string[];
  readonly http2Floods: readonly string[];
  readonly upstreams: readonly {
    readonly upstream: string;
    readonly server: string;
    readonly healthy: boolean;
  }[];
  /** By what an operator calls it: the path of its file. Seconds since 1970. */
  readonly certificates: readonly { readonly name: string; readonly expirySeconds: number }[];
  /** Of all workers together; 0: no limit. */
  readonly connectionsMax: number;
  /** Seconds since 1970; 0: none yet. */
  readonly reloadedSeconds: number;
  readonly reloadSucceeded: boolean;
  readonly reloads: { readonly succeeded: number; readonly failed: number };
  readonly startSeconds: number;
  readonly build: Readonly<Record<string, string>>;
  /** What the master tells of the rooms; empty where there are none. */
  readonly rooms: readonly { readonly name: string; readonly state: string; readonly restarts: number }[];
  /** Entries of the log that the journal could not write. */
  readonly journalDropped: number;
}

const ROOM_STATES: readonly string[] = ['starting', 'ready', 'draining', 'ended'];

const MS_PER_SECOND = 1000;
/** Pieces that the page is written in: about so many characters, so that no turn of the loop is spent on it alone. */
const PIECE_CHARS = 8192;

const BUFFER_CLASSES = ['small', 'medium', 'large'];

/** The page in pieces. */
export function* writePage(
  out: Exposition,
  totals: Totals,
  facts: Facts,
): Generator<string, void, undefined> {
  for (const family of FAMILIES) {
    out.family(family.name, family.type, family.help);
    for (const _ of family.write(out, totals, facts)) if (out.length >= PIECE_CHARS) yield out.take();
    if (out.length >= PIECE_CHARS) yield out.take();
  }
  out.end();
  yield out.take();
}

export interface Family {
  readonly name: string;
  readonly type: MetricType;
  readonly labels: readonly string[];
  readonly help: string;
  /** Writes the samples; yields where a pause is possible. */
  readonly write: (out: Exposition, totals: Totals, facts: Facts) => Iterable<undefined>;
}

type Write = Family['write'];

/** Writes few samples, without a pause. */
function atOnce(write: (...parameters: Parameters<Write>) => void): Write {
  return function* (out, totals, facts) {
    write(out, totals, facts);
    yield undefined;
  };
}

function scalar(name: string, type: MetricType, help: string, cell: number, scale = 1): Family {
  return {
    name,
    type,
    labels: [],
    help,
    write: atOnce((out, totals) => {
      out.sample([], totals.cells[cell] / scale);
    }),
  };
}

/** A family with one label, whose values and cells stand side by side. */
function several(
  name: string,
  type: MetricType,
  label: string,
  help: string,
  cells: readonly (readonly [string, number])[],
  scale = 1,
): Family {
  return {
    name,
    type,
    labels: [label],
    help,
    write: atOnce((out, totals) => {
      for (const [value, cell] of cells) out.sample([label, value], totals.cells[cell] / scale);
    }),
  };
}

function fact(
  name: string,
  labels: readonly string[],
  help: string,
  write: (out: Exposition, facts: Facts) => void,
): Family {
  return {
    name,
    type: 'gauge',
    labels,
    help,
    write: atOnce((out, _totals, facts) => {
      write(out, facts);
    }),
  };
}

/** A family with a sample, or several, for each server that anything was asked of, or is to be. */
function perServer(
  name: string,
  type: MetricType,
  labels: readonly string[],
  help: string,
  write: (out: Exposition, server: string, cells: Float64Array, facts: Facts) => void,
): Family {
  return {
    name,
    type,
    labels: ['server', ...labels],
    help,
    *write(out, totals, facts) {
      for (const { name: server, cells } of totals.servers) {
        if (server === OTHER_NAME && cells.every((value) => value === 0)) continue;
        write(out, server, cells, facts);
        yield undefined;
      }
    },
  };
}

function methodText(facts: Facts, method: number): string {
  return facts.methods[method] || OTHER_NAME;
}

function histogramHasAny(host: HostTotals, at: number): boolean {
  for (let bucket = 0; bucket < TIME_CELLS - 1; bucket++) if (host.durations[at + bucket] > 0) return true;
  return false;
}

const DOCUMENTED: readonly Family[] = [
  {
    name: 'zerocopy_proxy_http_requests_total',
    type: 'counter',
    labels: ['method', 'status', 'host'],
    help: 'Requests that are over. Status "none": the client got no response.',
    *write(out, totals, facts) {
      for (const key of [...totals.requests.keys()].sort((a, b) => a - b)) {
        const status = statusOfKey(key);
        const host = totals.hosts[hostOfKey(key)].name;
        const labels = [
          'method',
          methodText(facts, methodOfKey(key)),
          'status',
          status === 0 ? 'none' : `${status}`,
        ];
        out.sample([...labels, 'host', host], totals.requests.get(key) ?? 0);
        yield undefined;
      }
    },
  },
  {
    name: 'zerocopy_proxy_http_request_duration_seconds',
    type: 'histogram',
    labels: ['method', 'host'],
    help: 'From the first byte of a request until all of its response was handed to the connection; of an upgraded one, until its 101.',
    *write(out, totals, facts) {
      for (const host of totals.hosts) {
        for (let method = 0, at = 0; at < host.durations.length; method++, at += TIME_CELLS) {
          if (!histogramHasAny(host, at)) continue;
          const labels = ['method', methodText(facts, method), 'host', host.name];
          out.histogram(labels, host.durations, at, TIME_BOUNDS_MS, MS_PER_SECOND);
          yield undefined;
        }
      }
    },
  },
  {
    name: 'zerocopy_proxy_http_request_size_bytes',
    type: 'histogram',
    labels: [],
    help: 'Content of requests, as far as it was received.',
    write: atOnce((out, totals) => {
      out.histogram([], totals.cells, REQUEST_SIZE_CELL, SIZE_BOUNDS, 1);
    }),
  },
  {
    name: 'zerocopy_proxy_http_response_size_bytes',
    type: 'histogram',
    labels: [],
    help: 'Content of responses.',
    write: atOnce((out, totals) => {
      out.histogram([], totals.cells, RESPONSE_SIZE_CELL, SIZE_BOUNDS, 1);
    }),
  },
  {
    name: 'zerocopy_proxy_http_active_connections',
    type: 'gauge',
    labels: ['host'],
    help: 'Connections with a request under way, tunnels included.',
    *write(out, totals) {
      for (const [index, { name, active }] of totals.hosts.entries()) {
        if (index !== OTHER || active !== 0) out.sample(['host', name], active);
        yield undefined;
      }
    },
  },
  {
    name: 'zerocopy_proxy_http_upstream_health',
    type: 'gauge',
    labels: ['upstream', 'server'],
    help: '1: requests go to this server. 0: they do not.',
    *write(out, _totals, facts) {
      for (const { upstream, server, healthy } of facts.upstreams) {
        out.sample(['upstream', upstream, 'server', server], healthy ? 1 : 0);
        yield undefined;
      }
    },
  },
];

const REQUESTS: readonly Family[] = [
  {
    name: 'sallyport_request_faults_total',
    type: 'counter',
    labels: ['reason'],
    help: 'Requests that did not end well, by the reason that the log gives.',
    write: atOnce((out, totals, facts) => {
      for (const [number, reason] of facts.faults.entries()) {
        const count = totals.fault(number);
        if (reason !== '' && count > 0) out.sample(['reason', reason], count);
      }
    }),
  },
  scalar('sallyport_tunnels_open', 'gauge', 'Upgraded connections (WebSocket and others).', G_TUNNELS),
  several(
    'sallyport_tunnel_bytes_total',
    'counter',
    'direction',
    'Bytes of upgraded connections that have ended.',
    [
      ['from_client', C_TUNNEL_RECEIVED],
      ['to_client', C_TUNNEL_SENT],
    ],
  ),
];

const SATURATION: readonly Family[] = [
  scalar('sallyport_connections_open', 'gauge', 'Connections of clients.', G_CONNECTIONS_OPEN),
  scalar(
    'sallyport_connections_handshaking',
    'gauge',
    'Connections of clients that are in their TLS handshake.',
    G_CONNECTIONS_SHAKING,
  ),
  fact(
    'sallyport_connections_limit',
    [],
    'security.max_concurrent_connections; 0: no limit.',
    (out, { connectionsMax }) => out.sample([], connectionsMax),
  ),
  scalar(
    'sallyport_connections_accepted_total',
    'counter',
    'Connections of clients since the start.',
    C_CONNECTIONS_ACCEPTED,
  ),
  scalar(
    'sallyport_accept_pauses_total',
    'counter',
    'Times that accepting was paused: a limit was reached, or descriptors or memory ran out.',
    C_ACCEPT_PAUSES,
  ),
  scalar(
    'sallyport_accept_errors_total',
    'counter',
    'Times that the system could not give an accepted connection.',
    C_ACCEPT_ERRORS,
  ),
  several(
    'sallyport_connections_refused_total',
    'counter',
    'reason',
    'Connections that were closed unread: too many of one address (security.max_connections_per_ip), or of all for too long.',
    [
      ['address', C_REFUSED_BY_ADDRESS],
      ['total', C_REFUSED_BY_TOTAL],
    ],
  ),
  {
    name: 'sallyport_buffers',
    type: 'gauge',
    labels: ['size', 'state'],
    help: 'Buffers of each size: 4, 20 and 256 KiB. New requests are refused when less than a sixteenth of the medium ones is free.',
    write: atOnce((out, totals) => {
      for (const [index, size] of BUFFER_CLASSES.entries()) {
        out.sample(['size', size, 'state', 'free'], totals.cells[G_BUFFERS_FREE + index]);
        out.sample(['size', size, 'state', 'used'], totals.cells[G_BUFFERS_USED + index]);
      }
    }),
  },
  scalar(
    'sallyport_buffer_starvations_total',
    'counter',
    'Times that receiving had to wait for a buffer.',
    C_BUFFER_STARVATIONS,
  ),
  several(
    'sallyport_socket_bytes_total',
    'counter',
    'direction',
    'Bytes of all sockets, to clients and backends.',
    [
      ['received', C_BYTES_RECEIVED],
      ['sent', C_BYTES_SENT],
    ],
  ),
  {
    name: 'sallyport_log_entries_dropped_total',
    type: 'counter',
    labels: [],
    help: 'Entries of the log that were not written: its queue was full, or its file failed.',
    write: atOnce((out, totals, facts) => {
      out.sample([], totals.cells[C_LOG_DROPPED] + facts.journalDropped);
    }),
  },
];

const UPSTREAMS: readonly Family[] = [
  perServer(
    'sallyport_upstream_response_seconds',
    'histogram',
    [],
    'From the beginning of a request to a server until the head of its response.',
    (out, server, cells) =>
      out.histogram(['server', server], cells, S_LATENCY, TIME_BOUNDS_MS, MS_PER_SECOND),
  ),
  perServer(
    'sallyport_upstream_failures_total',
    'counter',
    ['reason'],
    'Requests that a server failed, those that were retried included.',
    (out, server, cells, facts) => {
      for (const [index, reason] of facts.failures.entries())
        out.sample(['server', server, 'reason', reason], cells[S_FAILURES + index]);
    },
  ),
  perServer(
    'sallyport_upstream_retries_total',
    'counter',
    [],
    'Requests that were sent once more after this server failed them.',
    (out, server, cells) => out.sample(['server', server], cells[S_RETRIES]),
  ),
  perServer(
    'sallyport_upstream_connects_total',
    'counter',
    [],
    'Connections that were begun to a server.',
    (out, server, cells) => out.sample(['server', server], cells[S_CONNECTS]),
  ),
  perServer(
    'sallyport_upstream_connections',
    'gauge',
    ['state'],
    'Connections to a server.',
    (out, server, cells) => {
      out.sample(['server', server, 'state', 'idle'], cells[S_IDLE]);
      out.sample(['server', server, 'state', 'busy'], cells[S_BUSY]);
    },
  ),
];

const HTTP2: readonly Family[] = [
  {
    name: 'sallyport_http2_floods_total',
    type: 'counter',
    labels: ['reason'],
    help: 'HTTP/2 connections of clients that were cut, by what they asked too much of for nothing.',
    write: atOnce((out, totals, facts) => {
      for (const [index, reason] of facts.http2Floods.entries())
        out.sample(['reason', reason], totals.cells[C_HTTP2_FLOODS + index]);
    }),
  },
];

const TLS: readonly Family[] = [
  several(
    'sallyport_tls_handshakes_total',
    'counter',
    'kind',
    'TLS handshakes with clients that succeeded.',
    [
      ['full', C_TLS_FULL],
      ['resumed', C_TLS_RESUMED],
    ],
  ),
  {
    name: 'sallyport_tls_handshake_failures_total',
    type: 'counter',
    labels: ['reason'],
    help: 'TLS handshakes with clients that failed, by class of reason; the log has the reason itself.',
    write: atOnce((out, totals, facts) => {
      for (const [index, reason] of facts.tlsFailures.entries())
        out.sample(['reason', reason], totals.cells[C_TLS_FAILED + index]);
    }),
  },
  fact(
    'sallyport_tls_certificate_expiry_timestamp_seconds',
    ['certificate'],
    'When a certificate of a listener ends, in seconds since 1970.',
    (out, { certificates }) => {
      for (const { name, expirySeconds } of certificates) out.sample(['certificate', name], expirySeconds);
    },
  ),
];

const ROOMS: readonly Family[] = [
  {
    name: 'sallyport_room_restarts_total',
    type: 'counter',
    labels: ['room'],
    help: 'Times that a room was started again.',
    write: atOnce((out, _totals, facts) => {
      for (const { name, restarts } of facts.rooms) out.sample(['room', name], restarts);
    }),
  },
  fact('sallyport_room_state', ['room', 'state'], '1: the room is in this state.', (out, { rooms }) => {
    for (const room of rooms)
      for (const state of ROOM_STATES)
        out.sample(['room', room.name, 'state', state], room.state === state ? 1 : 0);
  }),
];

const PROCESS: readonly Family[] = [
  {
    name: 'sallyport_config_reloads_total',
    type: 'counter',
    labels: ['result'],
    help: 'Times that the configuration was loaded again.',
    write: atOnce((out, _totals, { reloads }) => {
      out.sample(['result', 'ok'], reloads.succeeded);
      out.sample(['result', 'failed'], reloads.failed);
    }),
  },
  fact(
    'sallyport_config_last_reload_success_timestamp_seconds',
    [],
    'When a configuration last came into force, in seconds since 1970.',
    (out, { reloadedSeconds }) => out.sample([], reloadedSeconds),
  ),
  fact(
    'sallyport_config_last_reload_successful',
    [],
    '1: the configuration in force is the one that was last asked for. 0: that one was wrong.',
    (out, { reloadSucceeded }) => out.sample([], reloadSucceeded ? 1 : 0),
  ),
  fact(
    'sallyport_build_info',
    ['version', 'nodejs', 'openssl', 'io'],
    'What runs; always 1.',
    (out, { build }) => out.sample(Object.entries(build).flat(), 1),
  ),
  scalar('sallyport_workers', 'gauge', 'Workers that this page adds up.', G_WORKERS),
  scalar('process_cpu_seconds_total', 'counter', 'Processor time.', C_CPU, 1e6),
  scalar('process_resident_memory_bytes', 'gauge', 'Memory that is resident.', G_RESIDENT_BYTES),
  several('sallyport_heap_bytes', 'gauge', 'state', 'Memory of the JavaScript heap.', [
    ['used', G_HEAP_USED],
    ['total', G_HEAP_TOTAL],
  ]),
  scalar('process_open_fds', 'gauge', 'Open descriptors.', G_FDS_OPEN),
  scalar('process_max_fds', 'gauge', 'Descriptors that may be open.', G_FDS_MAX),
  fact(
    'process_start_time_seconds',
    [],
    'When the server started, in seconds since 1970.',
    (out, { startSeconds }) => out.sample([], startSeconds),
  ),
];

export const FAMILIES: readonly Family[] = [
  ...DOCUMENTED,
  ...REQUESTS,
  ...SATURATION,
  ...UPSTREAMS,
  ...TLS,
  ...HTTP2,
  ...ROOMS,
  ...PROCESS,
];
