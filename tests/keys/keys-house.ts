/** A keys room in its house, for tests: the launcher, a ring of keys, doors. */

import { createHash, createPublicKey } from 'node:crypto';
import { after } from 'node:test';
import type { KeyFile, KeyRole } from '../../src/config/material.ts';
import { KeyRing } from '../../src/master/key-ring.ts';
import type { Room } from '../../src/master/room.ts';
import { createMessagePair } from '../../src/sys/descriptors.ts';
import {
  decodeReply,
  encodeRequest,
  REQUEST_BYTES_MAX,
  ROLE_SERVER,
  type Role,
  type SignatureReply,
} from '../../src/tls/signature-request.ts';
import { SigningChannel } from '../../src/tls/signing-channel.ts';
import type { TestCertificate } from '../fixtures/certificates.ts';
import { until } from '../fixtures/patience.ts';
import { drainPipe, openPipe, planFor, startRoom } from '../master/house.ts';
import { tls13Message } from '../tls/signed-messages.ts';

/** Longer than any room takes. */
const READY_MS = 20_000;
const REPLY_MS = 5_000;

/** A key as the judge names it. */
export function keyFile(id: number, { cert, keyPath }: TestCertificate, role: KeyRole = 'server'): KeyFile {
  const publicKey = createPublicKey(cert).export({ type: 'spki', format: 'der' });
  return { id, role, path: keyPath, publicKeyHash: createHash('sha256').update(publicKey).digest('hex') };
}

const request = new Uint8Array(REQUEST_BYTES_MAX);
let sequence = 0;

/** A door from the side of whoever asks. */
export class TestDoor {
  readonly descriptor: number;
  private readonly channel: SigningChannel;

  constructor(descriptor: number) {
    this.descriptor = descriptor;
    this.channel = new SigningChannel(descriptor, REPLY_MS);
  }

  /** The reply, or null where none came. */
  ask(
    keyId: number,
    scheme = 0x0403,
    role: Role = ROLE_SERVER,
    message = tls13Message(role, 32),
  ): SignatureReply | null {
    sequence++;
    const length = encodeRequest(request, { role, scheme, keyId, sequence, message });
    return decodeReply(this.exchange(request.subarray(0, length)));
  }

  exchange(bytes: Uint8Array): Uint8Array {
    return this.channel.exchange(bytes) ?? new Uint8Array(0);
  }
}

const houses: KeysHouse[] = [];
after(() => {
  for (const { room } of houses) room.kill('the tests are over');
});

export class KeysHouse {
  readonly ring: KeyRing;
  readonly room: Room;
  /** What the room answered, `ready 1` or `refused 2: …`. */
  readonly answers: string[];
  private readonly pipe: number;
  private output: string;
  ended: string;

  private constructor(ring: KeyRing, keys: readonly KeyFile[]) {
    this.ring = ring;
    this.answers = [];
    this.pipe = openPipe();
    this.output = '';
    this.ended = '';
    this.room = startRoom('keys', planFor('keys', 'keys'), [], this.pipe, {
      onReady: (_, generation) => this.answers.push(`ready ${generation}`),
      onMessage: (_, message) => {
        if (message.kind === 'refused') this.answers.push(`refused ${message.generation}: ${message.reason}`);
      },
      onEnded: (_, reason) => {
        this.ended = reason;
      },
    });
    houses.push(this);
    ring.furnish(this.room, { keys });
    this.send(1);
  }

  /** Starts the room with these keys, and waits for its answer. */
  static async start(keys: readonly KeyFile[], ring = new KeyRing()): Promise<KeysHouse> {
    const house = new KeysHouse(ring, keys);
    await house.answered(1);
    return house;
  }

  private send(generation: number): void {
    const bytes = Buffer.from(this.ring.configuration());
    this.room.send({ kind: 'configure', generation, part: 0, parts: 1, bytes });
  }

  private async answered(generation: number): Promise<string> {
    const mine = (): string | undefined =>
      this.answers.find((answer) => new RegExp(`^\\w+ ${generation}\\b`).test(answer));
    await until(() => mine() !== undefined || this.ended !== '', READY_MS, 'the keys room answers');
    return mine() ?? `ended: ${this.ended}: ${this.said()}`;
  }

  /** Brings more keys. Its answer. */
  add(generation: number, keys: readonly KeyFile[]): Promise<string> {
    this.ring.add(this.room, { keys });
    this.send(generation);
    return this.answered(generation);
  }

  /** Leaves only these. Its answer. */
  keepOnly(generation: number, keys: readonly KeyFile[]): Promise<string> {
    this.ring.keepOnly({ keys });
    this.send(generation);
    return this.answered(generation);
  }

  door(peer: 'edge' | 'outbound' = 'edge', index = 0): TestDoor {
    const pair = createMessagePair(262_144);
    if (typeof pair === 'number') throw new Error(`no pair: ${pair}`);
    this.room.handOver({ kind: 'descriptors', purpose: 'channel', peer, index }, [pair[1]]);
    return new TestDoor(pair[0]);
  }

  /** All that it wrote. */
  said(): string {
    this.output += drainPipe(this.pipe);
    return this.output;
  }

  async kill(): Promise<void> {
    this.room.kill('the test is over');
    await until(() => this.ended !== '', READY_MS, 'the keys room ends');
  }
}
