/** The private root of a room doesn't depend on what the master was started with. */

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { STRONGEST } from '../../src/master/plan.ts';
import { needRoot, openFolder, planFor, runRoom } from './house.ts';

const before022 = process.umask();
before(needRoot);
after(() => {
  process.umask(before022);
});

it('a master that makes files for itself alone (umask 077) has rooms that can enter their roots', async () => {
  const file = join(openFolder(), 'file');
  writeFileSync(file, 'content', { mode: 0o644 });
  const given = { file, folder: '/nowhere', grantedPort: 1, deniedPort: 1, victim: 1 };
  const parameters = ['read its file', JSON.stringify(given)];
  const planned = planFor('edge', 'probe-room', parameters, STRONGEST, { files: [file] });
  process.umask(0o077);
  const { reason, output } = await runRoom(planned);
  assert.equal(reason, 'exit code 0', output);
  assert.deepEqual(JSON.parse(output), { 'read its file': 'done' });
});
