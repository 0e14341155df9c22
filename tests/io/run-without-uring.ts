/** Forbids itself io_uring by a system call filter, as container runtimes do, and says what openReactor makes of it. */

import koffi from 'koffi';
import { openReactor, ReactorUnavailable } from '../../src/io/open.ts';

const PR_SET_SECCOMP = 22;
const PR_SET_NO_NEW_PRIVS = 38;
const SECCOMP_MODE_FILTER = 2;
const SYS_io_uring_setup = 425;
const errno = Number(process.argv[2]);

const prctl = koffi
  .load(null)
  .func('int prctl(int option, int64_t second, void *third, int64_t fourth, int64_t fifth)');

/** struct sock_filter: code u16, jump if true u8, jump if false u8, constant u32. */
function instruction(code: number, ifTrue: number, ifFalse: number, constant: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16LE(code, 0);
  bytes.writeUInt8(ifTrue, 2);
  bytes.writeUInt8(ifFalse, 3);
  bytes.writeUInt32LE(constant, 4);
  return bytes;
}

const filter = Buffer.concat([
  instruction(0x20, 0, 0, 0), // load the system call's number
  instruction(0x15, 0, 1, SYS_io_uring_setup),
  instruction(0x06, 0, 0, 0x00050000 | errno), // fail with errno
  instruction(0x06, 0, 0, 0x7fff0000), // allow
]);
const program = Buffer.alloc(16);
program.writeUInt16LE(4, 0);
program.writeBigUInt64LE(koffi.address(filter), 8);
if (prctl(PR_SET_NO_NEW_PRIVS, 1, null, 0, 0) !== 0) throw new Error('no_new_privs');
if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) !== 0) throw new Error('seccomp');

const shape = { small: 4, medium: 16, large: 4 };
const { reactor, reason } = openReactor({ shape, backend: '' });
console.log(`${reactor.name}: ${reason}`);
reactor.turn(0);
reactor.destroy();
try {
  openReactor({ shape, backend: 'uring' });
} catch (error) {
  if (!(error instanceof ReactorUnavailable)) throw error;
  console.log(error.message);
}
