/**
 * The metrics page: a route of its own on every host, where `[prometheus]` asks for it. What it tells is copied when it
 * is asked for and written in pieces, a few in each turn and no more than its reader takes, so that nobody else waits.
 */

import type { PrometheusConfig, RouteSecurity } from '../config/model.ts';
import { E_OVERLOAD } from '../http/fault.ts';
import { F_CACHE_CONTROL, F_CONTENT_TYPE, F_VARY } from '../http/fields.ts';
import { BODY_STREAM, LENGTH_UNKNOWN } from '../http/message.ts';
import { type BufferId, MEDIUM, MEDIUM_BYTES, NO_BUFFER } from '../io/buffer-pool.ts';
import { OPENMETRICS_TYPE, prefersOpenMetrics, TEXT_TYPE } from '../metrics/exposition.ts';
import type { EdgeContext } from './context.ts';
import type { Exchange } from './exchange.ts';
import type { Responder } from './responder.ts';
import type { RouteAction } from './route.ts';

/** Pages that may be under way at once, since each holds its copy: more are refused. Our own choice. */
const PAGES_MAX = 8;
/** Pieces of about 8 KiB that are written in one turn. */
const PIECES_PER_TURN = 4;
const METHODS = ['GET', 'HEAD'];
const HEAD_BYTES_MAX = 8192;

/** How the page is admitted: its methods, and `prometheus.allowed_ips`. No content is of use to it. */
export function metricsTerms({ path, allowedIps }: PrometheusConfig): {
  readonly name: string;
  readonly path: string;
  readonly security: RouteSecurity;
} {
  const security: RouteSecurity = {
    maxRequestBodySize: 0,
    maxChunkedBodySize: 0,
    maxRequestHeaderSize: HEAD_BYTES_MAX,
    clientHeaderTimeoutSecs: 30,
    clientBodyTimeoutSecs: 30,
    backendConnectTimeoutSecs: 10,
    backendResponseTimeoutSecs: 30,
    allowedMethods: METHODS,
    rateLimitRequestsPerMin: 0,
    allowedIps,
    deniedIps: [],
    maxIdleConnectionsPerHost: 0,
    idleConnectionTimeoutSecs: 0,
    addRequestHeaders: [],
    removeRequestHeaders: [],
    addResponseHeaders: [],
    removeResponseHeaders: [],
    websocketPollMode: 'fixed',
    websocketPollTimeoutMs: 1,
    websocketPollMaxTimeoutMs: 1,
    websocketPollBackoffMultiplier: 1,
    websocketIdleTimeoutSecs: 0,
  };
  return { name: 'prometheus', path, security };
}

export class MetricsRoute implements RouteAction {
  readonly methods: string;
  private readonly context: EdgeContext;
  private pages: number;

  constructor(context: EdgeContext) {
    this.methods = METHODS.join(', ');
    this.context = context;
    this.pages = 0;
  }

  respond(exchange: Exchange): Responder | null {
    const { metrics } = this.context;
    if (metrics === null || this.pages >= PAGES_MAX) {
      exchange.fail(E_OVERLOAD);
      return null;
    }
    const openMetrics = prefersOpenMetrics(acceptOf(exchange));
    const { response } = exchange;
    response.status = 200;
    response.bodyKind = BODY_STREAM;
    response.contentLength = LENGTH_UNKNOWN;
    exchange.addResponseField(F_CONTENT_TYPE, '', openMetrics ? OPENMETRICS_TYPE : TEXT_TYPE);
    exchange.addResponseField(F_CACHE_CONTROL, '', 'no-store');
    exchange.addResponseField(F_VARY, '', 'Accept');
    exchange.sendHead();
    if (!exchange.hasContent) {
      exchange.sendEnd();
      return null;
    }
    this.pages++;
    const responder = new MetricsResponder(this, exchange, metrics.page(openMetrics));
    responder.onWritable();
    return responder;
  }

  /** A page is over. */
  ended(): void {
    this.pages--;
  }

  close(): void {}
}

function acceptOf(exchange: Exchange): string {
  const { fields } = exchange.request;
  const values: string[] = [];
  for (let index = 0; index < fields.count; index++)
    if (fields.nameText(index).toLowerCase() === 'accept') values.push(fields.valueText(index));
  return values.join(',');
}

class MetricsResponder implements Responder {
  private readonly route: MetricsRoute;
  private exchange: Exchange | null;
  private readonly pieces: Generator<string, void, undefined>;

  constructor(route: MetricsRoute, exchange: Exchange, pieces: Generator<string, void, undefined>) {
    this.route = route;
    this.exchange = exchange;
    this.pieces = pieces;
  }

  /** The next pieces; whoever takes them asks for more. */
  onWritable(): void {
    const { exchange } = this;
    if (exchange === null) return;
    for (let count = 0; count < PIECES_PER_TURN; count++) {
      const next = this.pieces.next();
      if (next.done === true) {
        this.end();
        exchange.sendEnd();
        return;
      }
      if (!sendText(exchange, next.value)) {
        this.end();
        exchange.fail(E_OVERLOAD);
        return;
      }
    }
    exchange.flush();
  }

  onRequestData(buffer: BufferId): void {
    this.exchange?.reactor.pool.release(buffer);
  }

  onRequestEnd(): void {}

  onFileSent(): void {}

  onAbort(): void {
    this.end();
  }

  private end(): void {
    if (this.exchange === null) return;
    this.exchange = null;
    this.route.ended();
  }
}

/** False: there is no memory. */
function sendText(exchange: Exchange, text: string): boolean {
  const { pool } = exchange.reactor;
  const bytes = Buffer.from(text, 'utf8');
  for (let from = 0; from < bytes.length; from += MEDIUM_BYTES) {
    const buffer = pool.acquire(MEDIUM);
    if (buffer === NO_BUFFER) return false;
    const offset = pool.offsetOf(buffer);
    const length = bytes.copy(pool.bytes, offset, from, from + MEDIUM_BYTES);
    exchange.sendData(buffer, offset, length);
  }
  return true;
}
