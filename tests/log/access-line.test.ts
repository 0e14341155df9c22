/** A request's line byte by byte: the same as formatAccess writes, or none. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { accessBytesMax, NOT_PLAIN, putAccess } from '../../src/log/access-line.ts';
import { AccessRecord, type Format, formatAccess, VALUE_CHARS_MAX } from '../../src/log/line.ts';

const NOON = Date.UTC(2026, 4, 1, 12, 0, 0, 7);
const FORMATS: readonly Format[] = ['text', 'json'];

function record(values: Partial<AccessRecord>): AccessRecord {
  return Object.assign(
    new AccessRecord(),
    { client: '192.0.2.1', method: 'GET', host: 'a.test', path: '/' },
    values,
  );
}

/** The same record, its host and path in memory. */
function located(values: Partial<AccessRecord>): AccessRecord {
  const whole = record(values);
  const source = Buffer.from(`..${whole.host}.${whole.path}..`, 'latin1');
  return Object.assign(record(values), {
    located: true,
    source,
    host: '',
    path: '',
    hostOffset: 2,
    hostLength: whole.host.length,
    pathOffset: 3 + whole.host.length,
    pathLength: whole.path.length,
  });
}

/** What is written, or null; exactly as many bytes are free as it asked for. */
function written(format: Format, wallMs: number, from: AccessRecord): string | null {
  const at = 5;
  const bytes = new Uint8Array(at + accessBytesMax(from));
  const end = putAccess(bytes, new DataView(bytes.buffer), at, format, wallMs, from);
  if (end === NOT_PLAIN) return null;
  assert.ok(end <= bytes.length, 'it is no longer than it said');
  return Buffer.from(bytes.subarray(at, end)).toString('latin1');
}

describe('a request’s line, byte by byte', () => {
  for (const format of FORMATS) {
    it(`is what formatAccess writes, wherever host and path lie (${format})`, () => {
      const values = {
        path: '/a/b?c=d',
        status: 206,
        bytes: 2 ** 40,
        durationMs: 12,
        upstream: 'http://127.0.0.1:8080',
        requestId: '0123',
        reason: 'client-gone',
      };
      const plain = format === 'json' ? values : { ...values, path: '/a/b?c' };
      const expected = formatAccess(format, NOON, record(plain));
      assert.equal(written(format, NOON, record(plain)), expected);
      assert.equal(written(format, NOON, located(plain)), expected);
    });

    it(`leaves to formatAccess what needs quotes, an escape or an end (${format})`, () => {
      const strange = ['"', '\\', '\n', '\x7f', '\u00e9', 'x'.repeat(VALUE_CHARS_MAX + 1)];
      if (format === 'text') strange.push(' ', '=', '-');
      for (const value of strange) {
        assert.equal(written(format, NOON, record({ path: value })), null, JSON.stringify(value));
        assert.equal(written(format, NOON, located({ path: value })), null, JSON.stringify(value));
        assert.equal(written(format, NOON, record({ upstream: value })), null, JSON.stringify(value));
      }
    });

    it(`is what formatAccess writes or nothing, whatever is in it (${format})`, () => {
      const text = fc.string({
        unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
      });
      const any = fc.record({
        client: fc.ipV4(),
        method: fc.constantFrom('GET', 'POST', ''),
        host: fc.oneof(fc.domain(), text),
        path: fc.oneof(fc.webPath(), text),
        status: fc.integer({ min: 0, max: 999 }),
        bytes: fc.nat(Number.MAX_SAFE_INTEGER),
        durationMs: fc.nat(2 ** 31),
        upstream: fc.oneof(fc.webUrl(), text),
        requestId: fc.constantFrom('', 'abc'),
        reason: fc.constantFrom('', 'no-route'),
      });
      let count = 0;
      fc.assert(
        fc.property(
          any,
          fc.date({ min: new Date(0), max: new Date('2100-01-01'), noInvalidDate: true }),
          (values, date) => {
            const expected = formatAccess(format, date.getTime(), record(values));
            for (const from of [record(values), located(values)]) {
              const line = written(format, date.getTime(), from);
              if (line !== null) count++;
              assert.ok(line === null || line === expected, `${line} for ${expected}`);
            }
          },
        ),
        { numRuns: 2000 },
      );
      assert.ok(count > 200, `${count} of them were written`);
    });
  }

  it('is written of a record in memory also where it is no plain one', () => {
    const from = located({ path: '/"' });
    assert.equal(formatAccess('text', NOON, from), formatAccess('text', NOON, record({ path: '/"' })));
  });
});
