/** docs/CONFIGURATION.md is what the schema says. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { loadConfig } from '../../src/config/load.ts';
import { generateReference } from '../../src/config/reference.ts';
import { SCHEMA } from '../../src/config/schema.ts';
import { eachKey } from '../../src/config/schema-nodes.ts';
import { FakeFiles, problemsOf } from './fixture.ts';

const PAGE = readFileSync(new URL('../../docs/CONFIGURATION.md', import.meta.url), 'utf8');

test('docs/CONFIGURATION.md is up to date (node tools/generate-configuration-reference.ts writes it)', () => {
  assert.equal(PAGE, generateReference());
});

test('every key has a line', () => {
  for (const { name } of eachKey(SCHEMA)) assert.ok(PAGE.includes(`| \`${name}\` |`), name);
});

test('its example loads', () => {
  const toml = /```toml\n([\s\S]*?)```/.exec(PAGE)?.[1] ?? '';
  const files = new FakeFiles(['/run/app.sock', '/var/www/html/']);
  assert.deepEqual(problemsOf(loadConfig(toml, '/etc/config.toml', { files })), []);
});
