/**
 * `npm run test:ktls`: the tests of kernel TLS (tests/ktls), in virtual machines with Debian's kernels, since few
 * machines have the module and none has two kernels. Builds first; then each kernel boots, runs what must hold without
 * the module, loads it, and runs the rest. The processor is emulated: count minutes. Needs Debian's tools
 * (tools/kernel-tls-machine.ts names them) and, the first time, the network.
 *
 * An argument (`bookworm`) picks one kernel. Output of the guests is printed as it comes.
 */

import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  cacheFolder,
  GUEST_KERNELS,
  type GuestKernel,
  MACHINE_COMMANDS,
  MachineProblem,
  prepareMachine,
  runInMachine,
} from './kernel-tls-machine.ts';
import { ensurePrerequisites } from './prerequisites.ts';

const root = join(import.meta.dirname, '..');
/** Each start of the product is ten of Node.js, which an emulated processor takes half a minute for. */
const GUEST_MS_MAX = 2_700_000;
const TEST_MS_MAX = 600_000;
/** So many times as long as usual the product and its tests wait for processes. */
const PATIENCE = 10;

/** What the guest runs: its exit code says whether all has passed. */
function guestScript(): string {
  const run = `${process.execPath} --test --test-reporter=spec --test-concurrency=1 --test-force-exit --import=${root}/tools/whole-results.ts --test-timeout=${TEST_MS_MAX}`;
  return `cd ${root} || exit 1
export HOME=/tmp NO_COLOR=1 SALLYPORT_TEST_PATIENCE=${PATIENCE} SALLYPORT_PATIENCE=${PATIENCE} PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export SALLYPORT_BIN=${root}/bin/sallyport SALLYPORT_TLS_MODULE=/run/tls.ko
echo "guest: Linux $(uname -r), up $(cut -d' ' -f1 /proc/uptime) s"
failed=0
${run} tests/ktls/without-module.ts || failed=1
# It is there already, unless the test that loads it has failed.
[ -e /proc/net/tls_stat ] || busybox insmod /run/tls.ko || exit 1
${run} tests/ktls/offload.ts || failed=1
echo "guest: /proc/net/tls_stat:" $(cat /proc/net/tls_stat)
exit $failed
`;
}

async function testOn(kernel: GuestKernel): Promise<boolean> {
  console.log(`\n== kernel TLS in a virtual machine: Debian ${kernel.suite} (${kernel.why})`);
  const machine = prepareMachine(kernel);
  const script = join(cacheFolder(), 'guest.sh');
  mkdirSync(cacheFolder(), { recursive: true });
  writeFileSync(script, guestScript());
  const beganMs = Date.now();
  const exit = await runInMachine(machine, script, GUEST_MS_MAX, (line) => console.log(line));
  const seconds = Math.round((Date.now() - beganMs) / 1000);
  const outcome =
    exit === undefined ? `no result within ${GUEST_MS_MAX / 1000} s` : exit === 0 ? 'passed' : 'FAILED';
  console.log(`\n== Linux ${machine.release}: ${outcome}, after ${seconds} s`);
  return exit === 0;
}

process.chdir(root);
if (!ensurePrerequisites(MACHINE_COMMANDS)) process.exit(1);
const { status } = spawnSync(process.execPath, ['tools/build.ts'], { stdio: 'inherit' });
if (status !== 0) process.exit(1);
const asked = process.argv[2];
const kernels = GUEST_KERNELS.filter(({ suite }) => asked === undefined || suite === asked);
if (kernels.length === 0) {
  console.error(`Error: '${asked}' is none of ${GUEST_KERNELS.map(({ suite }) => suite).join(', ')}.`);
  process.exit(1);
}
let failures = 0;
for (const kernel of kernels) {
  try {
    if (!(await testOn(kernel))) failures++;
  } catch (error) {
    if (!(error instanceof MachineProblem)) throw error;
    console.error(`Error: ${error.message}`);
    failures++;
  }
}
console.log(
  failures === 0
    ? '\nkernel TLS: all passed'
    : `\nkernel TLS: ${failures} of ${kernels.length} kernels failed`,
);
process.exit(failures === 0 ? 0 : 1);
