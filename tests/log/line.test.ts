import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { AccessRecord, formatAccess, formatEntry, VALUE_CHARS_MAX } from '../../src/log/line.ts';

const NOON = Date.UTC(2026, 0, 2, 12, 0, 0, 7);

function record(values: Partial<AccessRecord>): AccessRecord {
  return Object.assign(new AccessRecord(), values);
}

describe('text', () => {
  it('writes time, level, message and fields', () => {
    assert.equal(
      formatEntry('text', NOON, 'info', 'Upstream api1.internal:8080 is now unhealthy', {
        failures: 3,
        path: '/health',
      }),
      '2026-01-02T12:00:00.007Z [INFO] Upstream api1.internal:8080 is now unhealthy failures=3 path=/health\n',
    );
  });

  it('writes a request', () => {
    const line = formatAccess(
      'text',
      NOON + 993,
      record({
        client: '192.0.2.1',
        method: 'GET',
        host: 'example.com',
        path: '/a b?c="d"',
        status: 200,
        bytes: 1024,
        durationMs: 12,
        upstream: 'http://localhost:8080',
        requestId: '00ff',
      }),
    );
    assert.equal(
      line,
      '2026-01-02T12:00:01.000Z [INFO] access client=192.0.2.1 method=GET host=example.com path="/a b?c=\\"d\\""' +
        ' status=200 bytes=1024 duration_ms=12 upstream=http://localhost:8080 request_id=00ff reason=-\n',
    );
  });

  const values: [string, string][] = [
    ['', '-'],
    ['-', '"-"'],
    ['a=b', '"a=b"'],
    ['a\nb', '"a\\u000ab"'],
    ['\r\x00\x1b[31m', '"\\u000d\\u0000\\u001b[31m"'],
    ['\x7f\x9b', '"\\u007f\\u009b"'],
    ['"\\', '"\\"\\\\"'],
    ['\u202egnp.exe', '"\\u202egnp.exe"'],
    ['\u2028', '"\\u2028"'],
    ['caf\u00e9 \u65e5\u672c \u{1f600}', '"caf\u00e9 \u65e5\u672c \u{1f600}"'],
    ['\ud800x\udc00', '"\\ud800x\\udc00"'],
  ];
  for (const [value, expected] of values) {
    it(`writes the value ${JSON.stringify(value)} as ${expected}`, () => {
      assert.equal(
        formatEntry('text', NOON, 'warn', 'm', { v: value }),
        `2026-01-02T12:00:00.007Z [WARN] m v=${expected}\n`,
      );
    });
  }
});

describe('both formats', () => {
  const anyText = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string({ unit: fc.constantFrom('\n', '"', '\\', ' ', '\u2028', '\ud800', 'a') }),
  );

  it('write exactly one line, whatever a value holds', () => {
    fc.assert(
      fc.property(anyText, fc.constantFrom<'text' | 'json'>('text', 'json'), (text, format) => {
        for (const line of [
          formatEntry(format, NOON, 'info', text, { v: text }),
          formatAccess(format, NOON, record({ path: text, host: text, reason: text })),
        ]) {
          assert.equal(line.split(/[\n\r\u0085\u2028\u2029]/).length, 2);
          assert.doesNotMatch(line.slice(0, -1), /[\x00-\x1f\x7f-\x9f]/);
        }
      }),
    );
  });

  it('give every value back by JSON', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const entry = JSON.parse(formatEntry('json', NOON, 'error', text, { v: text, n: 1.5 }));
        assert.deepEqual(entry, {
          time: '2026-01-02T12:00:00.007Z',
          level: 'error',
          message: text,
          v: text,
          n: 1.5,
        });
        assert.equal(JSON.parse(formatAccess('json', NOON, record({ path: text }))).path, text);
      }),
    );
  });

  it('bound the length of a value', () => {
    const long = 'x'.repeat(VALUE_CHARS_MAX + 1);
    for (const format of ['text', 'json'] as const) {
      const line = formatEntry(format, NOON, 'info', 'm', { v: long });
      assert.ok(line.includes(`${'x'.repeat(VALUE_CHARS_MAX)}…`) && line.length < VALUE_CHARS_MAX + 100);
      assert.ok(!formatEntry(format, NOON, 'info', 'm', { v: long.slice(1) }).includes('…'));
    }
  });

  it('write a number that JSON has not as null', () => {
    assert.equal(JSON.parse(formatEntry('json', NOON, 'info', 'm', { v: Number.NaN })).v, null);
  });
});
