/* Latencies of the load generators: 64 sub-buckets for each power of two of nanoseconds. Needs -lm. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <math.h>
#include <stdint.h>

static unsigned long histogram[64 * 64];

static unsigned bucket_of(uint64_t ns) {
  if (ns < 64) return (unsigned)ns;
  unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - 6u;
  return (shift + 1) * 64 + (unsigned)((ns >> shift) & 63u);
}

static double bucket_ns(unsigned bucket) {
  if (bucket < 64) return bucket;
  return ldexp(64 + bucket % 64 + 0.5, (int)(bucket / 64) - 1);
}

static double percentile_us(double fraction) {
  unsigned long total = 0, seen = 0;
  for (unsigned i = 0; i < 64 * 64; i++) total += histogram[i];
  for (unsigned i = 0; i < 64 * 64; i++) {
    seen += histogram[i];
    if (seen > 0 && (double)seen >= fraction * (double)total) return bucket_ns(i) / 1000;
  }
  return 0;
}

#endif
