/** A world for configurations: files that exist, in memory, and short ways to load and to name what is wrong. */

import type { FileKind, Files } from '../../src/config/files.ts';
import { type LoadOptions, type LoadResult, loadConfig } from '../../src/config/load.ts';
import { formatProblem, type Problem } from '../../src/config/problem.ts';

/** Paths that exist here; all others are missing. */
export class FakeFiles implements Files {
  private readonly kinds: ReadonlyMap<string, FileKind>;
  private readonly closed: ReadonlySet<string>;

  /** A path that ends in a slash is a directory, one in .sock a socket, others are files. */
  constructor(paths: readonly string[], closed: readonly string[] = []) {
    this.kinds = new Map(paths.map((path) => [path.replace(/(?<=.)\/$/, ''), kindByName(path)]));
    this.closed = new Set(closed);
  }

  kindOf(path: string): FileKind {
    return this.kinds.get(path) ?? 'missing';
  }

  isReachable(path: string): boolean {
    return !this.closed.has(path);
  }
}

function kindByName(path: string): FileKind {
  if (path.endsWith('/')) return 'directory';
  return path.endsWith('.sock') ? 'socket' : 'file';
}

export const WORLD = new FakeFiles([
  '/',
  '/etc/',
  '/run/',
  '/run/app.sock',
  '/srv/site/',
  '/srv/site/robots.txt',
  '/etc/edge/',
  '/etc/edge/server.crt',
  '/etc/edge/server.key',
  '/var/log/',
]);

/** Loads with everything built, in WORLD, from /etc/edge/config.toml. */
export function load(toml: string, options: LoadOptions = {}): LoadResult {
  return loadConfig(toml, '/etc/edge/config.toml', { files: WORLD, notBuilt: [], ...options });
}

const SERVER = '[server]\nlisten = "127.0.0.1:8080"\n';
const SITE = '[path_routes."example.com"."/"]\npath = "/srv/site"\n';

/** A file with a listener and a route, and `toml` after them. */
export function withServer(toml: string): string {
  return `${SERVER}${SITE}${toml}`;
}

/** A file with a listener and the route `example.com:/api/` with these lines. */
export function withRoute(lines: string): string {
  return `${SERVER}[path_routes."example.com"."/api/"]\n${lines}\n`;
}

/** A file with a listener and a Proxy route with these lines of `security`. */
export function withSecurity(lines: string): string {
  return withRoute(
    `type = "Proxy"\nurl = "http://localhost:9000"\n[path_routes."example.com"."/api/".security]\n${lines}`,
  );
}

/** `path: message`, the message's first line. */
export function brief(problem: Problem): string {
  const message = problem.message.split('\n')[0];
  return problem.path === '' ? message : `${problem.path}: ${message}`;
}

export function problemsOf(result: LoadResult): string[] {
  return result.problems.map(brief);
}

export function warningsOf(result: LoadResult): string[] {
  return result.warnings.map(brief);
}

export function textOf(problems: readonly Problem[]): string {
  return problems.map((problem) => formatProblem(problem, 'config.toml')).join('\n');
}
