/** Does what the master does with keys: has a configuration judged, opens its keys, passes them on. Then it waits. */

import { Channel } from '../../src/ipc/channel.ts';
import { judge } from '../../src/master/judge.ts';
import { KeyRing } from '../../src/master/key-ring.ts';
import { createMessagePair } from '../../src/sys/descriptors.ts';

const { accepted, problems } = await judge(process.argv[2], 1);
if (accepted === null) throw new Error(JSON.stringify(problems));
const ring = new KeyRing();
const pair = createMessagePair(262_144);
if (typeof pair === 'number') throw new Error(`no pair: ${pair}`);
const channel = new Channel(pair[0], 'master', 'keys');
ring.furnish({ send: (message, descriptors) => channel.send(message, descriptors) === 'sent' }, accepted);
console.log(
  `${accepted.keys.length} keys ${ring.configuration().length > 0} ${JSON.stringify(accepted).length > 0}`,
);
process.stdin.resume();
