/** The kernel's monotonic clock as timers in the kernel know it, and timerfd. */

import { negated, timerfd_create, timerfd_settime } from './libc.ts';
import { mapPrivate } from './memory.ts';

const CLOCK_MONOTONIC = 1;
const TFD_TIMER_ABSTIME = 1;
const TFD_NONBLOCK = 0o4000;
const TFD_CLOEXEC = 0o2000000;

/** Added to times, so that the clock has surely reached them when a timer fires. */
const MARGIN_MS = 0.02;

/**
 * What is to be added to a time of performance.now to get CLOCK_MONOTONIC, in milliseconds. The two are read
 * one after the other, and whatever comes between (the first reading may take milliseconds) makes the
 * difference seem smaller.
 */
export function measureMonotonicOffset(): number {
  let offsetMs = Number.NEGATIVE_INFINITY;
  for (let reading = 0; reading < 16; reading++) {
    const monotonicMs = Number(process.hrtime.bigint()) / 1e6;
    offsetMs = Math.max(offsetMs, monotonicMs - performance.now());
  }
  return offsetMs + MARGIN_MS;
}

/** Writes struct timespec: seconds and nanoseconds, 64 bits each. */
export function writeTimespec(words: Int32Array, index: number, timeMs: number): void {
  const seconds = Math.floor(timeMs / 1000);
  words[index] = seconds;
  words[index + 1] = Math.floor(seconds / 0x100000000);
  words[index + 2] = (timeMs - seconds * 1000) * 1e6;
  words[index + 3] = 0;
}

// struct itimerspec: the interval, which stays zero, and the time.
const argument = mapPrivate(4096);
const VALUE_WORD = 4;

/** A descriptor that becomes readable when its time has come. Descriptor or -errno. */
export function createTimer(): number {
  return negated(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
}

/** Sets (or moves) the time, milliseconds of CLOCK_MONOTONIC. Returns 0 or -errno. */
export function setTimer(fd: number, timeMs: number): number {
  writeTimespec(argument.words, VALUE_WORD, timeMs);
  return negated(timerfd_settime(fd, TFD_TIMER_ABSTIME, argument.address, 0));
}
