/**
 * The simulation from the command line: `--seed N`, or `--seeds FROM..TO` (both included). Prints what was
 * wrong with each seed that failed and the command that replays it; exits with 1 if there was one.
 */

import { parseArgs } from 'node:util';
import { runWorld, type WorldResult } from './world.ts';

const { values } = parseArgs({ options: { seed: { type: 'string' }, seeds: { type: 'string' } } });

function range(): { from: number; to: number } {
  if (values.seed !== undefined) return { from: Number(values.seed), to: Number(values.seed) };
  const match = /^(\d+)\.\.(\d+)$/.exec(values.seeds ?? '1..2000');
  if (match === null) throw new Error('--seeds wants FROM..TO');
  return { from: Number(match[1]), to: Number(match[2]) };
}

const { from, to } = range();
const tally = new Map<string, number>();
const start = performance.now();
let failures = 0;

function report({ seed, mood, violations }: WorldResult): void {
  failures++;
  console.log(`seed ${seed} (${mood}):`);
  for (const violation of violations.slice(0, 8)) console.log(`  ${violation}`);
  console.log(`  replay: npm run simulate -- --seed ${seed}`);
}

for (let seed = from; seed <= to; seed++) {
  const result = runWorld(seed);
  for (const [outcome, count] of result.tally) {
    const key = `${result.mood} ${outcome}`;
    tally.set(key, (tally.get(key) ?? 0) + count);
  }
  if (result.violations.length > 0) report(result);
}

const seconds = ((performance.now() - start) / 1000).toFixed(1);
for (const [outcome, count] of [...tally].sort()) console.log(`${outcome}: ${count}`);
console.log(`${to - from + 1} seeds in ${seconds} s, ${failures} failed`);
process.exitCode = failures === 0 ? 0 : 1;
