/**
 * A master of plain rooms, to be killed by a test: starts the roles that its arguments name, prints the process id of
 * each as JSON once all are ready, and waits.
 */

import { stat } from 'node:fs/promises';
import type { Role } from '../../../src/ipc/roles.ts';
import { Supervisor } from '../../../src/master/supervisor.ts';
import { LAUNCHER, openPipe, plainSource } from '../house.ts';

await stat('/');
const supervisor = new Supervisor(
  { launcher: LAUNCHER, output: openPipe() },
  { onRoomReady() {}, onRoomMessage() {}, onRoomLost() {} },
);
const roles = process.argv.slice(2) as Exclude<Role, 'master'>[];
const failure = await supervisor.start(roles.map((role) => plainSource(role, role, () => 'work')));
console.log(JSON.stringify({ failure, pids: supervisor.status().map(({ pid }) => pid) }));
