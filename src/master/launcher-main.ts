/**
 * What the master starts for each room: reads its plan, carries it out, becomes the room. Arguments: the plan as JSON,
 * how many descriptors from 3 on are the room's, the master's process id (0 where it can't be seen).
 */

import { writeSync } from 'node:fs';
import { becomeRoom } from './launcher.ts';

/** Exit code of a room that could not be confined; its reason is on standard error. */
const EXIT_CONFINEMENT = 70;

const [, , plan, descriptors, parent] = process.argv;
try {
  becomeRoom(JSON.parse(plan), Number(descriptors), Number(parent));
} catch (error) {
  writeSync(2, `Error: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(EXIT_CONFINEMENT);
}
