/** Field sections for tests, as a parser would deliver them. */

import { F_OTHER, FIELD_NAMES, FieldSection } from '../../src/http/fields.ts';

/** A section over its own bytes that holds `lines` (name, value) in this order. */
export function sectionOf(lines: readonly (readonly [string, string])[]): FieldSection {
  const text = lines.map(([name, value]) => name + value).join('');
  const section = new FieldSection(new Uint8Array(Buffer.from(text, 'latin1')));
  let at = 0;
  for (const [name, value] of lines) {
    const id = FIELD_NAMES.findIndex((known) => known.toLowerCase() === name.toLowerCase());
    section.add(at, name.length, at + name.length, value.length, id < 0 ? F_OTHER : id);
    at += name.length + value.length;
  }
  return section;
}

/** Bytes with something before and after, so that a parser that reads too far is caught. */
export function embed(text: string): { bytes: Uint8Array; offset: number; length: number } {
  return { bytes: new Uint8Array(Buffer.from(`9"${text}9"`, 'latin1')), offset: 2, length: text.length };
}
