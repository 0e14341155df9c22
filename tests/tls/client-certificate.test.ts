/** What backends are told of a client's certificate (RFC 9440). */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clientCertChainValue, clientCertValue } from '../../src/tls/client-certificate.ts';
import { testAuthority } from '../fixtures/certificates.ts';

test('a certificate is a byte sequence of structured fields: base64 between colons', () => {
  const { der, cert } = testAuthority().client('alice');
  const base64 = cert.replaceAll(/-----[A-Z ]+-----|\n/g, '');
  assert.equal(clientCertValue(der), `:${base64}:`);
});

test('base64 keeps its padding (RFC 8941 §4.1.8)', () => {
  assert.equal(clientCertValue(Buffer.from('a')), ':YQ==:');
});

test('a chain is a list of byte sequences, the one that issued the client first', () => {
  assert.equal(clientCertChainValue([Buffer.from('one'), Buffer.from('two')]), ':b25l:, :dHdv:');
  assert.equal(clientCertChainValue([]), '');
});
