/**
 * The edge's start-up order: log, reactor, configuration, listeners, signals, loop. In this stage the edge is one
 * worker in the server's own process.
 */

import { loadBackendTls } from '../backend/backend-tls.ts';
import type { ResolvedServers } from '../backend/server-names.ts';
import type { LoadResult } from '../config/load.ts';
import type { Config, ServerConfig } from '../config/model.ts';
import { formatProblem } from '../config/problem.ts';
import { runReactor } from '../io/loop.ts';
import { openReactor } from '../io/open.ts';
import { Log } from '../log/log.ts';
import { type HealthNews, HealthProber, healthTargets } from '../outbound/health-prober.ts';
import { errnoName } from '../sys/errno.ts';
import type { SocketAddress } from '../sys/sockaddr.ts';
import { HttpsRedirect, httpsPortOf } from './https-redirect.ts';
import { prepareKernelTls } from './kernel-tls.ts';
import { resolveServers } from './resolve-servers.ts';
import { ServerTls } from './server-tls.ts';
import { type TlsSessions, withKernelTls } from './tls-acceptor.ts';
import { EdgeWorker } from './worker.ts';

const EXIT_OK = 0;
const EXIT_START = 3;

/**
 * Runs the edge until it is asked to stop (SIGTERM, SIGINT). `reload` reads the same configuration again (SIGHUP).
 * Resolves to the exit code: 0, or 3 after saying on standard error why it could not start.
 */
export async function startEdge(config: Config, reload: () => LoadResult): Promise<number> {
  const { logging } = config;
  let log: Log;
  try {
    log = new Log(logging);
  } catch (error) {
    return cannotStart(`The log file ${logging.filePath ?? ''} can't be opened: ${reasonOf(error)}`);
  }
  const { hugePagesEnabled } = config.performance;
  const { reactor, reason, hugePages } = openReactor({ hugePages: hugePagesEnabled });
  if (hugePagesEnabled && !hugePages)
    log.warn(
      'performance.huge_pages_enabled: this kernel gives no huge pages for buffers; ordinary ones are used',
    );
  const worker = new EdgeWorker(reactor, log);
  const prober = new HealthProber(reactor, worker.verdicts, healthNews(log));
  try {
    configure(worker, prober, config, await resolveServers(config));
  } catch (error) {
    return cannotStart(reasonOf(error));
  }
  for (const { url } of config.upstreams.flatMap(({ servers }) => servers.filter((each) => each.insecure)))
    log.warn(`backend ${url} is not verified (insecure = true): whoever is between can read and change all`);
  // Whoever can connect may send a signal: it must not find the process without an answer to it.
  const stopped = stopAsked(worker, prober, log, reload);
  const unheard = openListeners(worker, config.server, log);
  if (unheard !== '') return cannotStart(unheard);
  log.info(`ready, with ${reactor.name}`, reason === '' ? {} : { because: reason });
  const loop = runReactor(reactor);
  await stopped;
  prober.stop();
  loop.stop();
  reactor.destroy();
  await log.flush();
  log.flushSync();
  return EXIT_OK;
}

/** TLS of the listeners: what of it outlives a reload. */
const serverTls = new ServerTls();

/** What the log says of health checks. */
function healthNews(log: Log): HealthNews {
  return {
    onVerdict: (label, upstream, healthy, because) =>
      log.info(`Upstream ${label} is now ${healthy ? 'healthy' : 'unhealthy'}`, { upstream, because }),
    onUnchecked: (label, upstream, because) =>
      log.warn(`Upstream ${label} is not checked`, { upstream, because }),
  };
}

/** Puts a configuration in force. Throws an Error with the reason. */
function configure(
  worker: EdgeWorker,
  prober: HealthProber,
  config: Config,
  resolved: ResolvedServers,
): void {
  const backendTls = loadBackendTls(config);
  let sessions: TlsSessions | null = null;
  try {
    const kernel = prepareKernelTls(config.tls, worker.reactor, (message) => worker.log.warn(message));
    if (config.tls !== null)
      sessions = withKernelTls(serverTls.load(config.tls, config.server.http2Enabled), kernel);
    worker.configure(config, resolved, sessions, backendTls);
    prober.follow(healthTargets(config, resolved, backendTls));
    serverTls.keep();
    worker.metrics?.followCertificates(serverTls.expiries);
  } catch (error) {
    sessions?.free();
    serverTls.drop();
    throw error;
  } finally {
    backendTls.free();
  }
}

/** Opens those of `server.listen`, then those of `server.http`. Returns empty text, or why one can't be opened. */
function openListeners(worker: EdgeWorker, server: ServerConfig, log: Log): string {
  const bound: SocketAddress[] = [];
  for (const address of server.listen) {
    const result = worker.listen(address);
    if (typeof result === 'number') return listenProblem('server.listen', addressText(address), result);
    log.info(`listening on ${addressText(result)}`);
    bound.push(result);
  }
  if (server.http.length === 0) return '';
  const redirect = new HttpsRedirect(worker.reactor, httpsPortOf(bound));
  for (const address of server.http) {
    const result = worker.listen(address, redirect);
    if (typeof result === 'number') return listenProblem('server.http', addressText(address), result);
    log.info(`redirecting to HTTPS from ${addressText(result)}`);
  }
  return '';
}

/** Resolves when the edge was asked to stop and the last connection is gone. */
function stopAsked(
  worker: EdgeWorker,
  prober: HealthProber,
  log: Log,
  reload: () => LoadResult,
): Promise<void> {
  return new Promise((resolve) => {
    // One after the other: resolving names takes time, and the last one asked for is to stay.
    let reloaded: Promise<void> = Promise.resolve();
    const onHangup = (): void => {
      reloaded = reloaded
        .then(() => reconfigure(worker, prober, log, reload))
        .catch((error: unknown) =>
          log.error(`reload: ${reasonOf(error)}; the old configuration stays in force`),
        );
    };
    const onStop = (signal: NodeJS.Signals): void => {
      log.info(`${signal}: stopping`, { open_connections: worker.openConnections });
      worker.shutdown(worker.config.server.shutdownTimeoutSecs * 1000, () => {
        log.info('stopped');
        process.off('SIGHUP', onHangup);
        process.off('SIGTERM', onStop);
        process.off('SIGINT', onStop);
        resolve();
      });
    };
    process.on('SIGHUP', onHangup);
    process.on('SIGTERM', onStop);
    process.on('SIGINT', onStop);
  });
}

/** SIGHUP: the new configuration for every request to come, or the old one and the reason why. */
async function reconfigure(
  worker: EdgeWorker,
  prober: HealthProber,
  log: Log,
  reload: () => LoadResult,
): Promise<void> {
  // Whoever moved the log file away asks for a new one with the same signal.
  log.reopen();
  const { config, problems, warnings } = reload();
  for (const problem of problems) log.error(formatProblem(problem, 'reload'));
  for (const warning of warnings) log.warn(formatProblem(warning, 'reload'));
  if (config === null) {
    log.error('reload: the configuration is wrong; the old one stays in force');
    worker.metrics?.reloaded(false);
    return;
  }
  try {
    const resolved = await resolveServers(config);
    if (worker.isDraining) return;
    const before = worker.config;
    for (const key of needingRestart(before, config))
      log.warn(`reload: ${key} needs a restart; the old value stays`);
    configure(worker, prober, config, resolved);
    followLogging(log, config);
    log.info('reload: the new configuration is in force');
    worker.metrics?.reloaded(true);
  } catch (error) {
    worker.metrics?.reloaded(false);
    log.error(`reload: ${reasonOf(error)}; the old configuration stays in force`);
  }
}

/** The log does from now on what `[logging]` says; where its new file can't be opened, all of that stays as it was. */
function followLogging(log: Log, { logging }: Config): void {
  try {
    log.follow(logging);
  } catch (error) {
    log.error(
      `reload: the log file ${logging.filePath ?? ''} can't be opened (${reasonOf(error)}); logging stays as it was`,
    );
  }
}

/** Keys that differ and that a reload can't change. */
function needingRestart(before: Config, after: Config): string[] {
  const keys: string[] = [];
  if (JSON.stringify(before.server.listen) !== JSON.stringify(after.server.listen))
    keys.push('server.listen');
  if (JSON.stringify(before.server.http) !== JSON.stringify(after.server.http)) keys.push('server.http');
  if ((before.tls === null) !== (after.tls === null)) keys.push('tls');
  if (JSON.stringify(before.http2) !== JSON.stringify(after.http2)) keys.push('http2');
  if (before.server.threads !== after.server.threads) keys.push('server.threads');
  if (before.performance.hugePagesEnabled !== after.performance.hugePagesEnabled)
    keys.push('performance.huge_pages_enabled');
  return keys;
}

function listenProblem(key: string, address: string, errno: number): string {
  const name = errnoName(errno);
  if (name === 'EADDRINUSE')
    return `${address} is taken: another program listens there (EADDRINUSE). Stop it, or change ${key}.`;
  if (name === 'EACCES') {
    return `${address}: the system doesn't let this user listen there (EACCES). Start as root, or grant CAP_NET_BIND_SERVICE, or choose a port above 1023.`;
  }
  if (name === 'EADDRNOTAVAIL')
    return `${address}: this machine has no such address (EADDRNOTAVAIL). Change ${key}.`;
  return `${address}: can't listen (${name}).`;
}

function addressText(address: { family: string; address?: string; port?: number; path?: string }): string {
  if (address.family === 'unix') return `unix:${address.path ?? ''}`;
  return address.family === 'ipv6'
    ? `[${address.address}]:${address.port}`
    : `${address.address}:${address.port}`;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function cannotStart(reason: string): number {
  process.stderr.write(`Error: ${reason}\n`);
  return EXIT_START;
}
