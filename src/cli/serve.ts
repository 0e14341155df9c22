/** `serve`: becomes the master of the house. */

import { resolve } from 'node:path';
import { processTerminal, type Terminal } from './terminal.ts';

export async function serve(
  configPath: string,
  version: string,
  terminal: Terminal = processTerminal(),
): Promise<number> {
  const { startMaster } = await import('../master/main.ts');
  return startMaster(resolve(configPath), configPath, version, (text) => terminal.err(text));
}
