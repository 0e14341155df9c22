/** The labels that the edge's metrics use for its own numbers: methods, faults, failures of backends and of TLS. */

import { assert } from '../base/assert.ts';
import { E_NO_HEALTHY_SERVER, FAULTS } from '../http/fault.ts';
import { METHOD_NAMES } from '../http/message.ts';
import { REASON_WORDS } from '../http2/budget.ts';
import {
  FAILURES_MAX,
  FAULTS_MAX,
  HTTP2_FLOODS_MAX,
  METHODS_MAX,
  TLS_FAILURES_MAX,
} from '../metrics/layout.ts';

/** By method id; the empty one is for all others. */
export const METHOD_WORDS: readonly string[] = METHOD_NAMES;
/** By negated fault code. */
export const FAULT_WORDS: readonly string[] = FAULTS.map((fault, index) => (index === 0 ? '' : fault.word));

/** What a backend can fail with: codes of faults. That none is healthy is no server's failure. */
const FAILURE_CODES = FAULTS.map((_, index) => -index).filter(
  (code) => FAULTS[-code].source === 'upstream' && code !== E_NO_HEALTHY_SERVER,
);
export const FAILURE_WORDS: readonly string[] = FAILURE_CODES.map((code) => FAULTS[-code].word);
const FAILURE_NUMBERS = Int8Array.from(FAULTS, (_, index) => FAILURE_CODES.indexOf(-index));

/** The number of a fault among those that a backend fails with; -1 for one that is not a backend's. */
export function failureNumber(code: number): number {
  return FAILURE_NUMBERS[-code];
}

/** Classes of failed handshakes, and words by which reasons belong to them; the first class that fits counts. */
const TLS_CLASSES: readonly (readonly [string, readonly string[]])[] = [
  ['timeout', ['took too long']],
  ['client-gone', ['the peer left', 'the connection broke']],
  ['plain-http', ['plain HTTP']],
  ['not-tls', ['not a TLS record', 'wrong version number', 'http request', 'packet length too long']],
  ['alert', ['alert ']],
  [
    'nothing-in-common',
    [
      'unsupported protocol',
      'version too low',
      'inappropriate fallback',
      'no shared cipher',
      'no suitable',
      'no application protocol',
      'no shared group',
      'cipher suite that',
    ],
  ],
  ['client-certificate', ['did not return a certificate', 'certificate']],
  ['overload', ['out of memory', 'malloc failure']],
  ['other', ['']],
];
export const TLS_FAILURE_WORDS: readonly string[] = TLS_CLASSES.map(([word]) => word);

/** The number of the class that a failed handshake belongs to, by its reason in words. */
export function tlsFailureNumber(reason: string): number {
  return TLS_CLASSES.findIndex(([, signs]) => signs.some((sign) => reason.includes(sign)));
}

assert(METHOD_WORDS.length <= METHODS_MAX, 'more methods than metrics have room for');
assert(FAULT_WORDS.length <= FAULTS_MAX, 'more faults than metrics have room for');
assert(FAILURE_WORDS.length <= FAILURES_MAX, 'more failures than metrics have room for');
assert(TLS_FAILURE_WORDS.length <= TLS_FAILURES_MAX, 'more classes than metrics have room for');
assert(REASON_WORDS.length <= HTTP2_FLOODS_MAX, 'more floods than metrics have room for');
