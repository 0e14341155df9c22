/**
 * The private keys' files as the master has them: open descriptors that it passes to the keys room whenever that starts,
 * so that a file that is gone meanwhile is still there for it. The master reads nothing of them.
 *
 * Keys of a configuration are opened before any room changes over to it, and stay until no worker uses them: in between
 * the keys room holds those of both.
 */

import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import type { KeyFile, KeyOrder } from '../config/material.ts';
import type { Message } from '../ipc/message.ts';
import { rewindFile } from '../sys/descriptors.ts';
import type { Accepted } from './judge.ts';

/** Keys with their chains are a few KiB. */
const FILE_BYTES_MAX = 1_048_576;
/** Descriptors that one message brings: keys whose numbers follow one another. */
const KEYS_PER_MESSAGE = 8;

/** A room, or the channel to one that starts. */
export interface KeyReceiver {
  send(message: Message, descriptors: readonly number[]): boolean;
}

/** A configuration that was accepted. */
interface WithKeys {
  readonly keys: readonly KeyFile[];
}

interface HeldKey {
  readonly key: KeyFile;
  readonly descriptor: number;
  isSettled: boolean;
}

export class KeyRing {
  /** By number, in ascending order. */
  private readonly held: Map<number, HeldKey>;

  constructor() {
    this.held = new Map();
  }

  /** Opens the files of a configuration's keys. Throws an Error with the reason, and nothing has changed then. */
  open(keys: readonly KeyFile[]): void {
    const opened: HeldKey[] = [];
    try {
      for (const key of keys) {
        if (this.held.has(key.id)) continue;
        opened.push({ key, descriptor: openKey(key.path), isSettled: false });
      }
    } catch (error) {
      for (const { descriptor } of opened) closeSync(descriptor);
      throw error;
    }
    for (const each of opened) this.held.set(each.key.id, each);
  }

  /**
   * Passes all keys to a keys room that starts, before its configuration. Opens what isn't open: call `open` before
   * where a reason is to be told.
   */
  furnish(receiver: KeyReceiver, { keys }: WithKeys): void {
    this.open(keys);
    this.pass([...this.held.values()], receiver);
  }

  /** Passes those of another configuration to a keys room that has the others, before it is told of it. */
  add(receiver: KeyReceiver, { keys }: WithKeys): void {
    this.open(keys);
    this.pass(
      keys.flatMap(({ id }) => this.held.get(id) ?? []),
      receiver,
    );
  }

  private pass(keys: readonly HeldKey[], receiver: KeyReceiver): void {
    const ordered = keys.toSorted((a, b) => a.key.id - b.key.id);
    for (let at = 0; at < ordered.length; ) {
      const { id } = ordered[at].key;
      let count = 1;
      while (count < KEYS_PER_MESSAGE && ordered[at + count]?.key.id === id + count) count++;
      const descriptors = ordered.slice(at, at + count).map(({ descriptor }) => descriptor);
      // The room reads from where the descriptor stands: one before it may have read to the end.
      for (const descriptor of descriptors) rewindFile(descriptor);
      receiver.send({ kind: 'descriptors', purpose: 'key', peer: 'keys', index: id }, descriptors);
      at += count;
    }
  }

  /** The keys room's configuration: all keys that are to be in force. JSON. */
  configuration(): string {
    const keys: KeyOrder[] = [...this.held.values()].map(({ key, isSettled }) => ({
      ...key,
      isNeeded: !isSettled,
    }));
    return JSON.stringify({ keys });
  }

  /**
   * All rooms use these now, or again; the others are closed. The keys room forgets them with its next configuration,
   * which is due then.
   */
  keepOnly({ keys }: WithKeys): void {
    const ids = new Set(keys.map(({ id }) => id));
    for (const [id, each] of this.held) {
      each.isSettled = true;
      if (ids.has(id)) continue;
      closeSync(each.descriptor);
      this.held.delete(id);
    }
  }

  /** Closes those of a configuration that didn't come into force, but for those of the one that stays. */
  forget({ keys }: WithKeys, staying: WithKeys): void {
    const kept = new Set(staying.keys.map(({ id }) => id));
    for (const { id } of keys) {
      if (kept.has(id)) continue;
      const held = this.held.get(id);
      if (held === undefined) continue;
      closeSync(held.descriptor);
      this.held.delete(id);
    }
  }

  /** How many keys are open. */
  get size(): number {
    return this.held.size;
  }
}

/**
 * The same configuration, in which keys that the one before had have the numbers that they had there: a reload that
 * changes no key is none of the keys room's business, and handshakes that wait for it go on with the number they know.
 */
export function withKnownKeys(next: Accepted, before: Accepted): Accepted {
  const nameOf = ({ role, path, publicKeyHash }: KeyFile): string => `${role} ${publicKeyHash} ${path}`;
  const known = new Map(before.keys.map((key) => [nameOf(key), key.id]));
  const numbers = new Map(next.keys.map((key) => [key.id, known.get(nameOf(key)) ?? key.id]));
  const renumbered = (id: number): number => numbers.get(id) ?? id;
  const { server, backends } = next.material;
  const clientKeys = Object.entries(backends.clientKeys).map(([path, id]) => [path, renumbered(id)] as const);
  return {
    ...next,
    keys: next.keys.map((key) => ({ ...key, id: renumbered(key.id) })),
    material: {
      server:
        server === null
          ? null
          : {
              ...server,
              certificates: server.certificates.map((each) => ({ ...each, keyId: renumbered(each.keyId) })),
            },
      backends: { ...backends, clientKeys: Object.fromEntries(clientKeys) },
    },
  };
}

/** Never waits: what is not a file is refused, whatever opening it would do. */
function openKey(path: string): number {
  let descriptor = -1;
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    const status = fstatSync(descriptor);
    if (!status.isFile()) throw new Error('it is not a regular file');
    if (status.size > FILE_BYTES_MAX) throw new Error(`it has more than ${FILE_BYTES_MAX} bytes`);
    return descriptor;
  } catch (error) {
    if (descriptor >= 0) closeSync(descriptor);
    const { code, message } = error as NodeJS.ErrnoException;
    const reason = code === undefined ? message : `it can't be opened (${code})`;
    throw new Error(`The private key ${path}: ${reason}`);
  }
}
