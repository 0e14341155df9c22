/**
 * The validated configuration: what src/config produces from TOML and everything else reads. All defaults
 * are filled in; all names are checked; nothing here refers back to the text. Times end in their unit.
 */

export type ListenAddress =
  | { readonly family: 'ipv4' | 'ipv6'; readonly address: string; readonly port: number }
  | { readonly family: 'unix'; readonly path: string };

/** Workers that a house has room for: half of the slots that their shared memory and the keys room's doors have. */
export const WORKERS_MAX = 124;

export interface Config {
  /** Absolute path of the file, or a name for a configuration that is embedded. */
  readonly source: string;
  readonly server: ServerConfig;
  readonly logging: LoggingConfig;
  readonly security: SecurityConfig;
  readonly performance: PerformanceConfig;
  readonly tls: TlsConfig | null;
  readonly routes: readonly RouteConfig[];
  readonly upstreams: readonly UpstreamConfig[];
  readonly prometheus: PrometheusConfig;
  readonly status: StatusConfig;
  readonly http2: Http2Config;
  readonly http3: Http3Config;
}

export interface ServerConfig {
  readonly listen: readonly ListenAddress[];
  /** HTTP-to-HTTPS redirect listener; needs [tls]. */
  readonly http: readonly ListenAddress[];
  /** 0: one per core. */
  readonly threads: number;
  readonly http2Enabled: boolean;
  readonly http3Enabled: boolean;
  readonly routePrecedence: 'host' | 'path';
  /** Addresses and CIDRs whose X-Forwarded-* and Forwarded are believed. */
  readonly trustedProxies: readonly string[];
  readonly shutdownTimeoutSecs: number;
  readonly keepAliveTimeoutSecs: number;
  readonly writeTimeoutSecs: number;
  /** Slowest rate, averaged, at which a client may send content or read a response. 0: no minimum. */
  readonly minRateBytesPerSec: number;
  /** Whether the edge adds Via to what it forwards. */
  readonly via: boolean;
}

export interface LoggingConfig {
  readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'off';
  readonly format: 'text' | 'json';
  readonly channelSize: number;
  readonly flushIntervalMs: number;
  readonly maxLogSize: number;
  readonly filePath: string | null;
}

/** Confinement keys are null where absent (the strongest that the machine allows), else literal. */
export interface SecurityConfig {
  readonly dropPrivilegesUser: string | null;
  readonly dropPrivilegesGroup: string | null;
  /** 0: no limit. */
  readonly maxConcurrentConnections: number;
  /** 0: no limit. */
  readonly maxConnectionsPerIp: number;
  readonly allowDegraded: boolean;
  readonly enableSeccomp: boolean | null;
  readonly seccompMode: 'disabled' | 'log' | 'filter' | 'strict' | null;
  readonly enableLandlock: boolean | null;
  readonly landlockReadPaths: readonly string[] | null;
  readonly landlockWritePaths: readonly string[] | null;
  readonly enableSandbox: boolean | null;
  /** The other sandbox_* keys as given, by their name without the prefix. */
  readonly sandbox: Readonly<Record<string, boolean | string | readonly string[]>>;
}

export interface PerformanceConfig {
  readonly reuseportBalancing: 'kernel' | 'cbpf';
  readonly hugePagesEnabled: boolean;
}

export interface TlsCertificateConfig {
  readonly certPath: string;
  readonly keyPath: string;
  readonly ocspPath: string | null;
}

/** Its own certificate is the default; `certificates` are chosen by their names. */
export interface TlsConfig extends TlsCertificateConfig {
  readonly ktlsEnabled: boolean;
  readonly ktlsFallbackEnabled: boolean;
  readonly minVersion: '1.2' | '1.3';
  /** TLS 1.2, in OpenSSL's words. */
  readonly ciphers: string;
  /** TLS 1.3. */
  readonly cipherSuites: string;
  readonly groups: string;
  readonly clientAuth: 'none' | 'optional' | 'required';
  /** Not null unless `clientAuth` is 'none'. */
  readonly clientCaPath: string | null;
  readonly sessionTickets: boolean;
  /** Null: keys of the process's own, which rotate. */
  readonly sessionTicketKeyPath: string | null;
  readonly sessionTicketRotationSecs: number;
  readonly certificates: readonly TlsCertificateConfig[];
}

export interface PrometheusConfig {
  readonly enabled: boolean;
  readonly path: string;
  readonly allowedIps: readonly string[];
}

/** The status page. */
export interface StatusConfig {
  /** Of this machine alone; null: there is no page. */
  readonly listen: ListenAddress | null;
}

export interface Http2Config {
  readonly headerTableSize: number;
  readonly maxConcurrentStreams: number;
  readonly initialWindowSize: number;
  readonly maxFrameSize: number;
  readonly maxHeaderListSize: number;
  readonly connectionWindowSize: number;
  /** Streams that end before their answer. */
  readonly resets: EventBudget;
  readonly settings: EventBudget;
  readonly pings: EventBudget;
  readonly priorities: EventBudget;
  readonly emptyFrames: EventBudget;
  readonly windowUpdates: EventBudget;
  readonly tinyData: EventBudget;
  readonly maxContinuationFrames: number;
  readonly maxFieldBlockSize: number;
  /** Milliseconds in which half of an address's cuts are forgotten; 0: none is remembered. */
  readonly abuseHalfLifeMs: number;
}

/** What a client may spend: events at once, and what each second gives back. */
export interface EventBudget {
  readonly burst: number;
  readonly perSec: number;
}

export interface Http3Config {
  /** UDP addresses; those of `server.listen` where the key is absent. */
  readonly listen: readonly ListenAddress[];
  readonly maxIdleTimeoutMs: number;
  readonly maxUdpPayloadSize: number;
  readonly initialMaxData: number;
  readonly initialMaxStreamsBidi: number;
  readonly initialMaxStreamsUni: number;
}

export interface RouteConfig {
  /** As messages name it: `example.com` for a host route, `example.com:/api/` for a path route. */
  readonly name: string;
  /** Lower case, no port, no trailing dot; `*.example.com`, an IP literal (IPv6 in brackets), or `*`. */
  readonly host: string;
  /** Normalised, without a trailing slash but for `/` itself; null for a host route. */
  readonly path: string | null;
  readonly action: ProxyAction | FileAction | RedirectAction;
  readonly security: RouteSecurity;
}

export interface ProxyAction {
  readonly type: 'Proxy';
  /** Name of an upstream group in `Config.upstreams`; a single `url` becomes a group of one named by the route. */
  readonly upstream: string;
  /** `preserve`, `upstream`, or a literal. */
  readonly hostHeader: string;
  /** Lower case; `websocket` is always among them. */
  readonly allowedUpgrades: readonly string[];
}

export interface FileAction {
  readonly type: 'File';
  /** Absolute path. */
  readonly path: string;
  readonly isDirectory: boolean;
  readonly mode: 'sendfile' | 'memory';
  readonly index: string;
}

export interface RedirectAction {
  readonly type: 'Redirect';
  /** With $request_uri, $path, $host in it. */
  readonly url: string;
  readonly status: 301 | 302 | 303 | 307 | 308;
  readonly preservePath: boolean;
}

export interface RouteSecurity {
  readonly maxRequestBodySize: number;
  readonly maxChunkedBodySize: number;
  readonly maxRequestHeaderSize: number;
  readonly clientHeaderTimeoutSecs: number;
  readonly clientBodyTimeoutSecs: number;
  readonly backendConnectTimeoutSecs: number;
  readonly backendResponseTimeoutSecs: number;
  /** Upper case; null: all. */
  readonly allowedMethods: readonly string[] | null;
  /** 0: no limit. */
  readonly rateLimitRequestsPerMin: number;
  readonly allowedIps: readonly string[];
  readonly deniedIps: readonly string[];
  readonly maxIdleConnectionsPerHost: number;
  readonly idleConnectionTimeoutSecs: number;
  /** Name and value pairs, in the file's order; values of request fields may hold $variables. */
  readonly addRequestHeaders: readonly (readonly [string, string])[];
  readonly removeRequestHeaders: readonly string[];
  readonly addResponseHeaders: readonly (readonly [string, string])[];
  readonly removeResponseHeaders: readonly string[];
  readonly websocketPollMode: 'fixed' | 'adaptive';
  readonly websocketPollTimeoutMs: number;
  readonly websocketPollMaxTimeoutMs: number;
  readonly websocketPollBackoffMultiplier: number;
  /** 0: never. */
  readonly websocketIdleTimeoutSecs: number;
}

export interface UpstreamConfig {
  readonly name: string;
  readonly algorithm: 'round_robin' | 'least_conn' | 'ip_hash';
  readonly servers: readonly ServerEntry[];
  readonly healthCheck: HealthCheckConfig | null;
}

export interface ServerEntry {
  /** As written. */
  readonly url: string;
  readonly scheme: 'http' | 'https';
  readonly target:
    | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
    | { readonly kind: 'unix'; readonly path: string };
  /** Begins with `/`, no trailing slash but for `/` itself. */
  readonly basePath: string;
  /** Value for Host where `host_header = "upstream"`: host and any port that is not the default; `localhost` for unix:. */
  readonly authority: string;
  readonly sniName: string | null;
  readonly useH2c: boolean;
  readonly weight: number;
  readonly caPath: string | null;
  readonly clientCertPath: string | null;
  readonly clientKeyPath: string | null;
  readonly insecure: boolean;
}

export interface HealthCheckConfig {
  readonly intervalSecs: number;
  readonly path: string;
  readonly timeoutSecs: number;
  readonly healthyStatuses: readonly number[];
  readonly unhealthyThreshold: number;
  readonly healthyThreshold: number;
}
