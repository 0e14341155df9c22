/** What each room of a configuration is started with: its program, the files and ports that are named for it. */

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Config } from '../config/model.ts';
import type { IoBackend } from './compartments.ts';
import type { RoomRequest } from './plan.ts';

type RoomRole = 'journal' | 'keys' | 'outbound' | 'edge';

/** Where the compiled program lies: the folder of `master/main.js`, and of a folder for each other room. */
const DIST = join(import.meta.dirname, '..');
/** Packages that rooms load. */
const PACKAGES = ['koffi', '@koromix', 'smol-toml'];

/** The compiled file of the launcher, which becomes each room. */
export const LAUNCHER_FILE = join(DIST, 'master/launcher-main.js');

/** The request for a room; `instance` counts the workers from 0, `core` is -1 for any. */
export function requestFor(
  role: RoomRole,
  config: Config,
  io: IoBackend,
  instance: number,
  core: number,
): RoomRequest {
  const isEdge = role === 'edge';
  return {
    instance,
    io,
    main: join(DIST, role, 'main.js'),
    arguments: [],
    program: [...PROGRAM],
    files: isEdge ? documentPaths(config) : [],
    socketFolders: isEdge || role === 'outbound' ? socketFolders(config) : [],
    connectPorts: isEdge ? backendPorts(config) : [],
    core,
  };
}

/**
 * The request with those paths alone that are there now: a root can't be made of the others, and one folder that was
 * removed is no reason to serve nothing else.
 */
export function withoutMissing(request: RoomRequest): RoomRequest {
  const { files, socketFolders } = request;
  const isThere = (path: string): boolean => existsSync(path);
  return { ...request, files: files.filter(isThere), socketFolders: socketFolders.filter(isThere) };
}

/** The program's own folders: what was compiled, its packages wherever npm has put them, the word that it is modules. */
const PROGRAM = [DIST, join(DIST, '../package.json'), ...PACKAGES.flatMap(packageFolder)];

function packageFolder(name: string): string[] {
  for (let place = dirname(DIST); ; place = dirname(place)) {
    const folder = join(place, 'node_modules', name);
    if (existsSync(folder)) return [folder];
    if (place === dirname(place)) return [];
  }
}

/** Files and directories of routes. */
function documentPaths({ routes }: Config): string[] {
  const paths = routes.flatMap(({ action }) => (action.type === 'File' ? [action.path] : []));
  return [...new Set(paths)].sort();
}

/**
 * Folders of backends' Unix sockets: a backend that starts again makes its socket anew, which only who sees the folder
 * finds.
 */
function socketFolders({ upstreams }: Config): string[] {
  const paths = upstreams.flatMap(({ servers }) =>
    servers.flatMap(({ target }) => (target.kind === 'unix' ? [dirname(target.path)] : [])),
  );
  return [...new Set(paths)].sort();
}

function backendPorts({ upstreams }: Config): number[] {
  const ports = upstreams.flatMap(({ servers }) =>
    servers.flatMap(({ target }) => (target.kind === 'tcp' ? [target.port] : [])),
  );
  return [...new Set(ports)].sort((a, b) => a - b);
}
