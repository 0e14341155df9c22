/** A room that sends its master bytes that are no message. */

import { MessageTransfer } from '../../../src/sys/descriptors.ts';

const transfer = new MessageTransfer(64);
transfer.bytes.set([1, 200, 0, 0, 0, 0, 0, 0]);
transfer.send(3, 8, [], true);
// It stays, until it is made to leave.
setInterval(() => {}, 1000);
