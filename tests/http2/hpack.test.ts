import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { F_CONTENT_TYPE, F_OTHER } from '../../src/http/fields.ts';
import { HPACK_END, HPACK_ERROR, HpackDecoder } from '../../src/http2/hpack-decoder.ts';
import { HpackEncoder } from '../../src/http2/hpack-encoder.ts';
import { huffmanDecode, huffmanEncode, huffmanLength } from '../../src/http2/huffman.ts';
import { P_METHOD, P_UNKNOWN } from '../../src/http2/static-table.ts';
import { decodeBlock, encodeBlock, pairs } from './hpack-fields.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

const REQUEST_FIELDS: [string, string][][] = [
  [
    [':method', 'GET'],
    [':scheme', 'http'],
    [':path', '/'],
    [':authority', 'www.example.com'],
  ],
  [
    [':method', 'GET'],
    [':scheme', 'http'],
    [':path', '/'],
    [':authority', 'www.example.com'],
    ['cache-control', 'no-cache'],
  ],
  [
    [':method', 'GET'],
    [':scheme', 'https'],
    [':path', '/index.html'],
    [':authority', 'www.example.com'],
    ['custom-key', 'custom-value'],
  ],
];

const RESPONSE_FIELDS: [string, string][][] = [
  [
    [':status', '302'],
    ['cache-control', 'private'],
    ['date', 'Mon, 21 Oct 2013 20:13:21 GMT'],
    ['location', 'https://www.example.com'],
  ],
  [
    [':status', '307'],
    ['cache-control', 'private'],
    ['date', 'Mon, 21 Oct 2013 20:13:21 GMT'],
    ['location', 'https://www.example.com'],
  ],
  [
    [':status', '200'],
    ['cache-control', 'private'],
    ['date', 'Mon, 21 Oct 2013 20:13:22 GMT'],
    ['location', 'https://www.example.com'],
    ['content-encoding', 'gzip'],
    ['set-cookie', 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'],
  ],
];

/** RFC 7541 appendix C: blocks that follow one another through one table, whose size is set first. */
const SEQUENCES: { name: string; table: number; blocks: string[]; expected: [string, string][][] }[] = [
  {
    name: 'C.2.1',
    table: 4096,
    blocks: ['400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572'],
    expected: [[['custom-key', 'custom-header']]],
  },
  {
    name: 'C.2.2',
    table: 4096,
    blocks: ['040c 2f73 616d 706c 652f 7061 7468'],
    expected: [[[':path', '/sample/path']]],
  },
  {
    name: 'C.2.3',
    table: 4096,
    blocks: ['1008 7061 7373 776f 7264 0673 6563 7265 74'],
    expected: [[['password', 'secret']]],
  },
  { name: 'C.2.4', table: 4096, blocks: ['82'], expected: [[[':method', 'GET']]] },
  {
    name: 'C.3',
    table: 4096,
    blocks: [
      '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
      '8286 84be 5808 6e6f 2d63 6163 6865',
      '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
    ],
    expected: REQUEST_FIELDS,
  },
  {
    name: 'C.4',
    table: 4096,
    blocks: [
      '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
      '8286 84be 5886 a8eb 1064 9cbf',
      '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
    ],
    expected: REQUEST_FIELDS,
  },
  {
    name: 'C.5',
    table: 256,
    blocks: [
      `4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32
       3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d`,
      '4803 3330 37c1 c0bf',
      `88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970
       7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61
       6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31`,
    ],
    expected: RESPONSE_FIELDS,
  },
  {
    name: 'C.6',
    table: 256,
    blocks: [
      `4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad
       1718 63c7 8f0b 97c8 e9ae 82ae 43d3`,
      '4883 640e ffc1 c0bf',
      `88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2
       e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07`,
    ],
    expected: RESPONSE_FIELDS,
  },
];

describe('decoding a block (RFC 7541)', () => {
  for (const { name, table, blocks, expected } of SEQUENCES) {
    it(`gives the fields of example ${name}`, () => {
      const decoder = new HpackDecoder();
      // 256 as a size update: 31 and 225.
      if (table === 256) assert.equal(decodeBlock(decoder, hex('3fe101')).result, HPACK_END);
      blocks.forEach((block, index) => {
        const decoded = decodeBlock(decoder, hex(block.replaceAll(/\s/g, '')));
        assert.equal(decoded.result, HPACK_END);
        assert.deepEqual(pairs(decoded), expected[index]);
        assert.ok(decoded.fields.every((field) => field.valid));
        const listBytes = expected[index].reduce(
          (sum, [key, value]) => sum + key.length + value.length + 32,
          0,
        );
        assert.equal(decoded.listBytes, listBytes);
      });
    });
    it(`refuses example ${name} cut short anywhere in its last field`, () => {
      const block = hex(blocks[0].replaceAll(/\s/g, ''));
      const whole = decodeBlock(new HpackDecoder(), block).fields.length;
      for (let length = 0; length < block.length; length++) {
        const decoder = new HpackDecoder();
        const cut = decodeBlock(decoder, block.subarray(0, length));
        assert.ok(cut.result === HPACK_ERROR || cut.fields.length < whole, `${length} bytes`);
      }
    });
  }

  it('tells a field that must never be indexed', () => {
    const [field] = decodeBlock(new HpackDecoder(), hex('1008 7061 7373 776f 7264 0673 6563 7265 74')).fields;
    assert.equal(field.never, true);
    assert.equal(decodeBlock(new HpackDecoder(), hex('82')).fields[0].never, false);
  });

  it('knows names by their ids, from a literal, the static and the dynamic table', () => {
    const decoder = new HpackDecoder();
    const literal = decodeBlock(decoder, hex('400c 636f6e74656e742d74797065 01 61'));
    assert.equal(literal.fields[0].id, F_CONTENT_TYPE);
    const tables = decodeBlock(decoder, hex('be 5f 01 62 82 0003 3a7878 00 0001 7a 00'));
    assert.deepEqual(
      tables.fields.map(({ name, value, id }) => [name, value, id]),
      [
        ['content-type', 'a', F_CONTENT_TYPE],
        ['content-type', 'b', F_CONTENT_TYPE],
        [':method', 'GET', P_METHOD],
        [':xx', '', P_UNKNOWN],
        ['z', '', F_OTHER],
      ],
    );
  });

  const errors: { name: string; block: string }[] = [
    { name: 'index 0 (§6.1)', block: '80' },
    { name: 'an index beyond the static table and an empty dynamic one', block: 'be' },
    { name: 'a name beyond the tables', block: '7f00 0161' },
    { name: 'an integer that never ends (§5.1)', block: 'ff ffff ffff ff' },
    { name: 'an integer that is cut short', block: 'ff ff' },
    { name: 'a string longer than the block', block: '0001 6105 61' },
    { name: 'a size update above the limit (§4.2)', block: '3fe2 1f' },
    { name: 'a size update behind a field (§4.2)', block: '82 20' },
    { name: 'three size updates', block: '20 20 20 82' },
    { name: 'Huffman padding of eight bits (§5.2)', block: '0001 6182 1fff' },
    { name: 'Huffman padding that is not all ones', block: '0001 6181 18' },
    { name: 'EOS in a Huffman string', block: '0001 6184 ffff fffc' },
    { name: 'a long Huffman code that is cut short', block: '0001 6182 ffff' },
    { name: 'a literal without a value', block: '0001 61' },
    { name: 'a literal without anything', block: '40' },
  ];
  for (const { name, block } of errors) {
    it(`refuses ${name}`, () => {
      assert.equal(decodeBlock(new HpackDecoder(), hex(block)).result, HPACK_ERROR);
    });
  }

  it('judges each byte of a value, wherever it stands in values of any length (RFC 9113 §8.2.1)', () => {
    const decoder = new HpackDecoder();
    for (let length = 1; length <= 9; length++) {
      for (let at = 0; at < length; at++) {
        for (let byte = 0; byte < 256; byte++) {
          const value = Buffer.alloc(length, 'v');
          value[at] = byte;
          const isBlank = byte === 0x20 || byte === 0x09;
          const isEdge = at === 0 || at === length - 1;
          const expected = isBlank ? !isEdge : byte > 0x20 && byte !== 0x7f;
          const [field] = decodeBlock(
            decoder,
            Buffer.concat([hex('0001 6e'), Buffer.of(length), value]),
          ).fields;
          assert.equal(field?.valid, expected, `byte ${byte} at ${at} of ${length}`);
        }
      }
    }
  });

  it('takes two size updates, and a table of nothing', () => {
    const decoder = new HpackDecoder();
    const block = decodeBlock(decoder, hex('20 3fe1 1f 400161 0162 be'));
    assert.deepEqual(
      [block.result, pairs(block)],
      [
        HPACK_END,
        [
          ['a', 'b'],
          ['a', 'b'],
        ],
      ],
    );
    const none = decodeBlock(decoder, hex('20 400161 0162 be'));
    assert.equal(none.result, HPACK_ERROR);
  });

  it('insists on a size update once a smaller table was acknowledged (§4.2)', () => {
    const decoder = new HpackDecoder();
    decoder.allowTable(100);
    assert.equal(decodeBlock(decoder, hex('82')).result, HPACK_ERROR);
    const shrunk = new HpackDecoder();
    shrunk.allowTable(100);
    assert.equal(decodeBlock(shrunk, hex('3f45 82')).result, HPACK_END);
    assert.equal(decodeBlock(shrunk, hex('3f46 82')).result, HPACK_ERROR);
  });

  const invalid: { name: string; field: [string, string] }[] = [
    { name: 'an upper-case name', field: ['Aa', 'x'] },
    { name: 'an empty name', field: ['', 'x'] },
    { name: 'a blank in a name', field: ['a b', 'x'] },
    { name: 'a colon in a name', field: ['a:b', 'x'] },
    { name: 'CR in a name', field: ['a\r', 'x'] },
    { name: 'obs-text in a name', field: ['a\xe4', 'x'] },
    { name: 'CR in a value', field: ['a', 'x\ry'] },
    { name: 'LF in a value', field: ['a', 'x\ny'] },
    { name: 'NUL in a value', field: ['a', 'x\0y'] },
    { name: 'DEL in a value', field: ['a', 'x\x7fy'] },
    { name: 'a blank before a value', field: ['a', ' x'] },
    { name: 'a tab behind a value', field: ['a', 'x\t'] },
  ];
  for (const { name, field } of invalid) {
    it(`marks ${name}, from a literal and from the table`, () => {
      const [key, value] = field.map((text) => Buffer.from(text, 'latin1'));
      const literal = Buffer.concat([Buffer.of(0x40, key.length), key, Buffer.of(value.length), value]);
      const block = decodeBlock(new HpackDecoder(), Buffer.concat([literal, hex('be')]));
      assert.equal(block.result, HPACK_END);
      assert.deepEqual(
        block.fields.map(({ valid }) => valid),
        [false, false],
      );
    });
  }

  it('counts a list while decoding, keeps nothing beyond its limit, and its table right', () => {
    const decoder = new HpackDecoder();
    const value = 'v'.repeat(3000);
    const literal = Buffer.concat([hex('4001 61 7f b916'), Buffer.from(value)]);
    // 3000 = 127 + 2873 (0xb9 0x16): one entry of the table, then as many references as make a bomb.
    const block = decodeBlock(decoder, Buffer.concat([literal, Buffer.alloc(20, 0xbe)]), 10_000);
    assert.equal(block.result, HPACK_END);
    assert.equal(block.fields.length, 3);
    assert.equal(block.dropped, 18);
    assert.equal(block.listBytes, 21 * (3000 + 1 + 32));
    const after = decodeBlock(decoder, hex('be'));
    assert.deepEqual(pairs(after), [['a', value]]);
  });

  it('keeps its table right when the field that breaks the limit is inserted', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 600 }), fc.integer({ min: 1, max: 600 }), (first, second) => {
        const decoder = new HpackDecoder();
        const encoder = new HpackEncoder();
        const fields: [string, string][] = [
          ['server', 'a'.repeat(first % 256)],
          ['x-long', 'b'.repeat(first)],
          ['vary', 'c'.repeat(second % 256)],
        ];
        decodeBlock(decoder, encodeBlock(encoder, fields), 300);
        const again = decodeBlock(decoder, encodeBlock(encoder, fields));
        assert.deepEqual(pairs(again), fields);
      }),
    );
  });
});

describe('the Huffman code (RFC 7541 §5.2)', () => {
  it('gives every byte back, alone and among others', () => {
    const bytes = Array.from({ length: 256 }, (_, byte) => byte);
    for (const text of [Buffer.from(bytes), ...bytes.map((byte) => Buffer.of(byte))]) {
      const coded = Buffer.alloc(huffmanLength(text, 0, text.length) + 1, 0x55);
      const end = huffmanEncode(text, 0, text.length, coded, 0);
      assert.equal(end, coded.length - 1);
      assert.equal(coded[end], 0x55);
      const decoded = Buffer.alloc(text.length);
      assert.equal(huffmanDecode(coded, 0, end, decoded, 0, decoded.length), text.length);
      assert.deepEqual(decoded, text);
    }
  });

  it('gives every text back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (text) => {
        const coded = Buffer.alloc(huffmanLength(text, 0, text.length));
        huffmanEncode(text, 0, text.length, coded, 0);
        const decoded = new Uint8Array(text.length);
        assert.equal(huffmanDecode(coded, 0, coded.length, decoded, 0, decoded.length), text.length);
        assert.deepEqual(decoded, text);
      }),
    );
  });

  it('decodes nothing that encodes differently', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 12 }), (coded) => {
        const text = new Uint8Array(64);
        const length = huffmanDecode(coded, 0, coded.length, text, 0, text.length);
        if (length < 0) return;
        const again = new Uint8Array(huffmanLength(text, 0, length));
        huffmanEncode(text, 0, length, again, 0);
        assert.deepEqual(again, coded);
      }),
      { numRuns: 20_000 },
    );
  });

  it('writes nothing beyond its limit, and counts on', () => {
    const text = Buffer.from('www.example.com');
    const coded = Buffer.alloc(huffmanLength(text, 0, text.length));
    huffmanEncode(text, 0, text.length, coded, 0);
    const target = Buffer.alloc(20, 0x2e);
    assert.equal(huffmanDecode(coded, 0, coded.length, target, 2, 6), text.length);
    assert.equal(target.toString('latin1'), `..www.${'.'.repeat(14)}`);
  });
});

const fieldName = fc.constantFrom(
  ...['server', 'Date', 'content-type', 'Vary', 'x-one', 'X-Two', 'cookie', 'authorization', 'set-cookie'],
  ...['accept', 'accept-encoding', 'via', 'etag', 'location', 'access-control-allow-origin', 'user-agent'],
);
const fieldValue = fc.oneof(
  fc.constantFrom('', 'a', 'text/html; charset=utf-8', 'gzip, deflate', 'b'.repeat(255), 'c'.repeat(300)),
  fc.string({ maxLength: 60 }).map((text) => text.replaceAll(/[^\x21-\x7e]/g, '-')),
);

describe('encoding a block', () => {
  it('gives back what was encoded, over many blocks and whatever tables the peer allows', () => {
    const block = fc.tuple(
      fc.option(fc.constantFrom(0, 1, 40, 60, 100, 500, 4096, 1 << 20), { nil: -1 }),
      fc.array(fc.tuple(fieldName, fieldValue), { maxLength: 12 }),
    );
    fc.assert(
      fc.property(fc.array(block, { maxLength: 12 }), (blocks) => {
        const encoder = new HpackEncoder();
        const decoder = new HpackDecoder();
        for (const [table, fields] of blocks) {
          if (table >= 0) {
            encoder.limitTable(table);
            decoder.allowTable(Math.min(table, 65_536));
          }
          const decoded = decodeBlock(decoder, encodeBlock(encoder, fields));
          assert.equal(decoded.result, HPACK_END);
          assert.deepEqual(
            pairs(decoded),
            fields.map(([name, value]) => [name.toLowerCase(), value]),
          );
        }
      }),
      { numRuns: 500 },
    );
  });

  it('never indexes what is secret (§7.1.3)', () => {
    const encoder = new HpackEncoder();
    const names = ['authorization', 'Cookie', 'set-cookie', 'proxy-authorization'];
    const fields = names.map((name): [string, string] => [name, 'secret']);
    const first = encodeBlock(encoder, fields);
    const { fields: decoded } = decodeBlock(new HpackDecoder(), first);
    assert.deepEqual(
      decoded.map(({ never }) => never),
      [true, true, true, true],
    );
    assert.deepEqual(encodeBlock(encoder, fields), first, 'nothing became shorter');
  });

  it('sends a value that repeats as one byte', () => {
    const encoder = new HpackEncoder();
    const fields: [string, string][] = [
      ['Server', 'sallyport'],
      ['Content-Type', 'text/html'],
      ['accept', '*/*'],
    ];
    encodeBlock(encoder, fields);
    assert.equal(encodeBlock(encoder, fields).length, 3);
  });

  it('announces the smallest table that the peer allowed in between, and the last one', () => {
    const encoder = new HpackEncoder();
    encoder.limitTable(0);
    encoder.limitTable(200);
    assert.deepEqual(encodeBlock(encoder, []), hex('20 3fa901'));
    encoder.limitTable(100);
    assert.deepEqual(encodeBlock(encoder, []), hex('3f45'));
    encoder.limitTable(1 << 30);
    assert.deepEqual(encodeBlock(encoder, []), hex('3fe11f'));
    assert.deepEqual(encodeBlock(encoder, []), Buffer.alloc(0));
  });
});
