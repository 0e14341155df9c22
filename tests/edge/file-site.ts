/** A tree of files for tests of file routes. */

import { RouteBench } from './file-fixture.ts';

/** The tree that most tests serve; `big` is larger than what is read in one piece. */
export const BIG = Uint8Array.from({ length: 200_000 }, (_, at) => (at * 31 + (at >> 8)) & 255);

export function site(
  options: { mode?: 'sendfile' | 'memory'; key?: string; index?: string } = {},
): RouteBench {
  const { key, ...action } = options;
  const bench = RouteBench.files({ path: '/srv', ...action }, key);
  bench.write('/srv/index.html', '<h1>home</h1>');
  bench.write('/srv/css/style.css', 'body { color: red }');
  bench.write('/srv/guide/index.html', 'guide');
  bench.write('/srv/guide/intro.html', 'intro');
  bench.write('/srv/a b/ü.txt', 'umlaut');
  bench.write('/srv/empty.txt', '');
  bench.write('/srv/big.bin', BIG);
  bench.write('/srv/data', 'no extension');
  bench.reactor.files.makeDirectory('/srv/bare');
  bench.reactor.files.makeDirectory('/srv/odd/index.html');
  bench.write('/outside/secret', 'secret');
  bench.reactor.files.makeSymlink('/srv/escape', '../outside/secret');
  bench.reactor.files.makeSymlink('/srv/absolute', '/outside/secret');
  bench.reactor.files.makeSymlink('/srv/inside', 'css/style.css');
  bench.reactor.files.makeSymlink('/srv/loop', 'loop');
  bench.reactor.files.makeFifo('/srv/fifo');
  bench.write('/srv/locked.txt', 'locked');
  bench.reactor.files.setReadable('/srv/locked.txt', false);
  return bench;
}
