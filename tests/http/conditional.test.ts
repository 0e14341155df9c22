import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  evaluatePreconditions,
  HAS_ACCEPT_ENCODING,
  HAS_IF_MATCH,
  HAS_IF_MODIFIED_SINCE,
  HAS_IF_NONE_MATCH,
  HAS_IF_RANGE,
  HAS_IF_UNMODIFIED_SINCE,
  HAS_RANGE,
  ifRangeHolds,
  NOT_MODIFIED,
  PRECONDITION_FAILED,
  PROCEED,
  selectingFields,
} from '../../src/http/conditional.ts';
import { formatHttpDate } from '../../src/http/dates.ts';
import { M_GET, M_HEAD, M_POST } from '../../src/http/message.ts';
import { sectionOf } from './section.ts';

const MODIFIED = 784111777;
const NOW = MODIFIED + 86400;
const SAME = formatHttpDate(MODIFIED);
const OLDER = formatHttpDate(MODIFIED - 1);
const NEWER = formatHttpDate(MODIFIED + 1);

type Line = readonly [string, string];

function verdict(lines: readonly Line[], methodId = M_GET): number {
  const fields = sectionOf(lines);
  return evaluatePreconditions(fields, selectingFields(fields), methodId, '"v1"', MODIFIED, NOW);
}

// RFC 9110 §13.2.2; the representation has the tag "v1" and was modified at SAME.
const MATRIX: readonly { name: string; lines: readonly Line[]; get: number; post?: number }[] = [
  { name: 'no condition', lines: [['Accept', '*/*']], get: PROCEED },
  { name: 'If-Match with the tag', lines: [['If-Match', '"v1"']], get: PROCEED },
  { name: 'If-Match *', lines: [['If-Match', '*']], get: PROCEED },
  { name: 'If-Match with another tag', lines: [['If-Match', '"v0"']], get: PRECONDITION_FAILED },
  { name: 'If-Match with the weak tag', lines: [['If-Match', 'W/"v1"']], get: PRECONDITION_FAILED },
  {
    name: 'If-Match on two lines',
    lines: [
      ['If-Match', '"v0"'],
      ['If-Match', '"v1"'],
    ],
    get: PROCEED,
  },
  { name: 'If-Unmodified-Since later', lines: [['If-Unmodified-Since', NEWER]], get: PROCEED },
  { name: 'If-Unmodified-Since the same', lines: [['If-Unmodified-Since', SAME]], get: PROCEED },
  { name: 'If-Unmodified-Since earlier', lines: [['If-Unmodified-Since', OLDER]], get: PRECONDITION_FAILED },
  { name: 'If-Unmodified-Since unreadable', lines: [['If-Unmodified-Since', 'soon']], get: PROCEED },
  {
    name: 'If-Match overrides If-Unmodified-Since',
    lines: [
      ['If-Unmodified-Since', OLDER],
      ['If-Match', '"v1"'],
    ],
    get: PROCEED,
  },
  {
    name: 'If-None-Match with the tag',
    lines: [['If-None-Match', '"v1"']],
    get: NOT_MODIFIED,
    post: PRECONDITION_FAILED,
  },
  {
    name: 'If-None-Match with the weak tag',
    lines: [['If-None-Match', 'W/"v1"']],
    get: NOT_MODIFIED,
    post: PRECONDITION_FAILED,
  },
  { name: 'If-None-Match *', lines: [['If-None-Match', '*']], get: NOT_MODIFIED, post: PRECONDITION_FAILED },
  { name: 'If-None-Match with another tag', lines: [['If-None-Match', '"v0"']], get: PROCEED },
  {
    name: 'If-None-Match overrides If-Modified-Since',
    lines: [
      ['If-Modified-Since', NEWER],
      ['If-None-Match', '"v0"'],
    ],
    get: PROCEED,
  },
  {
    name: 'If-Modified-Since the same',
    lines: [['If-Modified-Since', SAME]],
    get: NOT_MODIFIED,
    post: PROCEED,
  },
  {
    name: 'If-Modified-Since later',
    lines: [['If-Modified-Since', NEWER]],
    get: NOT_MODIFIED,
    post: PROCEED,
  },
  { name: 'If-Modified-Since earlier', lines: [['If-Modified-Since', OLDER]], get: PROCEED },
  { name: 'If-Modified-Since unreadable', lines: [['If-Modified-Since', '0']], get: PROCEED },
  {
    name: 'If-Modified-Since twice',
    lines: [
      ['If-Modified-Since', NEWER],
      ['If-Modified-Since', NEWER],
    ],
    get: PROCEED,
  },
  {
    name: 'If-Match fails before If-None-Match is asked',
    lines: [
      ['If-None-Match', '"v1"'],
      ['If-Match', '"v0"'],
    ],
    get: PRECONDITION_FAILED,
  },
  {
    name: 'If-Match holds and If-None-Match decides',
    lines: [
      ['If-Match', '"v1"'],
      ['If-None-Match', '"v1"'],
    ],
    get: NOT_MODIFIED,
    post: PRECONDITION_FAILED,
  },
];

describe('preconditions', () => {
  for (const { name, lines, get, post } of MATRIX) {
    it(`${name}: ${get || 'goes on'} for GET and HEAD, ${(post ?? get) || 'goes on'} for POST`, () => {
      assert.equal(verdict(lines, M_GET), get);
      assert.equal(verdict(lines, M_HEAD), get);
      assert.equal(verdict(lines, M_POST), post ?? get);
    });
  }

  it('are found in one pass', () => {
    const names = [
      'Range',
      'If-Range',
      'If-Match',
      'If-None-Match',
      'If-Modified-Since',
      'If-Unmodified-Since',
      'Accept-Encoding',
    ];
    const bits = names.map((name) =>
      selectingFields(
        sectionOf([
          ['Host', 'x'],
          [name, 'y'],
        ]),
      ),
    );
    assert.deepEqual(bits, [
      HAS_RANGE,
      HAS_IF_RANGE,
      HAS_IF_MATCH,
      HAS_IF_NONE_MATCH,
      HAS_IF_MODIFIED_SINCE,
      HAS_IF_UNMODIFIED_SINCE,
      HAS_ACCEPT_ENCODING,
    ]);
    assert.equal(selectingFields(sectionOf([['X-Range', 'y']])), 0);
  });
});

// RFC 9110 §13.1.5.
const IF_RANGE: readonly { name: string; lines: readonly Line[]; holds: boolean; now?: number }[] = [
  { name: 'no If-Range', lines: [], holds: true },
  { name: 'the tag', lines: [['If-Range', '"v1"']], holds: true },
  { name: 'another tag', lines: [['If-Range', '"v2"']], holds: false },
  { name: 'the weak tag', lines: [['If-Range', 'W/"v1"']], holds: false },
  { name: 'a list', lines: [['If-Range', '"v1", "v2"']], holds: false },
  { name: 'the very date', lines: [['If-Range', SAME]], holds: true },
  { name: 'an earlier date', lines: [['If-Range', OLDER]], holds: false },
  { name: 'a later date', lines: [['If-Range', NEWER]], holds: false },
  { name: 'the date within its own second', lines: [['If-Range', SAME]], holds: false, now: MODIFIED },
  { name: 'nonsense', lines: [['If-Range', 'v1']], holds: false },
  {
    name: 'two lines',
    lines: [
      ['If-Range', '"v1"'],
      ['If-Range', '"v1"'],
    ],
    holds: false,
  },
];

describe('If-Range', () => {
  for (const { name, lines, holds, now } of IF_RANGE) {
    it(`${holds ? 'lets the range through' : 'voids the range'}: ${name}`, () => {
      assert.equal(ifRangeHolds(sectionOf(lines), '"v1"', MODIFIED, now ?? NOW), holds);
    });
  }
});
