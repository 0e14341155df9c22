/** The configuration of the keys room: which keys are in force, by the numbers under which their files came. */

import type { KeyOrder as SentOrder } from '../config/material.ts';
import { ROLE_CLIENT, ROLE_SERVER, type Role } from '../tls/signature-request.ts';

export interface KeyOrder {
  readonly id: number;
  readonly role: Role;
  /** For words alone: the room couldn't open it. */
  readonly path: string;
  readonly publicKeyHash: string;
  /** Without it the configuration is refused. */
  readonly isNeeded: boolean;
}

/** The keys of `{ "keys": […] }`, or null where it is something else. */
export function parseConfiguration(text: string): KeyOrder[] | null {
  try {
    const { keys } = JSON.parse(text) as { keys: readonly SentOrder[] };
    return keys.map(({ id, role, path, publicKeyHash, isNeeded }) => ({
      id,
      role: role === 'client' ? ROLE_CLIENT : ROLE_SERVER,
      path,
      publicKeyHash,
      isNeeded,
    }));
  } catch {
    return null;
  }
}
