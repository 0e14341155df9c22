/** Clients: they send what their plan says and check every byte that comes back. */

import { Timer } from '../../src/base/timer-wheel.ts';
import type { Handle, Reactor } from '../../src/io/reactor.ts';
import type { SocketAddress } from '../../src/sys/sockaddr.ts';
import { content, DOWN, UP, wrongByte } from './content.ts';
import { type Library, VersionCheck } from './files.ts';
import {
  type Framing,
  fieldValues,
  framingOf,
  type MessageHead,
  type MessageOwner,
  MessageStream,
} from './message-stream.ts';
import { type ClientPlan, type Mood, type Outcome, type RequestPlan, rightOutcomes } from './plan.ts';
import { contentSteps, headBytes, split } from './request-bytes.ts';
import { hasContent } from './response-bytes.ts';
import { ScriptedSocket, type ScriptOwner, type Step } from './scripted-socket.ts';
import type { SecureWorld } from './secure-world.ts';
import type { Verdict } from './verdict.ts';

/** How long a client waits for a 100 before it sends its content nevertheless. */
const CONTINUE_MS = 1000;
/** A client that got no end after so long is one that hangs. Well above the sum of the edge's timeouts. */
const PATIENCE_MS = 400_000;

/** Longer than the edge waits for anybody: write_timeout_secs, its grace, and keep-alive. */
const STOP_MS = 120_000;

const T_LEAVE = 1;
const T_PATIENCE = 2;

/** What all clients of a world share. */
export interface Circumstances {
  readonly mood: Mood;
  /** The network may swallow things without a word: hanging is nobody's fault. */
  readonly mayHang: boolean;
  /** The edge is shut down while clients are at work. */
  readonly stops: boolean;
  readonly library: Library;
  /** Clients speak TLS; null: they don't. */
  readonly secure: SecureWorld | null;
  /** Whether a connection that got nothing is one that the edge closed because it had waited for a place for too long. Each of those excuses one. */
  readonly wasRefused: () => boolean;
}

export class Client implements ScriptOwner, MessageOwner {
  readonly plan: ClientPlan;
  done: boolean;
  private readonly reactor: Reactor;
  private readonly verdict: Verdict;
  private readonly circumstances: Circumstances;
  private readonly socket: ScriptedSocket;
  private readonly stream: MessageStream;
  private readonly leaveTimer: Timer;
  private readonly patienceTimer: Timer;
  /** Final responses that are complete. */
  private responses: number;
  private continued: boolean;
  private contentBytes: number;
  /** Status of the response in progress; 0: none. */
  private status: number;
  private isOrigins: boolean;
  /** The response came over an origin's connection that had said more than it should: nobody can tell it apart. */
  private lied: boolean;
  private tunnel: boolean;
  /** Of a file's response; null: it is none. */
  private version: VersionCheck | null;
  private versionBytes: number;
  /** The edge said that a response is the last. */
  private saidClose: boolean;
  private left: boolean;
  private failed: boolean;
  /** The handle, before it is connected. */
  private connecting: Handle;

  constructor(reactor: Reactor, plan: ClientPlan, verdict: Verdict, circumstances: Circumstances) {
    this.plan = plan;
    this.done = false;
    this.reactor = reactor;
    this.verdict = verdict;
    this.circumstances = circumstances;
    this.socket = new ScriptedSocket(reactor, this, {
      pauseMs: plan.readPauseMs,
      stopAfterBytes: plan.stopsAfterBytes,
      stopMs: STOP_MS,
    });
    this.stream = new MessageStream(this);
    this.leaveTimer = new Timer(this, T_LEAVE);
    this.patienceTimer = new Timer(this, T_PATIENCE);
    this.responses = 0;
    this.continued = false;
    this.contentBytes = 0;
    this.status = 0;
    this.isOrigins = false;
    this.lied = false;
    this.tunnel = false;
    this.version = null;
    this.versionBytes = 0;
    this.saidClose = false;
    this.left = false;
    this.failed = false;
    this.connecting = 0;
  }

  /** Connects; all else follows. */
  start(address: SocketAddress): void {
    const { timers, nowMs } = this.reactor;
    const handle = this.connect(address);
    if (handle < 0) {
      this.failed = true;
      this.onClosed();
      return;
    }
    timers.arm(this.patienceTimer, nowMs + PATIENCE_MS);
    if (this.plan.leavesAfterMs > 0) timers.arm(this.leaveTimer, nowMs + this.plan.leavesAfterMs);
    this.connecting = handle;
    this.socket.push(...this.script());
  }

  private connect(address: SocketAddress): Handle {
    const { secure } = this.circumstances;
    if (secure === null) return this.reactor.connect(address, this.socket);
    const tls = secure.clientSocket(this.reactor);
    this.socket.port = tls;
    return tls.connect(address, this.socket);
  }

  private script(): Step[] {
    const steps: Step[] = [];
    for (const [index, request] of this.plan.requests.entries()) {
      if (!this.plan.pipelined && index > 0) {
        steps.push({ kind: 'until', holds: () => this.responses >= index, ms: PATIENCE_MS });
      }
      if (this.plan.thinkMs > 0 && index > 0) steps.push({ kind: 'wait', ms: this.plan.thinkMs });
      steps.push({ kind: 'bytes', bytes: headBytes(request) });
      if (request.expectContinue) {
        steps.push({
          kind: 'until',
          holds: () => this.continued || this.responses > index,
          ms: CONTINUE_MS,
        });
      }
      steps.push(...contentSteps(request));
      if (request.tunnelBytes >= 0) return steps;
    }
    if (this.plan.halfCloses) steps.push({ kind: 'fin' });
    return steps;
  }

  // ---- Events -----------------------------------------------------------------------------------------

  onConnected(errno: number): void {
    if (errno >= 0) return;
    this.failed = true;
    const { secure, mood, stops, wasRefused } = this.circumstances;
    if (secure !== null && mood === 'friendly' && !stops && !this.left && !wasRefused())
      this.verdict.violation(`a TLS handshake failed: ${errno}`);
  }

  onBytes(bytes: Uint8Array): void {
    this.stream.feed(bytes);
  }

  onEnd(errno: number): void {
    if (errno === 0 && this.stream.untilClose && this.stream.inContent) this.endedByClose();
    // The other half of a tunnel may still be under way.
    if (this.tunnel && errno === 0) this.socket.push({ kind: 'close' });
    else this.socket.close(false);
  }

  onSendFailed(): void {
    // What the edge has said may still come.
  }

  onTimer(timer: Timer): void {
    if (timer.kind === T_LEAVE) {
      this.left = true;
      this.abandon(this.plan.leavesByReset);
      return;
    }
    if (!this.circumstances.mayHang) {
      this.verdict.violation(`request ${this.current()?.id ?? 'none'}: the client hangs`);
    }
    this.left = true;
    this.abandon(true);
  }

  private abandon(abortive: boolean): void {
    if (this.socket.handle === 0) this.socket.handle = this.connecting;
    this.socket.close(abortive);
  }

  onClosed(): void {
    if (this.done) return;
    this.done = true;
    this.reactor.timers.disarm(this.leaveTimer);
    this.reactor.timers.disarm(this.patienceTimer);
    this.stream.stop();
    this.settleUnanswered();
  }

  // ---- Responses --------------------------------------------------------------------------------------

  private current(): RequestPlan | undefined {
    return this.plan.requests[this.responses];
  }

  onComplaint(what: string): void {
    this.verdict.violation(`request ${this.current()?.id}: the edge sent a malformed response: ${what}`);
    this.left = true;
    this.socket.close(true);
  }

  onHead(head: MessageHead): Framing | null {
    const plan = this.current();
    const match = /^HTTP\/1\.1 (\d{3}) /.exec(head.startLine);
    if (match === null || plan === undefined) {
      this.onComplaint(plan === undefined ? 'a response that nobody asked for' : head.startLine);
      return null;
    }
    const status = Number(match[1]);
    if (status < 200 && status !== 101) return this.interim(plan, status);
    const ids = fieldValues(head, 'x-sim-id');
    this.status = status;
    this.contentBytes = 0;
    this.isOrigins = ids.length > 0;
    const connection = Number(fieldValues(head, 'x-sim-connection').join());
    this.lied = ids.join() !== String(plan.id) && this.verdict.liars.has(connection);
    if (fieldValues(head, 'connection').some((value) => /(^|,)\s*close\s*(,|$)/i.test(value))) {
      this.saidClose = true;
    }
    this.version = null;
    if (plan.file >= 0 && (status === 200 || status === 206)) this.beginFile(plan, head, status);
    else if (this.isOrigins) this.checkOrigins(plan, ids.join(), status);
    else if (!this.right(plan).has(status) && this.plan.stopsAfterBytes < 0) {
      this.verdict.violation(`request ${plan.id} (${describe(plan)}): the edge answered ${status}`);
    }
    if (status === 101) return this.upgraded(plan);
    if (plan.method === 'HEAD' || status === 204 || status === 304) return { kind: 'none' };
    const framing = framingOf(head, { kind: 'until-close' });
    if (typeof framing === 'string' || (framing.kind === 'until-close' && plan.version === '1.1')) {
      this.onComplaint(typeof framing === 'string' ? framing : 'no length');
      return null;
    }
    return framing;
  }

  private interim(plan: RequestPlan, status: number): Framing {
    if (plan.version === '1.0') this.verdict.violation(`request ${plan.id}: ${status} to an HTTP/1.0 client`);
    if (status === 100) this.continued = true;
    return { kind: 'none' };
  }

  private checkOrigins(plan: RequestPlan, id: string, status: number): void {
    if (this.lied) return;
    const expected =
      plan.tunnelBytes >= 0 && plan.response.behaviour === 'answers' ? 101 : plan.response.status;
    if (id !== String(plan.id)) this.verdict.violation(`request ${plan.id} got the response of ${id}`);
    else if (status !== expected) this.verdict.violation(`request ${plan.id} got ${status}, not ${expected}`);
    else if (plan.malformed !== '') {
      this.verdict.violation(`request ${plan.id} (${plan.malformed}) was answered by an origin`);
    }
  }

  private beginFile(plan: RequestPlan, head: MessageHead, status: number): void {
    const length = Number(fieldValues(head, 'content-length').join() || Number.NaN);
    let from = 0;
    let total = length;
    if (status === 206) {
      const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(fieldValues(head, 'content-range').join());
      from = Number(match?.[1]);
      total = Number(match?.[3]);
      if (plan.range?.[0] !== from || Number(match?.[2]) - from + 1 !== length) {
        this.verdict.violation(`request ${plan.id} asked for ${plan.range?.join()} and got ${match?.[0]}`);
      }
    }
    this.version = new VersionCheck(this.circumstances.library.files[plan.file], from, total);
    this.versionBytes = plan.method === 'HEAD' ? 0 : length;
  }

  private upgraded(plan: RequestPlan): Framing {
    if (plan.tunnelBytes < 0) this.verdict.violation(`request ${plan.id}: a 101 that nobody asked for`);
    this.tunnel = true;
    const steps: Step[] = split(plan.tunnelBytes, plan.pieces).map(({ from, length }) => ({
      kind: 'bytes',
      bytes: content(plan.id, UP, from, length),
    }));
    this.socket.push(...steps, { kind: 'fin' });
    return { kind: 'tunnel' };
  }

  onContent(bytes: Uint8Array): void {
    const plan = this.current();
    if (plan === undefined) return;
    if (this.version !== null) this.version.feed(bytes);
    else if (this.isOrigins && !this.lied) {
      const wrong = wrongByte(plan.id, DOWN, this.contentBytes, bytes);
      if (wrong >= 0) this.verdict.violation(`content for request ${plan.id} is wrong at byte ${wrong}`);
    }
    this.contentBytes += bytes.length;
  }

  onMessageEnd(): void {
    const plan = this.current();
    // An interim response leaves `status` at 0.
    if (plan === undefined || this.status === 0) return;
    this.complete(plan);
    const next = this.current();
    if (next === undefined && !this.saidClose) this.socket.replaceBy({ kind: 'close' });
    else this.socket.poke();
  }

  private endedByClose(): void {
    const plan = this.current();
    if (plan !== undefined) this.complete(plan);
  }

  private complete(plan: RequestPlan): void {
    if (this.lied) {
      this.verdict.outcome(plan, 'lied');
      this.status = 0;
      this.responses++;
      return;
    }
    const outcome: Outcome = this.isOrigins || this.version !== null ? 'complete' : this.status;
    const complaint = this.version?.complaint(this.versionBytes) ?? '';
    if (complaint !== '') this.verdict.violation(`file for request ${plan.id}: ${complaint}`);
    const expected = this.tunnel || hasContent(plan) ? plan.response.bytes : 0;
    if (this.isOrigins && this.contentBytes !== expected && this.cutIsKnown()) {
      this.verdict.violation(`request ${plan.id} got ${this.contentBytes} of ${expected} bytes as if all`);
    }
    if (plan.malformed !== '' && !this.saidClose) {
      this.verdict.violation(`request ${plan.id} (${plan.malformed}): the connection stays open`);
    }
    this.judge(plan, outcome);
    this.status = 0;
    this.continued = false;
    this.responses++;
  }

  /** A tunnel's end does not tell whether it was cut; all else does. */
  private cutIsKnown(): boolean {
    return !this.tunnel || this.circumstances.mood !== 'faulty';
  }

  /** The connection is over: what of its requests has no complete response? */
  private settleUnanswered(): void {
    let excused = this.left || this.failed || this.saidClose;
    if (!excused && this.responses === 0 && this.status === 0) excused = this.circumstances.wasRefused();
    while (this.responses < this.plan.requests.length) {
      const plan = this.plan.requests[this.responses];
      const outcome: Outcome = this.status !== 0 ? 'cut' : 'none';
      if (excused && (outcome === 'none' || this.left)) this.verdict.outcome(plan, outcome);
      else this.judge(plan, outcome);
      this.status = 0;
      this.responses++;
      // What follows a cut response, or one that never came, can't come either.
      excused = true;
    }
  }

  private right(plan: RequestPlan): ReadonlySet<Outcome> {
    return rightOutcomes(plan, this.circumstances.mood, this.circumstances.stops);
  }

  private judge(plan: RequestPlan, outcome: Outcome): void {
    this.verdict.outcome(plan, outcome);
    const right = this.right(plan);
    if (right.has(outcome)) return;
    const slow = this.plan.stopsAfterBytes >= 0;
    if (slow && (outcome === 'cut' || outcome === 'none' || outcome === 408)) return;
    const expected = [...right].join(' or ');
    this.verdict.violation(`request ${plan.id} (${describe(plan)}): ${outcome}, not ${expected}`);
  }
}

function describe(plan: RequestPlan): string {
  if (plan.file >= 0) return `${plan.method} ${plan.target} ${plan.range?.join('-') ?? ''}`;
  const { response } = plan;
  const answer = `${response.behaviour} ${response.status} ${response.framing} ${response.bytes}, ${response.afterwards}`;
  const what = plan.malformed === '' ? '' : `${plan.malformed}, `;
  return `${what}${plan.method} ${plan.target} ${plan.body} ${plan.bytes}; ${answer}`;
}
