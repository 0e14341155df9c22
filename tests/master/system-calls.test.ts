import assert from 'node:assert/strict';
import { test } from 'node:test';
import { COMPARTMENTS } from '../../src/master/compartments.ts';
import type { CallRule } from '../../src/sys/seccomp.ts';

/** Calls that a list lets through, under whatever conditions. */
function allowed(rules: readonly CallRule[]): string[] {
  return rules.flatMap((rule) =>
    typeof rule === 'string' ? [rule] : 'checks' in rule && rule.checks !== undefined ? [rule.call] : [],
  );
}

test('what a sealed room may call, it may call from its start: filters only ever add up', () => {
  for (const { role, starting, sealed } of Object.values(COMPARTMENTS))
    for (const io of ['io_uring', 'epoll'] as const) {
      const first = new Set(allowed(starting(io)));
      const missing = allowed(sealed(io)).filter((call) => !first.has(call));
      assert.deepEqual(missing, [], `${role} on ${io}`);
    }
});
