import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { AcceptedCodings, CODING_NAMES } from '../../src/http/accept-encoding.ts';
import { sectionOf } from './section.ts';

function order(...values: string[]): string {
  const codings = new AcceptedCodings();
  codings.read(sectionOf(values.map((value) => ['Accept-Encoding', value] as const)));
  return [...codings.order.subarray(0, codings.count)].map((coding) => CODING_NAMES[coding]).join(' ');
}

// RFC 9110 §12.5.3; what is tried before identity, in this order.
const VECTORS: readonly { values: string[]; tried: string }[] = [
  { values: [], tried: '' },
  { values: [''], tried: '' },
  { values: ['gzip'], tried: 'gzip' },
  { values: ['gzip, deflate, br, zstd'], tried: 'br zstd gzip' },
  { values: ['compress, gzip'], tried: 'gzip' },
  { values: ['*'], tried: 'br zstd gzip' },
  { values: ['compress;q=0.5, gzip;q=1.0'], tried: 'gzip' },
  { values: ['gzip;q=1.0, identity; q=0.5, *;q=0'], tried: 'gzip' },
  { values: ['gzip;q=1, br;q=0.9, zstd;q=0.95'], tried: 'gzip zstd br' },
  { values: ['br;q=0, gzip'], tried: 'gzip' },
  { values: ['br;q=0.000, *'], tried: 'zstd gzip' },
  { values: ['gzip;q=0.2, *;q=0.5'], tried: 'br zstd' },
  { values: ['gzip;q=0.001'], tried: 'gzip' },
  { values: ['identity, gzip;q=0.5'], tried: '' },
  { values: ['identity;q=0'], tried: '' },
  { values: ['identity;q=0, br;q=0.1'], tried: 'br' },
  { values: ['identity;q=0.5, gzip;q=0.5'], tried: 'gzip' },
  { values: ['x-gzip'], tried: 'gzip' },
  { values: ['GZip ; Q=0.5 , BR'], tried: 'br gzip' },
  { values: ['gzip', 'br;q=0.5'], tried: 'gzip br' },
  { values: ['gzip;q=abc, br'], tried: 'br' },
  { values: ['gzip;q=2, br'], tried: 'br' },
  { values: ['gzip;q=1.001, br'], tried: 'br' },
  { values: ['gzip;q=0.1234, br'], tried: 'br' },
  { values: ['gzip;q=, br'], tried: 'br' },
  { values: ['gzip;level=9, br'], tried: 'br' },
  { values: ['gzip;q=-1, br'], tried: 'br' },
  { values: ['gzip br'], tried: '' },
  { values: ['gzipx, xgzip, brr'], tried: '' },
  { values: [',, ,gzip,'], tried: 'gzip' },
];

describe('Accept-Encoding', () => {
  for (const { values, tried } of VECTORS) {
    it(`${values.join(' / ') || '(none)'} tries ${tried || 'identity only'}`, () => {
      assert.equal(order(...values), tried);
    });
  }

  it('never offers a coding that is refused, whatever the order of the elements', () => {
    const names = ['br', 'zstd', 'gzip', 'identity'];
    const weights = fc.tuple(fc.nat(10), fc.nat(10), fc.nat(10), fc.nat(10));
    fc.assert(
      fc.property(weights, fc.shuffledSubarray([0, 1, 2, 3], { minLength: 4 }), (q, shuffle) => {
        const text = shuffle.map((i) => `${names[i]};q=${(q[i] / 10).toFixed(1)}`).join(', ');
        const expected = [0, 1, 2]
          .filter((i) => q[i] > 0 && q[i] >= q[3])
          .sort((a, b) => q[b] - q[a] || a - b)
          .map((i) => names[i])
          .join(' ');
        assert.equal(order(text), expected);
      }),
    );
  });
});
