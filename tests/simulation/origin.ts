/**
 * Origins: they check every request that the edge sends them against its plan, and answer as the plan says.
 */

import type { Handle, ListenerHandler, Reactor } from '../../src/io/reactor.ts';
import type { SocketAddress } from '../../src/sys/sockaddr.ts';
import { UP, wrongByte } from './content.ts';
import {
  type Framing,
  fieldValues,
  framingOf,
  type MessageHead,
  type MessageOwner,
  MessageStream,
} from './message-stream.ts';
import { IDEMPOTENT } from './plan.ts';
import { HOST } from './request-bytes.ts';
import { answerSteps, closesAfter, hasContent, unasked, upgradeSteps } from './response-bytes.ts';
import { EAGER, ScriptedSocket, type ScriptOwner, type Step } from './scripted-socket.ts';
import type { Sighting, Verdict } from './verdict.ts';

/** How often a request to a group may come whole: on a reused connection that dies, on a fresh one, on another server. */
const POOL_ACTED_MAX = 3;

/** How long an origin that has closed its half waits for the edge's. */
const LINGER_MS = 3000;
const ENDS_HERE = ['keep-alive', 'proxy-connection', 'x-hop', 'upgrade-insecure-ports'];

export class Origin implements ListenerHandler {
  readonly reactor: Reactor;
  readonly verdict: Verdict;
  /** Address that the edge must tell in X-Forwarded-For. */
  readonly clientAddress: string;
  readonly listeners: Handle[];
  readonly connections: Set<OriginConnection>;
  private accepted: number;

  constructor(reactor: Reactor, verdict: Verdict, clientAddress: string) {
    this.reactor = reactor;
    this.verdict = verdict;
    this.clientAddress = clientAddress;
    this.listeners = [];
    this.connections = new Set();
    this.accepted = 0;
  }

  listen(address: SocketAddress): void {
    this.listeners.push(this.reactor.listen(address, { backlog: 100, reusePort: false }, this));
  }

  onAccept(_listener: Handle, handle: Handle): void {
    const connection = new OriginConnection(this, ++this.accepted);
    this.connections.add(connection);
    connection.socket.handle = handle;
    this.reactor.adopt(handle, connection.socket);
    connection.socket.begin();
  }

  onAcceptError(listener: Handle): void {
    this.reactor.acceptResume(listener);
  }

  close(): void {
    for (const listener of this.listeners.splice(0)) this.reactor.close(listener, false);
    for (const connection of this.connections) connection.socket.close(false);
  }
}

class OriginConnection implements ScriptOwner, MessageOwner {
  readonly socket: ScriptedSocket;
  private readonly origin: Origin;
  private readonly number: number;
  private readonly stream: MessageStream;
  private request: Sighting | null;
  private contentBytes: number;
  private answered: boolean;
  /** Tunnel: bytes upstream end with the peer's FIN. */
  private tunnel: boolean;
  private ending: boolean;

  constructor(origin: Origin, number: number) {
    this.origin = origin;
    this.number = number;
    this.socket = new ScriptedSocket(origin.reactor, this, EAGER);
    this.stream = new MessageStream(this);
    this.request = null;
    this.contentBytes = 0;
    this.answered = false;
    this.tunnel = false;
    this.ending = false;
  }

  onConnected(): void {
    // Accepted, not connected.
  }

  onBytes(bytes: Uint8Array): void {
    this.stream.feed(bytes);
  }

  onEnd(errno: number): void {
    if (this.tunnel && errno === 0) {
      this.tunnelEnded();
      return;
    }
    this.socket.close(errno < 0);
  }

  onSendFailed(): void {
    this.socket.close(true);
  }

  onClosed(): void {
    this.origin.connections.delete(this);
  }

  onComplaint(what: string): void {
    this.violation(`the edge sent a malformed request: ${what}`);
    this.socket.close(true);
  }

  onHead(head: MessageHead): Framing | null {
    const [method, target] = head.startLine.split(' ');
    const id = Number(fieldValues(head, 'x-sim-id').join());
    const sighting = this.origin.verdict.sightings.get(id);
    if (sighting === undefined) {
      this.violation(`an origin got a request that nobody sent: ${JSON.stringify(head.startLine)}`);
      return null;
    }
    const { plan } = sighting;
    this.request = sighting;
    this.contentBytes = 0;
    this.answered = false;
    if (head.startLine !== `${plan.method} ${plan.originTarget} HTTP/1.1`) {
      this.violation(`request ${id} came as ${JSON.stringify(head.startLine)}, not for ${plan.originTarget}`);
    }
    this.checkFields(head, id);
    const framing = framingOf(head, { kind: 'none' });
    if (typeof framing === 'string') {
      this.onComplaint(framing);
      return null;
    }
    if (plan.malformed !== '' && framing.kind !== 'chunked') {
      this.violation(`request ${id} (${plan.malformed}) was forwarded as ${JSON.stringify(head.startLine)}`);
    }
    if (framing.kind === 'none') this.act(sighting);
    if (plan.tunnelBytes >= 0) {
      this.tunnel = true;
      this.socket.push(...this.tunnelSteps(sighting));
      return { kind: 'tunnel' };
    }
    if (fieldValues(head, 'expect').length > 0 && method !== '' && target !== '') {
      this.socket.push({ kind: 'bytes', bytes: Buffer.from('HTTP/1.1 100 Continue\r\n\r\n') });
    }
    if (plan.response.early) this.answer(sighting);
    return framing;
  }

  private checkFields(head: MessageHead, id: number): void {
    const [forwarded] = fieldValues(head, 'x-forwarded-for');
    if (forwarded !== this.origin.clientAddress)
      this.violation(`request ${id} is said to be for ${forwarded}`);
    if (fieldValues(head, 'host').join() !== HOST) this.violation(`request ${id} came with another Host`);
    for (const name of ENDS_HERE) {
      if (fieldValues(head, name).length > 0) this.violation(`request ${id} came with ${name}`);
    }
  }

  onContent(bytes: Uint8Array): void {
    const { request } = this;
    if (request === null) return;
    if (this.contentBytes === 0 && !this.tunnel) this.act(request);
    const wrong = wrongByte(request.plan.id, UP, this.contentBytes, bytes);
    if (wrong >= 0 && request.plan.malformed === '') {
      this.violation(`content of request ${request.plan.id} is wrong at byte ${wrong}`);
    }
    this.contentBytes += bytes.length;
  }

  /** Content (or, without any, the head) is there: for a method that isn't idempotent this may happen once. */
  private act(request: Sighting): void {
    const { plan } = request;
    request.acted++;
    const most = IDEMPOTENT.has(plan.method) ? (plan.target.startsWith('/pool/') ? POOL_ACTED_MAX : 2) : 1;
    if (request.acted > most) this.violation(`${plan.method} ${plan.id} was sent ${request.acted} times`);
  }

  onMessageEnd(): void {
    const { request } = this;
    if (request === null) return;
    const { plan } = request;
    request.whole++;
    if (plan.malformed !== '') this.violation(`request ${plan.id} (${plan.malformed}) came whole`);
    else if (this.contentBytes !== plan.bytes) {
      this.violation(`request ${plan.id} ended after ${this.contentBytes} of ${plan.bytes} bytes`);
    }
    if (!this.answered) this.answer(request);
  }

  private answer(request: Sighting): void {
    this.answered = true;
    const { plan } = request;
    if (plan.response.behaviour === 'too-long') this.origin.verdict.liars.add(this.number);
    this.socket.push(...answerSteps(plan, this.number), ...this.afterwardSteps(request));
  }

  private afterwardSteps(request: Sighting): Step[] {
    const { plan } = request;
    const { afterwards, behaviour } = plan.response;
    const steps: Step[] = [];
    if (behaviour === 'never-answers' || behaviour === 'stops-in-content') return steps;
    // After content that ends with the connection they would be content.
    if (behaviour === 'answers' && (plan.response.framing !== 'until-close' || !hasContent(plan))) {
      if (afterwards === 'says-more') steps.push(this.lie({ kind: 'bytes', bytes: Buffer.from('more') }));
      if (afterwards === 'answers-twice') steps.push(this.lie(unasked(this.number)));
    }
    if (closesAfter(plan)) {
      // With content still to come, closing at once would reset the answer.
      steps.push({ kind: 'fin' }, { kind: 'wait', ms: LINGER_MS }, { kind: 'close' });
    }
    return steps;
  }

  private lie(step: Step): Step {
    this.origin.verdict.liars.add(this.number);
    return step;
  }

  private tunnelSteps(request: Sighting): Step[] {
    const { plan } = request;
    const { behaviour, delayMs } = plan.response;
    const delay: Step[] = delayMs > 0 ? [{ kind: 'wait', ms: delayMs }] : [];
    if (behaviour !== 'answers') return [...answerSteps(plan, this.number), ...this.afterwardSteps(request)];
    return [...delay, ...upgradeSteps(plan)];
  }

  /** The client's half of a tunnel has ended: it must have been whole, unless it left. */
  private tunnelEnded(): void {
    const { request } = this;
    if (this.ending || request === null) return;
    this.ending = true;
    const { plan } = request;
    if (plan.response.behaviour !== 'answers') {
      this.socket.close(false);
      return;
    }
    request.whole++;
    const excused = request.client.leavesAfterMs > 0 || this.origin.verdict.liars.has(this.number);
    if (this.contentBytes !== plan.tunnelBytes && !excused) {
      this.violation(
        `tunnel ${plan.id} ended after ${this.contentBytes} of ${plan.tunnelBytes} bytes upward`,
      );
    }
    this.socket.push({ kind: 'close' });
  }

  private violation(what: string): void {
    this.origin.verdict.violation(what);
  }
}
