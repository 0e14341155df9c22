/**
 * The keys room, for tests: takes the descriptors of key files and of doors from its master, reads the keys, seals
 * itself, and signs.
 */

import { closeSync, readSync } from 'node:fs';
import { BlockingLoop } from '../../../src/ipc/blocking-loop.ts';
import { Channel } from '../../../src/ipc/channel.ts';
import type { Message } from '../../../src/ipc/message.ts';
import { seal, warmUp } from '../../../src/sys/process-seal.ts';
import { REQUEST_BYTES_MAX, ROLE_SERVER } from '../../../src/tls/signature-request.ts';
import { Signer } from '../../../src/tls/signer.ts';

const CONTROL = 3;
const KEY_FILE_BYTES_MAX = 65536;
const signer = new Signer({ perSecond: 1000, burst: 1000 }, () => performance.now());
const control = new Channel(CONTROL, 'keys', 'master');

function onMessage(message: Message): boolean {
  switch (message.kind) {
    case 'descriptors': {
      const descriptor = control.takeDescriptor();
      if (message.purpose === 'key') {
        signer.add(message.index, ROLE_SERVER, readAll(descriptor));
        closeSync(descriptor);
      } else loop.addDoor(descriptor);
      return true;
    }
    case 'configure':
      control.send({ kind: 'ready', generation: message.generation });
      return true;
    case 'ping':
      control.send({ kind: 'pong', sequence: message.sequence, openConnections: 0 });
      return true;
    case 'drain':
      control.send({ kind: 'drained' });
      return false;
    default:
      return true;
  }
}

/** readFileSync would ask for the file's size, which a sealed room of this kind may not. */
function readAll(descriptor: number): Buffer {
  const bytes = Buffer.alloc(KEY_FILE_BYTES_MAX);
  let length = 0;
  for (let read = 1; read > 0 && length < bytes.length; length += read)
    read = readSync(descriptor, bytes, length, bytes.length - length, null);
  return bytes.subarray(0, length);
}

const loop = new BlockingLoop(
  control,
  { onMessage, answer: (_door, request) => signer.answer(request) },
  REQUEST_BYTES_MAX,
);
await warmUp();
const sealed = seal();
if (sealed < 0) throw new Error(`cannot be sealed: ${sealed}`);
loop.run();
process.exit(0);
