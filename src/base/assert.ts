/**
 * Assertions: our own bugs, never a peer's fault. They stay on in production; a failed one ends the
 * compartment and the master restarts it. No byte of a peer may reach one unchecked.
 */

/** Thrown by a failed assertion; nothing catches it but the compartment's last handler. */
export class AssertionFailure extends Error {
  override readonly name = 'AssertionFailure';
}

/** Ends the compartment unless `condition` holds. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionFailure(message);
}

/** The end of every `switch` over a closed set. */
export function unreachable(value: never): never {
  throw new AssertionFailure(`unreachable: ${String(value)}`);
}
