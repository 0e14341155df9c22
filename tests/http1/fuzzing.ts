/**
 * How the engine's property and fuzz tests run: a fresh seed each time, FUZZ_RUNS cases a property (default
 * 2000), and on failure one command that replays it. FUZZ_SEED replays.
 */

import fc from 'fast-check';

const SEED = Number(process.env['FUZZ_SEED'] ?? Date.now() % 0x7fffffff);
const RUNS = Number(process.env['FUZZ_RUNS'] ?? 2000);

export function holds<T>(file: string, arbitrary: fc.Arbitrary<T>, predicate: (value: T) => void): void {
  const details = fc.check(fc.property(arbitrary, predicate), { seed: SEED, numRuns: RUNS });
  if (!details.failed) return;
  const counterexample = JSON.stringify(details.counterexample);
  const cause = details.errorInstance instanceof Error ? details.errorInstance.stack : '';
  throw new Error(
    `falsified by ${counterexample}\nreplay: FUZZ_SEED=${SEED} FUZZ_RUNS=${RUNS} ${process.execPath} --test ${file}\n${cause}`,
  );
}

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const TOKEN = `${LETTERS}!#$%&'*+-.^_\`|~`;

/** A string of 0 … `max` of these characters. */
export function textOf(characters: string, min: number, max: number): fc.Arbitrary<string> {
  return fc
    .array(fc.constantFrom(...characters), { minLength: min, maxLength: max })
    .map((list) => list.join(''));
}

export const token = textOf(TOKEN, 1, 20);

/** A field value without blanks around it: visible ASCII, obs-text, blanks inside. */
export const fieldValue: fc.Arbitrary<string> = fc
  .array(
    fc.oneof(
      { weight: 8, arbitrary: fc.integer({ min: 0x20, max: 0x7e }) },
      { weight: 1, arbitrary: fc.integer({ min: 0x80, max: 0xff }) },
      { weight: 1, arbitrary: fc.constant(9) },
    ),
    { maxLength: 60 },
  )
  .map((codes) => String.fromCharCode(...codes).replace(/^[ \t]+|[ \t]+$/g, ''));

export const blanks: fc.Arbitrary<string> = textOf(' \t', 0, 3);

/** Ends of the pieces in which something arrives, as fractions of its length. */
export const cutFractions: fc.Arbitrary<number[]> = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), {
  maxLength: 8,
});

/** Fractions as strictly ascending positions between 0 and `length`. */
export function cutsAt(fractions: number[], length: number): number[] {
  const positions = new Set(fractions.map((fraction) => Math.floor(fraction * length)));
  return [...positions].filter((at) => at > 0 && at < length).sort((a, b) => a - b);
}

/** Bytes and words that parsers have been led astray with. */
const SPICES = [
  '\r',
  '\n',
  '\r\n',
  '\n\r',
  '\r\r\n',
  '\0',
  ' ',
  '\t',
  '\x0b',
  '\x7f',
  '\x80',
  '\xff',
  ':',
  ',',
  ';',
  '%',
  '#',
  '"',
  '\\',
  '/',
  '?',
  '@',
  '[',
  ']',
  '_',
  '-',
  '+',
  '0',
  '5',
  '0x',
  'f',
  'g',
  '*',
  '//',
  'http://',
  ' HTTP/1.1',
  'HTTP/1.0',
  'chunked',
  'identity',
  'Transfer-Encoding: chunked\r\n',
  'Content-Length: 5\r\n',
  'Host: b\r\n',
  'Connection: close\r\n',
  'Connection: upgrade\r\n',
  'Upgrade: x\r\n',
  'Expect: 100-continue\r\n',
];

export interface Mutation {
  kind: 'replace' | 'insert' | 'delete' | 'repeat' | 'spice' | 'swapCase';
  at: number;
  length: number;
  byte: number;
}

export const mutations: fc.Arbitrary<Mutation[]> = fc.array(
  fc.record({
    kind: fc.constantFrom('replace', 'insert', 'delete', 'repeat', 'spice', 'swapCase'),
    at: fc.double({ min: 0, max: 0.999, noNaN: true }),
    length: fc.integer({ min: 1, max: 12 }),
    byte: fc.integer({ min: 0, max: 255 }),
  }),
  { minLength: 1, maxLength: 4 },
);

/** The text with each mutation applied in turn. */
export function mutate(text: string, list: Mutation[]): string {
  let result = text;
  for (const { kind, at, length, byte } of list) {
    const place = Math.floor(at * result.length);
    const before = result.slice(0, place);
    const middle = result.slice(place, place + length);
    const after = result.slice(place + length);
    const character = String.fromCharCode(byte);
    if (kind === 'replace') result = before + character + result.slice(place + 1);
    else if (kind === 'insert') result = before + character + result.slice(place);
    else if (kind === 'delete') result = before + after;
    else if (kind === 'repeat') result = before + middle + middle + after;
    else if (kind === 'spice') result = before + SPICES[byte % SPICES.length] + result.slice(place);
    else
      result = before + middle.replace(/[A-Za-z]/g, (c) => String.fromCharCode(c.charCodeAt(0) ^ 32)) + after;
  }
  return result;
}

/** Ends of lines: the right one most of the time, so that a whole text has a wrong one now and then. */
const lineEnd = fc.oneof(
  { weight: 60, arbitrary: fc.constant('\r\n') },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '\n',
      '\r',
      '\r\r\n',
      '\n\r',
      ' \r\n',
      '\0\r\n',
      '\r\n ',
      '\r\n\t',
      '\r\n\r\n',
    ),
  },
);

const separator = fc.oneof(
  { weight: 40, arbitrary: fc.constantFrom(': ', ':', ':  ', ':\t') },
  { weight: 1, arbitrary: fc.constantFrom(' : ', '\t:', '', '=', ':\r\n ', '\0:', ':\x0b', ': \x0c') },
);

/** Fields that bear on framing and routing, each with values that are right and values that are nearly so. */
const FRAMING_VALUES: readonly (readonly [string, readonly string[]])[] = [
  [
    'Host',
    [
      'a',
      'b.example:80',
      'a:65535',
      'a:65536',
      'a:',
      'a..b',
      '.a',
      'a.',
      '',
      'a b',
      'a,b',
      'u@a',
      '[::1]:8',
      '[::1',
      '[1::2::3]',
      'a%41',
      'a_b',
      '127.0.0.1',
    ],
  ],
  [
    'Content-Length',
    [
      '0',
      '5',
      '05',
      '+5',
      '-1',
      '',
      '5 5',
      '5,5',
      '0x5',
      '9007199254740991',
      '9007199254740992',
      '18446744073709551617',
      '5;',
      '1e1',
    ],
  ],
  [
    'Transfer-Encoding',
    [
      'chunked',
      'CHUNKED',
      'xchunked',
      'chunked, identity',
      'identity',
      '',
      ',chunked',
      'chunked;a=b',
      '"chunked"',
      'gzip, chunked',
    ],
  ],
  [
    'Connection',
    ['close', 'keep-alive', 'Upgrade', 'keep-alive, Upgrade', ',, close ,', 'X-A, host', 'a b', 'close;', ''],
  ],
  ['Upgrade', ['websocket', 'h2c', 'H2C', 'websocket, h2c']],
  ['Expect', ['100-continue', '100-Continue', '100-continue, x', '']],
  ['TE', ['trailers', 'gzip']],
  ['X-A', ['1', '', '\xe9', 'a\tb']],
  ['X_Forwarded_For', ['1']],
  ['Content_Length', ['7']],
];

const framingLine = fc
  .tuple(
    fc
      .constantFrom(...FRAMING_VALUES)
      .chain(([name, values]) =>
        fc.tuple(fc.constant(name), fc.oneof(fc.constant(values[0]), fc.constantFrom(...values))),
      ),
    fc.constantFrom(0, 0, 0, 1, 2),
    separator,
    lineEnd,
  )
  .map(([[name, value], spelling, between, end]) => {
    const spelt = spelling === 0 ? name : spelling === 1 ? name.toLowerCase() : name.toUpperCase();
    return spelt + between + value + end;
  });

const startLine = fc
  .tuple(
    fc.constantFrom(
      'GET',
      'POST',
      'OPTIONS',
      'HEAD',
      'CONNECT',
      'TRACE',
      'M'.repeat(32),
      'M'.repeat(33),
      'get',
    ),
    fc.constantFrom(
      '/',
      '/a?b',
      '/%41',
      '/%4',
      '/a%zz',
      '//b',
      '*',
      'http://h/',
      'http://h:80?q',
      'https://h',
      'http://u@h/',
      'http:///',
      'http://h:99999/',
      'HTTP://[::1]/',
      'h:80',
      '/a#b',
      '/a b',
      '/\\',
      '/{',
      '/?{',
      '/[|]',
      '/\xe9',
      '/?"',
      'http://h\\/',
    ),
    fc.constantFrom(
      'HTTP/1.1',
      'HTTP/1.1',
      'HTTP/1.1',
      'HTTP/1.1',
      'HTTP/1.0',
      'HTTP/2.0',
      'HTTP/1.2',
      'http/1.1',
      'HTTP/1.1 ',
    ),
    lineEnd,
    fc.constantFrom('', '', '', '', '\r\n', '\r\n\r\n', ' ', '\n'),
  )
  .map(([method, target, version, end, lead]) => `${lead}${method} ${target} ${version}${end}`);

/** A whole head put together from pieces that are right or nearly so; most have one Host. */
export const hostileHead: fc.Arbitrary<string> = fc
  .tuple(
    fc.oneof(
      { weight: 3, arbitrary: fc.constant('POST / HTTP/1.1\r\n') },
      { weight: 1, arbitrary: fc.constant('POST / HTTP/1.0\r\n') },
      { weight: 1, arbitrary: startLine },
    ),
    fc.oneof({ weight: 9, arbitrary: fc.constant('Host: h\r\n') }, { weight: 1, arbitrary: fc.constant('') }),
    fc.array(framingLine, { maxLength: 3 }),
    lineEnd,
  )
  .map(([start, host, lines, end]) => start + host + lines.join('') + end);

const CHUNK_LINES = [
  '5',
  '5',
  '5',
  '5',
  '05',
  'A',
  'a',
  '0',
  '0',
  '5;a',
  '5;a=b;c="d\\"e"',
  '+5',
  '-0',
  '0x5',
  ' 5',
  '5 ',
  '5;',
  '5;=',
  '5;a=',
  '5;a="',
  '5 ;a',
  '1fffffffffffff',
  '20000000000000',
  '0000000000000000',
  '00000000000000000',
  '5g',
  '',
  '5;a="\xff"',
  '5;a="b"c',
];

/** A chunked body put together from pieces that are right or nearly so. */
export const hostileChunks: fc.Arbitrary<string> = fc
  .tuple(
    fc.array(
      fc.tuple(
        fc.constantFrom(...CHUNK_LINES),
        lineEnd,
        fc.constantFrom('hello', 'hello', 'hello', 'hell', 'hello!', '0123456789', ''),
        lineEnd,
        fc.constantFrom('', '', '', '', '', 'X'),
      ),
      { maxLength: 3 },
    ),
    lineEnd,
    fc.array(framingLine, { maxLength: 1 }),
    lineEnd,
  )
  .map(([chunks, lastEnd, trailers, end]) => {
    const coded = chunks.map(
      ([size, sizeEnd, content, contentEnd, extra]) => size + sizeEnd + content + extra + contentEnd,
    );
    return `${coded.join('')}0${lastEnd}${trailers.join('')}${end}`;
  });
