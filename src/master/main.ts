/**
 * The master's start-up order: the configuration judged by a child, confinement planned, log, listening sockets, rooms,
 * signals. It never reads a byte that came from a network, and never a private key.
 */

import { stat } from 'node:fs/promises';
import { constants } from 'node:os';
import type { Config, TlsConfig } from '../config/model.ts';
import { formatProblem } from '../config/problem.ts';
import { Log } from '../log/log.ts';
import type { House as HouseState } from '../shared/house-board.ts';
import { trimMemory } from '../sys/memory-trim.ts';
import { unblockSignal } from '../sys/process.ts';
import { measureLine, unmetDemands } from './describe.ts';
import { Foundations } from './foundations.ts';
import { House } from './house.ts';
import { HouseSink } from './house-sink.ts';
import { ioBackend } from './io-backend.ts';
import { type Accepted, judge } from './judge.ts';
import { withKnownKeys } from './key-ring.ts';
import { type ListenerKind, Listeners, listenerWishes } from './listeners.ts';
import { LogFiles } from './log-files.ts';
import { coresOf, probeMachine, unservedFiles } from './machine.ts';
import { workerCount } from './needed-rooms.ts';
import { needingRestart, withoutRestart } from './restart-keys.ts';
import { ServiceNotification } from './service-notification.ts';
import { inheritance, startSuccessor } from './upgrade.ts';

const EXIT_OK = 0;
const EXIT_CONFIG = 1;
const EXIT_START = 3;
/** How often the board tells other rooms how the house is. */
const BOARD_MS = 1000;
/** How often paths of the configuration are looked at, whether they lead elsewhere. */
const LOOK_MS = 500;
/** Where there are thousands of them, so many times as long passes as it takes. */
const LOOK_PAUSES = 50;
/** While workers finish what they have, others take over for the sake of paths this often at most. */
const RENEW_MS = 5000;
/** What the log says of a listener, before its address. */
const LISTENER_WORDS: Readonly<Record<ListenerKind, string>> = {
  main: 'listening on',
  redirect: 'redirecting to HTTPS from',
  status: 'the status page is at',
};

/** Runs the house until it is asked to stop. Resolves to the exit code; `complain` is told line by line why it didn't start. */
export async function startMaster(
  configPath: string,
  shownPath: string,
  version: string,
  complain: (text: string) => void,
): Promise<number> {
  // libuv's threads must be there before a namespace for process ids is made.
  await stat('/');
  const judged = await judge(configPath, 1);
  for (const problem of [...judged.problems, ...judged.warnings]) complain(formatProblem(problem, shownPath));
  if (judged.accepted === null) {
    const count = judged.problems.length === 1 ? 'one problem' : `${judged.problems.length} problems`;
    complain(`${shownPath}: ${count}; nothing was started.`);
    return EXIT_CONFIG;
  }
  const master = new Master(configPath, judged.accepted, version);
  master.hearSignals();
  try {
    const refusal = await master.start();
    if (refusal === '') return await master.run();
    await master.end();
    complain(`Error: ${refusal}`);
  } catch (error) {
    await master.end();
    complain(`Error: ${reasonOf(error)}`);
  }
  return EXIT_START;
}

class Master {
  private readonly configPath: string;
  private readonly version: string;
  private inForce: Accepted;
  private readonly sink: HouseSink;
  private readonly log: Log;
  private readonly listeners: Listeners;
  private readonly service: ServiceNotification;
  private foundations: Foundations | null;
  private house: House | null;
  private generation: number;
  /** Reloads, reopening, upgrades: one after the other, in the order in which they were asked for. */
  private turn: Promise<void>;
  /** Lets what waits in `turn` begin. */
  private startWorking: () => void;
  /** Resolves when it is over. */
  private readonly left: Promise<void>;
  private leaveNow: () => void;
  private readonly leaving: AbortController;
  /** It waits in `turn` already. */
  private isLooking: boolean;
  private reloadsWaiting: number;
  private renewedMs: number;
  /** Not looked at before. */
  private lookMs: number;
  /** Another master serves in this one's place. */
  private isReplaced: boolean;
  private readonly startedSeconds: number;
  private configuredSeconds: number;
  private lastReload: HouseState['lastReload'];
  private readonly reloads: { succeeded: number; failed: number };

  constructor(configPath: string, accepted: Accepted, version: string) {
    this.configPath = configPath;
    this.version = version;
    this.inForce = accepted;
    this.generation = accepted.generation;
    this.sink = new HouseSink();
    this.log = new Log(accepted.config.logging, this.sink);
    this.listeners = new Listeners();
    this.service = new ServiceNotification();
    this.foundations = null;
    this.house = null;
    this.startWorking = () => {};
    this.turn = new Promise((resolve) => {
      this.startWorking = resolve;
    });
    this.leaveNow = () => {};
    this.left = new Promise((resolve) => {
      this.leaveNow = resolve;
    });
    this.leaving = new AbortController();
    this.isLooking = false;
    this.reloadsWaiting = 0;
    this.renewedMs = Number.NEGATIVE_INFINITY;
    this.lookMs = 0;
    this.isReplaced = false;
    this.startedSeconds = nowSeconds();
    this.configuredSeconds = this.startedSeconds;
    this.lastReload = null;
    this.reloads = { succeeded: 0, failed: 0 };
  }

  /** Empty text when all rooms are ready, else why not. */
  async start(): Promise<string> {
    const { config } = this.inForce;
    const cores = coresOf();
    const workers = workerCount(config, cores);
    const logFiles = openLog(config);
    if (typeof logFiles === 'string') return logFiles;
    const { io, reason } = ioBackend();
    const inherited = inheritance();
    const problem = this.listeners.open(
      listenerWishes(config),
      workers,
      config.performance.reuseportBalancing,
      inherited?.listeners ?? [],
    );
    if (problem !== '') return problem;
    this.foundations = new Foundations(workers, this.listeners, logFiles);
    const machine = probeMachine();
    this.house = new House({
      machine,
      io,
      cores,
      foundations: this.foundations,
      log: this.log,
      inTurn: (work) => this.inTurn('settle', work),
    });
    const unmet = this.judgeConfinement(config) || this.judgeKernelTls(config.tls);
    if (unmet !== '') return unmet;
    const { house } = this;
    this.sink.toJournal((message) => house.tellJournal(message));
    for (const { address, kind } of this.listeners.addresses) {
      this.log.info(`${LISTENER_WORDS[kind]} ${addressText(address)}`);
    }
    for (const note of this.listeners.notes) this.log.warn(note);
    if ((config.security.landlockWritePaths ?? []).length > 0)
      this.log.info('security.landlock_write_paths grants nothing: no room writes files by name');
    this.warnOfUnverified(config);
    const unserved = unservedFiles(config);
    if (unserved !== '') this.log.error(unserved);
    const failure = await this.house.start(this.inForce);
    if (failure !== '') return failure;
    trimMemory();
    this.log.info(`ready, with ${io}`, { because: reason, workers });
    // One that was told to stop meanwhile doesn't take over.
    if (inherited !== null && !this.isLeaving) {
      // Before the old one goes, since the service is over for its manager when its main process ends.
      this.service.mainProcess(process.pid);
      inherited.ready();
      this.listeners.takeOver();
    }
    this.service.ready(`${workers} ${workers === 1 ? 'worker' : 'workers'}`);
    return '';
  }

  /** What was asked for and can't be had stops the start and the reload, unless degrading is allowed. */
  private judgeConfinement(config: Config): string {
    const lines = new Set<string>();
    const degraded = new Set<string>();
    for (const { measures } of this.house?.measures(config) ?? []) {
      for (const measure of unmetDemands(measures)) lines.add(measureLine(measure));
      for (const measure of measures) if (measure.state === 'degraded') degraded.add(measureLine(measure));
    }
    if (lines.size > 0 && !config.security.allowDegraded) {
      return `rooms can't be confined as [security] asks: ${[...lines].join('; ')}. Change the keys, start with the privileges that they need, or set security.allow_degraded = true.`;
    }
    for (const line of degraded)
      this.log.warn(`confinement is degraded: ${line}${lines.has(line) ? ' (allow_degraded)' : ''}`);
    return '';
  }

  /** The same where kernel TLS is asked for. It is said here, for all workers once. */
  private judgeKernelTls(tls: TlsConfig | null): string {
    const problem = this.foundations?.askKernelTls(tls) ?? '';
    if (problem === '' || tls === null) return '';
    const words = `tls.ktls_enabled: kernel TLS can't be had: ${problem}`;
    if (!tls.ktlsFallbackEnabled) return `${words}. Mend that, or set tls.ktls_fallback_enabled = true`;
    this.log.warn(`${words}. Records are sealed in user space`);
    return '';
  }

  private warnOfUnverified({ upstreams }: Config): void {
    for (const { url } of upstreams.flatMap(({ servers }) => servers.filter((each) => each.insecure)))
      this.log.warn(
        `backend ${url} is not verified (insecure = true): whoever is between can read and change all`,
      );
  }

  /**
   * From before the first room on, since whoever can connect may send a signal: what it asks for is done once the rooms
   * are ready, but for the end.
   */
  hearSignals(): void {
    const onStop = (signal: NodeJS.Signals): void => {
      if (this.isLeaving) {
        this.log.warn(`${signal} again: what is in flight is cut`);
        this.house?.kill();
        return;
      }
      const open = this.house?.openConnections ?? 0;
      this.log.info(`${signal}: stopping`, { open_connections: open });
      this.service.stopping('finishing what is in flight');
      this.leave();
    };
    process.on('SIGTERM', onStop);
    process.on('SIGINT', onStop);
    process.on('SIGHUP', () => this.reloadInTurn());
    process.on('SIGUSR1', () => this.inTurn('reopen', () => this.reopen()));
    unblockSignal(constants.signals.SIGUSR1);
    process.on('SIGUSR2', () => this.inTurn('upgrade', () => this.upgrade()));
  }

  /** Serves until it is asked to stop. */
  async run(): Promise<number> {
    const board = setInterval(() => this.showHouse(), BOARD_MS);
    const look = setInterval(() => this.lookAround(), LOOK_MS);
    this.showHouse();
    this.startWorking();
    await this.left;
    clearInterval(board);
    clearInterval(look);
    // Workers have theirs as long as they take what waits. Kept here, they would let clients in whom nobody will serve.
    this.listeners.close();
    await this.house?.stop(this.inForce.config.server.shutdownTimeoutSecs * 1000, this.isReplaced, () => {
      this.log.info('stopped');
      // The journal is told to end next.
      this.log.flush();
    });
    await this.end();
    return EXIT_OK;
  }

  /** Nothing is left: no room, no socket, no entry that waits. */
  async end(): Promise<void> {
    await this.house?.stop(0, false);
    this.sink.toStandardError();
    this.log.flush();
    this.listeners.close();
    this.foundations?.close();
  }

  private get isLeaving(): boolean {
    return this.leaving.signal.aborted;
  }

  private leave(): void {
    this.leaving.abort();
    this.leaveNow();
  }

  /** Signals that come while one waits are one with it, as they are for the kernel. */
  private reloadInTurn(): void {
    if (this.reloadsWaiting > 0) return;
    this.reloadsWaiting++;
    this.inTurn('reload', () => {
      this.reloadsWaiting--;
      return this.reload();
    });
  }

  private inTurn(what: string, work: () => Promise<unknown>): void {
    this.turn = this.turn
      .then(async () => {
        if (!this.isLeaving) await work();
      })
      .catch((error: unknown) => this.log.error(`${what}: ${reasonOf(error)}`));
  }

  private async reload(): Promise<void> {
    const { house, foundations } = this;
    if (house === null || foundations === null) return;
    this.service.reloading();
    // Whoever moved the log file away asks for a new one with the same signal.
    await this.reopen();
    const judged = await judge(this.configPath, ++this.generation);
    for (const problem of judged.problems) this.log.error(formatProblem(problem, 'reload'));
    for (const warning of judged.warnings) this.log.warn(formatProblem(warning, 'reload'));
    const refusal =
      judged.accepted === null ? 'the configuration is wrong' : await this.tryChangeTo(judged.accepted);
    if (refusal === '') this.log.info('reload: the new configuration is in force');
    else this.log.error(`reload: ${refusal}; the old configuration stays in force`);
    this.lastReload = { atSeconds: nowSeconds(), succeeded: refusal === '', reason: refusal };
    this.reloads[refusal === '' ? 'succeeded' : 'failed']++;
    this.showHouse();
    this.service.ready(refusal === '' ? 'reloaded' : `reload refused: ${refusal}`);
  }

  private async tryChangeTo(next: Accepted): Promise<string> {
    try {
      const unmet = this.judgeConfinement(next.config) || this.judgeKernelTls(next.config.tls);
      return unmet || (await this.changeTo(next));
    } catch (error) {
      return reasonOf(error);
    }
  }

  private async changeTo(next: Accepted): Promise<string> {
    const { house, foundations } = this;
    if (house === null || foundations === null) return '';
    const before = this.inForce;
    for (const key of needingRestart(before.config, next.config))
      this.log.warn(`reload: ${key} needs a restart; the old value stays`);
    const config = withoutRestart(before.config, next.config);
    const { logFiles } = foundations;
    const complaint = moveLog(logFiles, config);
    if (complaint !== '') this.log.error(`reload: ${complaint}; logging stays as it was`);
    const logging = complaint === '' ? config.logging : before.config.logging;
    const merged = withKnownKeys({ ...next, config: { ...config, logging } }, before);
    house.giveLogFile();
    const refusal = await house.change(merged, before, () => ++this.generation);
    if (refusal !== '') {
      moveLog(logFiles, before.config);
      house.giveLogFile();
      return refusal;
    }
    this.inForce = merged;
    this.configuredSeconds = nowSeconds();
    this.log.follow(logging);
    return '';
  }

  /** A new log file, where the old one was moved away. */
  private async reopen(): Promise<void> {
    const problem = this.foundations?.logFiles.reopen() ?? '';
    if (problem !== '') this.log.error(`the log file can't be opened again: ${problem}`);
    else this.house?.giveLogFile();
  }

  /** When a new master serves, this one goes. */
  private async upgrade(): Promise<void> {
    this.log.info('SIGUSR2: starting a new master in this one’s place');
    const successor = await startSuccessor(this.listeners.handOver(), this.leaving.signal);
    if (typeof successor === 'string') {
      this.log.error(`upgrade: ${successor}${this.isLeaving ? '' : '; everything stays as it was'}`);
      return;
    }
    this.isReplaced = true;
    this.log.info('upgrade: the new master serves; this one finishes what it has', { pid: successor });
    this.listeners.release();
    this.leave();
  }

  /** Workers can't see that a path of theirs is another folder by now: others take their place. */
  private lookAround(): void {
    const { house } = this;
    const fromMs = performance.now();
    if (house === null || this.isLooking || this.isLeaving || fromMs < this.lookMs) return;
    if (house.hasMoved('outbound')) {
      this.log.info('files of the system’s resolver are others now: the room outbound starts anew');
      house.renewOutbound();
    }
    const isBusy = house.drainingCount > 0 && fromMs - this.renewedMs < RENEW_MS;
    const hasMoved = !isBusy && house.hasMoved('edge');
    this.lookMs = performance.now() + (performance.now() - fromMs) * LOOK_PAUSES;
    if (!hasMoved) return;
    this.isLooking = true;
    this.inTurn('files', async () => {
      this.isLooking = false;
      if (!house.hasMoved('edge')) return;
      this.log.info('a path of the configuration is another file or folder now: new workers take over');
      this.renewedMs = performance.now();
      const refusal = await house.renewWorkers(this.inForce);
      if (refusal !== '') this.log.error(`files: ${refusal}`);
    });
  }

  /** For the metrics and the status page. */
  private showHouse(): void {
    const { house, foundations } = this;
    if (house === null || foundations === null) return;
    foundations.shared.house.write({
      version: this.version,
      startedSeconds: this.startedSeconds,
      generation: this.inForce.generation,
      configuredSeconds: this.configuredSeconds,
      lastReload: this.lastReload,
      reloads: this.reloads,
      logDropped: house.unwritten,
      rooms: house.rooms(),
    });
  }
}

/** Empty text, or why the log's file can't be opened. */
function moveLog(logFiles: LogFiles, { logging }: Config): string {
  try {
    logFiles.follow(logging);
    return '';
  } catch (error) {
    return `the log file ${logging.filePath ?? ''} can't be opened (${reasonOf(error)})`;
  }
}

/** The log's file, or why it can't be opened. */
function openLog({ logging }: Config): LogFiles | string {
  try {
    return new LogFiles(logging);
  } catch (error) {
    return `The log file ${logging.filePath ?? ''} can't be opened: ${reasonOf(error)}`;
  }
}

function addressText(address: { family: string; address?: string; port?: number; path?: string }): string {
  if (address.family === 'unix') return `unix:${address.path ?? ''}`;
  return address.family === 'ipv6'
    ? `[${address.address}]:${address.port}`
    : `${address.address}:${address.port}`;
}

function nowSeconds(): number {
  return Math.floor(Date.now() / 1000);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
