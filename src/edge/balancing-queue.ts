/**
 * Servers in turn (`round_robin`), or by what they have under way and in turn where that is equal (`least_conn`).
 *
 * A server's turns lie 1/weight apart on a line of virtual time, those of servers with equal weights evenly between
 * each other; whoever's turn is first is chosen. So each gets its share at any time, and the turns of light servers
 * are spread among those of heavy ones. With `least_conn`, exchanges under way per weight come before turns.
 *
 * The servers stand in a binary heap: a choice, and a change of load, cost the logarithm of their number.
 *
 * Invariants: a server is in the heap while its weight is above 0, `place` says where; turns in the heap are never
 * before the turn chosen last, but for rounding, where loads don't count.
 */

import { type Balancer, NO_SERVER } from './balancing.ts';
import type { AddressWords } from './ip-list.ts';

const NO_PLACE = -1;
/** Virtual time from which on all turns are moved back, so that a fraction of a turn never gets lost in rounding. */
const REBASE_AT = 2 ** 20;

export class QueueBalancer implements Balancer {
  readonly startsSlowly = true;
  readonly countsLoad: boolean;
  size: number;
  private readonly configured: Float64Array;
  /** The first turn, as a part of the distance between two. */
  private readonly phases: Float64Array;
  /** 0: not in the heap. */
  private readonly weights: Float64Array;
  private readonly inFlight: Float64Array;
  /** What is compared first: exchanges under way by weight. All 0 where they don't count. */
  private readonly loads: Float64Array;
  private readonly turns: Float64Array;
  private readonly heap: Int32Array;
  private readonly place: Int32Array;
  /** The turn that was chosen last. */
  private presentTurn: number;

  constructor(weights: readonly number[], countsLoad: boolean) {
    const count = weights.length;
    this.countsLoad = countsLoad;
    this.size = 0;
    this.configured = Float64Array.from(weights);
    this.phases = phasesOf(weights);
    this.weights = new Float64Array(count);
    this.inFlight = new Float64Array(count);
    this.loads = new Float64Array(count);
    this.turns = new Float64Array(count);
    this.heap = new Int32Array(count);
    this.place = new Int32Array(count).fill(NO_PLACE);
    this.presentTurn = 0;
    for (let index = 0; index < count; index++) this.setWeight(index, weights[index]);
  }

  choose(_client: AddressWords | null): number {
    if (this.size === 0) return NO_SERVER;
    const index = this.heap[0];
    // Alone it has every turn.
    if (this.size > 1) this.passTurn(index);
    return index;
  }

  chooseExcept(_client: AddressWords | null, excluded: Uint8Array): number {
    let best = NO_SERVER;
    for (let at = 0; at < this.size; at++) {
      const index = this.heap[at];
      if (excluded[index] === 0 && (best === NO_SERVER || this.isBefore(index, best))) best = index;
    }
    if (best !== NO_SERVER) this.passTurn(best);
    return best;
  }

  private passTurn(index: number): void {
    // A server that was busy for long has turns behind it that nobody makes up for.
    const turn = Math.max(this.turns[index], this.presentTurn);
    this.presentTurn = turn;
    this.turns[index] = turn + 1 / this.weights[index];
    this.siftDown(this.place[index]);
    if (turn >= REBASE_AT) this.rebase();
  }

  private rebase(): void {
    const back = Math.trunc(this.presentTurn);
    this.presentTurn -= back;
    for (let index = 0; index < this.turns.length; index++) this.turns[index] -= back;
  }

  setWeight(index: number, weight: number): void {
    const before = this.weights[index];
    if (before === weight) return;
    if (weight === 0) {
      this.remove(index);
      return;
    }
    this.weights[index] = weight;
    this.loads[index] = this.loadOf(index);
    if (before > 0) {
      // What is left until its turn is as much longer as its weight is smaller.
      const left = Math.max(0, this.turns[index] - this.presentTurn);
      this.turns[index] = this.presentTurn + (left * before) / weight;
      this.resift(index);
      return;
    }
    this.turns[index] = this.presentTurn + this.phases[index] / weight;
    this.place[index] = this.size;
    this.heap[this.size] = index;
    this.size++;
    this.siftUp(this.place[index]);
  }

  private remove(index: number): void {
    const at = this.place[index];
    this.weights[index] = 0;
    this.place[index] = NO_PLACE;
    this.size--;
    if (at === this.size) return;
    const moved = this.heap[this.size];
    this.heap[at] = moved;
    this.place[moved] = at;
    this.resift(moved);
  }

  setLoad(index: number, inFlight: number): void {
    this.inFlight[index] = inFlight;
    if (!this.countsLoad || this.place[index] === NO_PLACE) return;
    this.loads[index] = this.loadOf(index);
    this.resift(index);
  }

  /** A server that starts slowly counts one exchange more: none under way would make it everybody's first choice. */
  private loadOf(index: number): number {
    if (!this.countsLoad) return 0;
    const weight = this.weights[index];
    return (this.inFlight[index] + (weight < this.configured[index] ? 1 : 0)) / weight;
  }

  private isBefore(a: number, b: number): boolean {
    const { loads, turns } = this;
    if (loads[a] !== loads[b]) return loads[a] < loads[b];
    return turns[a] !== turns[b] ? turns[a] < turns[b] : a < b;
  }

  private resift(index: number): void {
    this.siftUp(this.place[index]);
    this.siftDown(this.place[index]);
  }

  private siftUp(from: number): void {
    const { heap, place } = this;
    const index = heap[from];
    let at = from;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (!this.isBefore(index, heap[above])) break;
      heap[at] = heap[above];
      place[heap[at]] = at;
      at = above;
    }
    heap[at] = index;
    place[index] = at;
  }

  private siftDown(from: number): void {
    const { heap, place, size } = this;
    const index = heap[from];
    let at = from;
    for (let below = 2 * at + 1; below < size; below = 2 * at + 1) {
      if (below + 1 < size && this.isBefore(heap[below + 1], heap[below])) below++;
      if (!this.isBefore(heap[below], index)) break;
      heap[at] = heap[below];
      place[heap[at]] = at;
      at = below;
    }
    heap[at] = index;
    place[index] = at;
  }
}

/** Evenly spaced among the servers of each weight, in their order. */
function phasesOf(weights: readonly number[]): Float64Array {
  return Float64Array.from(weights, (weight, index) => {
    const equals = weights.filter((other) => other === weight).length;
    const before = weights.slice(0, index).filter((other) => other === weight).length;
    return (before + 0.5) / equals;
  });
}
