/** Text that C functions hand over, copied into mapped memory: no JavaScript string is made of it. */

import koffi from 'koffi';

/** strncpy(3): copies up to the NUL, and fills the rest of `length` bytes with zeros. */
export const copyForeignString = koffi
  .load(null)
  .func('strncpy', 'int64_t', ['int64_t', 'int64_t', 'int64_t']) as unknown as (
  target: number,
  source: number,
  length: number,
) => number;

/** memcpy(3). */
export const copyForeignBytes = koffi
  .load(null)
  .func('memcpy', 'int64_t', ['int64_t', 'int64_t', 'int64_t']) as unknown as (
  target: number,
  source: number,
  length: number,
) => number;
