/**
 * The buckets of all histograms: their upper bounds, ends included, and the bucket that a value falls into. A last
 * bucket without a bound follows. Changing them changes what is stored in Prometheus: docs/METRICS.md tells why these.
 */

/** Times, in milliseconds: the clock of the edge ticks once a millisecond. */
export const TIME_BOUNDS_MS: readonly number[] = [
  1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000,
];
export const TIME_BUCKETS: number = TIME_BOUNDS_MS.length + 1;

/** Sizes, in bytes: nothing, then powers of four from 256 bytes to one gibibyte. */
export const SIZE_BOUNDS: readonly number[] = [
  0,
  ...Array.from({ length: 12 }, (_, index) => 256 * 4 ** index),
];
export const SIZE_BUCKETS: number = SIZE_BOUNDS.length + 1;

/** Most times are short: their buckets are looked up. */
const SHORT_MS = 1024;
const SHORT_BUCKETS = Uint8Array.from({ length: SHORT_MS }, (_, ms) => bucketAmong(TIME_BOUNDS_MS, ms));
const GIBIBYTE = 2 ** 30;

function bucketAmong(bounds: readonly number[], value: number): number {
  let bucket = 0;
  while (bucket < bounds.length && value > bounds[bucket]) bucket++;
  return bucket;
}

/** `ms` is an integer, 0 or more. */
export function timeBucket(ms: number): number {
  return ms < SHORT_MS ? SHORT_BUCKETS[ms] : bucketAmong(TIME_BOUNDS_MS, ms);
}

/** `bytes` is an integer, 0 or more. */
export function sizeBucket(bytes: number): number {
  if (bytes <= 256) return bytes === 0 ? 0 : 1;
  if (bytes > GIBIBYTE) return SIZE_BUCKETS - 1;
  // 4^k is the least power of four that is not smaller: k is half of the bits of bytes - 1, rounded up.
  return ((33 - Math.clz32(bytes - 1)) >> 1) - 3;
}
