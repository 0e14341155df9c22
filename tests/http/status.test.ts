import assert from 'node:assert/strict';
import { STATUS_CODES } from 'node:http';
import { test } from 'node:test';
import { FAULTS } from '../../src/http/fault.ts';
import { KNOWN_STATUSES, reasonPhrase } from '../../src/http/status.ts';

/** RFC 9110 renamed these after Node.js had its table; 418 and 509 are not registered. */
const DIFFERENT = new Set([413, 418, 422, 425, 509]);

test('agrees with Node.js on the reason phrases of registered statuses', () => {
  for (const [status, phrase] of Object.entries(STATUS_CODES)) {
    if (DIFFERENT.has(Number(status))) continue;
    assert.equal(reasonPhrase(Number(status)), phrase, status);
  }
});

test('has the names of RFC 9110', () => {
  assert.equal(reasonPhrase(413), 'Content Too Large');
  assert.equal(reasonPhrase(422), 'Unprocessable Content');
});

test('has no phrase for a status that is not registered', () => {
  assert.equal(reasonPhrase(299), '');
  assert.equal(KNOWN_STATUSES.includes(299), false);
});

test('has a phrase for every status that a fault becomes', () => {
  for (const fault of FAULTS)
    if (fault.status !== 0) assert.notEqual(reasonPhrase(fault.status), '', fault.word);
});
