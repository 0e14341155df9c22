/** Loads a configuration and judges what its files hold, too: what `check`, `serve` and a reload have in common. */

import { inspectBackendTls } from '../backend/backend-tls.ts';
import { type EdgeUser, SAME_USER } from '../config/files.ts';
import { type LoadResult, loadConfigFile } from '../config/load.ts';
import { inspectTls } from '../tls/inspect.ts';

/** `edgeUser`: who the edge is where the configuration names nobody, as the machine allows (master/describe.ts). */
export function loadAndInspect(path: string, edgeUser: EdgeUser = SAME_USER): LoadResult {
  return loadConfigFile(path, {
    edgeUser,
    inspect: (config, report) => {
      inspectBackendTls(config, report);
      if (config.tls === null) return;
      const hosts = config.routes.map(({ host }) => host);
      inspectTls(config.tls, hosts, report);
    },
  });
}
