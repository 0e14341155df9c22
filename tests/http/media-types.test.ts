import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mediaTypeOf, OCTET_STREAM } from '../../src/http/media-types.ts';
import { embed } from './section.ts';

function typeOf(name: string): string {
  const { bytes, offset, length } = embed(name);
  return mediaTypeOf(bytes, offset, length).value;
}

const VECTORS: readonly (readonly [string, string])[] = [
  ['index.html', 'text/html; charset=utf-8'],
  ['css/style.CSS', 'text/css; charset=utf-8'],
  ['app.min.js', 'text/javascript; charset=utf-8'],
  ['module.mjs', 'text/javascript; charset=utf-8'],
  ['robots.txt', 'text/plain; charset=utf-8'],
  ['data.json', 'application/json'],
  ['site.webmanifest', 'application/manifest+json'],
  ['logo.svg', 'image/svg+xml'],
  ['photo.JPG', 'image/jpeg'],
  ['favicon.ico', 'image/x-icon'],
  ['a.woff2', 'font/woff2'],
  ['lib.wasm', 'application/wasm'],
  ['film.mp4', 'video/mp4'],
  ['backup.tar.gz', 'application/gzip'],
  ['7.7z', 'application/x-7z-compressed'],
  ['README', 'application/octet-stream'],
  ['.html', 'application/octet-stream'],
  ['dir.html/.css', 'application/octet-stream'],
  ['dir.html/file', 'application/octet-stream'],
  ['a.unknown', 'application/octet-stream'],
  ['a.', 'application/octet-stream'],
  ['', 'application/octet-stream'],
  [`a.${'x'.repeat(300)}`, 'application/octet-stream'],
];

describe('media types', () => {
  for (const [name, type] of VECTORS) {
    it(`${name.slice(0, 20) || '(empty)'} is ${type}`, () => assert.equal(typeOf(name), type));
  }

  it('say what compression pays for', () => {
    const compressible = (name: string): boolean => {
      const { bytes, offset, length } = embed(name);
      return mediaTypeOf(bytes, offset, length).compressible;
    };
    for (const name of ['a.html', 'a.js', 'a.svg', 'a.json', 'a.wasm']) assert.ok(compressible(name), name);
    for (const name of ['a.png', 'a.zip', 'a.mp4', 'a.woff2', 'a']) assert.ok(!compressible(name), name);
    assert.equal(OCTET_STREAM.compressible, false);
  });
});
