/**
 * The journal's room: the only writer of logs, standard error included. It opens no file: what it writes to comes from
 * the master. Start-up order: channel to the master, first configuration, seal, then the other rooms are heard.
 */

import { RoomControl } from '../ipc/room-control.ts';
import { errnoName } from '../sys/errno.ts';
import { seal, warmUp } from '../sys/process-seal.ts';
import { Journal } from './journal.ts';
import type { JournalOptions } from './log-writer.ts';

/** Exit code of a room that could not be sealed; its reason is on standard error. */
const EXIT_SEAL = 71;

/** What the master sends as the journal's configuration. */
export interface JournalConfiguration {
  readonly logging: JournalOptions;
}

const journal = new Journal(() => control.send({ kind: 'rotate' }));
let started: Promise<void> | null = null;

const control = new RoomControl('journal', {
  onConfiguration: (generation, text) => {
    journal.follow((JSON.parse(text) as JournalConfiguration).logging);
    started ??= start();
    void started.then(() => control.ready(generation));
  },
  onDescriptors: (purpose, peer, index, take) => journal.onDescriptor(purpose, peer, index, take()),
  onOther: (message, take) => journal.onMaster(message, take),
  onDrain: (timeoutMs) => void journal.finish(timeoutMs).then(() => control.drained()),
  openConnections: () => 0,
  unwritten: () => journal.unwritten,
});

async function start(): Promise<void> {
  await warmUp();
  const sealed = seal();
  if (sealed < 0) {
    process.stderr.write(`Error: the journal can't be sealed (${errnoName(sealed)})\n`);
    process.exit(EXIT_SEAL);
  }
  journal.listen();
}
