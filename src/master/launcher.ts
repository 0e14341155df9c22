/**
 * Carries out a plan on the calling thread and becomes the room: what is done to this thread, execve keeps, and every
 * thread of the new program is born with it. The order is the kernel's: mounts need privileges, the bounding set and
 * the securebits need CAP_SETPCAP, the death signal is cleared by a change of user, Landlock and seccomp need
 * no_new_privs, and the filter must come last, since it forbids all of this.
 */

import { PATIENCE_VARIABLE } from '../base/patience.ts';
import { isOpenDescriptor, keepOverExecve } from '../sys/descriptors.ts';
import { EPERM, errnoName } from '../sys/errno.ts';
import { restrictWithLandlock } from '../sys/landlock.ts';
import { enterPrivateRoot, leaveNamespaces, setHostName } from '../sys/namespaces.ts';
import {
  becomeUser,
  dropBoundingSet,
  giveUpCapabilities,
  lockSecurebits,
  setNoNewPrivileges,
} from '../sys/privileges.ts';
import {
  endWithParent,
  limitResource,
  pinToCore,
  RLIMIT_CORE,
  RLIMIT_FSIZE,
  RLIMIT_NOFILE,
} from '../sys/process.ts';
import { SEAL_VARIABLE } from '../sys/process-seal.ts';
import { installFilter } from '../sys/seccomp.ts';
import type { Plan } from './plan.ts';

/** The first descriptor that is passed at the start: the channel to the master. */
export const CONTROL_DESCRIPTOR = 3;

/** A measure that couldn't be taken, and why. */
export class ConfinementFailure extends Error {
  override readonly name = 'ConfinementFailure';
}

/**
 * Becomes the room; returns only by throwing a ConfinementFailure. Descriptors 3 up to below 3 + `descriptors` are
 * kept. `parent` is the process id of the master, as `endWithParent` wants it.
 */
export function becomeRoom(plan: Plan, descriptors: number, parent: number): never {
  must('namespaces', leaveNamespaces(plan.namespaces));
  if (plan.hostName !== '') must('host name', setHostName(plan.hostName));
  if (plan.root !== null) {
    const failure = enterPrivateRoot(plan.root);
    if (failure !== null) must(`private root (${failure.what})`, failure.errno || -EPERM);
  }
  if (plan.core >= 0) must('core', pinToCore(plan.core));
  limit(plan);
  const keep = plan.keepCapabilities;
  if (plan.dropsCapabilities) {
    must('capability bounding set', dropBoundingSet(keep));
    must('securebits', lockSecurebits(keep));
  }
  if (plan.uid >= 0) must('user', becomeUser(plan.uid, plan.gid, keep));
  else if (keep.length === 0) must('capabilities', giveUpCapabilities());
  must('end with the master', endWithParent(parent));
  if (plan.noNewPrivileges) must('no_new_privs', setNoNewPrivileges());
  if (plan.landlock !== null) {
    const failure = restrictWithLandlock(plan.landlock);
    if (failure !== null) must(`Landlock${failure.path === '' ? '' : ` (${failure.path})`}`, failure.errno);
  }
  for (let fd = CONTROL_DESCRIPTOR; fd < CONTROL_DESCRIPTOR + descriptors; fd++)
    if (isOpenDescriptor(fd)) must(`descriptor ${fd}`, keepOverExecve(fd, true));
  if (plan.startFilter !== '') must('seccomp', installFilter(decode(plan.startFilter), 'this'));
  const [file] = plan.command;
  if (process.execve === undefined) throw new ConfinementFailure('this Node.js has no process.execve');
  return process.execve(file, plan.command, environment(plan));
}

function limit(plan: Plan): void {
  must('limit of core dumps', limitResource(RLIMIT_CORE, 0));
  if (plan.openFiles > 0) must('limit of descriptors', limitResource(RLIMIT_NOFILE, plan.openFiles));
  if (plan.fileBytes < Number.MAX_SAFE_INTEGER)
    must('limit of file sizes', limitResource(RLIMIT_FSIZE, plan.fileBytes));
}

function decode(base64: string): Uint8Array {
  return new Uint8Array(Buffer.from(base64, 'base64'));
}

/** Nothing of the master's environment but what the room is told on purpose. */
function environment(plan: Plan): Record<string, string> {
  const variables: Record<string, string> = {
    // libuv's own rings would not be restricted; it does without.
    UV_USE_IO_URING: '0',
    // Threads that compute in the background share two heaps of the C library, not one for each.
    MALLOC_ARENA_MAX: '2',
    // Workers read cold files with libuv's threads; others have little for them to do.
    ...(plan.role === 'edge' ? {} : { UV_THREADPOOL_SIZE: '2' }),
    // The machine's configuration of OpenSSL isn't ours, and Node.js doesn't start where it may not read it.
    OPENSSL_CONF: '/nonexistent',
    SALLYPORT_ROLE: plan.role,
    [SEAL_VARIABLE]: plan.sealFilter,
  };
  for (const name of ['SALLYPORT_IO', PATIENCE_VARIABLE, 'TZ']) {
    const value = process.env[name];
    if (value !== undefined) variables[name] = value;
  }
  return variables;
}

function must(measure: string, result: number): void {
  if (result < 0) throw new ConfinementFailure(`${measure}: ${errnoName(result)}`);
}
