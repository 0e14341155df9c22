/** `serve`: becomes the master of the house. */

import { resolve } from 'node:path';
import { EXIT_START } from './exit-codes.ts';
import { processTerminal, type Terminal } from './terminal.ts';

export async function serve(
  configPath: string,
  version: string,
  terminal: Terminal = processTerminal(),
): Promise<number> {
  const { startMaster } = await import('../master/main.ts');
  const { ReactorUnavailable } = await import('../io/open.ts');
  try {
    return await startMaster(resolve(configPath), configPath, version);
  } catch (error) {
    if (!(error instanceof ReactorUnavailable)) throw error;
    terminal.err(`Error: ${error.message}`);
    return EXIT_START;
  }
}
