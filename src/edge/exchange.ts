/**
 * One request and its response, whatever protocol carries it. Its phases, in order, are methods here: head
 * read → routed → admitted → dispatched → responding → finished. What fails in one of them becomes a fault
 * with its status. An exchange owns its head's buffer and a scratch buffer; a responder owns the rest.
 *
 * Pooled: the worker hands one out when a request begins and takes it back when the stream has let go of it.
 */

import { assert } from '../base/assert.ts';
import { copyWithin, lowerByte, putText } from '../base/bytes.ts';
import { hostLengthOf } from '../http/authority.ts';
import {
  E_BODY_TOO_LARGE,
  E_HEAD_TOO_LARGE,
  E_HOST_MISSING,
  E_IP_DENIED,
  E_METHOD_NOT_ALLOWED,
  E_NO_HOST,
  E_NO_ROUTE,
  E_OVERLOAD,
  E_PATH,
  E_RATE_LIMIT,
  E_RESPONSE_TRUNCATED,
  faultOf,
} from '../http/fault.ts';
import { F_DATE, F_SERVER, FieldSection } from '../http/fields.ts';
import {
  BODY_LENGTH,
  BODY_NONE,
  LENGTH_UNKNOWN,
  M_HEAD,
  METHOD_NAMES,
  RequestHead,
  ResponseHead,
  SCHEME_HTTPS,
  TARGET_ASTERISK,
} from '../http/message.ts';
import { isNormalPath, normalizePath } from '../http/path.ts';
import { type BufferId, NO_BUFFER } from '../io/buffer-pool.ts';
import type { FileHandle, Handle, Reactor } from '../io/reactor.ts';
import type { AccessRecord } from '../log/line.ts';
import type { ClientAddress } from './client-address.ts';
import type { EdgeContext } from './context.ts';
import { effectiveClient } from './forwarded.ts';
import type { Generation } from './generation.ts';
import { V_CLIENT_IP, V_HOST, V_REQUEST_URI, V_SCHEME, type VariableSource } from './header-rules.ts';
import { sendAsteriskOptions, sendFault } from './local-response.ts';
import { type Responder, type ResponseTarget, shedsLoad } from './responder.ts';
import type { Route, RouteAction } from './route.ts';
import type { HostTable } from './router.ts';
import { Scratch } from './scratch.ts';
import type { DownstreamStream } from './stream.ts';

/** Not in use: in the worker's free list. */
export const X_FREE = 0;
/** The stream is reading the head. */
export const X_HEAD = 1;
/** Dispatched; the responder has sent no head yet. */
export const X_WAITING = 2;
/** The final response's head is on its way. */
export const X_RESPONDING = 3;
/** The response is complete or cut; nothing may be sent any more. */
export const X_ENDED = 4;

const QUESTION = 0x3f;

export class Exchange implements ResponseTarget, VariableSource {
  readonly context: EdgeContext;
  readonly reactor: Reactor;
  readonly request: RequestHead;
  readonly response: ResponseHead;
  /** Trailers of the request, complete when `onRequestEnd` is called; and of the response, set before `sendEnd`. */
  requestTrailers: FieldSection;
  responseTrailers: FieldSection;
  readonly scratch: Scratch;
  phase: number;
  stream: DownstreamStream | null;
  generation: Generation | null;
  route: Route | null;
  responder: Responder | null;
  /** Whose request it is: the peer, or the address that a trusted proxy vouches for. */
  client: ClientAddress | null;
  /** Holds the request head's bytes; one reference is the exchange's. */
  headBuffer: BufferId;
  pathOffset: number;
  pathLength: number;
  prefixLength: number;
  requestEnded: boolean;
  hasContent: boolean;
  tunnel: boolean;
  requestBytes: number;
  responseBytes: number;
  /** Milliseconds on the reactor's clock. */
  startMs: number;
  /** Value of Retry-After in a local answer; 0: none. */
  retryAfterSecs: number;
  /** Status of the response whose head was sent; 0: none was. */
  sentStatus: number;
  /** Its host's number in the metrics; -1: not known, or nothing is counted. */
  hostNumber: number;
  /** When it became a tunnel; milliseconds on the reactor's clock. */
  tunnelMs: number;
  /** What ended it, 0 when it ended well; for the log. */
  faultCode: number;
  /** URL of the backend that answered; for the log. */
  upstreamName: string;
  /** Random hexadecimal id, made when first asked for. */
  requestIdText: string;
  /** Set by `keepForLog`; empty for a head that was never complete. */
  loggedMethod: string;
  loggedHost: string;
  loggedPath: string;

  constructor(context: EdgeContext) {
    const bytes = context.reactor.pool.bytes;
    this.context = context;
    this.reactor = context.reactor;
    this.request = new RequestHead(bytes);
    this.response = new ResponseHead(bytes);
    this.requestTrailers = NO_FIELDS;
    this.responseTrailers = NO_FIELDS;
    this.scratch = new Scratch(context.reactor.pool);
    this.phase = X_FREE;
    this.stream = null;
    this.generation = null;
    this.route = null;
    this.responder = null;
    this.client = null;
    this.headBuffer = NO_BUFFER;
    this.pathOffset = 0;
    this.pathLength = 0;
    this.prefixLength = 0;
    this.requestEnded = false;
    this.hasContent = true;
    this.tunnel = false;
    this.requestBytes = 0;
    this.responseBytes = 0;
    this.startMs = 0;
    this.retryAfterSecs = 0;
    this.sentStatus = 0;
    this.hostNumber = -1;
    this.tunnelMs = 0;
    this.faultCode = 0;
    this.upstreamName = '';
    this.requestIdText = '';
    this.loggedMethod = '';
    this.loggedHost = '';
    this.loggedPath = '';
  }

  /** Enters X_HEAD: `stream` begins to read a request of `client`. */
  begin(stream: DownstreamStream): void {
    assert(this.phase === X_FREE, 'exchange begun twice');
    this.request.clear();
    this.response.clear();
    this.requestTrailers = NO_FIELDS;
    this.responseTrailers = NO_FIELDS;
    this.phase = X_HEAD;
    this.stream = stream;
    this.generation = this.context.enterGeneration();
    this.route = null;
    this.responder = null;
    this.client = stream.client;
    this.requestEnded = false;
    this.hasContent = true;
    this.tunnel = false;
    this.requestBytes = 0;
    this.responseBytes = 0;
    this.startMs = this.reactor.nowMs;
    this.retryAfterSecs = 0;
    this.sentStatus = 0;
    this.hostNumber = -1;
    this.tunnelMs = 0;
    this.faultCode = 0;
    this.upstreamName = '';
    this.requestIdText = '';
    this.loggedMethod = '';
    this.loggedHost = '';
    this.loggedPath = '';
  }

  /** Gives everything back. The stream calls it itself only for a head that never became complete. */
  recycle(): void {
    assert(this.phase === X_ENDED || this.phase === X_HEAD, 'a running exchange is recycled');
    this.releaseHead();
    if (this.generation !== null) this.context.leaveGeneration(this.generation);
    this.generation = null;
    this.route = null;
    this.responder = null;
    this.client = null;
    this.stream = null;
    this.requestTrailers = NO_FIELDS;
    this.responseTrailers = NO_FIELDS;
    this.phase = X_FREE;
    this.context.recycleExchange(this);
  }

  // ---- From the stream ------------------------------------------------------------------------------

  /** Head read: routes, admits and dispatches it. One reference of `buffer`, which holds the head, passes. */
  onHead(buffer: BufferId): void {
    assert(this.phase === X_HEAD, 'a head in the wrong phase');
    this.headBuffer = buffer;
    this.phase = X_WAITING;
    this.requestEnded = this.request.bodyKind === BODY_NONE;
    if (shedsLoad(this.reactor.pool)) {
      this.fail(E_OVERLOAD);
      return;
    }
    const listenerAction = this.stream?.listenerAction ?? null;
    if (listenerAction !== null) {
      if (listenerAction.isQuiet !== true) this.countHost();
      this.identifyClient();
      this.dispatch(listenerAction);
      return;
    }
    if (this.request.targetForm === TARGET_ASTERISK) {
      sendAsteriskOptions(this);
      return;
    }
    const fault = this.routeRequest() || this.admit();
    if (fault !== 0) {
      this.fail(fault);
      return;
    }
    const route = this.route;
    assert(route !== null, 'admitted without a route');
    this.dispatch(route.action);
  }

  private dispatch(action: RouteAction): void {
    const responder = action.respond(this);
    if (responder === null) {
      if (this.phase === X_WAITING) this.fail(E_OVERLOAD);
      return;
    }
    // It may have ended already (and be free again), since a responder may answer at once.
    if (this.phase === X_WAITING || this.phase === X_RESPONDING) this.responder = responder;
  }

  /** A head that is wrong: answered with the fault's status, and the connection ends after it. */
  onHeadFault(code: number): void {
    assert(this.phase === X_HEAD, 'a head fault in the wrong phase');
    this.phase = X_WAITING;
    this.stream?.closeAfterResponse();
    this.fail(code);
  }

  /** Request content; one reference of `buffer` passes. */
  onRequestData(buffer: BufferId, offset: number, length: number): void {
    const responder = this.responder;
    if (responder === null || this.phase >= X_ENDED) {
      this.reactor.pool.release(buffer);
      return;
    }
    this.requestBytes += length;
    responder.onRequestData(buffer, offset, length);
  }

  /** Most bytes of content whose length was not declared that the route takes. */
  get undeclaredBytesMax(): number {
    return this.route === null ? 0 : this.route.security.maxChunkedBodySize;
  }

  onRequestEnd(trailers: FieldSection): void {
    this.requestEnded = true;
    this.requestTrailers = trailers;
    if (trailers.count > 0 && this.route?.hasRequestRules) this.route.removeFromRequestTrailers(trailers);
    if (this.responder !== null && this.phase < X_ENDED) this.responder.onRequestEnd();
  }

  /** Request content that breaks its framing, or that came too slowly. */
  onRequestFault(code: number): void {
    if (this.phase >= X_ENDED) return;
    this.stream?.closeAfterResponse();
    this.abortResponder();
    this.fail(code);
  }

  /** The stream's queue has room again. */
  onWritable(): void {
    if (this.responder !== null && this.phase < X_ENDED) this.responder.onWritable();
  }

  onFileSent(result: number): void {
    if (this.responder !== null && this.phase < X_ENDED) this.responder.onFileSent(result);
  }

  /** What `forward` began has ended. */
  onForwarded(moved: number): void {
    this.responseBytes += moved;
    if (this.responder !== null && this.phase < X_ENDED) this.responder.onForwarded?.(moved);
  }

  /** The client is gone (or timed out while it was to read): nothing can be sent any more. */
  onStreamGone(code: number): void {
    if (this.phase >= X_ENDED) return;
    this.abortResponder();
    this.finish(code);
  }

  // ---- Phases ---------------------------------------------------------------------------------------

  /** Host and path: finds the route. Returns 0 or a fault. */
  private routeRequest(): number {
    const request = this.request;
    const bytes = this.reactor.pool.bytes;
    const generation = this.generation;
    assert(generation !== null, 'an exchange without a generation');
    if (request.authorityLength === 0) return E_HOST_MISSING;
    if (isNormalPath(bytes, request.pathOffset, request.pathLength)) {
      this.pathOffset = request.pathOffset;
      this.pathLength = request.pathLength;
    } else {
      const to = this.scratch.reserve(request.pathLength);
      if (to < 0) return E_OVERLOAD;
      const length = normalizePath(bytes, request.pathOffset, request.pathLength, to);
      if (length < 0) return E_PATH;
      this.scratch.commit(length);
      this.pathOffset = to;
      this.pathLength = length;
    }
    const host = this.countHost();
    const isMetrics = generation.isMetricsPath(bytes, this.pathOffset, this.pathLength);
    if (host === null && !isMetrics) return E_NO_HOST;
    const route = isMetrics
      ? generation.metricsRoute
      : (host?.find(bytes, this.pathOffset, this.pathLength) ?? null);
    if (route === null) return E_NO_ROUTE;
    this.route = route;
    this.prefixLength = route.prefixLength;
    return 0;
  }

  /** The host's table, which the exchange counts for from now on; null where no key names it. */
  private countHost(): HostTable<Route> | null {
    const { generation, request } = this;
    assert(generation !== null, 'an exchange without a generation');
    const { bytes } = this.reactor.pool;
    const host = generation.router.findHost(bytes, request.authorityOffset, request.authorityLength);
    const { metrics } = this.context;
    if (metrics !== null) {
      this.hostNumber = host === null ? 0 : host.number;
      metrics.exchangeRouted(this.hostNumber);
    }
    return host;
  }

  /** IP, method, declared size, rate, in this order (SPEC "Security per route"). Returns 0 or a fault. */
  private admit(): number {
    const route = this.route;
    const generation = this.generation;
    const stream = this.stream;
    assert(route !== null && generation !== null && stream !== null, 'admission before routing');
    const request = this.request;
    const security = route.security;
    this.identifyClient();
    const client = this.client;
    if (route.limitsAddresses && (client === null || !route.admitsAddress(client))) return E_IP_DENIED;
    if (route.limitsMethods && !route.admitsMethod(request, this.reactor.pool)) return E_METHOD_NOT_ALLOWED;
    if (request.headBytes > security.maxRequestHeaderSize) return E_HEAD_TOO_LARGE;
    if (request.bodyKind === BODY_LENGTH && request.contentLength > security.maxRequestBodySize) {
      stream.closeAfterResponse();
      return E_BODY_TOO_LARGE;
    }
    if (security.rateLimitRequestsPerMin > 0 && client !== null) {
      const waitMs = route.admitRate(client, this.reactor.nowMs);
      if (waitMs > 0) {
        this.retryAfterSecs = Math.max(1, Math.ceil(waitMs / 1000));
        return E_RATE_LIMIT;
      }
    }
    return 0;
  }

  /** Behind a trusted proxy the client is whom that one names. */
  private identifyClient(): void {
    const { generation, stream } = this;
    assert(generation !== null && stream !== null, 'an exchange without a generation');
    if (generation.trustsSomeone)
      this.client = effectiveClient(generation, stream.client, this.request.fields);
  }

  // ---- For the responder (ResponseTarget) -----------------------------------------------------------

  addResponseField(id: number, name: string, value: string): void {
    this.scratch.addField(this.response.fields, id, name, value);
  }

  sendHead(): void {
    assert(this.phase === X_WAITING, 'a second response head');
    const response = this.response;
    const status = response.status;
    this.phase = X_RESPONDING;
    this.sentStatus = status;
    this.hasContent = !(
      this.request.methodId === M_HEAD ||
      status === 204 ||
      status === 304 ||
      status === 101 ||
      response.bodyKind === BODY_NONE
    );
    if (status >= 200) {
      if (response.fields.find(F_DATE, 0) < 0) this.context.addDate(response.fields);
      // A response is from us where no backend was asked; a fault of a backend has the field already.
      if (this.upstreamName === '' && response.fields.find(F_SERVER, 0) < 0)
        this.context.addServer(response.fields);
    }
    if (this.route?.hasResponseRules) this.route.applyResponseRules(response.fields);
    assert(this.stream !== null, 'an exchange without a stream');
    this.stream.sendHead(this.request, response, this.hasContent);
  }

  /** An interim response from the backend; `head` is not the exchange's own. */
  sendInformational(head: ResponseHead): void {
    if (this.phase === X_WAITING) this.stream?.sendInformational(head);
  }

  sendData(buffer: BufferId, offset: number, length: number, room = 0): void {
    assert(this.phase === X_RESPONDING && this.hasContent, 'content without a head');
    this.responseBytes += length;
    const response = this.response;
    if (response.bodyKind === BODY_LENGTH && !this.tunnel && this.responseBytes > response.contentLength) {
      this.reactor.pool.release(buffer);
      this.abortResponder();
      this.fail(E_RESPONSE_TRUNCATED);
      return;
    }
    assert(this.stream !== null, 'an exchange without a stream');
    this.stream.sendData(buffer, offset, length, room);
  }

  sendFile(file: FileHandle, fileOffset: number, length: number): void {
    assert(this.phase === X_RESPONDING && this.hasContent, 'content without a head');
    this.responseBytes += length;
    this.stream?.sendFile(file, fileOffset, length);
  }

  /** Content that a backend's socket is still to receive, within what was declared. False: it can't be moved. */
  forward(source: Handle, length: number): boolean {
    assert(this.phase === X_RESPONDING, 'content without a head');
    const { response } = this;
    const declared =
      response.bodyKind === BODY_LENGTH && length <= response.contentLength - this.responseBytes;
    return declared && this.hasContent && !this.tunnel && this.stream?.forward?.(source, length) === true;
  }

  flush(): void {
    this.stream?.flush();
  }

  pauseRequest(): void {
    this.stream?.pauseRequest();
  }

  resumeRequest(): void {
    this.stream?.resumeRequest();
  }

  sendQueuedBytes(): number {
    return this.stream === null ? 0 : this.stream.queuedBytes();
  }

  sendEnd(): void {
    assert(this.phase === X_RESPONDING, 'the end of a response that did not begin');
    const response = this.response;
    const stream = this.stream;
    assert(stream !== null, 'an exchange without a stream');
    if (
      this.hasContent &&
      !this.tunnel &&
      response.bodyKind === BODY_LENGTH &&
      this.responseBytes !== response.contentLength
    ) {
      this.fail(E_RESPONSE_TRUNCATED);
      return;
    }
    this.phase = X_ENDED;
    const trailers = this.responseTrailers;
    if (trailers.count > 0 && this.route?.hasResponseRules) this.route.removeFromResponseTrailers(trailers);
    stream.sendEnd(trailers);
    this.finish(0);
  }

  /** The backend has ended its half of a tunnel; the client's half goes on. */
  endTunnelSend(): void {
    this.stream?.endTunnelSend();
  }

  /** 101 or an accepted CONNECT is sent: bytes both ways are opaque from here on. */
  startTunnel(): void {
    this.tunnel = true;
    this.tunnelMs = this.reactor.nowMs;
    if (this.hostNumber >= 0) this.context.metrics?.tunnelStarted();
    this.hasContent = true;
    // A tunnel lives long, and nobody needs the head any more: as many of them as there is memory for bytes.
    this.keepForLog();
    this.releaseHead();
    this.stream?.startTunnel();
  }

  private releaseHead(): void {
    if (this.headBuffer !== NO_BUFFER) {
      this.reactor.pool.release(this.headBuffer);
      this.headBuffer = NO_BUFFER;
    }
    this.scratch.release();
  }

  /** Says where in memory the log finds the host and the path of the request. False: not there, or not as plain as that. */
  locateForLog(record: AccessRecord): boolean {
    const { request } = this;
    const method = METHOD_NAMES[request.methodId];
    if (this.headBuffer === NO_BUFFER || method === '') return false;
    const { pathOffset, queryOffset } = request;
    const end = queryOffset < 0 ? pathOffset + request.pathLength : queryOffset + request.queryLength;
    record.method = method;
    record.located = true;
    record.source = this.reactor.pool.bytes;
    record.hostOffset = request.authorityOffset;
    record.hostLength = request.authorityLength;
    record.pathOffset = pathOffset;
    record.pathLength = end - pathOffset;
    return true;
  }

  /** What the log tells of the request, as text, while its head is there. Allocates. */
  keepForLog(): void {
    if (this.headBuffer === NO_BUFFER) return;
    const { request } = this;
    const { text } = this.reactor.pool;
    const { methodOffset, authorityOffset, pathOffset, queryOffset } = request;
    const known = METHOD_NAMES[request.methodId];
    const end = queryOffset < 0 ? pathOffset + request.pathLength : queryOffset + request.queryLength;
    this.loggedMethod =
      known !== '' ? known : text.latin1Slice(methodOffset, methodOffset + request.methodLength);
    this.loggedHost = text.latin1Slice(authorityOffset, authorityOffset + request.authorityLength);
    this.loggedPath = text.latin1Slice(pathOffset, end);
  }

  fail(code: number): void {
    assert(this.phase === X_WAITING || this.phase === X_RESPONDING, 'a fault in the wrong phase');
    this.responder = null;
    const status = faultOf(code).status;
    if (status !== 0 && (this.phase === X_WAITING || this.takeBackHead())) {
      this.faultCode = code;
      sendFault(this, code);
      return;
    }
    this.phase = X_ENDED;
    this.stream?.cut();
    this.finish(code);
  }

  /** A response of which nothing has left gives way to the answer that says what is wrong with it. */
  private takeBackHead(): boolean {
    if (this.tunnel || this.stream?.takeBack() !== true) return false;
    this.phase = X_WAITING;
    this.sentStatus = 0;
    this.responseBytes = 0;
    return true;
  }

  /** Tells the responder that it is over, once. */
  abortResponder(): void {
    const responder = this.responder;
    this.responder = null;
    if (responder !== null) responder.onAbort();
  }

  /** Logged and counted once; then the exchange goes back to its pool and the stream is told. */
  private finish(code: number): void {
    this.phase = X_ENDED;
    if (code !== 0) this.faultCode = code;
    this.responder = null;
    this.context.onExchangeEnd(this);
    const stream = this.stream;
    assert(stream !== null, 'an exchange without a stream');
    this.recycle();
    stream.onExchangeEnd();
  }

  /** Bytes of content that the client declared and has not sent, as far as known; LENGTH_UNKNOWN for a stream. */
  requestBytesLeft(): number {
    if (this.requestEnded || this.request.bodyKind === BODY_NONE) return 0;
    if (this.request.bodyKind !== BODY_LENGTH) return LENGTH_UNKNOWN;
    return this.request.contentLength - this.requestBytes;
  }

  // ---- For header rules (VariableSource) ------------------------------------------------------------

  variableLength(variable: number): number {
    const { request } = this;
    switch (variable) {
      case V_CLIENT_IP:
        return this.client === null ? 0 : this.client.text.length;
      case V_HOST:
        return hostLengthOf(this.reactor.pool.bytes, request.authorityOffset, request.authorityLength);
      case V_REQUEST_URI:
        return request.pathLength + (request.queryOffset < 0 ? 0 : request.queryLength + 1);
      case V_SCHEME:
        return this.stream?.scheme === SCHEME_HTTPS ? 5 : 4;
      default:
        return this.requestId().length;
    }
  }

  writeVariable(variable: number, at: number): number {
    const { request } = this;
    const { bytes } = this.reactor.pool;
    switch (variable) {
      case V_CLIENT_IP:
        return this.writeAddress(bytes, at);
      case V_HOST: {
        const length = this.variableLength(V_HOST);
        for (let index = 0; index < length; index++)
          bytes[at + index] = lowerByte(bytes[request.authorityOffset + index]);
        return at + length;
      }
      case V_REQUEST_URI: {
        copyWithin(this.reactor.pool, at, request.pathOffset, request.pathLength);
        const end = at + request.pathLength;
        if (request.queryOffset < 0) return end;
        bytes[end] = QUESTION;
        copyWithin(this.reactor.pool, end + 1, request.queryOffset, request.queryLength);
        return end + 1 + request.queryLength;
      }
      case V_SCHEME:
        return putText(bytes, at, this.stream?.scheme === SCHEME_HTTPS ? 'https' : 'http');
      default:
        return putText(bytes, at, this.requestId());
    }
  }

  private writeAddress(bytes: Uint8Array, at: number): number {
    const { client } = this;
    if (client === null) return at;
    const { length } = client.text;
    const kept = this.context.forwardedLines.textOf(client);
    if (kept < 0) return putText(bytes, at, client.text);
    copyWithin(this.reactor.pool, at, kept, length);
    return at + length;
  }

  /** 32 hexadecimal digits that name this exchange in logs and in X-Request-ID. */
  requestId(): string {
    if (this.requestIdText === '') this.requestIdText = this.context.makeRequestId();
    return this.requestIdText;
  }
}

/** Shared by all who have no fields to show; never written to. */
export const NO_FIELDS = new FieldSection(new Uint8Array(0));
