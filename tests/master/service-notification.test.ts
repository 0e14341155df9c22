/** What the service manager hears. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { ServiceNotification } from '../../src/master/service-notification.ts';
import { bind, close, negated, recv, socket } from '../../src/sys/libc.ts';
import { mapPrivate } from '../../src/sys/memory.ts';
import { AF_UNIX, encodeAddress } from '../../src/sys/sockaddr.ts';
import { MSG_DONTWAIT } from '../../src/sys/socket.ts';
import { testFile } from '../fixtures/certificates.ts';

const SOCK_DGRAM = 2;

/** A socket of datagrams with that name, and what came to it. */
function listen(path: string): { heard: () => string[]; close: () => void } {
  const memory = mapPrivate(8192);
  const fd = negated(socket(AF_UNIX, SOCK_DGRAM, 0));
  const length = encodeAddress({ family: 'unix', path }, memory.bytes, 0);
  assert.equal(negated(bind(fd, memory.address, length)), 0);
  return {
    heard: () => {
      const datagrams: string[] = [];
      for (;;) {
        const bytes = negated(recv(fd, memory.address + 4096, 4096, MSG_DONTWAIT));
        if (bytes < 0) return datagrams;
        datagrams.push(Buffer.from(memory.bytes.slice(4096, 4096 + bytes)).toString());
      }
    },
    close: () => close(fd),
  };
}

describe('the notification of a service manager', () => {
  for (const kind of ['path', 'abstract'] as const)
    it(`arrives at a socket with a name that is ${kind === 'path' ? 'a path' : 'abstract'}`, () => {
      const name =
        kind === 'path' ? join(testFile('notify', ''), '../notify.sock') : `@sallyport-${process.pid}`;
      const manager = listen(name.replace(/^@/, '\0'));
      const notification = new ServiceNotification(name);
      notification.ready('all\nwell');
      notification.reloading();
      notification.stopping('bye');
      notification.mainProcess(42);
      const [ready, reloading, ...rest] = manager.heard();
      manager.close();
      assert.equal(ready, 'READY=1\nSTATUS=all well');
      assert.match(reloading, /^RELOADING=1\nMONOTONIC_USEC=\d+$/);
      assert.deepEqual(rest, ['STOPPING=1\nSTATUS=bye', 'MAINPID=42']);
    });

  it('goes nowhere, and breaks nothing, where there is no socket', () => {
    for (const name of [undefined, '', 'relative', '/does/not/exist', `@${'x'.repeat(300)}`])
      new ServiceNotification(name).ready('well');
  });
});
