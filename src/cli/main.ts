/** The command line: finds out what is asked for and hands over. Loads no more than the command needs. */

import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { unreachable } from '../base/assert.ts';
import { endAtOnce } from '../sys/exit.ts';
import { helpText, parseInvocation } from './arguments.ts';
import { EXIT_OK, EXIT_USAGE } from './exit-codes.ts';
import { processTerminal, type Terminal } from './terminal.ts';

/**
 * Runs one command and returns its exit code. The launcher script tells in SALLYPORT_ARGV0 what the program
 * was called as.
 */
export async function main(
  argv: readonly string[],
  terminal: Terminal = processTerminal(),
  argv0: string = process.env['SALLYPORT_ARGV0'] ?? 'sallyport',
): Promise<number> {
  const name = basename(argv0);
  const invocation = parseInvocation(name, argv);
  switch (invocation.command) {
    case 'help':
      terminal.out(helpText(name));
      return EXIT_OK;
    case 'version':
      terminal.out(`${name} ${readVersion()}`);
      return EXIT_OK;
    case 'usage':
      terminal.err(`${name}: ${invocation.message}\nTry '${name} --help'.`);
      return EXIT_USAGE;
    case 'check':
      return (await import('./check.ts')).check(invocation.configPath, terminal);
    case 'serve':
      return (await import('./serve.ts')).serve(invocation.configPath, readVersion(), terminal);
    default:
      return unreachable(invocation);
  }
}

/** From package.json, which lies two folders above, in the sources as in what is built of them. */
function readVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

if (import.meta.main) {
  endAtOnce();
  // Whoever reads the output may have read enough (`sallyport check | head`).
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT_OK);
    throw error;
  });
  process.exit(await main(process.argv.slice(2)));
}
