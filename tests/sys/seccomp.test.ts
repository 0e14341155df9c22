/** Filters, run by an interpreter of classic BPF for both architectures; what the kernel makes of them is shown in tests/master. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { COMPARTMENTS } from '../../src/master/compartments.ts';
import { assembleFilter, type CallRule, callNumber } from '../../src/sys/seccomp.ts';
import { SYSTEM_CALL_NUMBERS } from '../../src/sys/seccomp-numbers.ts';

const ARCHITECTURES = ['x64', 'arm64'] as const;
const AUDIT = { x64: 0xc000003e, arm64: 0xc00000b7 };
const ALLOW = 0x7fff0000;
const LOG = 0x7ffc0000;
const KILL = 0x80000000;
const errno = (value: number): number => 0x00050000 | value;
const EPERM = errno(1);

/** What a filter says to a call. */
function run(program: Uint8Array, audit: number, number: number, parameters: readonly number[] = []): number {
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, number, true);
  data.setUint32(4, audit, true);
  parameters.forEach((value, index) => {
    data.setBigUint64(16 + index * 8, BigInt.asUintN(64, BigInt(value)), true);
  });
  const code = new DataView(program.buffer, program.byteOffset, program.length);
  let accumulator = 0;
  for (let at = 0; at < program.length / 8; at++) {
    const operand = code.getUint32(at * 8 + 4, true);
    const jump = (condition: boolean): void => {
      at += program[at * 8 + (condition ? 2 : 3)];
    };
    switch (code.getUint16(at * 8, true)) {
      case 0x20:
        accumulator = data.getUint32(operand, true);
        break;
      case 0x54:
        accumulator = (accumulator & operand) >>> 0;
        break;
      case 0x15:
        jump(accumulator === operand);
        break;
      case 0x35:
        jump(accumulator >= operand);
        break;
      case 0x45:
        jump((accumulator & operand) !== 0);
        break;
      case 0x06:
        return operand;
      default:
        assert.fail('an instruction that no filter has');
    }
  }
  assert.fail('a filter ends in a return');
}

const RULES: readonly CallRule[] = [
  'read',
  { call: 'mmap', checks: [{ argument: 2, hasNoneOf: 4 }] },
  {
    call: 'socket',
    checks: [
      { argument: 0, isOneOf: [1, 2, 10] },
      { argument: 1, mask: 15, are: 1 },
    ],
    otherwise: 97,
  },
  { call: 'clone3', errno: 38 },
];

for (const on of ARCHITECTURES) {
  describe(`a filter on ${on}`, () => {
    const filter = assembleFilter(RULES, 'filter', on);
    const ask = (name: string, ...parameters: number[]): number =>
      run(filter, AUDIT[on], callNumber(name, on), parameters);

    const cases: [string, number[], number][] = [
      ['read', [], ALLOW],
      ['write', [], EPERM],
      ['mmap', [0, 0, 3], ALLOW],
      ['mmap', [0, 0, 7], EPERM],
      ['mmap', [0, 0, 4], EPERM],
      ['socket', [2, 1], ALLOW],
      ['socket', [10, 0o2004001], ALLOW],
      ['socket', [16, 1], errno(97)],
      ['socket', [2, 3], errno(97)],
      ['socket', [2 ** 32 + 2, 1], ALLOW],
      ['clone3', [], errno(38)],
    ];
    for (const [name, parameters, expected] of cases)
      it(`answers ${name}(${parameters.join(', ')}) with 0x${expected.toString(16)}`, () => {
        assert.equal(ask(name, ...parameters), expected);
      });

    it('kills what calls by the numbers of another architecture', () => {
      const other = on === 'x64' ? AUDIT.arm64 : AUDIT.x64;
      assert.equal(run(filter, other, callNumber('read', on)), KILL);
      assert.equal(run(filter, 0x40000003, callNumber('read', on)), KILL);
      assert.equal(run(filter, AUDIT[on], callNumber('read', on) | 0x40000000), KILL);
    });

    it('logs, refuses or kills what is not on the list, by its mode', () => {
      const modes = [
        ['log', LOG],
        ['filter', EPERM],
        ['strict', KILL],
      ] as const;
      for (const [mode, expected] of modes) {
        const program = assembleFilter(RULES, mode, on);
        assert.equal(run(program, AUDIT[on], callNumber('ptrace', on)), expected);
        assert.equal(run(program, AUDIT[on], callNumber('mmap', on), [0, 0, 4]), expected);
        assert.equal(run(program, AUDIT[on], callNumber('clone3', on)), errno(38));
      }
    });

    for (const compartment of Object.values(COMPARTMENTS)) {
      it(`leaves ${compartment.role} nothing that starts a program, a process, a trace or a mount once it is sealed`, () => {
        for (const io of ['io_uring', 'epoll'] as const) {
          const program = assembleFilter(compartment.sealed(io), 'strict', on);
          for (const name of FORBIDDEN) {
            const number = callNumber(name, on);
            if (number >= 0) assert.notEqual(run(program, AUDIT[on], number) & 0xffff0000, ALLOW, name);
          }
          // getaddrinfo does without the modules that it can't load.
          const expected = compartment.role === 'outbound' ? EPERM : KILL;
          assert.equal(run(program, AUDIT[on], callNumber('mmap', on), [0, 4096, 7]), expected);
          assert.equal(run(program, AUDIT[on], callNumber('mprotect', on), [0, 4096, 5]), KILL);
        }
      });
    }

    it('says of any call what the rules say, whatever the list', () => {
      const names = Object.keys(SYSTEM_CALL_NUMBERS).filter((name) => callNumber(name, on) >= 0);
      fc.assert(
        fc.property(fc.uniqueArray(fc.constantFrom(...names), { maxLength: 120 }), (allowed) => {
          const program = assembleFilter(allowed, 'strict', on);
          for (const name of names)
            assert.equal(
              run(program, AUDIT[on], callNumber(name, on)),
              allowed.includes(name) ? ALLOW : KILL,
              name,
            );
        }),
        { numRuns: 30 },
      );
    });
  });
}

const FORBIDDEN = [
  'execve',
  'execveat',
  'fork',
  'vfork',
  'clone',
  'clone3',
  'ptrace',
  'process_vm_readv',
  'process_vm_writev',
  'kill',
  'pidfd_open',
  'pidfd_getfd',
  'mount',
  'umount2',
  'pivot_root',
  'chroot',
  'unshare',
  'setns',
  'setuid',
  'setresuid',
  'capset',
  'chmod',
  'fchmodat',
  'chown',
  'mknod',
  'mknodat',
  'bpf',
  'perf_event_open',
  'userfaultfd',
  'keyctl',
  'add_key',
  'init_module',
  'finit_module',
  'kexec_load',
  'reboot',
  'swapon',
  'personality',
  'seccomp',
  'io_uring_setup',
  'listen',
  'socketpair',
  'memfd_create',
];

describe('a list that contradicts itself', () => {
  it('is not assembled', () => {
    assert.throws(
      () => assembleFilter(['read', { call: 'read', errno: 1 }], 'filter', 'x64'),
      /listed twice/,
    );
  });

  it('may hold the same rule twice', () => {
    assert.deepEqual(
      assembleFilter(['read', 'read'], 'filter', 'x64'),
      assembleFilter(['read'], 'filter', 'x64'),
    );
  });

  it('is not assembled with a name that no kernel has', () => {
    assert.throws(() => assembleFilter(['raed'], 'filter', 'x64'), /no system call/);
  });
});
