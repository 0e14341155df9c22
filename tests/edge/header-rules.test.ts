import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import {
  ConstantBytes,
  HeaderRules,
  VARIABLE_NAMES,
  type VariableSource,
} from '../../src/edge/header-rules.ts';
import { Scratch } from '../../src/edge/scratch.ts';
import { fieldIdOfText } from '../../src/http/field-names.ts';
import { F_REMOVED, FIELDS_HELD_MAX, FieldSection } from '../../src/http/fields.ts';
import { arenaBytes, BufferPool, MEDIUM, SMALL } from '../../src/io/buffer-pool.ts';

const SHAPE = { small: 2, medium: 3, large: 1 };
type Pair = readonly [string, string];

let pool: BufferPool;
let constants: ConstantBytes;
let scratch: Scratch;
/** Where the test's own fields lie: in the last medium buffer. */
let inputOffset: number;

beforeEach(() => {
  pool = new BufferPool(new ArrayBuffer(arenaBytes(SHAPE)), 0, SHAPE);
  inputOffset = pool.offsetOf(pool.acquire(MEDIUM));
  constants = new ConstantBytes(pool);
  scratch = new Scratch(pool);
});

function section(pairs: readonly Pair[]): FieldSection {
  const fields = new FieldSection(pool.bytes);
  let at = inputOffset;
  for (const [name, value] of pairs) {
    pool.text.latin1Write(name, at, name.length);
    pool.text.latin1Write(value, at + name.length, value.length);
    assert.ok(fields.add(at, name.length, at + name.length, value.length, fieldIdOfText(name)));
    at += name.length + value.length;
  }
  return fields;
}

function pairsOf(fields: FieldSection): Pair[] {
  const pairs: Pair[] = [];
  for (let index = 0; index < fields.count; index++) {
    if (fields.id(index) !== F_REMOVED) pairs.push([fields.nameText(index), fields.valueText(index)]);
  }
  return pairs;
}

const values = ['192.0.2.1', 'example.com', '/a?b=c', 'https', '0123'];
const source: VariableSource = {
  variableLength: (variable) => values[variable].length,
  writeVariable: (variable, at) => at + pool.text.latin1Write(values[variable], at, values[variable].length),
};

function rules(add: readonly Pair[], remove: readonly string[], expand = false): HeaderRules {
  return new HeaderRules({ add, remove }, constants, expand);
}

function applied(add: readonly Pair[], remove: readonly string[], to: readonly Pair[]): Pair[] {
  const fields = section(to);
  assert.ok(rules(add, remove).apply(fields));
  return pairsOf(fields);
}

function expanded(add: readonly Pair[], to: readonly Pair[]): Pair[] {
  const fields = section(to);
  assert.ok(rules(add, [], true).applyExpanded(fields, scratch, source));
  return pairsOf(fields);
}

describe('removing', () => {
  it('removes every field of a name, whatever its case, and no other', () => {
    const fields: Pair[] = [
      ['X-Debug-Token', '1'],
      ['x-debug-token', '2'],
      ['X-Debug-Tokem', '3'],
      ['X-Debug', '4'],
      ['Server', 'a'],
      ['SERVER', 'b'],
      ['Date', 'c'],
    ];
    assert.deepEqual(applied([], ['x-Debug-Token', 'server'], fields), [
      ['X-Debug-Tokem', '3'],
      ['X-Debug', '4'],
      ['Date', 'c'],
    ]);
  });

  it('leaves alone what was removed before', () => {
    const fields = section([
      ['A', '1'],
      ['B', '2'],
    ]);
    fields.remove(0);
    assert.ok(rules([], ['a', 'b']).apply(fields));
    assert.deepEqual(pairsOf(fields), []);
  });
});

describe('adding', () => {
  it('adds at the end, in the order of the configuration, as written', () => {
    assert.deepEqual(
      applied(
        [
          ['X-Frame-Options', 'DENY'],
          ['Vary', 'Origin'],
        ],
        [],
        [['Date', 'now']],
      ),
      [
        ['Date', 'now'],
        ['X-Frame-Options', 'DENY'],
        ['Vary', 'Origin'],
      ],
    );
  });

  it('replaces all fields of the same name', () => {
    const fields: Pair[] = [
      ['x-real-ip', 'forged'],
      ['X-Other', 'a'],
      ['X-Real-IP', 'forged too'],
      ['x-other', 'b'],
    ];
    assert.deepEqual(
      applied(
        [
          ['X-Real-IP', 'true'],
          ['X-OTHER', 'c'],
        ],
        [],
        fields,
      ),
      [
        ['X-Real-IP', 'true'],
        ['X-OTHER', 'c'],
      ],
    );
  });

  it('adds what another rule removes', () => {
    assert.deepEqual(applied([['Server', 'mine']], ['Server'], [['Server', 'theirs']]), [['Server', 'mine']]);
  });

  it('keeps the id of a known name, so that later steps find it', () => {
    const fields = section([]);
    assert.ok(rules([['cache-control', 'no-store']], []).apply(fields));
    assert.equal(fields.id(0), fieldIdOfText('Cache-Control'));
  });

  it('lets the last of two rules for one name count', () => {
    assert.deepEqual(
      applied(
        [
          ['A', '1'],
          ['B', '2'],
          ['a', '3'],
        ],
        [],
        [],
      ),
      [
        ['B', '2'],
        ['a', '3'],
      ],
    );
  });

  it('adds an empty value', () => assert.deepEqual(applied([['A', '']], [], []), [['A', '']]));

  it('leaves variables of response values as they are written', () => {
    assert.deepEqual(applied([['A', '$client_ip']], [], []), [['A', '$client_ip']]);
  });

  it('says when the section is full', () => {
    const fields = section(Array.from({ length: FIELDS_HELD_MAX - 1 }, () => ['a', 'b'] as const));
    assert.ok(rules([['X', '1']], []).apply(fields));
    assert.ok(!rules([['Y', '1']], []).apply(fields));
  });

  it('lays constant fields out as one run of lines', () => {
    const fields = section([]);
    assert.ok(
      rules(
        [
          ['A', '1'],
          ['Bc', '23'],
        ],
        [],
      ).apply(fields),
    );
    const at = fields.nameOffset(0);
    assert.equal(pool.text.latin1Slice(at, at + 14), 'A: 1\r\nBc: 23\r\n');
  });
});

describe('expanding', () => {
  for (const [index, name] of VARIABLE_NAMES.entries()) {
    it(`expands $${name}`, () => assert.deepEqual(expanded([['A', `$${name}`]], []), [['A', values[index]]]));
  }

  const templates: [string, string][] = [
    ['for=$client_ip;host=$host', 'for=192.0.2.1;host=example.com'],
    ['$scheme://$host$request_uri', 'https://example.com/a?b=c'],
    ['$', '$'],
    ['$$host$', '$example.com$'],
    ['$hosts', '$hosts'],
    ['$HOST', '$HOST'],
    ['costs $5', 'costs $5'],
    ['', ''],
  ];
  for (const [template, expected] of templates) {
    it(`expands '${template}' to '${expected}'`, () =>
      assert.deepEqual(expanded([['A', template]], []), [['A', expected]]));
  }

  it('replaces a field that the client forged', () => {
    assert.deepEqual(expanded([['X-Real-IP', '$client_ip']], [['x-real-ip', 'forged']]), [
      ['X-Real-IP', '192.0.2.1'],
    ]);
  });

  it('lays expanded fields out as one run of lines', () => {
    const fields = section([]);
    assert.ok(
      rules(
        [
          ['A', '$host'],
          ['B', '$scheme'],
        ],
        [],
        true,
      ).applyExpanded(fields, scratch, source),
    );
    const at = fields.nameOffset(0);
    assert.equal(pool.text.latin1Slice(at, at + 26), 'A: example.com\r\nB: https\r\n');
  });

  it('says when memory is exhausted', () => {
    pool.acquire(SMALL);
    pool.acquire(SMALL);
    assert.ok(!rules([['A', '$host']], [], true).applyExpanded(section([]), scratch, source));
  });
});

describe('constants', () => {
  it('take buffers as they need them and give all of them back', () => {
    const held = pool.heldCount();
    constants.put('x'.repeat(20000));
    constants.put('y'.repeat(1000));
    assert.equal(pool.heldCount(), held + 2);
    assert.throws(() => constants.put('z'.repeat(20000)), /no memory/);
    constants.release();
    assert.equal(pool.heldCount(), held);
  });

  it('are nothing for empty rules', () => {
    const held = pool.heldCount();
    assert.ok(rules([], []).isEmpty);
    assert.ok(!rules([], ['a']).isEmpty);
    assert.equal(pool.heldCount(), held);
  });
});
