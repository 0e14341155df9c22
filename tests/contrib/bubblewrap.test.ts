/** Under bubblewrap as the document has it: a root with neither /proc, /dev, /tmp nor /bin, and its own process ids. */

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { describe, it } from 'node:test';
import { type Edge, startEdge } from '../fixtures/edge.ts';
import { openFolder } from '../fixtures/folders.ts';
import { IO_BACKENDS } from '../fixtures/io-backends.ts';
import { within } from '../fixtures/patience.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const SITE = openFolder('bubblewrap');
writeFileSync(join(SITE, 'index.html'), 'from within');
const ORDINARY_USER = 65_532;

/** The document's options; the program, its configuration and the documents stand for /etc and /var. */
const BUBBLEWRAP = [
  'bwrap',
  ...['--ro-bind', '/usr', '/usr'],
  ...['--symlink', 'usr/lib', '/lib'],
  ...['--symlink', 'usr/lib64', '/lib64'],
  ...['--ro-bind', ROOT, ROOT],
  ...['--ro-bind', dirname(SITE), dirname(SITE)],
  '--unshare-pid',
  '--die-with-parent',
];
const ORDINARY = ['--unshare-user', '--uid', String(ORDINARY_USER), '--gid', String(ORDINARY_USER)];

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return text === '' ? [] : text.split(' ').map(Number);
}

/** The server's own process, below those of bubblewrap. */
function masterOf(edge: Edge): number {
  const found = [edge.pid, ...childrenOf(edge.pid), ...childrenOf(edge.pid).flatMap(childrenOf)].find((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('/cli/main.js\0serve'),
  );
  assert.ok(found !== undefined, edge.stderr());
  return found;
}

/** User, permitted capabilities, no_new_privs and seccomp of a process, as this one sees it. */
function confinementOf(pid: number): string[] {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return ['Uid', 'CapPrm', 'NoNewPrivs', 'Seccomp'].map(
    (name) => new RegExp(`^${name}:\\s+(\\S+)`, 'm').exec(status)?.[1] ?? '',
  );
}

for (const io of IO_BACKENDS)
  describe(`under bubblewrap, on ${io}`, () => {
    for (const [user, options, uid] of [
      ['root', [], '60594'],
      // Outside, whoever started bubblewrap.
      ['an ordinary user', ORDINARY, String(process.getuid?.())],
    ] as const)
      it(`serves as ${user}, reloads, and ends when it is asked to`, async () => {
        const edge = await startEdge(`[host_routes."*"]\npath = "${SITE}"\n`, {
          io,
          prefix: [...BUBBLEWRAP, ...options],
        });
        const master = masterOf(edge);
        await edge.logged('ready, with');
        const response = await fetch(`http://127.0.0.1:${edge.port}/`);
        assert.equal(await response.text(), 'from within');
        const worker = childrenOf(master).find((pid) =>
          readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('/edge/main.js'),
        );
        assert.deepEqual(confinementOf(worker ?? 0), [uid, '0000000000000000', '1', '2']);
        process.kill(master, 'SIGHUP');
        await edge.logged('the new configuration is in force');
        assert.equal((await fetch(`http://127.0.0.1:${edge.port}/`)).status, 200);
        process.kill(master, 'SIGTERM');
        assert.deepEqual(
          await within(edge.exited, 15_000, 'its end'),
          { code: 0, signal: null },
          edge.stderr(),
        );
        assert.equal(edge.stderr().includes('degraded'), user !== 'root', edge.stderr());
      });
  });
