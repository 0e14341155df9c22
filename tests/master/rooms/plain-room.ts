/**
 * A room that does nothing but obey: takes its configuration, gets ready, answers, drains. It is sealed like a real one.
 * What its configuration says: `refuse` (it refuses it), `hang` (it answers no more once ready), `exit` (it ends at once).
 */

import { ConfigurationParts } from '../../../src/ipc/configuration-parts.ts';
import type { Message } from '../../../src/ipc/message.ts';
import { PolledChannel } from '../../../src/ipc/polled-channel.ts';
import type { Role } from '../../../src/ipc/roles.ts';
import { seal, warmUp } from '../../../src/sys/process-seal.ts';

const CONTROL = 3;
const parts = new ConfigurationParts();

function obey(channel: PolledChannel, message: Message): void {
  if (message.kind === 'ping')
    channel.send({ kind: 'pong', sequence: message.sequence, openConnections: 0, unwritten: 0 });
  if (message.kind === 'drain') channel.send({ kind: 'drained' });
  if (message.kind !== 'configure') return;
  const whole = parts.add(message);
  if (typeof whole === 'string') return;
  const text = Buffer.from(whole).toString('utf8');
  const { generation } = message;
  if (text === 'exit') process.exit(9);
  if (text === 'refuse') channel.send({ kind: 'refused', generation, reason: 'it says so' });
  else channel.send({ kind: 'ready', generation });
  if (text === 'hang') for (;;);
}

await warmUp();
process.on('SIGTERM', () => process.exit(0));
const control = new PolledChannel(CONTROL, process.env['SALLYPORT_ROLE'] as Role, 'master', {
  onMessage: obey,
  onEnd: () => process.exit(0),
});
const sealed = seal();
if (sealed < 0) {
  control.close();
  throw new Error(`cannot be sealed: ${sealed}`);
}
