/**
 * The judge: a process that lives as long as it takes to judge one configuration, and that may do nothing but read. It
 * parses what operators and authorities wrote, and reads private keys, so that the master needs to do neither.
 *
 * Arguments: path of the configuration, number of the generation. It locks its main thread, and becomes itself once
 * more, so that all threads are born locked; then it reads, and writes one JSON, a Judgement, to standard output.
 */

import type { EdgeUser } from '../config/files.ts';
import { edgeUserOf } from '../master/describe.ts';
import { probeMachine } from '../master/machine.ts';
import { errnoName } from '../sys/errno.ts';
import { restrictWithLandlock } from '../sys/landlock.ts';
import { leaveNamespaces } from '../sys/namespaces.ts';
import {
  becomeUser,
  dropBoundingSet,
  hasCapability,
  lockSecurebits,
  setNoNewPrivileges,
} from '../sys/privileges.ts';
import {
  endWithParent,
  limitResource,
  RLIMIT_CORE,
  RLIMIT_FSIZE,
  RLIMIT_NOFILE,
  setUndumpable,
} from '../sys/process.ts';

/** In the environment of a process that is locked already: who the edge is, which a locked one can't find out. */
const LOCKED_VARIABLE = 'SALLYPORT_JUDGE';
/**
 * What it takes to read files of others, and to tell what root could do with them. Nothing is written all the same: that
 * is Landlock's business, and the limit of file sizes.
 */
const KEPT_CAPABILITIES = ['CAP_DAC_OVERRIDE', 'CAP_DAC_READ_SEARCH'];
/** setrlimit(2). */
const RLIMIT_CPU = 0;
const CPU_SECONDS_MAX = 120;
const OPEN_FILES_MAX = 256;

const [configPath, generation] = process.argv.slice(2);
const edgeUser = process.env[LOCKED_VARIABLE];
if (edgeUser === undefined) becomeLocked();
else await judge(JSON.parse(edgeUser) as EdgeUser);

/**
 * Each measure for itself, as far as the machine has it: a judge that can't be locked is no reason not to start, since
 * the rooms that meet strangers say by themselves what they can't do.
 */
function becomeLocked(): never {
  const edge = JSON.stringify(edgeUserOf(probeMachine()));
  if (process.getuid?.() === 0) {
    leaveNamespaces(['net', 'ipc']);
    // A service may have been given the one without the other.
    const kept = KEPT_CAPABILITIES.filter(hasCapability);
    dropBoundingSet(kept);
    lockSecurebits(kept);
    becomeUser(0, process.getgid?.() ?? 0, kept);
  }
  limitResource(RLIMIT_CORE, 0);
  limitResource(RLIMIT_CPU, CPU_SECONDS_MAX);
  limitResource(RLIMIT_FSIZE, 0);
  limitResource(RLIMIT_NOFILE, OPEN_FILES_MAX);
  endWithParent(0);
  const locked = setNoNewPrivileges();
  if (locked < 0) throw new Error(`no_new_privs: ${errnoName(locked)}`);
  restrictWithLandlock({
    paths: [{ path: '/', access: 'execute' }],
    bindPorts: [],
    connectPorts: [],
    isScoped: true,
  });
  if (process.execve === undefined) throw new Error('this Node.js has no process.execve');
  const command = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  return process.execve(process.execPath, command, { ...definedEnvironment(), [LOCKED_VARIABLE]: edge });
}

function definedEnvironment(): Record<string, string> {
  const entries = Object.entries(process.env).filter(
    (each): each is [string, string] => each[1] !== undefined,
  );
  return Object.fromEntries(entries);
}

async function judge(edge: EdgeUser): Promise<void> {
  setUndumpable();
  // Only a locked process loads what parses.
  const { judgeConfiguration } = await import('./judgement.ts');
  const judgement = judgeConfiguration(configPath, Number(generation), edge);
  process.stdout.end(JSON.stringify(judgement));
}
