/**
 * Faults of peers, upstreams and the kernel: coded values, never thrown. One table says of each code its
 * source, whether a retry may follow, the status that a client gets, and the word that goes into logs.
 */

export type FaultSource = 'downstream' | 'upstream' | 'internal';
/** `reused`: only where the backend connection had been used before and no response byte came. */
export type Retry = 'never' | 'safe' | 'reused';

export interface Fault {
  readonly word: string;
  readonly source: FaultSource;
  readonly retry: Retry;
  /** Status of the answer; 0: there is nobody to answer, the connection or stream is cut. */
  readonly status: number;
}

function fault(word: string, source: FaultSource, retry: Retry, status: number): Fault {
  return { word, source, retry, status };
}

/** Codes are negative, so that a parser's result is a length, NEED_MORE (0), or a code. */
export const NEED_MORE = 0;

// Malformed or refused requests.
export const E_REQUEST_LINE = -1;
export const E_METHOD = -2;
export const E_TARGET = -3;
export const E_VERSION = -4;
export const E_VERSION_UNSUPPORTED = -5;
export const E_BARE_LF = -6;
export const E_BARE_CR = -7;
export const E_OBS_FOLD = -8;
export const E_FIELD_NAME = -9;
export const E_FIELD_VALUE = -10;
export const E_HOST_MISSING = -11;
export const E_HOST_REPEATED = -12;
export const E_HOST_INVALID = -13;
export const E_LENGTH_INVALID = -14;
export const E_LENGTH_REPEATED = -15;
export const E_LENGTH_AND_CODING = -16;
export const E_CODING_UNKNOWN = -17;
export const E_CODING_HTTP10 = -18;
export const E_CHUNK = -19;
export const E_CHUNK_EXTENSION = -20;
export const E_TRAILER = -21;
export const E_TARGET_TOO_LONG = -22;
export const E_HEAD_TOO_LARGE = -23;
export const E_TOO_MANY_FIELDS = -24;
export const E_EXPECT = -25;
export const E_METHOD_REFUSED = -26;
export const E_UPGRADE = -27;
export const E_PATH = -28;
// Refused by policy.
export const E_NO_ROUTE = -29;
export const E_NO_HOST = -30;
export const E_IP_DENIED = -31;
export const E_METHOD_NOT_ALLOWED = -32;
export const E_BODY_TOO_LARGE = -33;
export const E_RATE_LIMIT = -34;
// Downstream in trouble.
export const E_HEAD_TIMEOUT = -35;
export const E_BODY_TIMEOUT = -36;
export const E_CLIENT_GONE = -37;
export const E_WRITE_TIMEOUT = -38;
export const E_BODY_INCOMPLETE = -39;
// Upstream in trouble.
export const E_CONNECT = -40;
export const E_CONNECT_TIMEOUT = -41;
export const E_RESPONSE_TIMEOUT = -42;
export const E_UPSTREAM_CLOSED = -43;
export const E_UPSTREAM_RESET = -44;
export const E_RESPONSE_MALFORMED = -45;
export const E_RESPONSE_TRUNCATED = -46;
export const E_NO_HEALTHY_SERVER = -47;
export const E_RESPONSE_UPGRADE = -48;
// Ours.
export const E_OVERLOAD = -49;
export const E_SHUTDOWN = -50;
export const E_FILE = -51;
export const E_FILE_CHANGED = -52;
export const E_NOT_FOUND = -53;
export const E_FORBIDDEN = -54;
// Upstream in trouble, over TLS: a handshake or a verification that failed, an alert.
export const E_UPSTREAM_TLS = -55;
// Upstream in trouble, over HTTP/2: one stream. What was refused has not been processed (RFC 9113 §8.7).
export const E_UPSTREAM_REFUSED = -56;
export const E_STREAM_RESET = -57;
// An upgraded connection on which nobody said anything for websocket_idle_timeout_secs.
export const E_TUNNEL_IDLE = -58;

/** Index: the negated code. */
export const FAULTS: readonly Fault[] = [
  fault('none', 'internal', 'never', 500),
  fault('bad-request-line', 'downstream', 'never', 400),
  fault('bad-method', 'downstream', 'never', 400),
  fault('bad-target', 'downstream', 'never', 400),
  fault('bad-version', 'downstream', 'never', 400),
  fault('version-not-supported', 'downstream', 'never', 505),
  fault('bare-lf', 'downstream', 'never', 400),
  fault('bare-cr', 'downstream', 'never', 400),
  fault('obs-fold', 'downstream', 'never', 400),
  fault('bad-field-name', 'downstream', 'never', 400),
  fault('bad-field-value', 'downstream', 'never', 400),
  fault('no-host', 'downstream', 'never', 400),
  fault('two-hosts', 'downstream', 'never', 400),
  fault('bad-host', 'downstream', 'never', 400),
  fault('bad-content-length', 'downstream', 'never', 400),
  fault('repeated-content-length', 'downstream', 'never', 400),
  fault('length-and-coding', 'downstream', 'never', 400),
  fault('unknown-transfer-coding', 'downstream', 'never', 400),
  fault('coding-in-http-1.0', 'downstream', 'never', 400),
  fault('bad-chunk', 'downstream', 'never', 400),
  fault('bad-chunk-extension', 'downstream', 'never', 400),
  fault('bad-trailer', 'downstream', 'never', 400),
  fault('target-too-long', 'downstream', 'never', 414),
  fault('head-too-large', 'downstream', 'never', 431),
  fault('too-many-fields', 'downstream', 'never', 431),
  fault('unknown-expectation', 'downstream', 'never', 417),
  fault('method-refused', 'downstream', 'never', 405),
  fault('bad-upgrade', 'downstream', 'never', 400),
  fault('bad-path', 'downstream', 'never', 400),
  fault('no-route', 'downstream', 'never', 404),
  fault('unknown-host', 'downstream', 'never', 421),
  fault('ip-denied', 'downstream', 'never', 403),
  fault('method-not-allowed', 'downstream', 'never', 405),
  fault('body-too-large', 'downstream', 'never', 413),
  fault('rate-limited', 'downstream', 'never', 429),
  fault('head-timeout', 'downstream', 'never', 408),
  fault('body-timeout', 'downstream', 'never', 408),
  fault('client-gone', 'downstream', 'never', 0),
  fault('write-timeout', 'downstream', 'never', 0),
  fault('body-incomplete', 'downstream', 'never', 0),
  fault('connect-failed', 'upstream', 'safe', 502),
  fault('connect-timeout', 'upstream', 'safe', 504),
  fault('response-timeout', 'upstream', 'never', 504),
  fault('closed-before-response', 'upstream', 'reused', 502),
  fault('reset-before-response', 'upstream', 'reused', 502),
  fault('malformed-response', 'upstream', 'never', 502),
  fault('truncated-response', 'upstream', 'never', 502),
  fault('no-healthy-server', 'upstream', 'never', 503),
  fault('bad-upgrade-response', 'upstream', 'never', 502),
  fault('overload', 'internal', 'never', 503),
  fault('shutting-down', 'internal', 'never', 503),
  fault('file-error', 'internal', 'never', 500),
  fault('file-changed', 'internal', 'never', 0),
  fault('not-found', 'downstream', 'never', 404),
  fault('forbidden', 'downstream', 'never', 403),
  fault('backend-tls-failed', 'upstream', 'never', 502),
  fault('refused-by-backend', 'upstream', 'safe', 502),
  fault('stream-reset-by-backend', 'upstream', 'never', 502),
  fault('tunnel-idle', 'downstream', 'never', 0),
];

/** The table's line for a code. */
export function faultOf(code: number): Fault {
  return FAULTS[-code];
}
