/**
 * What will happen in a simulated world, drawn from its seed before it begins: the requests of each client,
 * the answers that origins are to give, and the outcomes that are right for each.
 */

import type { Random } from '../../src/base/random.ts';

/**
 * friendly: everybody behaves and the network loses nothing, though it splits, delays and reorders: every
 * exchange must succeed. hostile: the same network, with clients and origins that misbehave: each exchange
 * must have its own right outcome. faulty: the network and the kernel fail as well: an exchange may be cut
 * or get an error, but nobody may get what is not theirs.
 */
export type Mood = 'friendly' | 'hostile' | 'faulty';

export type BodyKind = 'none' | 'length' | 'chunked';

/** How an origin behaves when it gets the request. */
export type Behaviour =
  | 'answers'
  /** Sends more than it declared. */
  | 'too-long'
  /** Closes before all that it declared. */
  | 'too-short'
  | 'too-short-reset'
  | 'bad-chunk'
  | 'no-last-chunk'
  | 'garbage'
  | 'two-lengths'
  | 'length-and-coding'
  | 'folded-field'
  | 'huge-head'
  | 'closes-before-head'
  | 'resets-before-head'
  | 'closes-in-head'
  | 'never-answers'
  | 'stops-in-content';

/** What an origin does with its connection after the answer. */
export type Afterwards = 'keeps' | 'closes' | 'closes-unsaid' | 'says-more' | 'answers-twice';

export interface ResponsePlan {
  readonly behaviour: Behaviour;
  readonly status: number;
  readonly framing: 'length' | 'chunked' | 'until-close';
  readonly bytes: number;
  readonly trailer: boolean;
  readonly interims: number;
  /** Answers when the head has come, without waiting for the content. */
  readonly early: boolean;
  readonly delayMs: number;
  /** Between pieces of the answer. */
  readonly pauseMs: number;
  readonly pieces: number;
  readonly afterwards: Afterwards;
}

export interface RequestPlan {
  readonly id: number;
  readonly method: string;
  /** As the client writes it, and as the origin must get it. */
  readonly target: string;
  readonly originTarget: string;
  readonly version: '1.1' | '1.0';
  readonly body: BodyKind;
  readonly bytes: number;
  readonly pieces: number;
  readonly pauseMs: number;
  readonly expectContinue: boolean;
  readonly closes: boolean;
  /** Name of what is wrong with it; empty for a valid one. */
  readonly malformed: string;
  /** Bytes that go up after a 101; -1: no upgrade. They come down as the response's content. */
  readonly tunnelBytes: number;
  /** Number of the file that it asks for; -1: it is for an origin. */
  readonly file: number;
  /** First and last byte asked for, of a file; null: all. */
  readonly range: readonly [number, number] | null;
  readonly response: ResponsePlan;
}

export interface ClientPlan {
  readonly startMs: number;
  readonly requests: readonly RequestPlan[];
  readonly pipelined: boolean;
  readonly thinkMs: number;
  readonly readPauseMs: number;
  /** After so many bytes it stops to read for longer than the edge has patience; -1: it never does. */
  readonly stopsAfterBytes: number;
  /** Ends its half after the last request, before the answers. */
  readonly halfCloses: boolean;
  /** Goes away at this time after the start, whatever it is doing; 0: never. */
  readonly leavesAfterMs: number;
  readonly leavesByReset: boolean;
}

/** Methods whose repetition does no harm (RFC 9110 §9.2.2). */
export const IDEMPOTENT = new Set(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS']);

/** Refused by their head alone, or by their content after the head was forwarded. */
export const MALFORMED_HEADS = [
  'two lengths',
  'length and coding',
  'unknown coding',
  'folded field',
  'bare LF',
  'space before colon',
  'no host',
  'two hosts',
  'bad version',
  'negative length',
  'too large',
  'trace',
  'junk',
] as const;
export const MALFORMED_CONTENTS = ['bad chunk size', 'bad chunk end', 'too many chunks'] as const;

/** Limits of the simulated edge's configuration. */
export const BODY_BYTES_MAX = 300_000;

const BAD_BEHAVIOURS: readonly Behaviour[] = [
  'too-long',
  'garbage',
  'two-lengths',
  'length-and-coding',
  'folded-field',
  'huge-head',
  'closes-before-head',
  'resets-before-head',
  'closes-in-head',
  'never-answers',
];
/** Those that need content to go wrong. */
const BAD_CONTENTS: readonly Behaviour[] = [
  'too-short',
  'too-short-reset',
  'bad-chunk',
  'no-last-chunk',
  'stops-in-content',
];

export class Planner {
  private readonly random: Random;
  private readonly mood: Mood;
  /** No content is longer: windows may be tiny. */
  private readonly bytesMax: number;
  private ids: number;

  constructor(random: Random, mood: Mood, bytesMax: number) {
    this.random = random;
    this.mood = mood;
    this.bytesMax = bytesMax;
    this.ids = 0;
  }

  client(): ClientPlan {
    const { random } = this;
    const requests: RequestPlan[] = [];
    const count = 1 + random.below(random.chance(0.3) ? 12 : 4);
    while (requests.length < count) {
      const last = requests.length === count - 1;
      const request = this.request(last);
      requests.push(request);
      if (this.endsConnection(request)) break;
    }
    const rude = this.mood !== 'friendly' && random.chance(0.15);
    return {
      startMs: random.below(random.chance(0.5) ? 10 : 3000),
      requests,
      pipelined: random.chance(0.4),
      thinkMs: random.chance(0.5) ? 0 : random.below(random.chance(0.2) ? 4000 : 50),
      readPauseMs: random.chance(0.25) ? 1 + random.below(30) : 0,
      stopsAfterBytes: this.mood !== 'friendly' && random.chance(0.08) ? random.below(5000) : -1,
      halfCloses: random.chance(0.15),
      leavesAfterMs: rude ? 1 + random.below(random.chance(0.5) ? 100 : 5000) : 0,
      leavesByReset: random.chance(0.5),
    };
  }

  /** Nothing may follow this request on its connection. */
  private endsConnection(request: RequestPlan): boolean {
    return (
      request.closes ||
      request.version === '1.0' ||
      request.malformed !== '' ||
      request.tunnelBytes >= 0 ||
      request.response.early
    );
  }

  private request(last: boolean): RequestPlan {
    const { random } = this;
    const id = ++this.ids;
    const hostile = this.mood !== 'friendly';
    const malformed = hostile && random.chance(0.08) ? this.malformed() : '';
    const valid = malformed === '';
    if (valid && random.chance(0.15)) return this.fileRequest(id, last);
    const upgrade = last && malformed === '' && random.chance(0.15);
    const method = upgrade ? 'GET' : this.method();
    const takesContent = method === 'POST' || method === 'PUT' || method === 'PATCH';
    const version = last && !upgrade && malformed === '' && random.chance(0.1) ? '1.0' : '1.1';
    const withContent = !upgrade && random.chance(takesContent ? 0.85 : 0.08);
    const chunked = version === '1.1' && random.chance(0.4);
    const body: BodyKind = withContent ? (chunked ? 'chunked' : 'length') : 'none';
    const unix = random.chance(0.3);
    return {
      id,
      method,
      ...this.targets(id, unix),
      version,
      body,
      bytes: body === 'none' ? 0 : this.size(),
      pieces: 1 + random.below(6),
      pauseMs: random.chance(0.3) ? random.below(200) : 0,
      expectContinue: body !== 'none' && version === '1.1' && random.chance(0.1),
      closes: last && random.chance(0.3),
      malformed,
      tunnelBytes: upgrade ? this.size() : -1,
      file: -1,
      range: null,
      response: this.response(last && valid, body, method),
    };
  }

  private fileRequest(id: number, last: boolean): RequestPlan {
    const { random } = this;
    const file = random.below(random.chance(0.1) ? 8 : 6);
    const first = random.below(random.chance(0.5) ? 100 : this.bytesMax);
    const method = random.chance(0.15) ? 'HEAD' : 'GET';
    return {
      id,
      method,
      target: `/${random.chance(0.5) ? 'files' : 'memory'}/f${file}.txt`,
      originTarget: 'no origin',
      version: last && random.chance(0.1) ? '1.0' : '1.1',
      body: 'none',
      bytes: 0,
      pieces: 1,
      pauseMs: 0,
      expectContinue: false,
      closes: last && random.chance(0.3),
      malformed: '',
      tunnelBytes: -1,
      file,
      range: method === 'GET' && random.chance(0.25) ? [first, first + random.below(50_000)] : null,
      response: { ...this.response(false, 'none', method), behaviour: 'answers', early: false },
    };
  }

  private method(): string {
    const draw = this.random.below(100);
    if (draw < 45) return 'GET';
    if (draw < 53) return 'HEAD';
    if (draw < 73) return 'POST';
    if (draw < 85) return 'PUT';
    if (draw < 91) return 'DELETE';
    if (draw < 96) return 'PATCH';
    return 'OPTIONS';
  }

  private malformed(): string {
    const names = [...MALFORMED_HEADS, ...MALFORMED_CONTENTS];
    return names[this.random.below(names.length)];
  }

  private targets(id: number, unix: boolean): { target: string; originTarget: string } {
    const query = this.random.chance(0.5) ? `?q=${id}&x=%2F` : '';
    const forms = [`${id}`, `./${id}`, `a/../${id}`, `${id}`.replace('1', '%31'), `${id}/`];
    const draw = this.random.below(forms.length);
    const path = draw === 4 ? `${id}/` : `${id}`;
    return unix
      ? { target: `/unix/${forms[draw]}${query}`, originTarget: `/${path}${query}` }
      : { target: `/pool/${forms[draw]}${query}`, originTarget: `/base/${path}${query}` };
  }

  private size(): number {
    const { random } = this;
    const draw = random.below(10);
    if (draw === 0) return 0;
    if (draw < 3) return 1 + random.below(20);
    if (draw < 7) return random.below(Math.min(5000, this.bytesMax));
    return random.below(this.bytesMax);
  }

  private response(last: boolean, body: BodyKind, method: string): ResponsePlan {
    const { random } = this;
    const hostile = this.mood !== 'friendly';
    const bad = hostile && random.chance(0.15);
    const bodiless = random.chance(0.1);
    const bads = bodiless || method === 'HEAD' ? BAD_BEHAVIOURS : [...BAD_BEHAVIOURS, ...BAD_CONTENTS];
    const behaviour = bad ? bads[random.below(bads.length)] : 'answers';
    const framings = ['length', 'length', 'length', 'chunked', 'chunked', 'until-close'] as const;
    return {
      behaviour,
      status: bodiless ? (random.chance(0.5) ? 204 : 304) : [200, 200, 200, 201, 404, 500][random.below(6)],
      framing: framings[random.below(framings.length)],
      bytes: bodiless || method === 'HEAD' ? 0 : this.size(),
      trailer: random.chance(0.2),
      interims: random.chance(0.1) ? 1 + random.below(3) : 0,
      early: hostile && last && body !== 'none' && random.chance(0.2),
      delayMs: random.chance(0.3) ? random.below(random.chance(0.1) ? 3000 : 100) : 0,
      pauseMs: random.chance(0.3) ? random.below(200) : 0,
      pieces: 1 + random.below(6),
      afterwards: this.afterwards(hostile),
    };
  }

  private afterwards(hostile: boolean): Afterwards {
    const draw = this.random.below(100);
    if (draw < 15) return 'closes';
    if (!hostile || draw < 85) return 'keeps';
    return (['closes-unsaid', 'says-more', 'answers-twice'] as const)[draw % 3];
  }
}

/**
 * Outcomes that are right for a request. `complete` is the origin's whole answer; a number is an answer of the edge itself;
 * `cut` a response that visibly did not end; `none` no response at all; `lied` what an origin said
 * unasked on a connection, which came just as a request was sent there.
 */
export type Outcome = 'complete' | 'cut' | 'none' | 'lied' | number;

/** The right outcomes of a request in a world of this mood; `stops`: whose edge is shut down early. */
export function rightOutcomes(plan: RequestPlan, mood: Mood, stops: boolean): ReadonlySet<Outcome> {
  const right = new Set<Outcome>();
  if (stops) right.add('none');
  if (plan.file >= 0) {
    addFileOutcomes(right, plan, mood);
    return right;
  }
  const { behaviour, early } = plan.response;
  if (plan.malformed !== '') right.add(malformedOutcome(plan));
  else addPlanned(right, behaviour);
  if (mood !== 'friendly') {
    // An origin may have dropped the pooled connection just before; not everything may be tried again.
    if (plan.malformed === '' || MALFORMED_CONTENTS.some((name) => name === plan.malformed)) {
      right.add(502);
      // So many have failed that no server of the pool is left for a while.
      right.add(503);
    }
  }
  // Nobody waits for the rest of a request that is answered already.
  if (early) right.add('cut');
  if (mood === 'faulty') for (const outcome of FAULTY_OUTCOMES) right.add(outcome);
  return right;
}

function addFileOutcomes(right: Set<Outcome>, plan: RequestPlan, mood: Mood): void {
  // Of eight names six are there.
  right.add(plan.file < 6 ? 'complete' : 404);
  // A range that the file doesn't have, and one that changes while it is sent.
  if (plan.range !== null && plan.file < 6) right.add(416);
  if (mood !== 'friendly') right.add('cut');
  if (mood === 'faulty') for (const outcome of [...FAULTY_OUTCOMES, 403, 500]) right.add(outcome);
}

const FAULTY_OUTCOMES: readonly Outcome[] = ['cut', 'none', 408, 502, 503, 504];

function addPlanned(right: Set<Outcome>, behaviour: Behaviour): void {
  switch (behaviour) {
    case 'answers':
    case 'too-long':
      right.add('complete');
      break;
    case 'garbage':
    case 'two-lengths':
    case 'length-and-coding':
    case 'folded-field':
    case 'huge-head':
    case 'closes-before-head':
    case 'resets-before-head':
    case 'closes-in-head':
      right.add(502);
      break;
    case 'never-answers':
      right.add(504);
      break;
    case 'too-short':
    case 'too-short-reset':
    case 'bad-chunk':
    case 'no-last-chunk':
    case 'stops-in-content':
      right.add('cut');
      // Nothing of the response was on its way yet.
      right.add('none');
      right.add(502);
      break;
  }
}

function malformedOutcome(plan: RequestPlan): Outcome {
  if (plan.malformed === 'too large' || plan.malformed === 'too many chunks') return 413;
  return plan.malformed === 'trace' ? 405 : 400;
}
