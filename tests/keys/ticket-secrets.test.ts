/** The master's secret of tickets moves on as those of workers do. */

import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { TlsConfig } from '../../src/config/model.ts';
import { TicketSecrets } from '../../src/master/ticket-secrets.ts';
import { TicketKeys } from '../../src/tls/ticket-keys.ts';

const PERIOD_SECS = 3600;
const HOUR_MS = PERIOD_SECS * 1000;
const TLS = {
  sessionTickets: true,
  sessionTicketKeyPath: null,
  sessionTicketRotationSecs: PERIOD_SECS,
} as TlsConfig;

function startAt(nowMs: number) {
  const clock = { nowMs };
  const secrets = new TicketSecrets(() => clock.nowMs);
  const given = () => {
    const { secret = '', period = -1 } = secrets.current(TLS) ?? {};
    return { secret: Buffer.from(secret, 'base64'), period };
  };
  return { clock, secrets, given };
}

it('a worker that starts later has the keys of one that has run since', () => {
  const { clock, given } = startAt(500_000 * HOUR_MS);
  const early = TicketKeys.rotating(PERIOD_SECS, given(), () => clock.nowMs);
  for (const hours of [0.5, 0.6, 5, 1000]) {
    clock.nowMs += hours * HOUR_MS;
    const late = given();
    assert.deepEqual(early.state(), { secret: new Uint8Array(late.secret), period: late.period }, `${hours}`);
  }
  early.free();
});

it('the secret of a period is gone in the next one', () => {
  const { clock, given } = startAt(500_000 * HOUR_MS);
  const before = given();
  assert.deepEqual(given(), before);
  clock.nowMs += HOUR_MS;
  const after = given();
  assert.notDeepEqual(after.secret, before.secret);
  assert.equal(after.period, before.period + 1);
});

it('another length of periods means another secret', () => {
  const { secrets, given } = startAt(500_000 * HOUR_MS);
  const before = given();
  const other = secrets.current({ ...TLS, sessionTicketRotationSecs: 60 });
  assert.notEqual(other?.secret, before.secret.toString('base64'));
});

it('there is none where tickets are off, or where their keys are in a file', () => {
  const { secrets } = startAt(0);
  assert.equal(secrets.current(null), null);
  assert.equal(secrets.current({ ...TLS, sessionTickets: false }), null);
  assert.equal(secrets.current({ ...TLS, sessionTicketKeyPath: '/keys' }), null);
});
