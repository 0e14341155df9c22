/**
 * Names and values of the fields that routes add and remove. A rule may never touch what frames a message
 * or belongs to one connection only (RFC 9110 §7.6.1, RFC 9112 §6): that is how requests are smuggled.
 */

import type { KeyPath } from './key-path.ts';
import { isLikelySlip, nearestWord } from './nearest.ts';
import { Complaint, type Report } from './problem.ts';
import { unknownVariable } from './url-parts.ts';
import { listOf, pairs, parsed, type ValueType } from './value-types.ts';

/** Fields that one rule may name. Our own choice: a section holds 128. */
const RULES_MAX = 64;
/** Characters of a value. Our own choice: a whole request head is 8192 by default. */
const VALUE_CHARS_MAX = 4096;

/** RFC 9110 §5.6.2. */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** Message framing and what belongs to one connection: neither may be added or removed, on either side. */
const FRAMING = [
  'content-length',
  'transfer-encoding',
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'upgrade',
  'http2-settings',
];
/** Of requests alone. */
const REQUEST_ONLY = ['expect', 'host'];

/** Variables that values of `add_request_headers` may hold. */
export const REQUEST_VARIABLES = ['$client_ip', '$host', '$request_uri', '$scheme', '$request_id'];

export type Side = 'request' | 'response';

export function parseFieldName(name: string, side: Side): string | Complaint {
  if (!TOKEN.test(name)) return new Complaint('it is not a field name (RFC 9110 token)');
  const lower = name.toLowerCase();
  if (side === 'request' && lower === 'host')
    return new Complaint('Host is not a matter of rules', 'use the key host_header of the route');
  if (FRAMING.includes(lower) || (side === 'request' && REQUEST_ONLY.includes(lower))) {
    return new Complaint('it frames the message or belongs to the connection, and is the edge’s own matter');
  }
  return name;
}

/** A method's name, in upper case: methods are case-sensitive and all registered ones are upper case. */
export function parseMethod(text: string): string | Complaint {
  return TOKEN.test(text) ? text.toUpperCase() : new Complaint('it is not a method (RFC 9110 token)');
}

/** A field's value: no CR, LF, NUL or other control character but the tab. */
export function parseFieldValue(text: string): string | Complaint {
  if (text.length > VALUE_CHARS_MAX) return new Complaint(`it has more than ${VALUE_CHARS_MAX} characters`);
  if (/[\x00-\x08\x0a-\x1f\x7f]/.test(text)) {
    return new Complaint('it holds a control character (CR, LF and NUL would split the message)');
  }
  if (/[^\x00-\x7f]/.test(text))
    return new Complaint('it holds a character outside ASCII', 'encode it as RFC 8187 says');
  return text;
}

/** The `add_*_headers` keys: a table of names and values. */
export function addedFields(side: Side): ValueType<readonly (readonly [string, string])[]> {
  const words = `table of at most ${RULES_MAX}: field names with strings as values`;
  return pairs(words, RULES_MAX, (name, value, at, report) => {
    const isNameRight = checkName(name, side, at, report);
    const isValueRight = checkValue(value, side, at, report);
    return isNameRight && isValueRight;
  });
}

function checkName(name: string, side: Side, at: KeyPath, report: Report): boolean {
  const result = parseFieldName(name, side);
  if (!(result instanceof Complaint)) return true;
  report.add('value', at, `The field ${JSON.stringify(name)} can't be set: ${result.why}`, '', result.mend);
  return false;
}

function checkValue(value: string, side: Side, at: KeyPath, report: Report): boolean {
  const result = parseFieldValue(value);
  if (result instanceof Complaint) {
    report.add('value', at, `Invalid field value ${JSON.stringify(value)}: ${result.why}`, '', result.mend);
    return false;
  }
  const unknown = unknownVariable(value, REQUEST_VARIABLES);
  if (side === 'response') {
    const isMeant = REQUEST_VARIABLES.some((name) => value.includes(name));
    if (isMeant)
      report.warn(at, 'Variables are expanded in add_request_headers only: here $ stands for itself');
    return true;
  }
  if (unknown === '') return true;
  const near = nearestWord(unknown, REQUEST_VARIABLES);
  const mend = isLikelySlip(unknown, near) ? `write ${near}` : '';
  report.add('value', at, `${unknown} is not a variable`, REQUEST_VARIABLES.join(', '), mend);
  return false;
}

/** The `remove_*_headers` keys. */
export function removedFields(side: Side): ValueType<readonly string[]> {
  return listOf(
    parsed('a field name', (name) => parseFieldName(name, side)),
    { max: RULES_MAX },
  );
}
