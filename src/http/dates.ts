/**
 * HTTP-date (RFC 9110 §5.6.7): written in its one preferred form, read in all three. Times are whole
 * seconds since 1970 (UTC), also before it (negative).
 */

/** What `parseHttpDate` returns for anything that isn't a date. */
export const NO_DATE = Number.MIN_SAFE_INTEGER;

/** Bytes of an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT`. */
export const HTTP_DATE_BYTES = 29;

/** The last second that has four digits of year: 9999-12-31T23:59:59Z. */
const SECONDS_MAX = 253402300799;

/** An IMF-fixdate. Times outside the years 1970 … 9999 become the nearest one inside. Allocates: cache it. */
export function formatHttpDate(seconds: number): string {
  const clamped = seconds < 0 ? 0 : seconds > SECONDS_MAX ? SECONDS_MAX : Math.floor(seconds);
  return new Date(clamped * 1000).toUTCString();
}

const ASCTIME_BYTES = 24;
/** What follows the day's name in the obsolete RFC 850 form: `, 06-Nov-94 08:49:37 GMT`. */
const RFC850_REST_BYTES = 24;

const COMMA = 0x2c;
const DASH = 0x2d;
const COLON = 0x3a;
const SPACE = 0x20;
const ZERO = 0x30;

/**
 * Seconds since 1970, or NO_DATE. Case-sensitive, as §5.6.7 wants it. The day's name must be one, but it
 * isn't compared with the date: a sender that is wrong there still means the date. `nowSeconds` decides
 * the century of RFC 850's two-digit years.
 */
export function parseHttpDate(bytes: Uint8Array, offset: number, length: number, nowSeconds: number): number {
  if (length === HTTP_DATE_BYTES && bytes[offset + 3] === COMMA) return parseFixdate(bytes, offset);
  if (length === ASCTIME_BYTES && bytes[offset + 3] === SPACE) return parseAsctime(bytes, offset);
  const nameLength = length - RFC850_REST_BYTES;
  if (nameLength >= 6 && nameLength <= 9) return parseRfc850(bytes, offset, nameLength, nowSeconds);
  return NO_DATE;
}

/** `Sun, 06 Nov 1994 08:49:37 GMT` */
function parseFixdate(bytes: Uint8Array, at: number): number {
  if (!isDayName(bytes, at) || bytes[at + 4] !== SPACE) return NO_DATE;
  if (bytes[at + 7] !== SPACE || bytes[at + 11] !== SPACE || !isGmt(bytes, at + 25)) return NO_DATE;
  const year = digits(bytes, at + 12, 4);
  return assemble(year, monthAt(bytes, at + 8), digits(bytes, at + 5, 2), timeAt(bytes, at + 16));
}

/** `Sun Nov  6 08:49:37 1994` */
function parseAsctime(bytes: Uint8Array, at: number): number {
  if (!isDayName(bytes, at) || bytes[at + 7] !== SPACE || bytes[at + 19] !== SPACE) return NO_DATE;
  const day = bytes[at + 8] === SPACE ? digits(bytes, at + 9, 1) : digits(bytes, at + 8, 2);
  return assemble(digits(bytes, at + 20, 4), monthAt(bytes, at + 4), day, timeAt(bytes, at + 10));
}

/** `Sunday, 06-Nov-94 08:49:37 GMT` */
function parseRfc850(bytes: Uint8Array, offset: number, nameLength: number, nowSeconds: number): number {
  if (!isLongDayName(bytes, offset, nameLength)) return NO_DATE;
  const at = offset + nameLength;
  if (bytes[at] !== COMMA || bytes[at + 1] !== SPACE || !isGmt(bytes, at + 20)) return NO_DATE;
  if (bytes[at + 4] !== DASH || bytes[at + 8] !== DASH) return NO_DATE;
  const shortYear = digits(bytes, at + 9, 2);
  if (shortYear < 0) return NO_DATE;
  const month = monthAt(bytes, at + 5);
  const day = digits(bytes, at + 2, 2);
  const time = timeAt(bytes, at + 11);
  const yearNow = new Date(nowSeconds * 1000).getUTCFullYear();
  // More than 50 years ahead means the most recent past year with the same last two digits.
  let year = yearNow - (yearNow % 100) + shortYear;
  if (year > yearNow + 50) year -= 100;
  else if (year <= yearNow - 50) year += 100;
  return assemble(year, month, day, time);
}

const DAY_NAMES: readonly string[] = [
  'Sunday',
  'Monday',
  'Tuesday',
  'Wednesday',
  'Thursday',
  'Friday',
  'Saturday',
];
const MONTH_NAMES = 'JanFebMarAprMayJunJulAugSepOctNovDec';

function isDayName(bytes: Uint8Array, at: number): boolean {
  for (let day = 0; day < 7; day++) if (startsWith(bytes, at, DAY_NAMES[day], 3)) return true;
  return false;
}

function isLongDayName(bytes: Uint8Array, at: number, length: number): boolean {
  for (let day = 0; day < 7; day++) {
    const name = DAY_NAMES[day];
    if (name.length === length && startsWith(bytes, at, name, length)) return true;
  }
  return false;
}

function startsWith(bytes: Uint8Array, at: number, text: string, length: number): boolean {
  for (let i = 0; i < length; i++) if (bytes[at + i] !== text.charCodeAt(i)) return false;
  return true;
}

function isGmt(bytes: Uint8Array, at: number): boolean {
  return startsWith(bytes, at, ' GMT', 4);
}

/** Month 0 … 11, or -1. */
function monthAt(bytes: Uint8Array, at: number): number {
  for (let month = 0; month < 12; month++) {
    const name = month * 3;
    if (
      bytes[at] === MONTH_NAMES.charCodeAt(name) &&
      bytes[at + 1] === MONTH_NAMES.charCodeAt(name + 1) &&
      bytes[at + 2] === MONTH_NAMES.charCodeAt(name + 2)
    ) {
      return month;
    }
  }
  return -1;
}

/** Seconds of the day of ` 08:49:37`, or -1. A leap second counts as the next minute's first. */
function timeAt(bytes: Uint8Array, at: number): number {
  if (bytes[at] !== SPACE || bytes[at + 3] !== COLON || bytes[at + 6] !== COLON) return -1;
  const hour = digits(bytes, at + 1, 2);
  const minute = digits(bytes, at + 4, 2);
  const second = digits(bytes, at + 7, 2);
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60) return -1;
  return hour * 3600 + minute * 60 + second;
}

function digits(bytes: Uint8Array, at: number, count: number): number {
  let value = 0;
  for (let i = 0; i < count; i++) {
    const digit = bytes[at + i] - ZERO;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

const MONTH_DAYS: readonly number[] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** Any argument may be -1 (unreadable). */
function assemble(year: number, month: number, day: number, secondsOfDay: number): number {
  if (year < 0 || month < 0 || secondsOfDay < 0 || day < 1 || day > MONTH_DAYS[month]) return NO_DATE;
  if (month === 1 && day === 29 && !isLeapYear(year)) return NO_DATE;
  return daysSince1970(year, month, day) * 86400 + secondsOfDay;
}

function isLeapYear(year: number): boolean {
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
}

/** Days of the proleptic Gregorian calendar; years count from March so that the leap day is the last. */
function daysSince1970(year: number, month: number, day: number): number {
  const shifted = month < 2 ? year - 1 : year;
  const monthFromMarch = (month + 10) % 12;
  const leapDays = Math.floor(shifted / 4) - Math.floor(shifted / 100) + Math.floor(shifted / 400);
  const dayOfYear = Math.floor((153 * monthFromMarch + 2) / 5) + day - 1;
  return shifted * 365 + leapDays + dayOfYear - 719468;
}
