/**
 * Reads private keys from the descriptors that the master passes, and keeps them until the configuration says what they
 * are. The bytes of a file are wiped as soon as OpenSSL has the key. A file is read with read(2) alone: a sealed room
 * can't even ask for its size.
 */

import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { readSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { KEYS_MAX } from '../config/material.ts';
import { readPrivateKey } from '../tls/signer.ts';
import type { KeyOrder } from './configuration.ts';

/** Of one file: a key, perhaps with its certificate and others. The master opens none that is longer. */
const FILE_BYTES_MAX = 1_048_576;
/** Keys that wait for their configuration. */
const WAITING_MAX = KEYS_MAX;

export class KeyFiles {
  /** By number: the key, or why it can't be used. */
  private readonly waiting: Map<number, KeyObject | string>;
  /** One byte more than a file may have. */
  private readonly buffer: Buffer;

  constructor() {
    this.waiting = new Map();
    this.buffer = Buffer.alloc(FILE_BYTES_MAX + 1);
  }

  /** Reads a key's file. The descriptor stays the caller's. */
  read(id: number, descriptor: number): void {
    if (this.waiting.size >= WAITING_MAX) return;
    let length = 0;
    try {
      for (let read = 1; read > 0 && length < this.buffer.length; length += read)
        read = readSync(descriptor, this.buffer, length, this.buffer.length - length, null);
      if (length > FILE_BYTES_MAX) throw new Error(`it has more than ${FILE_BYTES_MAX} bytes`);
      this.waiting.set(id, readPrivateKey(this.buffer.subarray(0, length)));
    } catch (error) {
      this.waiting.set(id, error instanceof Error ? error.message : String(error));
    } finally {
      this.buffer.fill(0, 0, length);
    }
  }

  /** Why there is no such key, or ''. */
  faultOf({ id, publicKeyHash }: KeyOrder): string {
    const key = this.waiting.get(id);
    if (key === undefined) return 'its file was not passed on';
    if (typeof key === 'string') return key;
    return hashOf(key) === publicKeyHash ? '' : 'it has changed and belongs to another certificate now';
  }

  /** The key, or null where there is a fault. */
  take(order: KeyOrder): KeyObject | null {
    const key = this.waiting.get(order.id);
    return typeof key === 'object' && this.faultOf(order) === '' ? key : null;
  }

  clear(): void {
    this.waiting.clear();
  }
}

function hashOf(key: KeyObject): string {
  return createHash('sha256')
    .update(createPublicKey(key).export({ type: 'spki', format: 'der' }))
    .digest('hex');
}

// A context made after the flag has the function; this one never will.
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Keys without a reference are wiped by OpenSSL when V8 collects them: now, not when it needs memory. */
export function forgetNow(): void {
  collectGarbage();
}
