import assert from 'node:assert/strict';
import { BlockList, isIP, isIPv4 } from 'node:net';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  AddressWords,
  FAMILY_IPV4,
  FAMILY_IPV6,
  FAMILY_NONE,
  IpList,
  parseAddress,
  parseAddressBytes,
  parseBlock,
} from '../../src/edge/ip-list.ts';

function words(text: string): number[] {
  const { family, word0, word1, word2, word3 } = parseAddress(text);
  return [family, word0 >>> 0, word1 >>> 0, word2 >>> 0, word3 >>> 0];
}

describe('parseAddress', () => {
  const vectors: { input: string; expected: number[] }[] = [
    { input: '127.0.0.1', expected: [4, 0, 0, 0, 0x7f000001] },
    { input: '255.255.255.255', expected: [4, 0, 0, 0, 0xffffffff] },
    { input: '::', expected: [6, 0, 0, 0, 0] },
    { input: '::1', expected: [6, 0, 0, 0, 1] },
    { input: '1::', expected: [6, 0x10000, 0, 0, 0] },
    { input: '2001:db8::ff00:42:8329', expected: [6, 0x20010db8, 0, 0xff00, 0x428329] },
    { input: '1:2:3:4:5:6:7:8', expected: [6, 0x10002, 0x30004, 0x50006, 0x70008] },
    { input: '::ffff:10.1.2.3', expected: [4, 0, 0, 0, 0x0a010203] },
    { input: '::FFFF:0a01:0203', expected: [4, 0, 0, 0, 0x0a010203] },
    { input: '64:ff9b::192.0.2.33', expected: [6, 0x64ff9b, 0, 0, 0xc0000221] },
    { input: 'fe80::1%eth0', expected: [6, 0xfe800000, 0, 0, 1] },
    { input: '', expected: [0, 0, 0, 0, 0] },
  ];
  for (const { input, expected } of vectors) {
    it(`reads '${input}'`, () => assert.deepEqual(words(input), expected));
  }

  for (const input of [
    '1.2.3',
    '1.2.3.4.5',
    '256.1.1.1',
    '01.2.3.4',
    '1.2.3.4 ',
    '1..3.4',
    '.1.2.3',
    '1.2.3.',
    '1.2.3.4%eth0',
    ':',
    ':::',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7::8',
    '1::2::3',
    '12345::',
    'g::',
    '::1:',
    ':1::',
    '::1.2.3',
    '1:2:3:4:5:6:7:1.2.3.4',
    '::1.2.3.4:5',
    '[::1]',
    'localhost',
  ]) {
    it(`refuses '${input}'`, () => {
      assert.equal(words(input)[0], FAMILY_NONE);
      assert.deepEqual(words(input).slice(1), [0, 0, 0, 0]);
    });
  }

  it('knows exactly the addresses that Node knows', () => {
    const part = fc.constantFrom(
      '0',
      '1',
      '12',
      '255',
      '256',
      'ff',
      'abcd',
      'abcde',
      ':',
      ':',
      '::',
      '.',
      '.',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.array(part, { maxLength: 16 }).map((parts) => parts.join('')),
          fc.ipV6(),
        ),
        (text) => {
          assert.equal(words(text)[0] !== FAMILY_NONE, isIP(text) !== 0, text);
        },
      ),
      { numRuns: 3000 },
    );
  });

  it('reads in place, within its bounds', () => {
    const bytes = Buffer.from('x10.0.0.12', 'latin1');
    const to = new AddressWords();
    assert.ok(parseAddressBytes(bytes, 1, 8, to));
    assert.equal(to.family, FAMILY_IPV4);
    assert.equal(to.word3, 0x0a000001);
    assert.ok(to.equals(parseAddress('10.0.0.1')));
    assert.ok(!parseAddressBytes(bytes, 0, 8, to));
    assert.equal(to.family, FAMILY_NONE);
  });
});

describe('IpList', () => {
  const list = new IpList([
    '10.0.0.0/8',
    '10.1.0.0/16',
    '192.0.2.7',
    '2001:db8::/32',
    '::1',
    '::ffff:198.51.100.0/120',
  ]);
  const expectations: [string, boolean][] = [
    ['10.0.0.0', true],
    ['10.255.255.255', true],
    ['9.255.255.255', false],
    ['11.0.0.0', false],
    ['192.0.2.6', false],
    ['192.0.2.7', true],
    ['192.0.2.8', false],
    ['::ffff:10.9.9.9', true],
    ['198.51.100.255', true],
    ['198.51.101.0', false],
    ['2001:db8::', true],
    ['2001:db8:ffff:ffff:ffff:ffff:ffff:ffff', true],
    ['2001:db7:ffff:ffff:ffff:ffff:ffff:ffff', false],
    ['2001:db9::', false],
    ['::1', true],
    ['::2', false],
    ['::', false],
    ['', false],
  ];
  for (const [address, expected] of expectations) {
    it(`${expected ? 'has' : 'has not'} '${address}'`, () =>
      assert.equal(list.has(parseAddress(address)), expected));
  }

  it('matches the whole of one family by /0, and nothing of the other', () => {
    const ipv4 = new IpList(['0.0.0.0/0']);
    const ipv6 = new IpList(['::/0']);
    assert.deepEqual([ipv4.has(parseAddress('8.8.8.8')), ipv4.has(parseAddress('2001::1'))], [true, false]);
    assert.deepEqual([ipv6.has(parseAddress('8.8.8.8')), ipv6.has(parseAddress('2001::1'))], [false, true]);
    assert.equal(ipv6.has(parseAddress('')), false);
  });

  it('is empty without entries and then has nobody', () => {
    assert.ok(new IpList([]).isEmpty);
    assert.ok(!list.isEmpty);
    assert.ok(!new IpList([]).has(parseAddress('127.0.0.1')));
  });

  it('ignores bits beyond the prefix', () => {
    assert.ok(new IpList(['10.1.2.3/8']).has(parseAddress('10.200.0.1')));
  });

  for (const entry of [
    '',
    '10.0.0.0/33',
    '10.0.0.0/',
    '10.0.0.0/08',
    '10.0.0.0/-1',
    '::/129',
    '::1%lo',
    'x/8',
  ]) {
    it(`refuses the entry '${entry}'`, () => {
      assert.equal(parseBlock(entry), null);
      assert.throws(() => new IpList([entry]), /not an address or CIDR block/);
    });
  }

  it('agrees with the BlockList of node:net, but that this matches IPv4 by IPv6 blocks around ::ffff:0:0', () => {
    const address = fc.oneof(
      fc.tuple(fc.nat(3), fc.nat(3), fc.nat(255), fc.nat(255)).map((octets) => octets.join('.')),
      fc
        .tuple(fc.constantFrom('2001', 'fe80'), fc.nat(3), fc.constantFrom('', '8000', 'ffff'))
        .map(([first, second, last]) => `${first}:${second}::${last || '0'}`),
    );
    const entry = fc
      .tuple(address, fc.nat(128))
      .map(([text, bits]) => ({ text, bits: isIPv4(text) ? bits % 33 : Math.max(bits, 16) }));
    fc.assert(
      fc.property(
        fc.array(entry, { maxLength: 12 }),
        fc.array(address, { maxLength: 12 }),
        (entries, probes) => {
          const ours = new IpList(entries.map(({ text, bits }) => `${text}/${bits}`));
          const theirs = new BlockList();
          for (const { text, bits } of entries) theirs.addSubnet(text, bits, isIPv4(text) ? 'ipv4' : 'ipv6');
          for (const probe of [...probes, ...entries.map(({ text }) => text)]) {
            const family = isIPv4(probe) ? 'ipv4' : 'ipv6';
            assert.equal(ours.has(parseAddress(probe)), theirs.check(probe, family), probe);
          }
        },
      ),
    );
  });

  it('tells families apart', () => {
    assert.equal(parseAddress('1.2.3.4').family, FAMILY_IPV4);
    assert.equal(parseAddress('::1.2.3.4').family, FAMILY_IPV6);
  });
});
