import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';

const BIN = join(import.meta.dirname, '../../bin');
const ARCH = process.arch;
const workplace = mkdtempSync(join(tmpdir(), 'sallyport-bin-'));
after(() => rmSync(workplace, { recursive: true }));

/** Tells in JSON how it was started, instead of being the server. */
const STUB =
  'console.log(JSON.stringify({ version: process.version, name: process.env.SALLYPORT_ARGV0,' +
  ' args: process.argv.slice(2), flags: process.execArgv, pid: process.pid }));';

interface Started {
  readonly version: string;
  readonly name: string;
  readonly args: readonly string[];
  readonly flags: readonly string[];
  readonly pid: number;
}

/** An installed package: launchers and what they start. Returns its folder. */
function install(folder: string): string {
  const root = join(workplace, folder);
  mkdirSync(join(root, 'dist/cli'), { recursive: true });
  cpSync(BIN, join(root, 'bin'), { recursive: true });
  writeFileSync(join(root, 'dist/cli/main.js'), STUB);
  return root;
}

/** Puts the Node.js that runs this where a dependency would lie. */
function addNode(nodeModules: string): void {
  const bin = join(nodeModules, `node-linux-${ARCH}/bin`);
  mkdirSync(bin, { recursive: true });
  symlinkSync(process.execPath, join(bin, 'node'));
}

/** A `node` for PATH that claims to be of another version. */
function addSystemNode(version: string): string {
  const folder = join(workplace, `system-${version}`);
  mkdirSync(folder, { recursive: true });
  const script = `#!/bin/sh\n[ "$1" = --version ] && echo ${version} && exit\nexec '${process.execPath}' "$@"\n`;
  writeFileSync(join(folder, 'node'), script);
  chmodSync(join(folder, 'node'), 0o755);
  return folder;
}

function run(command: string, args: readonly string[] = [], path = '/usr/bin:/bin') {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', env: { PATH: path } });
  return { status, stderr, started: stdout === '' ? null : (JSON.parse(stdout) as Started) };
}

describe('bin/sallyport', () => {
  it('starts what is built, on the Node.js among its dependencies, with all arguments', () => {
    const root = install('plain');
    addNode(join(root, 'node_modules'));
    const { started } = run(join(root, 'bin/sallyport'), ['serve', '-c', 'a file.toml', '']);
    assert.equal(started?.version, process.version);
    assert.equal(started.name, 'sallyport');
    assert.deepEqual(started.args, ['serve', '-c', 'a file.toml', '']);
    assert.ok(started.flags.includes('--disable-sigusr1'));
  });

  it('becomes the server: the process that was started is the one that runs', async () => {
    const root = install('exec');
    addNode(join(root, 'node_modules'));
    const child = spawn(join(root, 'bin/sallyport'), [], { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    for await (const chunk of child.stdout) output += chunk;
    assert.equal((JSON.parse(output) as Started).pid, child.pid);
  });

  it('is found through symbolic links, absolute and relative', () => {
    const root = install('linked');
    addNode(join(root, 'node_modules'));
    const links = join(workplace, 'links/bin');
    mkdirSync(links, { recursive: true });
    symlinkSync(join(root, 'bin/sallyport'), join(links, 'absolute'));
    symlinkSync('../../linked/bin/zerocopy-server', join(links, 'relative'));
    symlinkSync('relative', join(links, 'again'));
    assert.equal(run(join(links, 'absolute')).started?.name, 'sallyport');
    assert.equal(run(join(links, 'again'), ['-c', 'x']).started?.name, 'zerocopy-server');
  });

  it('finds Node.js where dependencies are hoisted', () => {
    const root = install('project/node_modules/sallyport');
    addNode(join(dirname(root)));
    const links = join(dirname(root), '.bin');
    mkdirSync(links);
    symlinkSync('../sallyport/bin/sallyport', join(links, 'sallyport'));
    assert.equal(run(join(links, 'sallyport')).started?.version, process.version);
  });

  it('lies in a folder whose name has a space', () => {
    const root = install('with a space');
    addNode(join(root, 'node_modules'));
    assert.equal(run(join(root, 'bin/zerocopy-server')).started?.name, 'zerocopy-server');
  });

  it('prefers its own Node.js to the system’s', () => {
    const root = install('own');
    addNode(join(root, 'node_modules'));
    const path = `${addSystemNode('v99.0.0')}:/usr/bin:/bin`;
    assert.equal(run(join(root, 'bin/sallyport'), [], path).started?.version, process.version);
  });

  it('takes the system’s Node.js where its own is missing and that is new enough', () => {
    const root = install('system');
    const path = `${addSystemNode('v26.0.0')}:/usr/bin:/bin`;
    assert.equal(run(join(root, 'bin/sallyport'), ['x'], path).started?.args[0], 'x');
  });

  for (const version of ['v25.9.0', 'v20.20.2', 'nonsense']) {
    it(`refuses a system’s Node.js that is ${version}, with exit code 3 and the mend`, () => {
      const root = install(`old-${version}`);
      const path = `${addSystemNode(version)}:/usr/bin:/bin`;
      const { status, stderr } = run(join(root, 'bin/sallyport'), [], path);
      assert.equal(status, 3);
      assert.match(stderr, /Node\.js 26 or newer is needed.*npm ci/);
      assert.ok(stderr.includes(version));
    });
  }

  it('says what to do when nothing is built', () => {
    const root = install('unbuilt');
    rmSync(join(root, 'dist'), { recursive: true });
    const { status, stderr } = run(join(root, 'bin/sallyport'));
    assert.equal(status, 3);
    assert.match(stderr, /dist\/cli\/main\.js is missing.*npm ci/);
  });
});
