/** What was observed in a simulated world, and everything that was wrong with it. */

import type { ClientPlan, Outcome, RequestPlan } from './plan.ts';

/** What origins saw of one request. */
export class Sighting {
  readonly plan: RequestPlan;
  readonly client: ClientPlan;
  /** Heads that came with content, or without content to come: the request was acted upon. */
  acted: number;
  /** Requests that came whole. */
  whole: number;

  constructor(plan: RequestPlan, client: ClientPlan) {
    this.plan = plan;
    this.client = client;
    this.acted = 0;
    this.whole = 0;
  }
}

export class Verdict {
  readonly violations: string[];
  readonly sightings: Map<number, Sighting>;
  readonly outcomes: Map<number, Outcome>;
  /** Numbers of origins' connections on which more was said than was asked for. */
  readonly liars: Set<number>;
  /** How often each outcome came; for the run's summary. */
  readonly tally: Map<string, number>;

  constructor() {
    this.violations = [];
    this.sightings = new Map();
    this.outcomes = new Map();
    this.liars = new Set();
    this.tally = new Map();
  }

  expect(plan: RequestPlan, client: ClientPlan): void {
    this.sightings.set(plan.id, new Sighting(plan, client));
  }

  violation(what: string): void {
    if (this.violations.length < 50) this.violations.push(what);
  }

  outcome(plan: RequestPlan, outcome: Outcome): void {
    this.outcomes.set(plan.id, outcome);
    const word = String(outcome);
    this.tally.set(word, (this.tally.get(word) ?? 0) + 1);
  }
}
