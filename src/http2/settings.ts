/** What each side tells the other about itself (RFC 9113 §6.5), and our own bounds on what a peer may make us do. */

import {
  DEFAULT_FRAME_BYTES,
  DEFAULT_HEADER_TABLE_BYTES,
  DEFAULT_WINDOW_BYTES,
  FRAME_BYTES_LIMIT,
  H2_FLOW_CONTROL_ERROR,
  H2_NO_ERROR,
  H2_PROTOCOL_ERROR,
  SET_ENABLE_CONNECT_PROTOCOL,
  SET_ENABLE_PUSH,
  SET_HEADER_TABLE_SIZE,
  SET_INITIAL_WINDOW_SIZE,
  SET_MAX_CONCURRENT_STREAMS,
  SET_MAX_FRAME_SIZE,
  SET_MAX_HEADER_LIST_SIZE,
  SET_NO_RFC7540_PRIORITIES,
  WINDOW_BYTES_LIMIT,
} from './constants.ts';

/** Our side, the keys of `[http2]`. */
export interface Http2Settings {
  /** Bytes of the table that the peer may compress with; 0 … 1 MiB. */
  readonly headerTableSize: number;
  /** Streams that the peer may have open at once. */
  readonly maxConcurrentStreams: number;
  /** Bytes of content on one stream ahead of what is consumed; 0 … 2^31-1. */
  readonly initialWindowSize: number;
  /** Bytes of a frame's payload; 16384 … 16777215. */
  readonly maxFrameSize: number;
  /** Bytes of a field section, 32 more counted for each field. */
  readonly maxHeaderListSize: number;
  /** Bytes of content on all streams ahead of what is consumed; 65535 … 2^31-1. */
  readonly connectionWindowSize: number;
}

/** The defaults of `[http2]`. */
export const DEFAULT_SETTINGS: Http2Settings = {
  headerTableSize: DEFAULT_HEADER_TABLE_BYTES,
  maxConcurrentStreams: 100,
  initialWindowSize: DEFAULT_WINDOW_BYTES,
  maxFrameSize: DEFAULT_FRAME_BYTES,
  maxHeaderListSize: 16_384,
  connectionWindowSize: DEFAULT_WINDOW_BYTES,
};

/** The peer's side, as its SETTINGS frames have it. */
export class PeerSettings {
  headerTableSize: number;
  /** Infinity: unlimited, until it says otherwise. */
  maxConcurrentStreams: number;
  initialWindowSize: number;
  maxFrameSize: number;
  /** Infinity: unlimited. Advice: a larger list may be refused. */
  maxHeaderListSize: number;
  /** It understands extended CONNECT (RFC 8441 §3). A server's word. */
  enableConnectProtocol: boolean;
  /** It does not want the priorities of RFC 7540 (RFC 9218 §2.1); 1 or 0; -1: it has not said. */
  noRfc7540Priorities: number;

  constructor() {
    this.headerTableSize = DEFAULT_HEADER_TABLE_BYTES;
    this.maxConcurrentStreams = Number.POSITIVE_INFINITY;
    this.initialWindowSize = DEFAULT_WINDOW_BYTES;
    this.maxFrameSize = DEFAULT_FRAME_BYTES;
    this.maxHeaderListSize = Number.POSITIVE_INFINITY;
    this.enableConnectProtocol = false;
    this.noRfc7540Priorities = -1;
  }

  /** Takes one setting. H2_NO_ERROR, or the code of the connection error that its value is. Unknown ones are ignored. */
  take(setting: number, value: number, fromServer: boolean): number {
    switch (setting) {
      case SET_HEADER_TABLE_SIZE:
        this.headerTableSize = value;
        return H2_NO_ERROR;
      case SET_ENABLE_PUSH:
        // A server must not say 1 (RFC 9113 §6.5.2); we never push, whatever a client says.
        return value > (fromServer ? 0 : 1) ? H2_PROTOCOL_ERROR : H2_NO_ERROR;
      case SET_MAX_CONCURRENT_STREAMS:
        this.maxConcurrentStreams = value;
        return H2_NO_ERROR;
      case SET_INITIAL_WINDOW_SIZE:
        if (value > WINDOW_BYTES_LIMIT) return H2_FLOW_CONTROL_ERROR;
        this.initialWindowSize = value;
        return H2_NO_ERROR;
      case SET_MAX_FRAME_SIZE:
        if (value < DEFAULT_FRAME_BYTES || value > FRAME_BYTES_LIMIT) return H2_PROTOCOL_ERROR;
        this.maxFrameSize = value;
        return H2_NO_ERROR;
      case SET_MAX_HEADER_LIST_SIZE:
        this.maxHeaderListSize = value;
        return H2_NO_ERROR;
      case SET_ENABLE_CONNECT_PROTOCOL:
        // Once allowed it can't be taken back (RFC 8441 §3).
        if (value > 1 || (this.enableConnectProtocol && value === 0)) return H2_PROTOCOL_ERROR;
        this.enableConnectProtocol = value === 1;
        return H2_NO_ERROR;
      case SET_NO_RFC7540_PRIORITIES:
        // It can't be changed after the first SETTINGS frame (RFC 9218 §2.1.1).
        if (value > 1 || (this.noRfc7540Priorities >= 0 && this.noRfc7540Priorities !== value))
          return H2_PROTOCOL_ERROR;
        this.noRfc7540Priorities = value;
        return H2_NO_ERROR;
      default:
        return H2_NO_ERROR;
    }
  }
}
