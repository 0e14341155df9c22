/** `npm run build`: what it makes of sources, and what it leaves where they are wrong. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { after, test } from 'node:test';

const ROOT = resolve(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'sallyport-build-'));
after(() => rmSync(folder, { recursive: true }));

/** Sources in the smallest form that has all entries. */
const SOURCES: Readonly<Record<string, string>> = {
  'cli/main.ts': `import { assert } from "../base/assert.ts";
assert(true);
export async function main(): Promise<string> {
  return (await import("../master/main.ts")).startMaster();
}
`,
  'cli/judge-main.ts': 'import "../base/assert.ts";\n',
  'master/main.ts': 'export const startMaster = (): string => "started";\n',
  'master/launcher-main.ts': 'import "../base/assert.ts";\n',
  'journal/main.ts': 'import "../base/assert.ts";\n',
  'keys/main.ts': 'import "../base/assert.ts";\n',
  'outbound/main.ts': 'import "../base/assert.ts";\n',
  'base/assert.ts': 'export function assert(holds: boolean): void {\n  if (!holds) throw new Error();\n}\n',
  'edge/main.ts': `import { BufferPool } from "../io/buffer-pool.ts";
import { assert } from "../base/assert.ts";
/** Says how large a pool is. */
export function startEdge(): string {
  const pool = new BufferPool();
  assert(pool.bytes > 0);
  return \`\${pool.bytes} bytes\`;
}
`,
  'io/buffer-pool.ts': `export class BufferPool {
  readonly bytes: number = 7;
  readonly free: number;
  constructor() {
    this.free = this.bytes;
  }
}
`,
};

let count = 0;
/** A project of its own with these sources; those that are named replace the ones above. */
function project(changed: Readonly<Record<string, string>> = {}): string {
  const root = join(folder, `${++count}`);
  for (const path of [
    'tools/build.ts',
    'tools/bundle.ts',
    'tsconfig.json',
    'tsconfig.build.json',
    'package.json',
  ])
    cpSync(join(ROOT, path), join(root, path));
  symlinkSync(join(ROOT, 'node_modules'), join(root, 'node_modules'));
  for (const [path, text] of Object.entries({ ...SOURCES, ...changed })) write(root, path, text);
  return root;
}

function write(root: string, path: string, text: string): void {
  mkdirSync(dirname(join(root, 'src', path)), { recursive: true });
  writeFileSync(join(root, 'src', path), text);
}

function build(root: string, ...flags: string[]): { status: number | null; output: string } {
  const run = spawnSync(process.execPath, [join(root, 'tools/build.ts'), ...flags], { encoding: 'utf8' });
  return { status: run.status, output: run.stdout + run.stderr };
}

test('makes one module of what the edge runs, with names and constants as they are, and removes what is gone', async () => {
  const root = project();
  mkdirSync(join(root, 'dist'));
  writeFileSync(join(root, 'dist/gone.js'), '');
  assert.deepEqual(build(root), { status: 0, output: '' });
  const edge = readFileSync(join(root, 'dist/parts/edge-main-all.js'), 'utf8');
  assert.match(edge, /^const BufferPool = class/m);
  assert.match(edge, /function startEdge\(\)/);
  assert.match(edge, /this\.free = this\.bytes/);
  assert.doesNotMatch(edge, /^\s*free;/m, 'a field is declared without a value');
  assert.doesNotMatch(edge, /Says how large/);
  assert.doesNotMatch(readFileSync(join(root, 'dist/cli/main.js'), 'utf8'), /from "[^"]*cli-main-main/);
  for (const room of ['cli/judge-main', 'master/launcher-main', 'journal/main', 'keys/main', 'outbound/main'])
    assert.ok(existsSync(join(root, `dist/${room}.js`)), room);
  assert.ok(!existsSync(join(root, 'dist/gone.js')));
  assert.ok(existsSync(join(root, 'dist/.built')));
  const { main } = await import(join(root, 'dist/cli/main.js'));
  assert.equal(await main(), 'started');
  assert.equal((await import(join(root, 'dist/edge/main.js'))).startEdge(), '7 bytes');
  assert.deepEqual(Object.keys(await import(join(root, 'dist/io/buffer-pool.js'))), ['BufferPool']);
});

for (const [name, path, text, flags, said] of [
  ['a type is wrong', 'io/wrong.ts', "export const wrong: number = 'text';\n", [], /wrong\.ts/],
  ['a module is missing', 'cli/main.ts', 'import "./none.ts";\n', ['--unchecked'], /none\.ts/],
] as const) {
  test(`fails and leaves the old dist where ${name}`, () => {
    const root = project({ [path]: text });
    mkdirSync(join(root, 'dist'));
    writeFileSync(join(root, 'dist/old.js'), '');
    const { status, output } = build(root, ...flags);
    assert.equal(status, 1);
    assert.match(output, said);
    assert.match(output, /dist\/ is as it was/);
    assert.deepEqual(readdirSync(join(root, 'dist')), ['old.js']);
    assert.deepEqual(
      readdirSync(root).filter((entry) => entry.startsWith('dist.')),
      [],
    );
  });
}

test('leaves types to somebody else when it is told to', () => {
  const root = project({ 'io/wrong.ts': "export const wrong: number = 'text';\n" });
  assert.deepEqual(build(root, '--unchecked'), { status: 0, output: '' });
});
