/**
 * What goes wrong in a simulated network: one probability or intensity a line. Chances are 0 … 1 and are
 * drawn from the network's seed, so that the same seed and faults give the same run.
 */

import type { Random } from '../base/random.ts';

export interface SimFaults {
  /** That a socket with something to tell waits for a later turn; above 0, turns also go in random order. */
  readonly reorder: number;
  /** That a receive is cut at a random length, often to a few bytes. */
  readonly partialReceive: number;
  /** That the kernel takes only part of what it has room for. */
  readonly shortSend: number;
  /** Bytes that a connection holds in one direction, unread or on their way; drawn for each direction. */
  readonly windowBytesMin: number;
  readonly windowBytesMax: number;
  /** One way, drawn for each connection; a tenth of it as jitter. */
  readonly latencyMsMax: number;
  /** That a packet (and all behind it) is held up, and for how long at most. */
  readonly stall: number;
  readonly stallMsMax: number;
  /** That a connection is reset by something on the way, and when at the latest. */
  readonly reset: number;
  readonly resetMsMax: number;
  /** That a connection goes silent for good: nothing arrives any more, no end either. `resetMsMax` bounds when. */
  readonly vanish: number;
  /** That a connection is refused, answered late (`stallMsMax`), or never answered. */
  readonly refuse: number;
  readonly slowConnect: number;
  readonly deadConnect: number;
  /** That no buffer seems free for a receive. */
  readonly starve: number;
  /** That accepting or connecting fails with EMFILE. */
  readonly acceptFailure: number;
  readonly connectFailure: number;
  /** That no pipe is free to forward through. */
  readonly pipeFailure: number;
  /** That a receive begins somewhere inside its buffer rather than at its start. */
  readonly offsetReceive: number;
  /** That data arrived before `receiveStop` (a connection before `acceptPause`) still comes after it. */
  readonly late: number;
  /** That a reset throws away what the receiver had not read yet. */
  readonly resetDiscards: number;
  /** That a file operation is PENDING, and for how long at most. */
  readonly filePending: number;
  readonly filePendingMsMax: number;
  /** That opening, reading or sending a file fails with EIO or EACCES. */
  readonly fileFailure: number;
  readonly shortRead: number;
}

/** A friendly network: everything arrives at once and whole. */
export const NO_FAULTS: SimFaults = {
  reorder: 0,
  partialReceive: 0,
  shortSend: 0,
  windowBytesMin: 262144,
  windowBytesMax: 262144,
  latencyMsMax: 0,
  stall: 0,
  stallMsMax: 0,
  reset: 0,
  resetMsMax: 0,
  vanish: 0,
  refuse: 0,
  slowConnect: 0,
  deadConnect: 0,
  starve: 0,
  acceptFailure: 0,
  connectFailure: 0,
  pipeFailure: 0,
  offsetReceive: 0,
  late: 0,
  resetDiscards: 0,
  filePending: 0,
  filePendingMsMax: 0,
  fileFailure: 0,
  shortRead: 0,
};

/** Only what TCP and a busy kernel do on good days: order, sizes and delays vary, nothing fails. */
export function roughFaults(random: Random): SimFaults {
  return {
    ...NO_FAULTS,
    reorder: random.below(60) / 100,
    partialReceive: random.below(80) / 100,
    shortSend: random.below(80) / 100,
    windowBytesMin: random.chance(0.2) ? 64 : 2048,
    windowBytesMax: random.chance(0.3) ? 4096 : 131072,
    latencyMsMax: random.below(40),
    stall: random.chance(0.5) ? random.below(30) / 1000 : 0,
    stallMsMax: 400,
    offsetReceive: random.below(100) / 100,
    late: random.below(100) / 100,
    filePending: random.below(100) / 100,
    filePendingMsMax: random.below(50),
    shortRead: random.below(50) / 100,
  };
}

/** Each failure on or off by itself, so that a run has a few of them in strength rather than all of them a little. */
export function randomFaults(random: Random): SimFaults {
  const some = (perMille: number): number => (random.chance(0.4) ? random.below(perMille + 1) / 1000 : 0);
  return {
    ...roughFaults(random),
    stall: some(40),
    stallMsMax: random.chance(0.2) ? 90_000 : 2000,
    reset: some(250),
    resetMsMax: 1 + random.below(3000),
    vanish: some(150),
    refuse: some(200),
    slowConnect: some(200),
    deadConnect: some(100),
    starve: some(200),
    acceptFailure: some(100),
    connectFailure: some(100),
    pipeFailure: some(500),
    resetDiscards: random.below(2),
    fileFailure: some(100),
  };
}
