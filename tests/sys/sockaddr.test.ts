import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  decodeAddress,
  encodeAddress,
  SOCKADDR_BYTES_MAX,
  type SocketAddress,
} from '../../src/sys/sockaddr.ts';

const OFFSET = 5;

function encoded(address: SocketAddress): Uint8Array {
  const bytes = new Uint8Array(OFFSET + SOCKADDR_BYTES_MAX).fill(0xee);
  const length = encodeAddress(address, bytes, OFFSET);
  return bytes.slice(OFFSET, OFFSET + length);
}

const PAIRS: readonly { readonly name: string; readonly address: SocketAddress; readonly hex: string }[] = [
  {
    name: 'IPv4',
    address: { family: 'ipv4', address: '192.0.2.17', port: 8443 },
    hex: '020020fbc00002110000000000000000',
  },
  {
    name: 'IPv6 loopback',
    address: { family: 'ipv6', address: '::1', port: 80 },
    hex: '0a00005000000000' + '00000000000000000000000000000001' + '00000000',
  },
  {
    name: 'IPv6 with a run of zeros in the middle',
    address: { family: 'ipv6', address: '2001:db8::8:800:200c:417a', port: 1 },
    hex: '0a00000100000000' + '20010db80000000000080800200c417a' + '00000000',
  },
  {
    name: 'the IPv6 wildcard',
    address: { family: 'ipv6', address: '::', port: 443 },
    hex: '0a0001bb00000000' + '00000000000000000000000000000000' + '00000000',
  },
  {
    name: 'IPv6 without zeros',
    address: { family: 'ipv6', address: '1:2:3:4:5:6:7:8', port: 65535 },
    hex: '0a00ffff00000000' + '00010002000300040005000600070008' + '00000000',
  },
  { name: 'a Unix path', address: { family: 'unix', path: '/run/a' }, hex: '01002f72756e2f6100' },
  { name: 'an abstract Unix name', address: { family: 'unix', path: '\0ab' }, hex: '0100006162' },
];

for (const { name, address, hex } of PAIRS) {
  test(`${name} is written as the kernel has it, and read back`, () => {
    const bytes = encoded(address);
    assert.equal(Buffer.from(bytes).toString('hex'), hex);
    assert.deepEqual(decodeAddress(bytes, 0, bytes.length), address);
  });
}

test('an IPv4 address that is mapped into IPv6 is read as IPv4', () => {
  const bytes = encoded({ family: 'ipv6', address: '::ffff:198.51.100.7', port: 9 });
  assert.deepEqual(decodeAddress(bytes, 0, bytes.length), {
    family: 'ipv4',
    address: '198.51.100.7',
    port: 9,
  });
});

test('IPv6 is written as RFC 5952 wants: the longest run of zeros, the first of equal ones, lower case', () => {
  const cases = [
    ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['0:0:1::', '0:0:1::'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['fe80:0:0:0:1:0:0:0', 'fe80::1:0:0:0'],
    ['0:1:0:0:0:0:0:0', '0:1::'],
  ];
  for (const [given, canonical] of cases) {
    const bytes = encoded({ family: 'ipv6', address: given, port: 1 });
    const read = decodeAddress(bytes, 0, bytes.length);
    assert.ok(read.family !== 'unix');
    assert.equal(read.address, canonical, given);
  }
});

test('what the kernel says of an unnamed Unix socket is an empty path', () => {
  assert.deepEqual(decodeAddress(Uint8Array.of(1, 0), 0, 2), { family: 'unix', path: '' });
  assert.deepEqual(decodeAddress(new Uint8Array(4), 0, 0), { family: 'unix', path: '' });
});

const INVALID: readonly SocketAddress[] = [
  { family: 'ipv4', address: '192.0.2', port: 1 },
  { family: 'ipv4', address: '192.0.2.256', port: 1 },
  { family: 'ipv4', address: '192.0.2.01', port: 1 },
  { family: 'ipv4', address: 'localhost', port: 1 },
  { family: 'ipv4', address: '192.0.2.1', port: 65536 },
  { family: 'ipv4', address: '192.0.2.1', port: -1 },
  { family: 'ipv4', address: '192.0.2.1', port: 1.5 },
  { family: 'ipv6', address: '1:2:3:4:5:6:7', port: 1 },
  { family: 'ipv6', address: '1:2:3:4:5:6:7:8:9', port: 1 },
  { family: 'ipv6', address: '1::2::3', port: 1 },
  { family: 'ipv6', address: '1:2:3:4::5:6:7:8', port: 1 },
  { family: 'ipv6', address: '12345::', port: 1 },
  { family: 'ipv6', address: 'fe80::1%eth0', port: 1 },
  { family: 'ipv6', address: '::1.2.3', port: 1 },
  { family: 'unix', path: '' },
  { family: 'unix', path: `/${'a'.repeat(107)}` },
  { family: 'unix', path: '/run/a\0b' },
];

for (const address of INVALID) {
  test(`refuses ${JSON.stringify(address).slice(0, 80)}`, () => assert.equal(encoded(address).length, 0));
}

test('a Unix path may have 107 bytes', () => {
  const path = `/${'a'.repeat(106)}`;
  const bytes = encoded({ family: 'unix', path });
  assert.equal(bytes.length, 110);
  assert.deepEqual(decodeAddress(bytes, 0, bytes.length), { family: 'unix', path });
});
