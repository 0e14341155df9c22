/** What the service manager hears. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { ServiceNotification } from '../../src/master/service-notification.ts';
import { testFile } from '../fixtures/certificates.ts';
import { NotificationSocket } from '../fixtures/notification-socket.ts';

describe('the notification of a service manager', () => {
  for (const kind of ['path', 'abstract'] as const)
    it(`arrives at a socket with a name that is ${kind === 'path' ? 'a path' : 'abstract'}`, () => {
      const name =
        kind === 'path' ? join(testFile('notify', ''), '../notify.sock') : `@sallyport-${process.pid}`;
      const manager = new NotificationSocket(name);
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
