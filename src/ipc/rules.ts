/**
 * Who may send which message in which state of a channel, and with how many descriptors: one table. Whatever isn't in
 * it is a fault of its sender.
 *
 * A channel to the master is `starting` until its room is ready, then `running`, `draining` once it was told so. Both
 * ends keep the state for themselves; a message that crosses `drain` on its way is therefore allowed after it. A
 * channel between two rooms is `running` from its first message to its last.
 */

import type { MessageKind } from './message.ts';
import type { Role } from './roles.ts';

export type ChannelState = 'starting' | 'running' | 'draining';

export interface Rule {
  readonly kind: MessageKind;
  readonly from: readonly Role[];
  readonly to: readonly Role[];
  readonly during: readonly ChannelState[];
  /** The state afterwards, where it is another. */
  readonly becomes?: ChannelState;
  readonly descriptorsMin: number;
  readonly descriptorsMax: number;
}

const ROOMS: readonly Role[] = ['edge', 'keys', 'journal', 'outbound'];
const MASTER: readonly Role[] = ['master'];
const ALWAYS: readonly ChannelState[] = ['starting', 'running', 'draining'];
const NONE = { descriptorsMin: 0, descriptorsMax: 0 };

export const RULES: readonly Rule[] = [
  { kind: 'configure', from: MASTER, to: ROOMS, during: ['starting', 'running'], ...NONE },
  {
    kind: 'descriptors',
    from: MASTER,
    to: ROOMS,
    // A room that drains still needs others, which may be started anew.
    during: ALWAYS,
    descriptorsMin: 1,
    descriptorsMax: 8,
  },
  { kind: 'drain', from: MASTER, to: ROOMS, during: ['starting', 'running'], becomes: 'draining', ...NONE },
  {
    kind: 'log-file',
    from: MASTER,
    to: ['journal'],
    during: ALWAYS,
    descriptorsMin: 1,
    descriptorsMax: 1,
  },
  { kind: 'rotate', from: ['journal'], to: MASTER, during: ALWAYS, ...NONE },
  { kind: 'ping', from: MASTER, to: ROOMS, during: ALWAYS, ...NONE },
  { kind: 'pong', from: ROOMS, to: MASTER, during: ALWAYS, ...NONE },
  // In `running` it is the answer to a new configuration.
  { kind: 'ready', from: ROOMS, to: MASTER, during: ['starting', 'running'], becomes: 'running', ...NONE },
  { kind: 'ready', from: ROOMS, to: MASTER, during: ['draining'], ...NONE },
  { kind: 'refused', from: ROOMS, to: MASTER, during: ALWAYS, ...NONE },
  { kind: 'drained', from: ROOMS, to: MASTER, during: ['draining'], ...NONE },
  { kind: 'log', from: ['master', 'edge', 'keys', 'outbound'], to: ['journal'], during: ALWAYS, ...NONE },
  { kind: 'resolve', from: ['edge'], to: ['outbound'], during: ['running'], ...NONE },
  { kind: 'resolved', from: ['outbound'], to: ['edge'], during: ['running'], ...NONE },
];

/** The rule under which that message may be sent, or undefined. */
export function ruleFor(kind: MessageKind, from: Role, to: Role, state: ChannelState): Rule | undefined {
  return RULES.find(
    (rule) =>
      rule.kind === kind && rule.from.includes(from) && rule.to.includes(to) && rule.during.includes(state),
  );
}
