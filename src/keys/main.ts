/**
 * The keys room: private keys are here and nowhere else. It takes the descriptors of key files from the master, signs
 * what TLS signs for whoever stands at its doors, and can do nothing else: no file, no network, no process.
 *
 * It seals itself before it reads the first key.
 */

import { writeSync } from 'node:fs';
import { errnoName } from '../sys/errno.ts';
import { seal, warmUp } from '../sys/process-seal.ts';
import { KeysRoom } from './room.ts';

/** Exit codes of rooms: not sealed; the master is gone, or wasn't understood. */
const EXIT_UNSEALED = 71;
const EXIT_MASTERLESS = 72;

const room = new KeysRoom((line) => {
  try {
    writeSync(2, `keys: ${line}\n`);
  } catch {
    // Nobody reads it any more.
  }
});
await warmUp();
const sealed = seal();
if (sealed < 0) {
  writeSync(2, `Error: the keys room can't be sealed: ${errnoName(sealed)}\n`);
  process.exit(EXIT_UNSEALED);
}
process.exit(room.run() === 'drained' ? 0 : EXIT_MASTERLESS);
