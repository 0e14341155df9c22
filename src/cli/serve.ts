/** `serve`: validates the configuration and hands it to the edge, or says what is wrong and starts nothing. */

import { resolve } from 'node:path';
import { formatProblem } from '../config/problem.ts';
import { EXIT_CONFIG, EXIT_START } from './exit-codes.ts';
import { loadAndInspect } from './load.ts';
import { processTerminal, type Terminal } from './terminal.ts';

export async function serve(configPath: string, terminal: Terminal = processTerminal()): Promise<number> {
  const path = resolve(configPath);
  const { config, problems, warnings } = loadAndInspect(path);
  for (const problem of [...problems, ...warnings]) terminal.err(formatProblem(problem, configPath));
  if (config === null) {
    const count = problems.length === 1 ? 'one problem' : `${problems.length} problems`;
    terminal.err(`${configPath}: ${count}; nothing was started.`);
    return EXIT_CONFIG;
  }
  // Loaded only now: a wrong configuration is told without it.
  const { startEdge } = await import('../edge/main.ts');
  const { ReactorUnavailable } = await import('../io/open.ts');
  try {
    return await startEdge(config, () => loadAndInspect(path));
  } catch (error) {
    if (!(error instanceof ReactorUnavailable)) throw error;
    terminal.err(`Error: ${error.message}`);
    return EXIT_START;
  }
}
