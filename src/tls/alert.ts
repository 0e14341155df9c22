/** Alerts (RFC 8446 §6): their codes, and words for the log. */

export const ALERT_CLOSE_NOTIFY = 0;
export const ALERT_UNEXPECTED_MESSAGE = 10;
export const ALERT_BAD_RECORD_MAC = 20;
export const ALERT_RECORD_OVERFLOW = 22;
export const ALERT_ILLEGAL_PARAMETER = 47;
export const ALERT_DECODE_ERROR = 50;
export const ALERT_PROTOCOL_VERSION = 70;
export const ALERT_INTERNAL_ERROR = 80;
export const ALERT_USER_CANCELED = 90;
export const ALERT_NO_RENEGOTIATION = 100;

export const ALERT_LEVEL_WARNING = 1;
export const ALERT_LEVEL_FATAL = 2;

const NAMES = new Map<number, string>([
  [0, 'close_notify'],
  [10, 'unexpected_message'],
  [20, 'bad_record_mac'],
  [22, 'record_overflow'],
  [40, 'handshake_failure'],
  [42, 'bad_certificate'],
  [43, 'unsupported_certificate'],
  [44, 'certificate_revoked'],
  [45, 'certificate_expired'],
  [46, 'certificate_unknown'],
  [47, 'illegal_parameter'],
  [48, 'unknown_ca'],
  [49, 'access_denied'],
  [50, 'decode_error'],
  [51, 'decrypt_error'],
  [70, 'protocol_version'],
  [71, 'insufficient_security'],
  [80, 'internal_error'],
  [86, 'inappropriate_fallback'],
  [90, 'user_canceled'],
  [100, 'no_renegotiation'],
  [109, 'missing_extension'],
  [110, 'unsupported_extension'],
  [112, 'unrecognized_name'],
  [113, 'bad_certificate_status_response'],
  [115, 'unknown_psk_identity'],
  [116, 'certificate_required'],
  [120, 'no_application_protocol'],
]);

export function alertName(code: number): string {
  return NAMES.get(code) ?? `alert ${code}`;
}
