/**
 * What the master starts for each room: reads its plan, carries it out, becomes the room. Arguments: how many
 * descriptors from 3 on are the room's, the master's process id (0 where it can't be seen). The plan, JSON, is in the
 * descriptor after them.
 */

import { closeSync, readFileSync, writeSync } from 'node:fs';
import { becomeRoom, CONTROL_DESCRIPTOR } from './launcher.ts';
import type { Plan } from './plan.ts';

/** Exit code of a room that could not be confined; its reason is on standard error. */
const EXIT_CONFINEMENT = 70;

const [descriptors, parent] = process.argv.slice(2).map(Number);
try {
  becomeRoom(readPlan(CONTROL_DESCRIPTOR + descriptors), descriptors, parent);
} catch (error) {
  writeSync(2, `Error: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(EXIT_CONFINEMENT);
}

function readPlan(descriptor: number): Plan {
  const plan = JSON.parse(readFileSync(descriptor, 'utf8')) as Plan;
  closeSync(descriptor);
  return plan;
}
