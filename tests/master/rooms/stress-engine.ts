/** What JavaScript makes V8 and Node.js do in time: all kinds of compilation, collection of garbage, growth and shrinking. */

import { createHash, randomUUID } from 'node:crypto';
import { gunzipSync, gzipSync } from 'node:zlib';

/** Mebibytes of garbage that outlives a few young collections. */
const GARBAGE_MIB = 192;

/** `salt` keeps compiled code from being reused. Throws where something computes wrongly. */
export function stressEngine(salt: string): void {
  for (let round = 0; round < 200; round++) compileAndOptimise(salt, round);
  let kept: Uint8Array[] = [];
  for (let mebibyte = 0; mebibyte < GARBAGE_MIB; mebibyte++) {
    kept.push(new Uint8Array(1048576).fill(mebibyte));
    for (let each = 0; each < 2000; each++) ({ each, text: `${salt}${each}` });
    if (kept.length > 32) kept = kept.slice(16);
  }
  const text = `${salt} Größe 漢字 ${'x'.repeat(100000)}`;
  if (!/(\w+) (.+?) x{9,}$/u.test(text)) throw new Error('a regular expression failed');
  if (gunzipSync(gzipSync(text)).toString() !== text) throw new Error('zlib failed');
  createHash('sha256').update(text).update(randomUUID()).digest();
  new Intl.DateTimeFormat('ja-JP', { dateStyle: 'full' }).format(new Date());
  new Map(Object.entries(JSON.parse(JSON.stringify({ salt, text }))));
  try {
    recurse(0);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
}

function compileAndOptimise(salt: string, round: number): void {
  const source = `/* ${salt}${round} */ let sum = 0; for (let i = 0; i < n; i++) sum = (sum * 31 + i * ${round}) | 0; return sum;`;
  const compiled = new Function('n', source) as (n: number) => number;
  for (let call = 0; call < 30; call++) compiled(2000);
  if (compiled(1) !== 0) throw new Error('compiled code failed');
}

function recurse(depth: number): number {
  return recurse(depth + 1) + 1;
}
