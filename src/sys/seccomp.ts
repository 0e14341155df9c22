/**
 * Seccomp filters (seccomp(2)), assembled here from lists of names: what may be called, with which arguments, and
 * what happens otherwise. A filter that is installed can't be taken back, only be narrowed by another one.
 *
 * The kernel remembers which calls are allowed whatever their arguments, so that a long list costs those nothing;
 * those whose arguments are looked at stand first.
 *
 * Arguments are compared by their low 32 bits. That suffices where the kernel itself reads no more (families,
 * commands, options, clone's flags), and for single bits in the low word (PROT_EXEC).
 */

import { assert } from '../base/assert.ts';
import { EFAULT, ENOSYS } from './errno.ts';
import { negated } from './libc.ts';
import { mapPrivate } from './memory.ts';
import { syscall4 } from './process-calls.ts';
import { SYSTEM_CALL_NUMBERS } from './seccomp-numbers.ts';

/** What a call outside the list does: it is logged and goes on; it fails with EPERM; the process is killed. */
export type SeccompMode = 'log' | 'filter' | 'strict';
export type Architecture = 'x64' | 'arm64';

/** A condition on the low word of argument `argument` (0 to 5). */
export type ArgumentCheck =
  | { readonly argument: number; readonly isOneOf: readonly number[] }
  /** None of these bits is set. */
  | { readonly argument: number; readonly hasNoneOf: number }
  /** The bits under `mask` are exactly `are`. */
  | { readonly argument: number; readonly mask: number; readonly are: number };

/** A call that is allowed if all checks hold. `otherwise`: the errno it fails with if not, in place of the mode's action. */
export interface CheckedCall {
  readonly call: string;
  readonly checks: readonly ArgumentCheck[];
  readonly otherwise?: number;
}

/** A call that always fails with this errno, in all modes: its caller is known to do without. */
export interface RefusedCall {
  readonly call: string;
  readonly errno: number;
}

export type CallRule = string | CheckedCall | RefusedCall;

const SYS_SECCOMP: Readonly<Record<Architecture, number>> = { x64: 317, arm64: 277 };
const SECCOMP_SET_MODE_FILTER = 1;
const SECCOMP_FILTER_FLAG_TSYNC = 1 << 0;
const SECCOMP_FILTER_FLAG_TSYNC_ESRCH = 1 << 4;
const AUDIT_ARCH: Readonly<Record<Architecture, number>> = { x64: 0xc000003e, arm64: 0xc00000b7 };
/** Calls of the x32 ABI on x86-64 carry this bit. */
const X32_BIT = 0x40000000;

const RET_KILL_PROCESS = 0x80000000;
const RET_ERRNO = 0x00050000;
const RET_LOG = 0x7ffc0000;
const RET_ALLOW = 0x7fff0000;
const EPERM = 1;

// struct seccomp_data: number u32, architecture u32, instruction pointer u64, arguments 6 × u64.
const DATA_NUMBER = 0;
const DATA_ARCHITECTURE = 4;
const DATA_ARGUMENTS = 16;

// Classic BPF (linux/bpf_common.h).
const LOAD = 0x20;
const JUMP_IF_EQUAL = 0x15;
const JUMP_IF_GREATER_OR_EQUAL = 0x35;
const JUMP_IF_BITS = 0x45;
const AND = 0x54;
const RETURN = 0x06;

const INSTRUCTION_BYTES = 8;
const INSTRUCTIONS_MAX = 4096;
const JUMP_MAX = 255;

/** Code, jump if true, jump if false, operand. */
type Instruction = readonly [code: number, yes: number, no: number, operand: number];

/** The architecture that this process runs on, as far as filters know it; undefined elsewhere. */
export function architecture(): Architecture | undefined {
  return process.arch === 'x64' || process.arch === 'arm64' ? process.arch : undefined;
}

function defaultAction(mode: SeccompMode): number {
  switch (mode) {
    case 'log':
      return RET_LOG;
    case 'filter':
      return RET_ERRNO | EPERM;
    case 'strict':
      return RET_KILL_PROCESS;
  }
}

/** The number of a call; -1: this architecture has none of that name. Throws where no architecture knows it. */
export function callNumber(name: string, on: Architecture): number {
  const numbers = SYSTEM_CALL_NUMBERS[name];
  assert(numbers !== undefined, `no system call is named ${name}`);
  return numbers[on === 'x64' ? 0 : 1];
}

/**
 * The program: instructions of 8 bytes, as seccomp(2) takes them. Names that the architecture doesn't have are left
 * out. Throws on a list that is wrong in itself (our bug).
 */
export function assembleFilter(rules: readonly CallRule[], mode: SeccompMode, on: Architecture): Uint8Array {
  const action = defaultAction(mode);
  const code: Instruction[] = [
    [LOAD, 0, 0, DATA_ARCHITECTURE],
    [JUMP_IF_EQUAL, 1, 0, AUDIT_ARCH[on]],
    [RETURN, 0, 0, RET_KILL_PROCESS],
    [LOAD, 0, 0, DATA_NUMBER],
    [JUMP_IF_GREATER_OR_EQUAL, 0, 1, X32_BIT],
    [RETURN, 0, 0, RET_KILL_PROCESS],
  ];
  const seen = new Map<string, CallRule>();
  const byCost = [...rules].sort((a, b) => cost(a) - cost(b));
  for (const rule of byCost) {
    const name = typeof rule === 'string' ? rule : rule.call;
    // Lists are made of lists: the same rule may come twice, a contradiction may not.
    const before = seen.get(name);
    assert(before === undefined || sameRule(before, rule), `${name} is listed twice, differently`);
    if (before !== undefined) continue;
    seen.set(name, rule);
    const number = callNumber(name, on);
    if (number < 0) continue;
    const body = bodyOf(rule, action);
    assert(body.length <= JUMP_MAX, `${name} has too many checks`);
    code.push([JUMP_IF_EQUAL, 0, body.length, number], ...body);
  }
  code.push([RETURN, 0, 0, action]);
  assert(code.length <= INSTRUCTIONS_MAX, 'a filter has at most 4096 instructions');
  return encode(code);
}

function sameRule(a: CallRule, b: CallRule): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

function cost(rule: CallRule): number {
  return typeof rule === 'string' ? 1 : 0;
}

function bodyOf(rule: CallRule, action: number): Instruction[] {
  if (typeof rule === 'string') return [[RETURN, 0, 0, RET_ALLOW]];
  if ('errno' in rule) return [[RETURN, 0, 0, RET_ERRNO | rule.errno]];
  const failure: Instruction = [
    RETURN,
    0,
    0,
    rule.otherwise === undefined ? action : RET_ERRNO | rule.otherwise,
  ];
  return [...rule.checks.flatMap((check) => checkOf(check, failure)), [RETURN, 0, 0, RET_ALLOW]];
}

/** Goes on behind its end if the condition holds, else returns `failure`. */
function checkOf(check: ArgumentCheck, failure: Instruction): Instruction[] {
  const load: Instruction = [LOAD, 0, 0, DATA_ARGUMENTS + check.argument * 8];
  if ('hasNoneOf' in check) return [load, [JUMP_IF_BITS, 0, 1, check.hasNoneOf], failure];
  if ('mask' in check) return [load, [AND, 0, 0, check.mask], [JUMP_IF_EQUAL, 1, 0, check.are], failure];
  const count = check.isOneOf.length;
  assert(count < JUMP_MAX, 'too many values for a check');
  const tests = check.isOneOf.map((value, index): Instruction => [JUMP_IF_EQUAL, count - index, 0, value]);
  return [load, ...tests, failure];
}

function encode(code: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(code.length * INSTRUCTION_BYTES);
  const view = new DataView(bytes.buffer);
  code.forEach(([operation, yes, no, operand], index) => {
    const at = index * INSTRUCTION_BYTES;
    view.setUint16(at, operation, true);
    bytes[at + 2] = yes;
    bytes[at + 3] = no;
    view.setUint32(at + 4, operand >>> 0, true);
  });
  return bytes;
}

/**
 * Installs a program for this thread, or for all threads of the process. no_new_privs must be set, or the process be
 * privileged. Returns 0 or -errno (-ESRCH: a thread couldn't follow; none has the filter then).
 */
export function installFilter(program: Uint8Array, threads: 'this' | 'all'): number {
  const on = architecture();
  if (on === undefined) return -ENOSYS;
  const memory = mapPrivate(16 + program.length);
  memory.bytes.set(program, 16);
  // struct sock_fprog: instructions u16, their address u64 at 8.
  memory.view.setUint16(0, program.length / INSTRUCTION_BYTES, true);
  memory.view.setBigUint64(8, BigInt(memory.address + 16), true);
  const flags = threads === 'all' ? SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH : 0;
  const result = negated(syscall4(SYS_SECCOMP[on], SECCOMP_SET_MODE_FILTER, flags, memory.address, 0));
  memory.unmap();
  return result;
}

/** Whether this kernel has seccomp filters, whoever may install them. */
export function hasSeccomp(): boolean {
  const on = architecture();
  if (on === undefined) return false;
  // With all flags that are needed (Linux 5.7), and a program at no address: only that is found wrong then.
  const flags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
  return negated(syscall4(SYS_SECCOMP[on], SECCOMP_SET_MODE_FILTER, flags, 0, 0)) === -EFAULT;
}
