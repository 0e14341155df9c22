/**
 * Loaded into the edge before its own code (NODE_OPTIONS=--import): answers each message of its parent with
 * the memory that is in use after a full collection, and with what the reactor holds. The product itself
 * stays as it is; the first call of two methods shows the probe the objects to look at.
 * JavaScript, not TypeScript, since stripping types in the process would cost it memory of its own.
 */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { BufferPool } from '../../dist/io/buffer-pool.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');

let pool = null;
const acquire = BufferPool.prototype.acquire;
BufferPool.prototype.acquire = function (sizeClass) {
  pool = this;
  BufferPool.prototype.acquire = acquire;
  return acquire.call(this, sizeClass);
};

process.on('message', () => {
  collect();
  const { heapUsed, external, arrayBuffers, rss } = process.memoryUsage();
  process.send({ heapUsed, external, arrayBuffers, rss, heldBuffers: pool === null ? 0 : pool.heldCount() });
});
// A test of the edge's own exit must not wait for this channel.
process.channel.unref();
