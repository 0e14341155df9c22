/** What the command line takes, and what it says to the rest. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseInvocation } from '../../src/cli/arguments.ts';
import { wrap } from '../../src/cli/terminal.ts';

const DEFAULT = '/etc/zerocopy-server/config.toml';

const CASES: readonly {
  readonly name: string;
  readonly argv: readonly string[];
  readonly expected: unknown;
}[] = [
  { name: 'sallyport', argv: ['serve'], expected: { command: 'serve', configPath: DEFAULT } },
  {
    name: 'sallyport',
    argv: ['serve', '-c', 'a.toml'],
    expected: { command: 'serve', configPath: 'a.toml' },
  },
  { name: 'sallyport', argv: ['-ca.toml', 'check'], expected: { command: 'check', configPath: 'a.toml' } },
  {
    name: 'sallyport',
    argv: ['check', '--config=a.toml'],
    expected: { command: 'check', configPath: 'a.toml' },
  },
  {
    name: 'sallyport',
    argv: ['check', '--config', 'a.toml'],
    expected: { command: 'check', configPath: 'a.toml' },
  },
  { name: 'sallyport', argv: ['--help'], expected: { command: 'help' } },
  { name: 'sallyport', argv: ['serve', '-h'], expected: { command: 'help' } },
  { name: 'sallyport', argv: ['--version'], expected: { command: 'version' } },
  { name: 'sallyport', argv: ['-V'], expected: { command: 'version' } },
  { name: 'sallyport', argv: [], expected: { command: 'usage', message: 'a command is missing' } },
  {
    name: 'sallyport',
    argv: ['srve'],
    expected: { command: 'usage', message: "unknown command 'srve'; did you mean 'serve'?" },
  },
  {
    name: 'sallyport',
    argv: ['frobnicate'],
    expected: { command: 'usage', message: "unknown command 'frobnicate'" },
  },
  {
    name: 'sallyport',
    argv: ['check', 'a.toml'],
    expected: { command: 'usage', message: "unexpected argument 'a.toml'; the file is named with -c" },
  },
  {
    name: 'sallyport',
    argv: ['check', '-c', 'a', '-c', 'b'],
    expected: { command: 'usage', message: '-c may be given once' },
  },
  {
    name: 'sallyport',
    argv: ['check', '-c', ''],
    expected: { command: 'usage', message: '-c needs the path of a file' },
  },
  {
    name: 'sallyport',
    argv: ['check', '-c'],
    expected: { command: 'usage', message: "Option '-c, --config <value>' argument missing" },
  },
  {
    name: 'sallyport',
    argv: ['check', '-x'],
    expected: { command: 'usage', message: "Unknown option '-x'" },
  },
  { name: 'zerocopy-server', argv: [], expected: { command: 'serve', configPath: DEFAULT } },
  { name: 'zerocopy-server', argv: ['-c', 'a.toml'], expected: { command: 'serve', configPath: 'a.toml' } },
  {
    name: 'zerocopy-server',
    argv: ['--config', 'a.toml'],
    expected: { command: 'serve', configPath: 'a.toml' },
  },
  { name: 'zerocopy-server', argv: ['-h'], expected: { command: 'help' } },
  { name: 'zerocopy-server', argv: ['-V'], expected: { command: 'version' } },
  {
    name: 'zerocopy-server',
    argv: ['check'],
    expected: { command: 'usage', message: "zerocopy-server takes no command: 'check'" },
  },
];

for (const { name, argv, expected } of CASES) {
  test(`${name} ${argv.join(' ')}`, () => assert.deepEqual(parseInvocation(name, argv), expected));
}

test('long lines go on below, further in', () => {
  assert.equal(wrap('aa bb cc', 7, '  '), '  aa bb\n      cc');
  assert.equal(wrap('aaaaaaaaaaaa b', 7, '  '), '  aaaaaaaaaaaa\n      b');
});
