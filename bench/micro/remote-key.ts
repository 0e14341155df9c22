/**
 * What a key in another process costs a full handshake: processor time of the process that shakes hands (client
 * and server are both in it), with the key at hand and with the key behind a socket, in turns; and what the process
 * with the key spends. Both processes may share a core: it is processor time that counts here, not waiting.
 */

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { close, socketpair } from '../../src/sys/libc.ts';
import { mapPrivate } from '../../src/sys/memory.ts';
import { SOCK_CLOEXEC } from '../../src/sys/socket.ts';
import { remoteKey } from '../../src/tls/remote-key.ts';
import { ROLE_SERVER } from '../../src/tls/signature-request.ts';
import { SigningChannel } from '../../src/tls/signing-channel.ts';
import { type KeyKind, testAuthority } from '../../tests/fixtures/certificates.ts';
import {
  freeContexts,
  handshake,
  newContext,
  newLocalContext,
  TLS12,
  TLS13,
  withPublicKey,
} from '../../tests/tls/remote-key-handshake.ts';

const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const KEY = 1;
const ROUNDS = 10;
const HANDSHAKES_A_ROUND = 100;
const TIMEOUT_MS = 20_000;
/** Clock ticks of /proc (USER_HZ). */
const MS_PER_TICK = 10;
const KINDS: readonly KeyKind[] = ['P-256', 'RSA-2048', 'Ed25519'];

const memory = mapPrivate(4096);

/** Processor milliseconds of a process so far. */
function processorMsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) * MS_PER_TICK;
}

function processorUsOf(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const spent = process.cpuUsage(before);
  return spent.user + spent.system;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1];
}

function measure(kind: KeyKind, version: number): string {
  const certificate = testAuthority().server([`${kind.toLowerCase()}.example`], { key: kind });
  socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, memory.address);
  const [ours, theirs] = memory.words;
  const script = join(import.meta.dirname, '../../tests/tls/signer-process.ts');
  const signer = spawn(process.execPath, [script, certificate.keyPath, `${KEY}`, 'server'], {
    stdio: ['ignore', 'inherit', 'inherit', theirs],
  });
  close(theirs);
  const channel = new SigningChannel(ours, TIMEOUT_MS);
  const key = withPublicKey(certificate.cert, (publicKey) =>
    remoteKey(publicKey, ROLE_SERVER, KEY, channel.exchange),
  );
  const remote = newContext(true, version, certificate.cert, key);
  const local = newLocalContext(true, version, certificate.cert, certificate.key);
  const client = newContext(false, version);
  const run = (ctx: number) => {
    for (let each = 0; each < HANDSHAKES_A_ROUND; each++) {
      if (handshake(ctx, client).version !== version) throw new Error('a handshake failed');
    }
  };
  for (let round = 0; round < 3; round++) for (const ctx of [local, remote]) run(ctx);
  const signerBeforeMs = processorMsOf(signer.pid as number);
  const spent: { local: number[]; remote: number[] } = { local: [], remote: [] };
  for (let round = 0; round < ROUNDS; round++) {
    spent.local.push(processorUsOf(() => run(local)) / HANDSHAKES_A_ROUND);
    spent.remote.push(processorUsOf(() => run(remote)) / HANDSHAKES_A_ROUND);
  }
  const signerUs =
    ((processorMsOf(signer.pid as number) - signerBeforeMs) * 1000) / (ROUNDS * HANDSHAKES_A_ROUND);
  freeContexts(remote, local, client);
  close(ours);
  signer.kill();
  const [localUs, remoteUs] = [median(spent.local), median(spent.remote)];
  const cells = [kind, version === TLS13 ? '1.3' : '1.2', localUs, remoteUs, remoteUs - localUs, signerUs];
  return cells.map((cell) => (typeof cell === 'number' ? cell.toFixed(0) : cell)).join(' | ');
}

process.stdout.write('key | TLS | local, µs | remote, µs | difference, µs | process with the key, µs\n');
process.stdout.write('--- | --- | ---: | ---: | ---: | ---:\n');
for (const kind of KINDS) {
  for (const version of [TLS13, TLS12]) process.stdout.write(`${measure(kind, version)}\n`);
}
