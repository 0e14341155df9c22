/** Keys of tickets, by what they do to OpenSSL's contexts: the tickets themselves are in server-contexts.test.ts. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ServerContexts } from '../../src/tls/server-contexts.ts';
import { TicketKeys, ticketKeyFault } from '../../src/tls/ticket-keys.ts';
import { testAuthority } from '../fixtures/certificates.ts';
import { shakeHands } from './server-handshake.ts';
import { materialOf, SETTINGS } from './server-material.ts';

const HOUR_MS = 3_600_000;
const certificate = testAuthority().server(['tickets.example']);

function contextsWith(tickets: TicketKeys): ServerContexts {
  const material = materialOf([certificate]);
  return new ServerContexts({ settings: SETTINGS, material, tickets, protocols: ['http/1.1'] });
}

/** Whether what one gave out is taken by the other. */
function isTaken(from: TicketKeys, by: TicketKeys): boolean {
  const [giver, taker] = [contextsWith(from), contextsWith(by)];
  const { session } = shakeHands(giver);
  const { resumed } = shakeHands(taker, { session });
  giver.free();
  taker.free();
  return resumed;
}

test('workers that share a state have the same keys in every period, without talk', () => {
  let now = 500_000 * HOUR_MS;
  const clock = () => now;
  const first = TicketKeys.rotating(3600, null, clock);
  const second = TicketKeys.rotating(3600, first.state(), clock);
  for (const hours of [0, 1, 7]) {
    now += hours * HOUR_MS;
    assert.equal(isTaken(first, second), true);
    assert.equal(isTaken(second, first), true);
  }
});

test('a worker that is given the state of an earlier period catches up', () => {
  let now = 500_000 * HOUR_MS;
  const first = TicketKeys.rotating(3600, null, () => now);
  const state = first.state();
  now += 3 * HOUR_MS;
  assert.equal(
    isTaken(
      first,
      TicketKeys.rotating(3600, state, () => now),
    ),
    true,
  );
});

test('the state of a period tells nothing of the periods before', () => {
  let now = 500_000 * HOUR_MS;
  const first = TicketKeys.rotating(3600, null, () => now);
  const early = first.state();
  now += HOUR_MS;
  const late = first.state();
  assert.notDeepEqual(late?.secret, early?.secret);
  now -= HOUR_MS;
  const thief = TicketKeys.rotating(3600, late, () => now);
  const twin = TicketKeys.rotating(3600, early, () => now);
  assert.equal(isTaken(twin, thief), false);
});

test('a clock that goes back changes nothing', () => {
  let now = 500_000 * HOUR_MS;
  const keys = TicketKeys.rotating(3600, null, () => now);
  const before = keys.state();
  now -= 5 * HOUR_MS;
  assert.deepEqual(keys.state(), before);
  assert.equal(isTaken(keys, keys), true);
});

test('a machine that slept for years wakes up at once, and its workers agree', () => {
  let now = 500_000 * HOUR_MS;
  const clock = () => now;
  const first = TicketKeys.rotating(60, null, clock);
  const second = TicketKeys.rotating(60, first.state(), clock);
  now += 5 * 365 * 24 * HOUR_MS;
  assert.deepEqual(first.state(), second.state());
  assert.equal(isTaken(first, second), true);
});

test('of a file of keys the first encrypts and all decrypt', () => {
  const [a, b] = [Buffer.alloc(80, 1), Buffer.alloc(80, 2)];
  const fixed = (...keys: Buffer[]) => TicketKeys.fixed(Buffer.concat(keys), 3600);
  assert.equal(isTaken(fixed(a), fixed(b, a)), true);
  assert.equal(isTaken(fixed(b, a), fixed(b)), true);
  assert.equal(isTaken(fixed(b, a), fixed(a)), false);
  assert.equal(fixed(a).state(), null);
});

for (const { bytes, isRight } of [
  { bytes: 0, isRight: false },
  { bytes: 79, isRight: false },
  { bytes: 80, isRight: true },
  { bytes: 81, isRight: false },
  { bytes: 640, isRight: true },
  { bytes: 720, isRight: false },
]) {
  test(`${bytes} bytes ${isRight ? 'are' : 'aren’t'} a file of ticket keys`, () => {
    assert.equal(ticketKeyFault(new Uint8Array(bytes)) === '', isRight);
  });
}

test('keys that are forgotten give no tickets and break no handshake', () => {
  const keys = TicketKeys.rotating(3600);
  const contexts = contextsWith(keys);
  const { session } = shakeHands(contexts);
  keys.free();
  const again = shakeHands(contexts, { session });
  assert.equal(again.clientError, '');
  assert.equal(again.resumed, false);
  contexts.free();
});
