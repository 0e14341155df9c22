/** Loads a configuration and judges what its files hold, too: what `check`, `serve` and a reload have in common. */

import { inspectBackendTls } from '../backend/backend-tls.ts';
import { type LoadResult, loadConfigFile } from '../config/load.ts';
import { inspectTls } from '../tls/inspect.ts';

export function loadAndInspect(path: string): LoadResult {
  return loadConfigFile(path, {
    inspect: (config, report) => {
      inspectBackendTls(config, report);
      if (config.tls === null) return;
      const hosts = config.routes.map(({ host }) => host);
      inspectTls(config.tls, hosts, report);
    },
  });
}
