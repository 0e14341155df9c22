/**
 * What a process that has started doesn't need any more, given back: garbage of the start, free memory that the C
 * library keeps, and those pages of the program's code that only the start ran (they come back from the page cache when
 * they run again).
 */

import koffi from 'koffi';
import { madvise } from './libc.ts';
import { getauxval, malloc_trim } from './process-calls.ts';

const MADV_DONTNEED = 4;
const AT_PHDR = 3;
const AT_PHENT = 4;
const AT_PHNUM = 5;
const PAGE_BYTES = 4096;
// Of an ELF64 program header: u32 type, u32 flags, u64 offset, u64 address, u64 physical address, u64 bytes in the file,
// u64 bytes in memory. https://refspecs.linuxfoundation.org/elf/gabi4+/ch5.pheader.html
const PT_LOAD = 1;
const PT_PHDR = 6;
const PF_W = 2;
const HEADER_BYTES = 56;
const P_FLAGS = 4;
const P_ADDRESS = 16;
const P_MEMORY = 40;

/** Where code and constants of the program are mapped, what nobody writes to: addresses and lengths, whole pages. Empty where the program doesn't say. */
function constantsOfProgram(): { readonly address: number; readonly length: number }[] {
  const table = getauxval(AT_PHDR);
  const count = getauxval(AT_PHNUM);
  if (table === 0 || getauxval(AT_PHENT) !== HEADER_BYTES) return [];
  const view = new DataView(koffi.view(table, count * HEADER_BYTES));
  const headers = Array.from({ length: count }, (_, index) => {
    const at = index * HEADER_BYTES;
    return {
      type: view.getUint32(at, true),
      flags: view.getUint32(at + P_FLAGS, true),
      address: Number(view.getBigUint64(at + P_ADDRESS, true)),
      length: Number(view.getBigUint64(at + P_MEMORY, true)),
    };
  });
  const own = headers.find(({ type }) => type === PT_PHDR);
  if (own === undefined) return [];
  const moved = table - own.address;
  return headers
    .filter(({ type, flags }) => type === PT_LOAD && (flags & PF_W) === 0)
    .map(({ address, length }) => {
      const from = Math.ceil((moved + address) / PAGE_BYTES) * PAGE_BYTES;
      const to = Math.floor((moved + address + length) / PAGE_BYTES) * PAGE_BYTES;
      return { address: from, length: to - from };
    })
    .filter(({ length }) => length > 0);
}

/** Once, when everything is ready. Takes some milliseconds. */
export function trimMemory(): void {
  // With --expose-gc; without it the engine does so in its own time.
  globalThis.gc?.();
  malloc_trim(0);
  for (const { address, length } of constantsOfProgram()) madvise(address, length, MADV_DONTNEED);
}
