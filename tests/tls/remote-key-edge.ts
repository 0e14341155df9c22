/**
 * A process that has a certificate but no key: shakes hands with itself, its key being behind descriptor 3 (key 7),
 * says what came of it, and stays until its standard input ends. Argument: file of the certificate.
 */

import { readFileSync } from 'node:fs';
import { remoteKey } from '../../src/tls/remote-key.ts';
import { ROLE_SERVER } from '../../src/tls/signature-request.ts';
import { SigningChannel } from '../../src/tls/signing-channel.ts';
import { handshake, newContext, TLS12, TLS13, withPublicKey } from './remote-key-handshake.ts';

const cert = readFileSync(process.argv[2], 'latin1');
const channel = new SigningChannel(3, 20_000);
const versions = [TLS12, TLS13].map((version) => {
  const key = withPublicKey(cert, (publicKey) => remoteKey(publicKey, ROLE_SERVER, 7, channel.exchange));
  return handshake(newContext(true, version, cert, key), newContext(false, version)).version;
});
process.stdout.write(`${versions.join(' ')}\n`);
process.stdin.resume();
