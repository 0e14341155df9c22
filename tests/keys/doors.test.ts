/** Who may have how much signed. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { BlockingLoop } from '../../src/ipc/blocking-loop.ts';
import { Doors, WORKER_RATE } from '../../src/keys/doors.ts';
import {
  decodeReply,
  encodeReply,
  encodeRequest,
  REPLY_BYTES_MAX,
  REQUEST_BYTES_MAX,
  ROLE_SERVER,
  STATUS_RATE_LIMITED,
  STATUS_SIGNED,
} from '../../src/tls/signature-request.ts';
import type { Signer } from '../../src/tls/signer.ts';

/** Doors with a signer that signs all and a clock that stands still. */
function openDoors() {
  const clock = { nowMs: 1000 };
  const lines: string[] = [];
  const closed: number[] = [];
  let doors = 0;
  const loop = { addDoor: () => doors++, closeDoor: (door: number) => closed.push(door) };
  const reply = new Uint8Array(REPLY_BYTES_MAX);
  const length = encodeReply(reply, { status: STATUS_SIGNED, sequence: 1, signature: new Uint8Array(64) });
  const signer = { answer: () => reply.subarray(0, length) };
  const all = new Doors(
    loop as unknown as BlockingLoop,
    signer as unknown as Signer,
    (line) => lines.push(line),
    () => clock.nowMs,
  );
  return { all, clock, lines, closed };
}

const request = new Uint8Array(REQUEST_BYTES_MAX);
const length = encodeRequest(request, {
  role: ROLE_SERVER,
  scheme: 0x0403,
  keyId: 1,
  sequence: 1,
  message: new Uint8Array(130),
});

/** How many of so many requests are signed. */
function signed(all: Doors, door: number, count: number): number {
  let found = 0;
  for (let each = 0; each < count; each++) {
    const { status } = decodeReply(all.answer(door, request.subarray(0, length))) ?? { status: -1 };
    assert.ok(status === STATUS_SIGNED || status === STATUS_RATE_LIMITED);
    if (status === STATUS_SIGNED) found++;
  }
  return found;
}

describe('the rate of a worker', () => {
  it('is its own: what one uses up, the others still have', () => {
    const { all, clock } = openDoors();
    all.open('edge', 0, 10);
    all.open('edge', 1, 11);
    assert.equal(signed(all, 0, WORKER_RATE.burst + 5), WORKER_RATE.burst);
    assert.equal(signed(all, 1, 5), 5);
    clock.nowMs += 100;
    assert.equal(signed(all, 0, WORKER_RATE.perSecond), WORKER_RATE.perSecond / 10);
    clock.nowMs += 3_600_000;
    assert.equal(signed(all, 0, WORKER_RATE.burst + 5), WORKER_RATE.burst);
  });

  it('is not had anew with another door', () => {
    const { all, closed } = openDoors();
    all.open('edge', 0, 10);
    signed(all, 0, WORKER_RATE.burst);
    all.open('edge', 0, 12);
    assert.deepEqual(closed, [0]);
    assert.equal(signed(all, 1, 5), 0);
  });

  it('is told of when it is exceeded, not for each signature', () => {
    const { all, clock, lines } = openDoors();
    all.open('edge', 3, 10);
    signed(all, 0, WORKER_RATE.burst + 500);
    assert.deepEqual(lines, [
      `1 signatures not made for the worker in slot 3 (the last one with status ${STATUS_RATE_LIMITED})`,
    ]);
    clock.nowMs += 10_000;
    signed(all, 0, WORKER_RATE.burst + 1);
    assert.match(lines[1], /^500 signatures not made/);
    assert.equal(lines.length, 2);
  });
});
