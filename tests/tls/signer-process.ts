/**
 * A process that holds one key and nothing else: answers the requests that come by descriptor 3 until that is
 * closed. Arguments: file of the key, its number, its role.
 */

import { readFileSync } from 'node:fs';
import { recv, send } from '../../src/sys/libc.ts';
import { mapPrivate } from '../../src/sys/memory.ts';
import {
  encodeReply,
  REQUEST_BYTES_MAX,
  ROLE_CLIENT,
  ROLE_SERVER,
  STATUS_READY,
} from '../../src/tls/signature-request.ts';
import { Signer } from '../../src/tls/signer.ts';

const CHANNEL = 3;
const [keyPath, keyId, role] = process.argv.slice(2);
const signer = new Signer({ perSecond: 1e6, burst: 1e6 }, () => performance.now());
signer.add(Number(keyId), role === 'client' ? ROLE_CLIENT : ROLE_SERVER, readFileSync(keyPath));

const memory = mapPrivate(REQUEST_BYTES_MAX + 1);
const greeting = { status: STATUS_READY, sequence: 0, signature: new Uint8Array(0) };
send(CHANNEL, memory.address, encodeReply(memory.bytes, greeting), 0);
for (;;) {
  const length = recv(CHANNEL, memory.address, REQUEST_BYTES_MAX + 1, 0);
  if (length <= 0) break;
  const reply = signer.answer(memory.bytes.subarray(0, length));
  memory.bytes.set(reply);
  send(CHANNEL, memory.address, reply.length, 0);
}
process.exit(0);
