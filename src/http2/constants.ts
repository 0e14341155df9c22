/** Numbers of RFC 9113 (HTTP/2), RFC 8441, RFC 9218 and RFC 7541: what the specifications fix, none of our own choices. */

import { asciiBytes } from '../base/bytes.ts';

/** What a client sends before its first frame (RFC 9113 §3.4). */
export const PREFACE = asciiBytes('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

/** Length (24 bits), type, flags, stream identifier with a reserved bit (§4.1). */
export const FRAME_HEADER_BYTES = 9;

// Frame types (§6; RFC 9218 §7.1). Those not listed are ignored: ALTSVC (10), ORIGIN (12) and all unknown ones.
export const T_DATA = 0;
export const T_HEADERS = 1;
export const T_PRIORITY = 2;
export const T_RST_STREAM = 3;
export const T_SETTINGS = 4;
export const T_PUSH_PROMISE = 5;
export const T_PING = 6;
export const T_GOAWAY = 7;
export const T_WINDOW_UPDATE = 8;
export const T_CONTINUATION = 9;
export const T_PRIORITY_UPDATE = 16;

// Flags (§6).
/** Of DATA and HEADERS. */
export const FLAG_END_STREAM = 0x1;
/** Of SETTINGS and PING. */
export const FLAG_ACK = 0x1;
export const FLAG_END_HEADERS = 0x4;
export const FLAG_PADDED = 0x8;
export const FLAG_PRIORITY = 0x20;

// Error codes (§7).
export const H2_NO_ERROR = 0;
export const H2_PROTOCOL_ERROR = 1;
export const H2_INTERNAL_ERROR = 2;
export const H2_FLOW_CONTROL_ERROR = 3;
export const H2_SETTINGS_TIMEOUT = 4;
export const H2_STREAM_CLOSED = 5;
export const H2_FRAME_SIZE_ERROR = 6;
export const H2_REFUSED_STREAM = 7;
export const H2_CANCEL = 8;
export const H2_COMPRESSION_ERROR = 9;
export const H2_CONNECT_ERROR = 10;
export const H2_ENHANCE_YOUR_CALM = 11;
export const H2_INADEQUATE_SECURITY = 12;
export const H2_HTTP_1_1_REQUIRED = 13;

// Settings (§6.5.2; RFC 8441 §3; RFC 9218 §2.1).
export const SET_HEADER_TABLE_SIZE = 1;
export const SET_ENABLE_PUSH = 2;
export const SET_MAX_CONCURRENT_STREAMS = 3;
export const SET_INITIAL_WINDOW_SIZE = 4;
export const SET_MAX_FRAME_SIZE = 5;
export const SET_MAX_HEADER_LIST_SIZE = 6;
export const SET_ENABLE_CONNECT_PROTOCOL = 8;
export const SET_NO_RFC7540_PRIORITIES = 9;
export const SETTING_BYTES = 6;

/** Initial values of settings, before a SETTINGS frame says otherwise (§6.5.2). */
export const DEFAULT_HEADER_TABLE_BYTES = 4096;
export const DEFAULT_WINDOW_BYTES = 65_535;
export const DEFAULT_FRAME_BYTES = 16_384;
export const FRAME_BYTES_LIMIT = 16_777_215;
export const WINDOW_BYTES_LIMIT = 0x7fffffff;
export const STREAM_ID_LIMIT = 0x7fffffff;

/** Bytes that each field and table entry counts beside its name and value (RFC 7541 §4.1, RFC 9113 §6.5.2). */
export const FIELD_OVERHEAD_BYTES = 32;
