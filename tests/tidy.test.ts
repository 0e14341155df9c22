/** The rules of the house that neither the compiler nor the linter knows. */

import assert from 'node:assert/strict';
import { accessSync, constants, existsSync, globSync, readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { basename, dirname, join, normalize } from 'node:path';
import { describe, it } from 'node:test';

const ROOT = join(import.meta.dirname, '..');
const LINES_MAX = 800;
/** Folders whose code does no I/O. */
const PURE = ['base', 'http', 'http1', 'http2'];
/** Packages, and the one folder that may know each. */
const PACKAGE_HOMES: Readonly<Record<string, string>> = { koffi: 'sys', 'smol-toml': 'config' };
/** A file of such a name has no owner. */
const NAMES_WITHOUT_OWNER = /^(utils?|helpers?|managers?|common|misc)\b|-(utils?|helpers?|manager)\b/;

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

function filesOf(...patterns: string[]): string[] {
  return globSync(patterns, { cwd: ROOT })
    .filter((path) => !path.includes('node_modules'))
    .sort();
}

const sources = filesOf('src/**/*.ts');
const scripts = filesOf('{tests,bench,demo,tools}/**/*.{ts,c,h}');
const documents = filesOf('*.md', 'docs/**/*.md', 'bench/**/*.md');

/** What a file imports, as written: static, dynamic and type imports, exports from elsewhere, and paths of modules in strings. */
function importsOf(path: string): string[] {
  const text = read(path).replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
  const found = text.matchAll(
    /\bfrom\s+'([^'\n]+)'|\bimport\s+'([^'\n]+)'|\bimport\(\s*'([^'\n]+)'|'(\.\.?\/[\w./-]+\.ts)'/g,
  );
  return [...found].map((match) => match.slice(1).find((each) => each !== undefined) as string);
}

/** `src/io/loop.ts` → `io`. */
function folderOf(path: string): string {
  return path.split('/')[1];
}

/** Rows of a Markdown table under a heading, without its head: the cells' text. */
function tableUnder(document: string, heading: string): string[][] {
  const text = read(document);
  const start = text.indexOf(`\n${heading}\n`);
  assert.ok(start >= 0, `${document} has a heading '${heading}'`);
  const section = text.slice(start + heading.length + 2).split(/^#/m)[0];
  const rows = section.split('\n').filter((line) => line.startsWith('|'));
  return rows.slice(2).map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

describe('imports', () => {
  const allowed = new Map(
    tableUnder('docs/ARCHITECTURE.md', '## Folders and who may import whom').map(([folder, , may]) => [
      folder.replace('src/', ''),
      may === 'nothing' ? [] : may.split(', '),
    ]),
  );

  it('keep to the table in docs/ARCHITECTURE.md', () => {
    const wrong: string[] = [];
    for (const path of sources) {
      const folder = folderOf(path);
      for (const specifier of importsOf(path).filter((each) => each.startsWith('.'))) {
        const target = folderOf(normalize(join(dirname(path), specifier)));
        if (target !== folder && !allowed.get(folder)?.includes(target)) wrong.push(`${path}: ${specifier}`);
      }
    }
    assert.deepEqual(wrong, []);
  });

  it('have a row in the table for every folder, and no row for a folder that is not there', () => {
    const folders = new Set(sources.map(folderOf));
    assert.deepEqual([...allowed.keys()].sort(), [...folders].sort());
  });

  it('name files that exist, with their extension', () => {
    const wrong: string[] = [];
    for (const path of [...sources, ...scripts.filter((each) => each.endsWith('.ts'))]) {
      for (const specifier of importsOf(path).filter((each) => each.startsWith('.'))) {
        if (!existsSync(join(ROOT, dirname(path), specifier))) wrong.push(`${path}: ${specifier}`);
      }
    }
    assert.deepEqual(wrong, []);
  });

  it('bring packages only where they belong, and Node.js modules only where there is I/O', () => {
    const wrong: string[] = [];
    for (const path of sources) {
      const folder = folderOf(path);
      for (const specifier of importsOf(path).filter((each) => !each.startsWith('.'))) {
        const isNode = specifier.startsWith('node:') && builtinModules.includes(specifier.slice(5));
        if (isNode ? PURE.includes(folder) : PACKAGE_HOMES[specifier] !== folder)
          wrong.push(`${path}: ${specifier}`);
      }
    }
    assert.deepEqual(wrong, []);
  });

  it('do not make tests part of the product', () => {
    assert.deepEqual(
      sources.filter((path) => path.includes('.test.')),
      [],
    );
    assert.deepEqual(
      scripts.filter(
        (path) => path.startsWith('demo/') && importsOf(path).some((each) => each.includes('tests/')),
      ),
      [],
    );
  });
});

describe('files', () => {
  it(`have at most ${LINES_MAX} lines`, () => {
    const long = [...sources, ...scripts].filter((path) => read(path).split('\n').length > LINES_MAX + 1);
    assert.deepEqual(long, []);
  });

  it('are named in kebab-case and by what they own', () => {
    const wrong = [...sources, ...scripts].filter((path) =>
      path.split('/').some((part) => !/^[a-z0-9.-]+$/.test(part) || NAMES_WITHOUT_OWNER.test(part)),
    );
    assert.deepEqual(wrong, []);
  });

  it('say at their top what they are for', () => {
    assert.deepEqual(
      sources.filter((path) => !/^\/(\*\*|\/) ?\n?/.test(read(path))),
      [],
    );
  });

  it('leave nothing to be done later', () => {
    const words = ['TO-DO', 'FIX-ME', 'X-XX'].map((word) => word.replace('-', ''));
    const marks = new RegExp(`\\b(${words.join('|')})\\b`);
    assert.deepEqual(
      [...sources, ...scripts, ...documents].filter((path) => marks.test(read(path))),
      [],
    );
  });

  it('run no test alone and skip none for good', () => {
    const marks = /\b(it|describe|test)\.(only|skip|todo)\b|\b(only|todo): true/;
    assert.deepEqual(
      filesOf('tests/**/*.test.ts').filter(
        (path) => basename(path) !== 'tidy.test.ts' && marks.test(read(path)),
      ),
      [],
    );
  });

  it('keep promises out of the protocol engines', () => {
    const marks = /\b(async|await)\b|\bPromise\b/;
    const code = (path: string): string => read(path).replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
    assert.deepEqual(
      sources.filter((path) => PURE.includes(folderOf(path)) && marks.test(code(path))),
      [],
    );
  });
});

describe('packages', () => {
  const manifest = JSON.parse(read('package.json'));
  const lock = JSON.parse(read('package-lock.json'));
  const runtime = { ...manifest.dependencies, ...manifest.optionalDependencies };

  it('have a line each in docs/DEPENDENCIES.md, and no line is left over', () => {
    const lines = (heading: string): string[] =>
      tableUnder('docs/DEPENDENCIES.md', heading).map(([name, ...reasons]) => {
        assert.ok(
          reasons.every((reason) => reason !== ''),
          `${name} has its reason`,
        );
        return name.replaceAll('`', '');
      });
    assert.deepEqual(lines('## At run time').sort(), Object.keys(runtime).sort());
    assert.deepEqual(lines('## For development').sort(), Object.keys(manifest.devDependencies).sort());
  });

  it('are all used', () => {
    const used = new Set(sources.flatMap(importsOf));
    for (const name of Object.keys(manifest.dependencies)) assert.ok(used.has(name), name);
  });

  it('are locked completely, whatever registry they come from', () => {
    const incomplete: string[] = [];
    for (const [path, entry] of Object.entries<Record<string, unknown>>(lock.packages)) {
      if (path === '') continue;
      assert.equal(entry['resolved'], undefined, `${path} names a registry`);
      assert.ok(typeof entry['integrity'] === 'string', `${path} has no integrity`);
      for (const name of Object.keys(entry['optionalDependencies'] ?? {})) {
        if (lock.packages[`node_modules/${name}`] === undefined) incomplete.push(`${path} → ${name}`);
      }
    }
    assert.deepEqual(incomplete, [], 'npm ci refuses such a lock');
    assert.deepEqual(lock.packages[''].dependencies, manifest.dependencies);
    assert.deepEqual(lock.packages[''].devDependencies, manifest.devDependencies);
    assert.deepEqual(lock.packages[''].optionalDependencies, manifest.optionalDependencies);
  });

  it('have no install script that runs', () => {
    const scripted = Object.entries<Record<string, unknown>>(lock.packages)
      .filter(([, entry]) => entry['hasInstallScript'] === true)
      .map(([path]) => [path.replace('node_modules/', ''), false]);
    assert.deepEqual(manifest.allowScripts, Object.fromEntries(scripted));
  });

  it('include launchers that can be executed', () => {
    for (const path of Object.values<string>(manifest.bin)) accessSync(join(ROOT, path), constants.X_OK);
  });
});

describe('documents', () => {
  it('link to what exists', () => {
    const broken: string[] = [];
    for (const path of documents) {
      for (const [, target] of read(path).matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)) {
        if (/^[a-z]+:/.test(target)) continue;
        if (!existsSync(join(ROOT, dirname(path), target))) broken.push(`${path}: ${target}`);
      }
    }
    assert.deepEqual(broken, []);
  });

  it('name only commands that npm knows', () => {
    const known = new Set(Object.keys(JSON.parse(read('package.json')).scripts));
    const unknown: string[] = [];
    for (const path of documents) {
      for (const [, name] of read(path).matchAll(/\bnpm run ([a-z:-]+)/g)) {
        if (!known.has(name)) unknown.push(`${path}: npm run ${name}`);
      }
    }
    assert.deepEqual(unknown, []);
  });

  it('tell in README.md which features there are', () => {
    const features = tableUnder('README.md', '## Features');
    assert.ok(features.length >= 10);
    for (const [feature, state] of features) assert.match(state, /^(yes|partly|not yet)\b/, feature);
  });

  it('tell in docs/ARCHITECTURE.md of every folder of tests', () => {
    const text = tableUnder('docs/ARCHITECTURE.md', '## Tests')
      .map(([folder]) => folder)
      .join(' ');
    const folders = readdirSync(join(ROOT, 'tests'), { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && filesOf(`tests/${entry.name}/**/*.test.ts`).length > 0)
      .map((entry) => entry.name);
    for (const folder of folders) assert.match(text, new RegExp(`\\b${folder}\\b`), folder);
  });

  it('include the whole licence', () => {
    const text = read('LICENSE');
    assert.match(text, /Apache License\s+Version 2\.0, January 2004/);
    assert.match(text, /END OF TERMS AND CONDITIONS/);
    assert.equal(JSON.parse(read('package.json')).license, 'Apache-2.0');
  });
});
