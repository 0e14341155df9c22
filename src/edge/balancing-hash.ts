/**
 * Servers by the client's address (`ip_hash`). Addresses fall into BUCKETS, and the owner of each bucket is found by
 * weighted rendezvous: every server draws a number for the bucket from a hash of both, an exponential variate with
 * its weight as rate, and the smallest wins. A server that leaves loses its buckets to whoever drew second there, one
 * that comes back gets the very same ones, and nobody else's clients move; so it is over a reload that adds or
 * removes servers, and in every worker, for nothing is drawn by chance.
 *
 * Owners are kept in a table: a choice is one look-up. A server that comes or goes costs one pass over the buckets.
 */

import { type Balancer, NO_SERVER } from './balancing.ts';
import { type AddressWords, FAMILY_IPV6 } from './ip-list.ts';

/** With 16 servers a share is off by 3 % (one standard deviation); with 256 by 12 %. */
export const BUCKETS = 16_384;
/** Tells IPv4 addresses from IPv6 networks of the same bits. */
const IPV6_SEED = 0x3c6ef372;

export class HashBalancer implements Balancer {
  readonly startsSlowly = false;
  readonly countsLoad = false;
  size: number;
  /** Equal weights need no logarithm: the order of the draws is the same without. */
  private readonly isUniform: boolean;
  private readonly seeds: Int32Array;
  /** 0: not to be chosen. */
  private readonly weights: Float64Array;
  /** Index of each bucket's owner, and what it drew. */
  private readonly owners: Int16Array;
  private readonly draws: Float64Array;

  constructor(weights: readonly number[], names: readonly string[]) {
    this.size = 0;
    this.isUniform = weights.every((weight) => weight === weights[0]);
    this.seeds = Int32Array.from(names, seedOf);
    this.weights = new Float64Array(weights.length);
    this.owners = new Int16Array(BUCKETS).fill(NO_SERVER);
    this.draws = new Float64Array(BUCKETS).fill(Number.POSITIVE_INFINITY);
    for (let index = 0; index < weights.length; index++) this.setWeight(index, weights[index]);
  }

  choose(client: AddressWords | null): number {
    return this.owners[bucketOf(client)];
  }

  chooseExcept(client: AddressWords | null, excluded: Uint8Array): number {
    return this.winnerOf(bucketOf(client), excluded);
  }

  /** The server with the smallest draw for a bucket, or NO_SERVER. */
  private winnerOf(bucket: number, excluded: Uint8Array): number {
    let winner = NO_SERVER;
    let smallest = Number.POSITIVE_INFINITY;
    for (let index = 0; index < this.weights.length; index++) {
      if (this.weights[index] === 0 || excluded[index] !== 0) continue;
      const draw = this.draw(bucket, index);
      if (draw < smallest) {
        smallest = draw;
        winner = index;
      }
    }
    return winner;
  }

  private draw(bucket: number, index: number): number {
    const uniform = ((mix(mix(bucket ^ this.seeds[index]) + this.seeds[index]) >>> 0) + 1) / 2 ** 32;
    return this.isUniform ? -uniform : -Math.log(uniform) / this.weights[index];
  }

  setWeight(index: number, weight: number): void {
    const before = this.weights[index];
    if (before === weight) return;
    this.weights[index] = weight;
    if (before > 0) this.leave(index);
    if (weight > 0) this.join(index);
    this.size += (weight > 0 ? 1 : 0) - (before > 0 ? 1 : 0);
  }

  private leave(index: number): void {
    const excluded = new Uint8Array(this.weights.length);
    excluded[index] = 1;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      if (this.owners[bucket] !== index) continue;
      const winner = this.winnerOf(bucket, excluded);
      this.owners[bucket] = winner;
      this.draws[bucket] = winner === NO_SERVER ? Number.POSITIVE_INFINITY : this.draw(bucket, winner);
    }
  }

  private join(index: number): void {
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      const draw = this.draw(bucket, index);
      if (draw >= this.draws[bucket]) continue;
      this.owners[bucket] = index;
      this.draws[bucket] = draw;
    }
  }

  setLoad(): void {}
}

/** IPv4 by the whole address, IPv6 by its /64; all clients without an address together. */
function bucketOf(client: AddressWords | null): number {
  if (client === null) return 0;
  const hash =
    client.family === FAMILY_IPV6
      ? mix(mix(client.word0 ^ IPV6_SEED) ^ client.word1)
      : mix(client.word3 ^ IPV6_SEED ^ -1);
  return hash & (BUCKETS - 1);
}

/** FNV-1a, mixed. */
function seedOf(name: string): number {
  let hash = 0x811c9dc5 | 0;
  for (const byte of Buffer.from(name, 'utf8')) hash = Math.imul(hash ^ byte, 0x01000193);
  return mix(hash);
}

/** The finalizer of MurmurHash3: every bit of the input changes half of the output's. */
function mix(word: number): number {
  let hash = word | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
