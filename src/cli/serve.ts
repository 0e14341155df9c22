/** `serve`: validates the configuration and hands it to the edge, or says what is wrong and starts nothing. */

import { resolve } from 'node:path';
import { type LoadResult, loadConfigFile } from '../config/load.ts';
import type { Config } from '../config/model.ts';
import { formatProblem } from '../config/problem.ts';
import { EXIT_CONFIG } from './exit-codes.ts';
import { processTerminal, type Terminal } from './terminal.ts';

/** What edge/main.ts offers. */
interface EdgeMain {
  /**
   * Runs the edge until it was asked to stop. Resolves to the exit code: 0, or 3 after it has said on standard
   * error why it could not start. `reload` reads the same file again (SIGHUP).
   */
  startEdge(config: Config, reload: () => LoadResult): Promise<number>;
}

const EDGE_MAIN: string = '../edge/main.ts';

export async function serve(configPath: string, terminal: Terminal = processTerminal()): Promise<number> {
  const path = resolve(configPath);
  const { config, problems, warnings } = loadConfigFile(path);
  for (const problem of [...problems, ...warnings]) terminal.err(formatProblem(problem, configPath));
  if (config === null) {
    const count = problems.length === 1 ? 'one problem' : `${problems.length} problems`;
    terminal.err(`${configPath}: ${count}; nothing was started.`);
    return EXIT_CONFIG;
  }
  const edge = (await import(EDGE_MAIN)) as EdgeMain;
  return edge.startEdge(config, () => loadConfigFile(path));
}
