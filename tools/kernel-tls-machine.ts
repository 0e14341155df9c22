/**
 * A small virtual machine with a Debian kernel, for tests of what this machine's own kernel may lack: kernel TLS.
 *
 * Its root is this machine's, mounted read-only over 9p, so that the checkout, Node.js and the programs of the
 * tests are there under the same paths; /tmp and /run are the guest's own. What is prepared (kernel packages,
 * an initial RAM disk of busybox and a few modules) lies in a cache folder outside the checkout:
 * $XDG_CACHE_HOME/sallyport/kernel-tls, else /var/cache/sallyport/kernel-tls for root and ~/.cache/… for others.
 *
 * The processor is emulated (TCG): slow, and the same everywhere. A virtual machine in a virtual machine would be
 * quicker where it works at all.
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';

/** Commands that this needs, and the Debian packages that bring them. */
export const MACHINE_COMMANDS: readonly (readonly [string, string])[] = [
  ['qemu-system-x86_64', 'qemu-system-x86'],
  ['busybox', 'busybox-static'],
  ['cpio', 'cpio'],
  ['depmod', 'kmod'],
  ['dpkg-deb', 'dpkg'],
  ['apt-get', 'apt'],
  ['xz', 'xz-utils'],
];

/** A Debian suite whose kernel is booted. */
export interface GuestKernel {
  readonly suite: string;
  /** What it is here for. */
  readonly why: string;
}

export const GUEST_KERNELS: readonly GuestKernel[] = [
  { suite: 'bookworm', why: 'Linux 6.1, whose kernel TLS knows no new keys' },
  { suite: 'trixie-backports', why: 'newer than Linux 6.14, whose kernel TLS takes new keys' },
];

/** Modules without which the guest is of no use, and those that make its ciphers quick where it has them. */
const MODULES = ['virtio_pci', '9pnet_virtio', '9p', 'virtio_rng', 'gcm', 'ctr', 'chacha20poly1305'];
const MODULES_WHERE_PRESENT = [
  'ghash_generic',
  'aesni_intel',
  'ghash_clmulni_intel',
  'chacha',
  'chacha_x86_64',
  'poly1305_x86_64',
];
/** Loaded by the guest's script when the tests of its absence are over. */
const TLS_MODULE = 'tls';

const MIRROR = 'http://deb.debian.org/debian';
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const STEP_MS_MAX = 600_000;
const MEMORY_MIB = 2048;
/**
 * Without what costs an emulator most: protection keys, by which V8 guards its code, throw its translations away at each
 * change, five levels of page tables make each walk longer.
 */
const PROCESSOR = 'max,pku=off,la57=off';

export class MachineProblem extends Error {
  override readonly name = 'MachineProblem';
}

/** What the guest boots. */
export interface Machine {
  readonly release: string;
  readonly kernel: string;
  readonly initrd: string;
}

export function cacheFolder(): string {
  const base =
    process.env['XDG_CACHE_HOME'] ?? (process.getuid?.() === 0 ? '/var/cache' : join(homedir(), '.cache'));
  return join(base, 'sallyport', 'kernel-tls');
}

function run(
  command: string,
  args: readonly string[],
  options: { cwd?: string; input?: string } = {},
): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    ...options,
    encoding: 'utf8',
    timeout: STEP_MS_MAX,
    maxBuffer: 1 << 28,
  });
  if (status === 0) return stdout;
  throw new MachineProblem(`${command} ${args.join(' ')} failed: ${error?.message ?? stderr.trim()}`);
}

/** Options that keep apt's state of one suite apart from this machine's own. */
function aptOptions(folder: string): string[] {
  const settings = {
    'Dir::Etc::sourcelist': join(folder, 'sources.list'),
    'Dir::Etc::sourceparts': '/dev/null',
    'Dir::State::lists': join(folder, 'lists'),
    'Dir::Cache': join(folder, 'cache'),
    'APT::Sandbox::User': 'root',
  };
  return Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
}

/**
 * Names of the packages that hold the suite's kernel and its modules: one, or (newer Debian) one for each.
 * The version is asked for by suite, since this machine may know the packages from elsewhere.
 */
function kernelPackages(apt: readonly string[], suite: string): string[] {
  const found = ['linux-image-amd64'];
  for (const name of found) {
    const depends = run('apt-cache', [...apt, 'depends', `${name}/${suite}`]);
    for (const [, needed] of depends.matchAll(/Depends: (linux-(?:image|binary|modules|base)-\d\S+)/g))
      if (needed !== undefined && !found.includes(needed)) found.push(needed);
  }
  return found.slice(1);
}

/** Downloads and unpacks the kernel that the suite's linux-image-amd64 names. Returns where it was unpacked. */
function fetchKernel(suite: string): string {
  const folder = join(cacheFolder(), suite);
  const unpacked = join(folder, 'kernel');
  if (existsSync(unpacked)) return unpacked;
  for (const part of ['lists/partial', 'cache/archives/partial'])
    mkdirSync(join(folder, part), { recursive: true });
  writeFileSync(join(folder, 'sources.list'), `deb [signed-by=${KEYRING}] ${MIRROR} ${suite} main\n`);
  const apt = aptOptions(folder);
  console.log(`   fetching the kernel of ${suite} from ${MIRROR}`);
  run('apt-get', [...apt, 'update', '-q']);
  run('apt-get', [...apt, 'download', ...kernelPackages(apt, suite)], { cwd: folder });
  const growing = `${unpacked}.${process.pid}`;
  for (const archive of readdirSync(folder).filter((name) => name.endsWith('.deb'))) {
    run('dpkg-deb', ['-x', join(folder, archive), growing]);
    rmSync(join(folder, archive));
  }
  renameSync(growing, unpacked);
  return unpacked;
}

/** Paths of a module and of all that it needs, the needed ones first; empty where it is built in. */
function withDependencies(name: string, table: ReadonlyMap<string, readonly string[]>): string[] {
  const path = [...table.keys()].find((key) => moduleName(key) === name);
  if (path === undefined) return [];
  // modules.dep lists what a module needs, the last to be loaded first.
  return [...(table.get(path) ?? []).toReversed(), path];
}

function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko(\.xz)?$/, '')
    .replaceAll('-', '_');
}

function copyModule(from: string, to: string): void {
  copyFileSync(from, from.endsWith('.xz') ? `${to}.xz` : to);
  if (from.endsWith('.xz')) run('xz', ['-d', '-f', `${to}.xz`]);
}

/** Puts modules into the RAM disk and returns their names in the order of loading. */
function collectModules(base: string, release: string, tree: string): string[] {
  const folder = join(base, 'lib/modules', release);
  run('depmod', ['-b', base, release]);
  const table = new Map<string, readonly string[]>();
  for (const line of readFileSync(join(folder, 'modules.dep'), 'utf8').split('\n')) {
    const [path, needs] = line.split(':');
    if (path) table.set(path, needs?.trim().split(' ').filter(Boolean) ?? []);
  }
  const builtIn = readFileSync(join(folder, 'modules.builtin'), 'utf8').split('\n').map(moduleName);
  const wanted = [...MODULES, ...MODULES_WHERE_PRESENT, TLS_MODULE];
  const order = new Map<string, string>();
  for (const name of wanted) {
    const paths = withDependencies(name, table);
    const isNeeded = !MODULES_WHERE_PRESENT.includes(name);
    if (paths.length === 0 && isNeeded && !builtIn.includes(name))
      throw new MachineProblem(`Linux ${release} has no module ${name}`);
    for (const path of paths) order.set(moduleName(path), path);
  }
  mkdirSync(join(tree, 'modules'));
  for (const [name, path] of order) copyModule(join(folder, path), join(tree, 'modules', `${name}.ko`));
  return [...order.keys()];
}

/** The guest's first program: modules, mounts, then the script that it is given on its kernel's command line. */
function initScript(modules: readonly string[]): string {
  return `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in ${modules.filter((name) => name !== TLS_MODULE).join(' ')}; do insmod /modules/$m.ko 2>/dev/null; done
ip link set lo up
mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576,ro,cache=loose host /root || poweroff -f
mount -t proc proc /root/proc; mount -t sysfs sys /root/sys; mount -t devtmpfs dev /root/dev
mkdir -p /root/dev/shm; mount -t tmpfs tmp /root/dev/shm; mount -t tmpfs tmp /root/run; mount -t tmpfs -o mode=1777 tmp /root/tmp
cp /modules/${TLS_MODULE}.ko /root/run/tls.ko
for word in $(cat /proc/cmdline); do case $word in guest=*) script=\${word#guest=};; esac; done
chroot /root /bin/sh $script < /dev/null
echo "GUEST-EXIT $?"
poweroff -f
`;
}

/** Downloads and builds what is missing. Throws MachineProblem. */
export function prepareMachine(kernel: GuestKernel): Machine {
  if (process.arch !== 'x64') throw new MachineProblem('the virtual machine is made for x86-64 only');
  const unpacked = fetchKernel(kernel.suite);
  const base = existsSync(join(unpacked, 'usr/lib/modules')) ? join(unpacked, 'usr') : unpacked;
  const [release] = readdirSync(join(base, 'lib/modules'));
  if (release === undefined)
    throw new MachineProblem(`the kernel packages of ${kernel.suite} hold no modules`);
  // Newer Debian keeps the image beside the modules.
  const images = [
    join(unpacked, 'boot', `vmlinuz-${release}`),
    join(base, 'lib/modules', release, 'vmlinuz'),
  ];
  const image = images.find((path) => existsSync(path));
  if (image === undefined) throw new MachineProblem(`the kernel packages of ${kernel.suite} hold no kernel`);
  const tree = join(cacheFolder(), kernel.suite, `initrd.${process.pid}`);
  rmSync(tree, { recursive: true, force: true });
  for (const folder of ['bin', 'dev', 'proc', 'sys', 'root'])
    mkdirSync(join(tree, folder), { recursive: true });
  copyFileSync(run('sh', ['-c', 'command -v busybox']).trim(), join(tree, 'bin/busybox'));
  const modules = collectModules(base, release, tree);
  writeFileSync(join(tree, 'init'), initScript(modules), { mode: 0o755 });
  const initrd = join(cacheFolder(), kernel.suite, 'initrd.gz');
  run(
    'sh',
    ['-c', `find . | cpio -o -H newc --quiet | gzip -1 > ${initrd}.new && mv ${initrd}.new ${initrd}`],
    {
      cwd: tree,
    },
  );
  rmSync(tree, { recursive: true });
  return { release, kernel: image, initrd };
}

/**
 * Boots and runs a shell script, which the guest finds under the same path as here. Lines of its console go to
 * `onLine`. Resolves with the script's exit code, or undefined when the machine ended (or was ended, after
 * `msMax`) without one.
 */
export function runInMachine(
  machine: Machine,
  script: string,
  msMax: number,
  onLine: (line: string) => void,
): Promise<number | undefined> {
  const share = 'local,id=host,path=/,security_model=none,readonly=on,multidevs=remap';
  const args = [
    ...['-M', 'q35', '-accel', 'tcg', '-cpu', PROCESSOR, '-m', String(MEMORY_MIB), '-smp', '2'],
    ...['-display', 'none', '-nodefaults', '-serial', 'stdio', '-no-reboot'],
    ...['-kernel', machine.kernel, '-initrd', machine.initrd],
    ...['-append', `console=ttyS0 quiet panic=-1 mitigations=off guest=${script}`],
    ...['-device', 'virtio-rng-pci', '-fsdev', share, '-device', 'virtio-9p-pci,fsdev=host,mount_tag=host'],
  ];
  const guest = spawn('qemu-system-x86_64', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  return followConsole(guest, msMax, onLine);
}

function followConsole(
  guest: ChildProcess,
  msMax: number,
  onLine: (line: string) => void,
): Promise<number | undefined> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => guest.kill('SIGKILL'), msMax);
    let exit: number | undefined;
    let rest = '';
    guest.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split(/\r?\n/);
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const end = /^GUEST-EXIT (\d+)$/.exec(line);
        if (end) exit = Number(end[1]);
        else onLine(line);
      }
    });
    guest.on('close', () => {
      clearTimeout(timer);
      resolve(exit);
    });
  });
}
