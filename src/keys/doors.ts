/**
 * Who may ask for signatures: each worker, and the room that checks backends, has a door of its own. A door that is
 * opened anew takes the place of the old; garbage at a door costs that door alone. What is asked for too often, or by
 * somebody whose part it isn't, is refused, and told of now and then.
 */

import type { BlockingLoop } from '../ipc/blocking-loop.ts';
import { close } from '../sys/libc.ts';
import {
  decodeRequest,
  encodeReply,
  REPLY_BYTES_MAX,
  ROLE_CLIENT,
  STATUS_MALFORMED,
  STATUS_RATE_LIMITED,
  STATUS_READY,
  STATUS_REFUSED,
  STATUS_SIGNED,
  sequenceOf,
} from '../tls/signature-request.ts';
import type { Signer } from '../tls/signer.ts';

/** Signatures of one worker in a second, and at once: several times the handshakes that one core makes. */
export const WORKER_RATE: { readonly perSecond: number; readonly burst: number } = {
  perSecond: 20_000,
  burst: 40_000,
};
/** Refusals at a door are told of at most once in this time. */
const TELL_MS = 10_000;
/** Doors whose rates are remembered; beyond the number of workers and slots that there can be. */
const ASKERS_MAX = 65_537;
const NO_SIGNATURE = new Uint8Array(0);

export type Peer = 'edge' | 'outbound';

/** Who stands at a door, over all doors that it had. */
class Asker {
  readonly peer: Peer;
  readonly name: string;
  /** The door that it has now. */
  door: number;
  tokens: number;
  filledAtMs: number;
  refusals: number;
  toldAtMs: number;

  constructor(peer: Peer, index: number, nowMs: number) {
    this.peer = peer;
    this.name = peer === 'edge' ? `the worker in slot ${index}` : peer;
    this.door = -1;
    this.tokens = WORKER_RATE.burst;
    this.filledAtMs = nowMs;
    this.refusals = 0;
    this.toldAtMs = Number.NEGATIVE_INFINITY;
  }

  takeToken(nowMs: number): boolean {
    const earned = ((nowMs - this.filledAtMs) * WORKER_RATE.perSecond) / 1000;
    this.tokens = Math.min(WORKER_RATE.burst, this.tokens + earned);
    this.filledAtMs = nowMs;
    if (this.tokens < 1) return false;
    this.tokens -= 1;
    return true;
  }
}

export class Doors {
  private readonly loop: BlockingLoop;
  private readonly signer: Signer;
  private readonly log: (line: string) => void;
  private readonly now: () => number;
  private readonly askers: Map<string, Asker>;
  /** By the loop's number of the door. */
  private readonly byDoor: (Asker | undefined)[];
  private readonly reply: Uint8Array;
  private isServing: boolean;

  /** `now`: a clock in milliseconds that never goes back. */
  constructor(loop: BlockingLoop, signer: Signer, log: (line: string) => void, now: () => number) {
    this.loop = loop;
    this.signer = signer;
    this.log = log;
    this.now = now;
    this.askers = new Map();
    this.byDoor = [];
    this.reply = new Uint8Array(REPLY_BYTES_MAX);
    this.isServing = false;
  }

  /** There are keys: tells whoever is at a door, and whoever comes, that they are answered. */
  serve(): void {
    if (this.isServing) return;
    this.isServing = true;
    for (const asker of this.askers.values()) this.greet(asker.door);
  }

  private greet(door: number): void {
    const greeting = { status: STATUS_READY, sequence: 0, signature: NO_SIGNATURE };
    if (door >= 0) this.loop.tell(door, this.reply.subarray(0, encodeReply(this.reply, greeting)));
  }

  /** Opens a door for the one of that number; a door that it had closes. The descriptor goes to the loop. */
  open(peer: Peer, index: number, descriptor: number): void {
    if (descriptor < 0) return;
    const asker = this.askerOf(peer, index);
    if (asker.door >= 0 && this.byDoor[asker.door] === asker) this.loop.closeDoor(asker.door);
    const door = this.loop.addDoor(descriptor);
    asker.door = door;
    if (door >= 0) {
      this.byDoor[door] = asker;
      if (this.isServing) this.greet(door);
    } else {
      this.log(`there is no room for another door, for ${asker.name}`);
      close(descriptor);
    }
  }

  private askerOf(peer: Peer, index: number): Asker {
    const name = `${peer} ${index}`;
    const known = this.askers.get(name);
    if (known !== undefined) return known;
    if (this.askers.size >= ASKERS_MAX) this.askers.clear();
    const asker = new Asker(peer, index, this.now());
    this.askers.set(name, asker);
    return asker;
  }

  /** The answer to a datagram at a door, whatever its bytes are; valid until the next call. */
  answer(door: number, bytes: Uint8Array): Uint8Array {
    const asker = this.byDoor[door];
    if (asker === undefined) return this.refuse(STATUS_REFUSED, bytes);
    const request = decodeRequest(bytes);
    let reply: Uint8Array;
    if (request === null) reply = this.refuse(STATUS_MALFORMED, bytes);
    // It speaks to backends, never for this server.
    else if (asker.peer === 'outbound' && request.role !== ROLE_CLIENT)
      reply = this.refuse(STATUS_REFUSED, bytes);
    else if (!asker.takeToken(this.now())) reply = this.refuse(STATUS_RATE_LIMITED, bytes);
    else reply = this.signer.answer(bytes);
    if (reply[1] !== STATUS_SIGNED) this.note(asker, reply[1]);
    return reply;
  }

  private refuse(status: number, bytes: Uint8Array): Uint8Array {
    const reply = { status, sequence: sequenceOf(bytes), signature: NO_SIGNATURE };
    return this.reply.subarray(0, encodeReply(this.reply, reply));
  }

  private note(asker: Asker, status: number): void {
    asker.refusals++;
    const nowMs = this.now();
    if (nowMs - asker.toldAtMs < TELL_MS) return;
    this.log(`${asker.refusals} signatures not made for ${asker.name} (the last one with status ${status})`);
    asker.refusals = 0;
    asker.toldAtMs = nowMs;
  }
}
