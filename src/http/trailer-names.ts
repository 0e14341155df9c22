/**
 * Which fields may come after the content (RFC 9110 §6.5.1): none that the message was already routed,
 * framed, authorised or interpreted without. Of the names with an id (fields.ts) only ETag may; of the
 * others, all but those listed here.
 */

import { aliasesTrusted, NameTable } from './field-names.ts';
import { F_CONTENT_LENGTH, F_HOST, F_TRANSFER_ENCODING } from './fields.ts';

const FORBIDDEN = new NameTable([
  '',
  'Age',
  'Alt-Svc',
  'Authorization',
  'Clear-Site-Data',
  'Content-Disposition',
  'Content-Language',
  'Content-Location',
  'Content-Security-Policy',
  'Expires',
  'Max-Forwards',
  'Pragma',
  'Set-Cookie',
  'Strict-Transport-Security',
  'Warning',
  'WWW-Authenticate',
]);

/** A trailer that claims to frame or route the message is not dropped in silence: its sender is up to something. */
export function isFraming(id: number): boolean {
  return id === F_TRANSFER_ENCODING || id === F_CONTENT_LENGTH || id === F_HOST;
}

/** Whether a name without an id is one that must not be a trailer, or that a backend could take for a trusted one. */
export function isForbiddenTrailer(bytes: Uint8Array, offset: number, length: number): boolean {
  return FORBIDDEN.find(bytes, offset, length) !== 0 || aliasesTrusted(bytes, offset, length);
}
