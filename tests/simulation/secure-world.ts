/**
 * TLS in a simulated world: what the edge's listener and the clients need to speak it. Nothing in it is drawn from
 * OpenSSL's chance as far as lengths go (signatures of Ed25519, no tickets), so that a seed still replays.
 */

import type { Random } from '../../src/base/random.ts';
import type { TlsSessions } from '../../src/edge/tls-acceptor.ts';
import { arenaBytes, type PoolShape } from '../../src/io/buffer-pool.ts';
import type { Reactor } from '../../src/io/reactor.ts';
import { type TlsOwner, TlsSocket } from '../../src/socket/tls-socket.ts';
import { type MappedMemory, mapPrivate } from '../../src/sys/memory.ts';
import { SSL_CTX_set_options } from '../../src/sys/openssl.ts';
import { Handshake } from '../../src/tls/handshake.ts';
import { secrets } from '../../src/tls/secret-memory.ts';
import { TLS12, TLS13 } from '../../src/tls/suites.ts';
import { clientContext, newClientSession, newServerSession, serverContext } from '../fixtures/tls-engine.ts';

const SSL_OP_NO_TICKET = 0x4000;

let edge: MappedMemory | null = null;
let clients: MappedMemory | null = null;

/** Worlds come one after another: they share the memory. */
function atLeast(memory: MappedMemory | null, bytes: number): MappedMemory {
  if (memory !== null && memory.length >= bytes) return memory;
  memory?.unmap();
  return mapPrivate(bytes);
}

export function edgeMemory(shape: PoolShape): MappedMemory {
  edge = atLeast(edge, arenaBytes(shape));
  return edge;
}

export function clientMemory(shape: PoolShape): MappedMemory {
  clients = atLeast(clients, arenaBytes(shape));
  return clients;
}

/** Made when the first world needs them. */
let contexts: { readonly server: number; readonly modern: number; readonly old: number } | null = null;

function makeContexts(): { readonly server: number; readonly modern: number; readonly old: number } {
  const server = serverContext({ key: 'Ed25519', tickets: 0 });
  const modern = clientContext({ version: TLS13 });
  const old = clientContext({ version: TLS12 });
  for (const ctx of [server, modern, old]) SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
  return { server, modern, old };
}

/** Somebody whom nobody tells anything: the socket has its handler from the start. */
const NOBODY: TlsOwner = {
  onTlsOpen() {},
  onTlsFailed() {},
  onTlsClosed() {},
};

export class SecureWorld implements TlsSessions {
  private readonly random: Random;
  private readonly secretsBefore: number;

  constructor(random: Random) {
    this.random = random;
    this.secretsBefore = secrets.count;
    contexts ??= makeContexts();
  }

  newSession(): number {
    return newServerSession(contexts?.server ?? 0);
  }

  free(): void {
    // The context is every world's.
  }

  /** A client's socket, still to be connected. */
  clientSocket(reactor: Reactor): TlsSocket {
    const { random } = this;
    const ctx = random.chance(0.3) ? contexts?.old : contexts?.modern;
    const fragments = random.chance(0.2) ? { fragmentCode: 1 + random.below(4) } : {};
    const handshake = new Handshake(
      newClientSession(ctx ?? 0, { serverName: 'edge.test', ...fragments }),
      false,
    );
    return new TlsSocket(reactor, 0, handshake, false, NOBODY);
  }

  /** What is held that should not be, in words. */
  leftovers(): string {
    const held = secrets.count - this.secretsBefore;
    return held === 0 ? '' : `${held} slots of keys are still held`;
  }
}
