import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { formatHttpDate, HTTP_DATE_BYTES, NO_DATE, parseHttpDate } from '../../src/http/dates.ts';
import { embed } from './section.ts';

const NOW = Date.UTC(2025, 5, 1) / 1000;

function parse(text: string, nowSeconds = NOW): number {
  const { bytes, offset, length } = embed(text);
  return parseHttpDate(bytes, offset, length, nowSeconds);
}

const EXAMPLE = 784111777;

// RFC 9110 §5.6.7.
const VALID: readonly { text: string; seconds: number }[] = [
  { text: 'Sun, 06 Nov 1994 08:49:37 GMT', seconds: EXAMPLE },
  { text: 'Sunday, 06-Nov-94 08:49:37 GMT', seconds: EXAMPLE },
  { text: 'Sun Nov  6 08:49:37 1994', seconds: EXAMPLE },
  { text: 'Wed Nov 16 08:49:37 1994', seconds: EXAMPLE + 10 * 86400 },
  { text: 'Thu, 01 Jan 1970 00:00:00 GMT', seconds: 0 },
  { text: 'Wed, 31 Dec 1969 23:59:59 GMT', seconds: -1 },
  { text: 'Thu, 29 Feb 2024 12:00:00 GMT', seconds: Date.UTC(2024, 1, 29, 12) / 1000 },
  { text: 'Tue, 29 Feb 2000 12:00:00 GMT', seconds: Date.UTC(2000, 1, 29, 12) / 1000 },
  { text: 'Fri, 31 Dec 9999 23:59:59 GMT', seconds: 253402300799 },
  { text: 'Sat, 31 Dec 2016 23:59:60 GMT', seconds: Date.UTC(2017, 0, 1) / 1000 },
  { text: 'Mon, 06 Nov 1994 08:49:37 GMT', seconds: EXAMPLE },
  { text: 'Wednesday, 01-Jan-75 00:00:00 GMT', seconds: Date.UTC(2075, 0, 1) / 1000 },
  { text: 'Wednesday, 01-Jan-76 00:00:00 GMT', seconds: Date.UTC(1976, 0, 1) / 1000 },
];

const INVALID: readonly string[] = [
  '',
  'x',
  '784111777',
  'Sun, 06 Nov 1994 08:49:37',
  'Sun, 06 Nov 1994 08:49:37 UTC',
  'sun, 06 Nov 1994 08:49:37 GMT',
  'Sun, 06 nov 1994 08:49:37 GMT',
  'Sun, 06 Nov 1994 08:49:37 gmt',
  'Sun, 00 Nov 1994 08:49:37 GMT',
  'Sun, 31 Nov 1994 08:49:37 GMT',
  'Thu, 29 Feb 2023 12:00:00 GMT',
  'Thu, 29 Feb 1900 12:00:00 GMT',
  'Sun, 06 Nov 1994 24:00:00 GMT',
  'Sun, 06 Nov 1994 08:60:37 GMT',
  'Sun, 06 Nov 1994 08:49:61 GMT',
  'Sun, 06 Nov 1994 08:49:3x GMT',
  'Sun,  6 Nov 1994 08:49:37 GMT',
  'Sun, 06-Nov-1994 08:49:37 GMT',
  'Sun, 06 Foo 1994 08:49:37 GMT',
  'Xyz, 06 Nov 1994 08:49:37 GMT',
  'Sunday, 06-Nov-1994 08:49:37 GMT',
  'Funday, 06-Nov-94 08:49:37 GMT',
  'Sunday, 06 Nov 94 08:49:37 GMT',
  'Sun Nov 06 08:49:37 94  ',
  'Sun Nov x6 08:49:37 1994',
  'Sun, 06 Nov 1994 08:49:37 GMT ',
];

describe('HTTP dates', () => {
  for (const { text, seconds } of VALID) it(`reads ${text}`, () => assert.equal(parse(text), seconds));
  for (const text of INVALID) it(`refuses "${text}"`, () => assert.equal(parse(text), NO_DATE));

  it('writes an IMF-fixdate of 29 bytes', () => {
    assert.equal(formatHttpDate(EXAMPLE), 'Sun, 06 Nov 1994 08:49:37 GMT');
    assert.equal(formatHttpDate(EXAMPLE + 0.9).length, HTTP_DATE_BYTES);
  });

  it('writes the nearest time that has a form when it lies outside', () => {
    assert.equal(formatHttpDate(-5), 'Thu, 01 Jan 1970 00:00:00 GMT');
    assert.equal(formatHttpDate(1e15), 'Fri, 31 Dec 9999 23:59:59 GMT');
  });

  it('reads back every date that it writes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 253402300799 }), (seconds) => {
        assert.equal(parse(formatHttpDate(seconds)), seconds);
      }),
    );
  });

  it('reads the asctime and RFC 850 forms of every date to the same second', () => {
    const span = { min: Date.UTC(1976, 0, 1) / 1000, max: Date.UTC(2074, 0, 1) / 1000 };
    fc.assert(
      fc.property(fc.integer(span), (seconds) => {
        const [name, day, month, year, time] = formatHttpDate(seconds).split(/,? /);
        assert.equal(parse(`${name} ${month} ${String(Number(day)).padStart(2)} ${time} ${year}`), seconds);
        const long = new Date(seconds * 1000).toLocaleDateString('en', { weekday: 'long', timeZone: 'UTC' });
        assert.equal(parse(`${long}, ${day}-${month}-${year.slice(2)} ${time} GMT`), seconds);
      }),
    );
  });

  it('returns no date for arbitrary bytes, and never throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const result = parseHttpDate(bytes, 0, bytes.length, NOW);
        assert.ok(Number.isInteger(result));
      }),
    );
  });
});
