/**
 * Every key of the configuration: its type, range, default, meaning and an example. The one table from
 * which files are validated, defaults are filled in, docs/CONFIGURATION.md is generated, and `check`
 * explains. Whether a key's feature is built is told by not-built.ts.
 */

import { addedFields, parseMethod, removedFields } from './header-rules.ts';
import { WORKERS_MAX } from './model.ts';
import { parseDnsName, parseIpRange, parseListenAddress, parseRouteHost } from './network-names.ts';
import { Complaint } from './problem.ts';
import { HTTP2 } from './schema-http2.ts';
import { type Entries, key, type Named, optionalSection, requiredKey, section } from './schema-nodes.ts';
import { TLS } from './schema-tls.ts';
import { BACKEND_URL_WORDS, normalisePrefix, parseRedirectUrl } from './url-parts.ts';
import {
  boolean,
  integer,
  listOf,
  number,
  oneOf,
  oneOrMany,
  parsed,
  plainText,
  text,
  word,
} from './value-types.ts';

/** A day, in seconds. */
const DAY_SECS = 86_400;
/** Bytes: 10 MiB. */
const BODY_BYTES_DEFAULT = 10_485_760;
/** Bytes: a tebibyte. */
const BODY_BYTES_MAX = 2 ** 40;
/** Bytes: what half of the largest buffer holds, so that the rewritten head still fits one. */
const HEADER_BYTES_MAX = 65_536;
/** The largest flow-control window of HTTP/2 (RFC 9113 §6.9.1). */
/** The largest variable-length integer of QUIC that a JavaScript number holds. */
const QUIC_INTEGER_MAX = Number.MAX_SAFE_INTEGER;
const ADDRESSES_MAX = 64;
const RANGES_MAX = 4096;
const PATHS_MAX = 256;

const ipRanges = listOf(parsed('an IP address or CIDR range', parseIpRange), { max: RANGES_MAX });
const listenAddress = parsed('address:port, [IPv6]:port, or unix:/path', parseListenAddress);
/** Relative ones start from the folder of the configuration file. */
const path = text('a path');
const paths = listOf(path, { max: PATHS_MAX });
const seconds = integer(1, DAY_SECS);
const serverName = parsed('a host name', parseDnsName);

const SERVER = section('Listeners and what holds for all connections.', {
  listen: requiredKey(oneOrMany(listenAddress, ADDRESSES_MAX), {
    meaning:
      'Where clients connect: one address or an array. `[::]:443` is IPv6; port 0 lets the kernel choose. With `[tls]` these speak TLS, without it plain HTTP/1.1.',
    example: '["0.0.0.0:8080", "[::]:8080", "unix:/run/edge.sock"]',
  }),
  http: key(oneOrMany(listenAddress, ADDRESSES_MAX), {
    fallback: null,
    meaning:
      'Further addresses, but no Unix sockets, which do nothing but redirect every request to HTTPS with 301: the same host, path and query, at the port of the first address of `listen`. Needs `[tls]`.',
    example: '"0.0.0.0:80"',
  }),
  threads: key(integer(0, WORKERS_MAX), {
    fallback: 0,
    meaning:
      'Workers, one process each. Several are each bound to a core, in turn. 0: as many as there are cores that the program may use, or as a quota of processor time allows.',
    example: '4',
  }),
  http2_enabled: key(boolean(), {
    fallback: true,
    meaning: 'Offers HTTP/2 to clients: by ALPN over TLS, as h2c without.',
    example: 'true',
  }),
  http3_enabled: key(boolean(), {
    fallback: false,
    meaning: 'Offers HTTP/3 (QUIC) to clients. Needs `[tls]`.',
    example: 'true',
  }),
  route_precedence: key(word('host', 'path'), {
    fallback: 'host' as const,
    meaning:
      'Which table serves a host that stands in both: `"host"` is `[host_routes]`, which makes the path routes of that host unreachable; `"path"` asks `[path_routes]` first.',
    example: '"path"',
  }),
  trusted_proxies: key(ipRanges, {
    fallback: [],
    meaning:
      'Peers whose `X-Forwarded-*` and `Forwarded` are believed. From all others these fields are replaced.',
    example: '["10.0.0.0/8"]',
  }),
  shutdown_timeout_secs: key(integer(0, 3600), {
    fallback: 30,
    meaning: 'How long a stop waits for what is in flight. 0: it does not.',
    example: '10',
  }),
  keep_alive_timeout_secs: key(seconds, {
    fallback: 60,
    meaning: 'How long a connection may idle between two requests.',
    example: '15',
  }),
  write_timeout_secs: key(seconds, {
    fallback: 30,
    meaning: 'How long a client may take nothing of what is sent to it.',
    example: '60',
  }),
  min_rate_bytes_per_sec: key(integer(0, 1_000_000_000), {
    fallback: 100,
    meaning:
      'Slowest average rate at which a client may send content or read a response, after some seconds of grace. 0: any.',
    example: '500',
  }),
  via: key(boolean(), {
    fallback: false,
    meaning: 'Adds a `Via` field to what is forwarded.',
    example: 'true',
  }),
});

const LOGGING = section('The error log and the access log.', {
  level: key(word('trace', 'debug', 'info', 'warn', 'error', 'off'), {
    fallback: 'info' as const,
    meaning: 'The least important entries that are written.',
    example: '"warn"',
  }),
  format: key(word('text', 'json'), {
    fallback: 'text' as const,
    meaning: 'How an entry is written.',
    example: '"json"',
  }),
  channel_size: key(integer(16, 10_000_000), {
    fallback: 100_000,
    meaning:
      'Entries that may wait to be written. Beyond it entries are dropped, counted, and the count is logged.',
    example: '10000',
  }),
  flush_interval_ms: key(integer(1, 60_000), {
    fallback: 1000,
    meaning: 'Milliseconds after which waiting entries are written.',
    example: '200',
  }),
  max_log_size: key(integer(0, BODY_BYTES_MAX), {
    fallback: 104_857_600,
    meaning: 'Bytes at which a log file is rotated. 0: never.',
    example: '10485760',
  }),
  file_path: key(path, {
    fallback: null,
    fallbackWords: 'standard error',
    meaning: 'The log file.',
    example: '"/var/log/zerocopy-server.log"',
  }),
});

const flag = (fallback: boolean, meaning: string) =>
  key(boolean(), {
    fallback: null,
    fallbackWords: `\`${fallback}\` with \`enable_sandbox\``,
    meaning,
    example: String(!fallback),
  });

const STRONGEST = 'the strongest that the machine allows';
const bindMount = parsed('source:destination, both absolute', (found) =>
  /^\/[^:\0]*:\/[^:\0]*$/.test(found)
    ? found
    : new Complaint('it is not source:destination', 'write "/usr:/usr"'),
);
const capability = parsed('a capability', (found) =>
  /^CAP_[A-Z_]+$/.test(found)
    ? found
    : new Complaint('it is not a capability', 'write it like "CAP_NET_BIND_SERVICE"'),
);

const SECURITY = section(
  'Limits of the whole server, and its confinement. A confinement key that is absent means the strongest that the machine allows; one that is present is taken literally.',
  {
    drop_privileges_user: key(text('a user name'), {
      fallback: null,
      fallbackWords: 'an unprivileged id of each compartment’s own',
      meaning: 'The user that compartments run as when the program is started by root.',
      example: '"nobody"',
    }),
    drop_privileges_group: key(text('a group name'), {
      fallback: null,
      fallbackWords: 'the user’s own',
      meaning: 'The group that compartments run as when the program is started by root.',
      example: '"nogroup"',
    }),
    max_concurrent_connections: key(integer(0, 1_000_000), {
      fallback: 0,
      meaning:
        'Client connections at once, over all workers. At the limit accepting pauses; the backlog holds the rest. 0: no limit of its own.',
      example: '10000',
    }),
    max_connections_per_ip: key(integer(0, 1_000_000), {
      fallback: 0,
      meaning:
        'Connections of one client address at once, over all workers; IPv6 counts by /64. One more is closed unread, counted, and told of in the log. It is the peer’s address that counts; peers in `server.trusted_proxies` and on Unix sockets may have any number. 0: no limit.',
      example: '200',
    }),
    allow_degraded: key(boolean(), {
      fallback: false,
      meaning: 'Starts even though a confinement that was asked for can’t be applied.',
      example: 'true',
    }),
    enable_seccomp: key(boolean(), {
      fallback: null,
      fallbackWords: STRONGEST,
      meaning: 'Restricts system calls. `true` without a mode means `"filter"`.',
      example: 'true',
    }),
    seccomp_mode: key(word('disabled', 'log', 'filter', 'strict'), {
      fallback: null,
      fallbackWords: STRONGEST,
      meaning: 'What a forbidden system call does: nothing, a log entry, EPERM, the process is killed.',
      example: '"filter"',
    }),
    enable_landlock: key(boolean(), {
      fallback: null,
      fallbackWords: STRONGEST,
      meaning: 'Restricts the file system with Landlock.',
      example: 'true',
    }),
    landlock_read_paths: key(paths, {
      fallback: null,
      fallbackWords: 'nothing more',
      meaning:
        'What all compartments may read, beside the program and the paths that this configuration names.',
      example: '["/etc/zerocopy-server", "/usr"]',
    }),
    landlock_write_paths: key(paths, {
      fallback: null,
      fallbackWords: 'nothing more',
      meaning:
        'No compartment writes files by name: the log’s file is opened for the one that writes it. What is listed here is not granted to any, and the log says so.',
      example: '["/var/log/zerocopy-server"]',
    }),
    enable_sandbox: key(boolean(), {
      fallback: null,
      fallbackWords: STRONGEST,
      meaning: 'Namespaces, bind mounts and capabilities, in the manner of bubblewrap.',
      example: 'true',
    }),
    sandbox_unshare_mount: flag(
      true,
      'A mount namespace, with a root that holds the program and what this configuration names, and nothing else.',
    ),
    sandbox_unshare_uts: flag(true, 'A namespace for the host name.'),
    sandbox_unshare_ipc: flag(true, 'A namespace for System V IPC.'),
    sandbox_unshare_pid: flag(false, 'A namespace for process ids.'),
    sandbox_unshare_user: flag(
      false,
      'A user namespace. A program with threads can’t make one: start it in one (`unshare --user`, bubblewrap).',
    ),
    sandbox_unshare_net: flag(
      false,
      'A network namespace: backends can be reached over Unix sockets alone then.',
    ),
    sandbox_keep_capabilities: key(listOf(capability, { max: 64 }), {
      fallback: null,
      fallbackWords: '`[]`',
      meaning: 'Capabilities that are kept.',
      example: '["CAP_NET_BIND_SERVICE"]',
    }),
    sandbox_ro_bind_mounts: key(listOf(bindMount, { max: PATHS_MAX }), {
      fallback: null,
      fallbackWords: 'nothing more',
      meaning: 'Bind mounts that can be read, as source:destination.',
      example: '["/usr:/usr", "/lib:/lib"]',
    }),
    sandbox_rw_bind_mounts: key(listOf(bindMount, { max: PATHS_MAX }), {
      fallback: null,
      fallbackWords: '`[]`',
      meaning: 'Bind mounts that can be written, as source:destination.',
      example: '["/var/log:/var/log"]',
    }),
    sandbox_tmpfs_mounts: key(paths, {
      fallback: null,
      fallbackWords: '`["/tmp"]`',
      meaning: 'Where an empty file system in memory is mounted.',
      example: '["/tmp"]',
    }),
    sandbox_mount_proc: flag(true, 'Mounts /proc.'),
    sandbox_mount_dev: flag(true, 'Makes a small /dev.'),
    sandbox_hostname: key(serverName, {
      fallback: null,
      fallbackWords: '`"zerocopy-sandbox"`',
      meaning: 'The host name within.',
      example: '"edge"',
    }),
    sandbox_no_new_privs: flag(true, 'Sets no_new_privs.'),
  },
);

const PERFORMANCE = section('How the machine is used.', {
  reuseport_balancing: key(word('kernel', 'cbpf'), {
    fallback: 'kernel' as const,
    meaning:
      'How connections are spread over workers: by the kernel’s own hash, or by the client’s address alone (IPv6: its first 64 bits). Where the kernel doesn’t take the latter (Linux 4.6), it is the former, with a log line.',
    example: '"cbpf"',
  }),
  huge_pages_enabled: key(boolean(), {
    fallback: false,
    meaning:
      'Asks for huge pages for the buffers of each worker. Ordinary ones are used where there are none, with a log line. V8’s own heap doesn’t take them.',
    example: 'true',
  }),
});

const ROUTE_SECURITY = section('Limits and rules of one route.', {
  max_request_body_size: key(integer(0, BODY_BYTES_MAX), {
    fallback: BODY_BYTES_DEFAULT,
    meaning: 'Bytes of a request’s content where its length is declared. More: 413. 0: none at all.',
    example: '5242880',
  }),
  max_chunked_body_size: key(integer(0, BODY_BYTES_MAX), {
    fallback: BODY_BYTES_DEFAULT,
    meaning:
      'Bytes of a request’s content where its length is not declared (chunks, a stream of gRPC). More: 413, and a connection of HTTP/1.1 closes.',
    example: '5242880',
  }),
  max_request_header_size: key(integer(256, HEADER_BYTES_MAX), {
    fallback: 8192,
    meaning: 'Bytes of a request’s head. More: 431; 414 where the request line alone is longer.',
    example: '16384',
  }),
  client_header_timeout_secs: key(seconds, {
    fallback: 30,
    meaning: 'How long a client may take to send a request’s head. Longer: 408.',
    example: '10',
  }),
  client_body_timeout_secs: key(seconds, {
    fallback: 30,
    meaning:
      'How long a client may pause within a request’s content (over HTTP/2: while no response comes either). Longer: 408.',
    example: '10',
  }),
  backend_connect_timeout_secs: key(seconds, {
    fallback: 10,
    meaning: 'How long connecting to a backend may take. Longer: 504.',
    example: '5',
  }),
  backend_response_timeout_secs: key(seconds, {
    fallback: 30,
    meaning:
      'How long a backend may take until the first byte of its response, and between bytes. Longer: 504.',
    example: '120',
  }),
  allowed_methods: key(
    listOf(parsed('a method', parseMethod), {
      min: 1,
      max: 64,
      whyNotEmpty: 'leave the key out to allow all methods',
    }),
    {
      fallback: null,
      fallbackWords: 'all',
      meaning: 'Methods that are let through. Others: 405.',
      example: '["GET", "HEAD", "POST"]',
    },
  ),
  rate_limit_requests_per_min: key(integer(0, 1_000_000_000), {
    fallback: 0,
    meaning: 'Requests of one client address within any minute. More: 429. 0: no limit.',
    example: '60',
  }),
  allowed_ips: key(ipRanges, {
    fallback: [],
    fallbackWords: 'all',
    meaning: 'Clients that are let through. Others: 403. An empty array lets all through.',
    example: '["192.168.0.0/16", "::1"]',
  }),
  denied_ips: key(ipRanges, {
    fallback: [],
    meaning: 'Clients that are refused with 403, whatever `allowed_ips` says.',
    example: '["192.168.1.100"]',
  }),
  max_idle_connections_per_host: key(integer(0, 65_535), {
    fallback: 8,
    meaning: 'Idle connections that are kept for a backend. 0: none is reused.',
    example: '32',
  }),
  idle_connection_timeout_secs: key(seconds, {
    fallback: 30,
    meaning: 'How long an idle connection to a backend is kept.',
    example: '10',
  }),
  add_request_headers: key(addedFields('request'), {
    fallback: [],
    meaning:
      'Fields set on requests to the backend, in place of any of the same name. Values may hold `$client_ip`, `$host`, `$request_uri`, `$scheme` and `$request_id`.',
    example: '{ "X-Real-IP" = "$client_ip" }',
  }),
  remove_request_headers: key(removedFields('request'), {
    fallback: [],
    meaning: 'Fields removed from requests to the backend.',
    example: '["X-Debug-Token"]',
  }),
  add_response_headers: key(addedFields('response'), {
    fallback: [],
    meaning: 'Fields set on every response of the route, files, redirects and errors included.',
    example: '{ "X-Frame-Options" = "DENY" }',
  }),
  remove_response_headers: key(removedFields('response'), {
    fallback: [],
    meaning: 'Fields removed from every response of the route.',
    example: '["X-Powered-By"]',
  }),
  websocket_poll_mode: key(word('fixed', 'adaptive'), {
    fallback: 'adaptive' as const,
    meaning:
      '`"fixed"`: every message of a WebSocket is passed on at once. `"adaptive"`: so is one that comes after a silence, and small ones that follow it within the back-off wait for its end and go together, which costs latency and saves processor time. Nothing is ever polled.',
    example: '"fixed"',
  }),
  websocket_poll_timeout_ms: key(integer(1, 60_000), {
    fallback: 1,
    meaning:
      'The back-off, in milliseconds, while messages come (adaptive; with `"fixed"` nothing waits, whatever this says).',
    example: '10',
  }),
  websocket_poll_max_timeout_ms: key(integer(1, 60_000), {
    fallback: 100,
    meaning:
      'The longest back-off, in milliseconds, and so the longest that a small message may wait for others (adaptive).',
    example: '50',
  }),
  websocket_poll_backoff_multiplier: key(number(1, 100), {
    fallback: 2,
    fallbackWords: '`2.0`',
    meaning: 'What the back-off is multiplied by each time that it passes in silence (adaptive).',
    example: '1.5',
  }),
  websocket_idle_timeout_secs: key(integer(0, 604_800), {
    fallback: 0,
    meaning:
      'An upgraded connection on which neither side has sent anything for this long is closed. 0: it may be silent for ever.',
    example: '3600',
  }),
});

/** How a backend is reached: keys beside `url`, in a route and in a server table alike. */
export const BACKEND_KEYS = {
  sni_name: key(serverName, {
    fallback: null,
    fallbackWords: 'the host of the URL',
    meaning:
      'The name that an https backend’s certificate must have, sent as SNI. Where it is an IP address the certificate must hold that, and no name is sent.',
    example: '"api.example.com"',
  }),
  use_h2c: key(boolean(), {
    fallback: false,
    meaning: 'Speaks HTTP/2 without TLS to the backend (for gRPC). Not with https.',
    example: 'true',
  }),
  ca_path: key(path, {
    fallback: null,
    fallbackWords: 'the system’s certificates',
    meaning:
      'Certificates (PEM) by which an https backend is trusted: a file, or a directory whose files are all read. They replace the system’s.',
    example: '"/etc/zerocopy-server/backend-ca.pem"',
  }),
  client_cert_path: key(path, {
    fallback: null,
    meaning:
      'The certificate (PEM), with its intermediates, that is shown to an https backend which asks for one.',
    example: '"/etc/zerocopy-server/client.crt"',
  }),
  client_key_path: key(path, {
    fallback: null,
    meaning: 'The private key of `client_cert_path` (PEM, without a passphrase).',
    example: '"/etc/zerocopy-server/client.key"',
  }),
  insecure: key(boolean(), {
    fallback: false,
    meaning:
      'Does not verify an https backend’s certificate: for development. Each start and reload warns of it.',
    example: 'true',
  }),
} as const;

/** The same, by name. */
export const BACKEND_KEY_NAMES: readonly string[] = Object.keys(BACKEND_KEYS);

/** Which keys of a route belong to one type alone; the others belong to all. */
export const KEYS_OF_TYPE = {
  Proxy: ['url', 'upstream', ...BACKEND_KEY_NAMES, 'host_header', 'allowed_upgrades'],
  File: ['path', 'mode', 'index'],
  Redirect: ['redirect_url', 'redirect_status', 'preserve_path'],
} as const;

const PROXY_ONLY = 'Proxy: ';
const FILE_ONLY = 'File: ';
const REDIRECT_ONLY = 'Redirect: ';

const ROUTE = section('What answers the requests of a host, or of a path and all below it.', {
  type: key(word('Proxy', 'File', 'Redirect'), {
    fallback: 'File' as const,
    meaning: 'What answers: a backend, files, or a redirect. The keys below belong to one type each.',
    example: '"Proxy"',
  }),
  url: key(text(BACKEND_URL_WORDS), {
    fallback: null,
    meaning: `${PROXY_ONLY}the backend. A name is resolved again every ten seconds, and all its addresses are used in turn. Either this or \`upstream\`.`,
    example: '"http://localhost:8080/app/"',
  }),
  upstream: key(text('the name of a group in [upstreams]'), {
    fallback: null,
    meaning: `${PROXY_ONLY}a group of backends. Either this or \`url\`.`,
    example: '"api-pool"',
  }),
  ...BACKEND_KEYS,
  host_header: key(text('"preserve", "upstream", or a host'), {
    fallback: 'preserve',
    meaning: `${PROXY_ONLY}the \`Host\` of forwarded requests: the client’s, the backend’s own, or this one.`,
    example: '"upstream"',
  }),
  allowed_upgrades: key(listOf(text('a protocol name of the Upgrade field'), { max: 16 }), {
    fallback: [],
    meaning: `${PROXY_ONLY}protocols that clients may upgrade to, beside \`websocket\`.`,
    example: '["tcp"]',
  }),
  path: key(path, {
    fallback: null,
    fallbackWords: 'required',
    meaning: `${FILE_ONLY}a file, which answers the exact path only, or a directory.`,
    example: '"/var/www/html"',
  }),
  mode: key(word('sendfile', 'memory'), {
    fallback: 'sendfile' as const,
    meaning: `${FILE_ONLY}sends from the file, or from a copy in memory (small files).`,
    example: '"memory"',
  }),
  index: key(
    parsed('a file name', (found) => {
      if (found.includes('/') || found === '.' || found === '..')
        return new Complaint('it is not a file name');
      return plainText(found);
    }),
    {
      fallback: 'index.html',
      meaning: `${FILE_ONLY}what a directory itself answers with.`,
      example: '"home.html"',
    },
  ),
  redirect_url: key(parsed('an http(s) URL or a path', parseRedirectUrl), {
    fallback: null,
    fallbackWords: 'required',
    meaning: `${REDIRECT_ONLY}the target. \`$request_uri\`, \`$path\` (without the route’s prefix) and \`$host\` are expanded.`,
    example: '"https://www.example.com$request_uri"',
  }),
  redirect_status: key(oneOf(301, 302, 303, 307, 308), {
    fallback: 301 as const,
    meaning: `${REDIRECT_ONLY}the status.`,
    example: '308',
  }),
  preserve_path: key(boolean(), {
    fallback: false,
    meaning: `${REDIRECT_ONLY}appends the path without the route’s prefix, and the query.`,
    example: 'true',
  }),
  security: ROUTE_SECURITY,
});

export type RouteFields = (typeof ROUTE)['fields'];
export type RouteSecurityFields = (typeof ROUTE_SECURITY)['fields'];

const HOST_ROUTES: Named<typeof ROUTE> = {
  kind: 'named',
  placeholder: 'HOST',
  parseName: parseRouteHost,
  meaning:
    'Routes by host alone. A host is a name, `*.example.com` (any number of labels), an IP literal, or `*`; exact beats wildcard, the longer wildcard wins.',
  of: ROUTE,
};

const PATH_ROUTES: Named<Named<typeof ROUTE>> = {
  kind: 'named',
  placeholder: 'HOST',
  parseName: parseRouteHost,
  meaning:
    'Routes by host and path. The longest prefix wins; a prefix ends at a slash (`/api` matches `/api/x`, not `/apix`), and a slash at its end makes no difference.',
  of: {
    kind: 'named',
    placeholder: 'PATH',
    parseName: normalisePrefix,
    meaning: '',
    of: ROUTE,
  },
};

const SERVER_ENTRY = section('A backend of the group.', {
  url: requiredKey(text(BACKEND_URL_WORDS), { meaning: 'The backend.', example: '"http://10.0.0.1:8080"' }),
  weight: key(integer(1, 1000), {
    fallback: 1,
    meaning: 'Its share of requests in relation to the others.',
    example: '3',
  }),
  ...BACKEND_KEYS,
});

export type ServerEntryFields = (typeof SERVER_ENTRY)['fields'];

const HEALTH_CHECK = optionalSection(
  'Asks every backend of the group at an interval, and leaves out those that don’t answer.',
  {
    interval_secs: key(seconds, { fallback: 10, meaning: 'Seconds between two checks.', example: '5' }),
    path: key(
      parsed('a path, which may have a query', (found) => {
        if (!found.startsWith('/')) return new Complaint('a path begins with /');
        return /[^\x21-\x7e]/.test(found)
          ? new Complaint('it holds a space or a character outside ASCII')
          : found;
      }),
      { fallback: '/', meaning: 'What is asked for.', example: '"/health"' },
    ),
    timeout_secs: key(seconds, {
      fallback: 5,
      meaning: 'Seconds after which a check has failed.',
      example: '2',
    }),
    healthy_statuses: key(listOf(integer(100, 599), { min: 1, max: 500 }), {
      fallback: [200, 201, 202, 204, 301, 302, 304],
      meaning: 'Statuses that count as healthy.',
      example: '[200]',
    }),
    unhealthy_threshold: key(integer(1, 1000), {
      fallback: 3,
      meaning: 'Failures in a row after which a backend is left out.',
      example: '2',
    }),
    healthy_threshold: key(integer(1, 1000), {
      fallback: 2,
      meaning: 'Successes in a row after which it is used again.',
      example: '1',
    }),
  },
);

const UPSTREAM = section('', {
  algorithm: key(word('round_robin', 'least_conn', 'ip_hash'), {
    fallback: 'round_robin' as const,
    meaning:
      'How a backend is chosen: in turn, the one with the fewest connections, or by the client’s address.',
    example: '"least_conn"',
  }),
  servers: {
    kind: 'entries',
    bareKey: 'url',
    isRequired: true,
    max: 256,
    meaning:
      'The backends: URLs, or tables with a URL and more, as in `servers = ["http://10.0.0.1:8080", { url = "http://10.0.0.2:8080", weight = 2 }]`.',
    of: SERVER_ENTRY,
  } satisfies Entries<ServerEntryFields>,
  health_check: HEALTH_CHECK,
});

export type UpstreamFields = (typeof UPSTREAM)['fields'];

const UPSTREAMS: Named<typeof UPSTREAM> = {
  kind: 'named',
  placeholder: 'NAME',
  parseName: (name) => {
    if (name.startsWith('route '))
      return new Complaint('names that begin with "route " are the program’s own');
    return plainText(name);
  },
  meaning: 'Groups of backends for Proxy routes.',
  of: UPSTREAM,
};

const PROMETHEUS = section('The metrics page.', {
  enabled: key(boolean(), { fallback: false, meaning: 'Whether it is there.', example: 'true' }),
  path: key(parsed('a path', normalisePrefix), {
    fallback: '/__metrics',
    meaning: 'Where it is, on every host.',
    example: '"/metrics"',
  }),
  allowed_ips: key(ipRanges, {
    fallback: [],
    fallbackWords: 'all',
    meaning: 'Clients that may read it.',
    example: '["127.0.0.1", "::1"]',
  }),
});

const STATUS = section(
  'The status page, for operators at this machine: upstreams, rates, rooms, certificates, live.',
  {
    listen: key(listenAddress, {
      fallback: null,
      fallbackWords: 'none',
      meaning:
        'Where it is: an address of this machine alone (127.0.0.1, [::1]) or a Unix socket, since it asks nobody for a password. Requests to it are neither logged nor counted.',
      example: '"127.0.0.1:9090"',
    }),
  },
);

const HTTP3 = section('Settings of HTTP/3 and QUIC (RFC 9000 §18.2).', {
  listen: key(oneOrMany(listenAddress, ADDRESSES_MAX), {
    fallback: null,
    fallbackWords: '`server.listen`',
    meaning: 'UDP addresses.',
    example: '"0.0.0.0:443"',
  }),
  max_idle_timeout: key(integer(1, 86_400_000), {
    fallback: 30_000,
    meaning: 'Milliseconds after which an idle connection ends.',
    example: '10000',
  }),
  max_udp_payload_size: key(integer(1200, 65_527), {
    fallback: 1350,
    meaning: 'Bytes of the largest datagram.',
    example: '1472',
  }),
  initial_max_data: key(integer(0, QUIC_INTEGER_MAX), {
    fallback: 10_000_000,
    meaning: 'Bytes of content that a client may send on one connection ahead of what is read.',
    example: '1000000',
  }),
  initial_max_streams_bidi: key(integer(0, 65_536), {
    fallback: 100,
    meaning: 'Requests at once on one connection.',
    example: '1000',
  }),
  initial_max_streams_uni: key(integer(3, 65_536), {
    fallback: 100,
    meaning: 'Streams of the client alone; HTTP/3 needs three.',
    example: '10',
  }),
});

export const SCHEMA = section('The configuration file.', {
  server: SERVER,
  logging: LOGGING,
  security: SECURITY,
  performance: PERFORMANCE,
  tls: TLS,
  host_routes: HOST_ROUTES,
  path_routes: PATH_ROUTES,
  upstreams: UPSTREAMS,
  prometheus: PROMETHEUS,
  status: STATUS,
  http2: HTTP2,
  http3: HTTP3,
});

export type RootFields = (typeof SCHEMA)['fields'];
