import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NEED_MORE } from '../../src/http/fault.ts';
import { F_HOST, F_OTHER, FieldSection } from '../../src/http/fields.ts';
import { RecentLines } from '../../src/http1/recent-lines.ts';

/** What `take` adds for a line that stands at `at`, with something behind it. */
function taken(lines: RecentLines, line: string, at = 3): { result: number; fields: string[]; id: number } {
  const bytes = Buffer.alloc(at + line.length + 16, 0x0a);
  bytes.write(line, at, 'latin1');
  const fields = new FieldSection(bytes);
  const result = lines.take(fields, bytes, at, bytes.length);
  return {
    result,
    fields: fields.count === 0 ? [] : [fields.nameText(0), fields.valueText(0)],
    id: fields.count === 0 ? -1 : fields.id(0),
  };
}

/** The bytes that it keeps, as text. */
function kept(lines: RecentLines): string {
  const { memory } = lines as unknown as { memory: DataView };
  return Buffer.from(memory.buffer).toString('latin1');
}

test('a line that comes again is the same, wherever it stands', () => {
  const lines = new RecentLines();
  for (let at = 0; at < 20; at++) {
    const { result, fields, id } = taken(lines, 'Host: \t www.example.com \r\n', at);
    assert.deepEqual(
      [result, fields, id],
      [at + 'Host: \t www.example.com \r\n'.length, ['Host', 'www.example.com'], F_HOST],
    );
  }
  assert.ok(kept(lines).includes('www.example.com'));
});

test('what differs in any byte is not the line that is kept', () => {
  const lines = new RecentLines();
  const line = 'X-Something: a value of some length\r\n';
  taken(lines, line);
  for (let at = 0; at < line.length; at++) {
    const bytes = Buffer.from(line);
    bytes[at] ^= 1;
    const alone = taken(new RecentLines(), bytes.toString('latin1'));
    assert.deepEqual(taken(lines, bytes.toString('latin1')), alone, `byte ${at}`);
  }
  assert.deepEqual(taken(lines, line).fields, ['X-Something', 'a value of some length']);
});

test('a line of which the end is missing is waited for', () => {
  const lines = new RecentLines();
  const line = 'Accept-Language: en-GB,en;q=0.5\r\n';
  taken(lines, line);
  for (let length = 0; length < line.length; length++) {
    const bytes = Buffer.from(line.slice(0, length));
    assert.equal(lines.take(new FieldSection(bytes), bytes, 0, length), NEED_MORE, `${length} bytes`);
  }
});

test('secrets are not kept', () => {
  const lines = new RecentLines();
  for (let round = 0; round < 40; round++) {
    for (const name of [
      'Cookie',
      'COOKIE',
      'Set-Cookie',
      'Authorization',
      'Proxy-Authorization',
      'Client-Cert',
      'Client-Cert-Chain',
      'X-Api-Key',
      'X-AUTH-TOKEN',
    ])
      assert.equal(taken(lines, `${name}: a-secret-thing\r\n`).fields[0], name);
  }
  assert.ok(!kept(lines).includes('secret'));
});

test('a line gives way to another one with the same beginning, though not at once', () => {
  const lines = new RecentLines();
  const one = 'X-Beginning-Same: one\r\n';
  const other = 'X-Beginning-Same: other\r\n';
  taken(lines, one);
  taken(lines, other);
  assert.ok(kept(lines).includes(one) && !kept(lines).includes(other));
  for (let round = 0; round < 8; round++) taken(lines, other);
  assert.ok(kept(lines).includes(other));
  assert.deepEqual(taken(lines, one).fields, ['X-Beginning-Same', 'one']);
});

test('lines that are too long are taken and not kept', () => {
  const lines = new RecentLines();
  const value = 'v'.repeat(300);
  for (let round = 0; round < 3; round++) {
    const { fields, id } = taken(lines, `X-Long: ${value}\r\n`);
    assert.deepEqual([fields, id], [['X-Long', value], F_OTHER]);
  }
  assert.ok(!kept(lines).includes('vvvv'));
});
