/** `check`: validates the configuration and tells what `serve` would do with it on this machine. Starts nothing. */

import {
  describeAction,
  describeLog,
  describeMatch,
  describeMetrics,
  describeProtocols,
  describeServer,
  describeStatus,
  describeUpstream,
  describeWebSockets,
} from '../config/describe.ts';
import { formatKeyPath, quoteKey } from '../config/key-path.ts';
import type { LoadResult } from '../config/load.ts';
import type { Config, RouteConfig } from '../config/model.ts';
import { formatListenAddress } from '../config/network-names.ts';
import { formatProblem } from '../config/problem.ts';
import type { GivenKey } from '../config/schema-nodes.ts';
import { shadowOf } from '../config/shadowing.ts';
import { isTable, type TomlValue } from '../config/toml.ts';
import { edgeUserOf } from '../master/describe.ts';
import { coresOf, type Machine, probeMachine } from '../master/machine.ts';
import { describeCertificates } from '../tls/inspect.ts';
import { lookAtIo, machineLines } from './describe-machine.ts';
import { EXIT_CONFIG, EXIT_OK } from './exit-codes.ts';
import { loadAndInspect } from './load.ts';
import { type Terminal, wrap } from './terminal.ts';

export function check(configPath: string, terminal: Terminal): number {
  const machine = probeMachine();
  const result = loadAndInspect(configPath, edgeUserOf(machine));
  const { config, problems, warnings } = result;
  if (config === null) {
    for (const problem of [...problems, ...warnings]) terminal.err(formatProblem(problem, configPath));
    const count = problems.length === 1 ? 'one problem' : `${problems.length} problems`;
    terminal.err(`\n${configPath}: ${count}. Nothing would start.`);
    return EXIT_CONFIG;
  }
  const report = new CheckReport(terminal);
  report.listeners(config);
  report.certificates(config);
  report.routes(config, result);
  report.upstreams(config);
  report.observability(config);
  report.otherKeys(result);
  report.machine(config, machine);
  report.warnings(result, configPath);
  const end =
    warnings.length === 0
      ? ''
      : `, with ${warnings.length === 1 ? 'a warning' : `${warnings.length} warnings`}`;
  terminal.out(`\n${configPath} is valid${end}.`);
  return EXIT_OK;
}

/** The host or path route that a key belongs to, as problems and routes name it; empty for other keys. */
function routeNameOf(keys: GivenKey['keys']): string {
  if (keys[0] === 'host_routes') return String(keys[1]);
  return keys[0] === 'path_routes' ? `${keys[1]}:${keys[2]}` : '';
}

/** Keys whose effect is told in words elsewhere, by table; all keys of a table where none are named. */
const TOLD_IN_WORDS: Readonly<Record<string, readonly string[]>> = {
  upstreams: [],
  server: ['listen', 'http', 'http2_enabled', 'route_precedence', 'threads'],
  tls: ['cert_path', 'key_path', 'min_version', 'certificates'],
  logging: ['level', 'format', 'file_path', 'max_log_size'],
  prometheus: [],
  status: [],
};

function isToldInWords(keys: GivenKey['keys']): boolean {
  if (routeNameOf(keys) !== '')
    return !keys.includes('security') || String(keys.at(-1)).startsWith('websocket_');
  const told = TOLD_IN_WORDS[String(keys[0])];
  return told !== undefined && (told.length === 0 || told.includes(String(keys[1])));
}

class CheckReport {
  private readonly terminal: Terminal;
  private isFirst = true;

  constructor(terminal: Terminal) {
    this.terminal = terminal;
  }

  private title(text: string): void {
    this.terminal.out(this.isFirst ? text : `\n${text}`);
    this.isFirst = false;
  }

  /** A line at some depth; what is too long goes on deeper. */
  private line(depth: number, text: string): void {
    this.terminal.out(wrap(text, this.terminal.columns, '  '.repeat(depth)));
  }

  listeners(config: Config): void {
    const { server } = config;
    this.title('Listens on');
    const protocols = describeProtocols(config);
    for (const address of server.listen) this.line(1, `${formatListenAddress(address)}  (${protocols})`);
    for (const address of server.http) this.line(1, `${formatListenAddress(address)}  (redirects to HTTPS)`);
  }

  certificates({ tls }: Config): void {
    if (tls === null) return;
    this.title('Certificates, the default one first');
    for (const line of describeCertificates(tls)) this.line(1, line);
  }

  routes(config: Config, result: LoadResult): void {
    const order = config.server.routePrecedence === 'host' ? 'host routes first' : 'path routes first';
    this.title(`Routes, in the order in which they are tried (${order})`);
    if (config.routes.length === 0) this.line(1, 'none: every request is answered 421');
    for (const route of config.routes) {
      this.line(1, describeMatch(route));
      this.line(2, `→ ${describeAction(route, config)}`);
      const shadow = shadowOf(route, config.routes, config.server.routePrecedence);
      if (shadow !== null) this.line(2, `(never reached: ${shadow.name} takes all requests for its host)`);
      this.routeKeys(route, result);
    }
    if (config.routes.length > 0) {
      this.line(1, 'otherwise');
      const isAnyKnown = config.routes.some(
        ({ host, path }) => host === '*' && (path === null || path === '/'),
      );
      if (!isAnyKnown) this.line(2, '→ 404 where the host has routes, 421 where no route knows the host');
      else this.line(2, '→ 404');
    }
  }

  private routeKeys(route: RouteConfig, result: LoadResult): void {
    const isAboutWebSockets = result.given.some(
      ({ keys }) => routeNameOf(keys) === route.name && String(keys.at(-1)).startsWith('websocket_'),
    );
    if (isAboutWebSockets && route.action.type === 'Proxy') this.line(2, describeWebSockets(route));
    for (const given of result.given) {
      if (routeNameOf(given.keys) !== route.name || isToldInWords(given.keys) || given.isDefault) continue;
      this.key(2, given, formatKeyPath(given.keys.slice(given.keys.indexOf('security') + 1)));
    }
  }

  private key(depth: number, given: GivenKey, name: string): void {
    const { meaning, fallbackWords } = given.key;
    const words = fallbackWords.replaceAll('`', '');
    const fallback = words === 'required' ? '' : ` (default: ${words})`;
    this.line(depth, `${name} = ${showValue(given.value)}${fallback}`);
    this.line(depth + 1, meaning.replaceAll('`', ''));
  }

  upstreams(config: Config): void {
    const groups = config.upstreams.filter(({ name }) => !name.startsWith('route '));
    if (groups.length === 0) return;
    this.title('Groups of backends');
    for (const group of groups) {
      this.line(1, `${JSON.stringify(group.name)}: ${describeUpstream(group)}`);
      for (const server of group.servers) this.line(2, describeServer(server));
    }
  }

  observability(config: Config): void {
    this.title('Tells of itself');
    this.line(1, describeLog(config.logging));
    this.line(1, describeMetrics(config.prometheus));
    this.line(1, describeStatus(config.status));
  }

  otherKeys(result: LoadResult): void {
    const changed = result.given.filter(
      ({ keys, isDefault }) => !isDefault && routeNameOf(keys) === '' && !isToldInWords(keys),
    );
    this.title('Other keys that differ from their defaults');
    if (changed.length === 0) this.line(1, 'none');
    for (const given of changed) this.key(1, given, formatKeyPath(given.keys));
  }

  machine(config: Config, machine: Machine): void {
    this.title('On this machine');
    for (const { depth, text } of machineLines(config, lookAtIo(config), machine, coresOf()))
      this.line(depth, text);
  }

  warnings(result: LoadResult, source: string): void {
    if (result.warnings.length === 0) return;
    this.title('Warnings');
    for (const warning of result.warnings) {
      const [first, ...rest] = formatProblem(warning, source).split('\n');
      this.line(1, first.replace(/^Warning: /, ''));
      for (const line of rest) this.line(2, line.trim());
    }
  }
}

/** Longer values are cut: the file has them. */
const VALUE_CHARS_MAX = 60;

/** A value as TOML writes it, in short. */
function showValue(value: TomlValue): string {
  const text = writeValue(value);
  return text.length <= VALUE_CHARS_MAX ? text : `${text.slice(0, VALUE_CHARS_MAX)}…`;
}

function writeValue(value: TomlValue): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(writeValue).join(', ')}]`;
  if (!isTable(value)) return String(value);
  const pairs = Object.entries(value).map(([name, each]) => `${quoteKey(name)} = ${writeValue(each)}`);
  return `{ ${pairs.join(', ')} }`;
}
