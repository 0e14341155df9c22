/** The keys of [http2]: what clients may send, and how much they may ask for nothing. One table of schema.ts, apart for its length. */

import { key, section } from './schema-nodes.ts';
import { integer } from './value-types.ts';

const WINDOW_BYTES_MAX = 2 ** 31 - 1;
const EVENTS_MAX = 1_000_000;
const HOUR_SECS = 3600;

/** Events that a client may spend at once. */
function burst(fallback: number, meaning: string) {
  return key(integer(1, EVENTS_MAX), { fallback, meaning, example: String(fallback * 2) });
}

/** Events that each second gives back, up to the burst. */
function perSecond(fallback: number, ofKey: string) {
  const meaning = `Of \`${ofKey}\`: what each second gives back.`;
  return key(integer(1, EVENTS_MAX), { fallback, meaning, example: String(fallback * 2) });
}

export const HTTP2 = section(
  'Settings of HTTP/2 (RFC 9113 §6.5.2) for clients, and the budgets that bound what a client may ask for nothing: one that spends more is told ENHANCE_YOUR_CALM and is cut. Backends have settings of their own (docs/HTTP2.md).',
  {
    header_table_size: key(integer(0, 65_536), {
      fallback: 4096,
      meaning: 'Bytes of the table by which fields are compressed (HPACK).',
      example: '65536',
    }),
    max_concurrent_streams: key(integer(1, 65_536), {
      fallback: 100,
      meaning: 'Requests at once on one connection.',
      example: '1000',
    }),
    initial_window_size: key(integer(0, WINDOW_BYTES_MAX), {
      fallback: 65_535,
      meaning: 'Bytes of content that a client may send on one stream ahead of what is read.',
      example: '4194304',
    }),
    max_frame_size: key(integer(16_384, 16_777_215), {
      fallback: 16_384,
      meaning: 'Bytes of the largest frame that is accepted.',
      example: '65536',
    }),
    max_header_list_size: key(integer(1024, 65_536), {
      fallback: 16_384,
      meaning: 'Bytes of a field section after decompression.',
      example: '65536',
    }),
    connection_window_size: key(integer(65_535, WINDOW_BYTES_MAX), {
      fallback: 65_535,
      meaning:
        'Bytes of content that a client may send on all streams ahead of what is read. A smaller one grows to 1 MiB as requests are uploaded at once, so that none waits for another.',
      example: '16777216',
    }),
    resets_burst: burst(
      200,
      'Streams at once that end before their answer: reset by the client, or for its errors, or refused. Each answered request gives half a stream back.',
    ),
    resets_per_sec: perSecond(30, 'resets_burst'),
    settings_burst: burst(50, 'SETTINGS frames at once.'),
    settings_per_sec: perSecond(5, 'settings_burst'),
    pings_burst: burst(200, 'PING frames at once.'),
    pings_per_sec: perSecond(50, 'pings_burst'),
    priorities_burst: burst(500, 'PRIORITY and PRIORITY_UPDATE frames at once.'),
    priorities_per_sec: perSecond(50, 'priorities_burst'),
    empty_frames_burst: burst(100, 'DATA frames without content, and frames of unknown types, at once.'),
    empty_frames_per_sec: perSecond(10, 'empty_frames_burst'),
    window_updates_burst: burst(
      2000,
      'WINDOW_UPDATE frames at once, beyond four for each frame of 1 KiB that the client was sent.',
    ),
    window_updates_per_sec: perSecond(500, 'window_updates_burst'),
    tiny_data_burst: burst(1000, 'DATA frames of fewer than five bytes at once.'),
    tiny_data_per_sec: perSecond(200, 'tiny_data_burst'),
    max_continuation_frames: key(integer(1, 1024), {
      fallback: 16,
      meaning: 'CONTINUATION frames of one field section.',
      example: '4',
    }),
    max_field_block_size: key(integer(1024, 1_048_576), {
      fallback: 65_536,
      meaning:
        'Bytes of one field section as it is sent, compressed. At least `max_header_list_size` is accepted, whatever is said here.',
      example: '16384',
    }),
    abuse_half_life_secs: key(integer(0, HOUR_SECS), {
      fallback: 10,
      meaning:
        'Seconds in which half is forgotten of how often connections of an address (IPv6: a /64) were cut. Each cut halves the budgets of its new connections; after four they are refused. 0: nothing is remembered.',
      example: '60',
    }),
  },
);
