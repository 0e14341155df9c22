/**
 * The header rules of a route, compiled once for each configuration and applied to field sections without
 * allocation. First what is to go is removed (fields that rules remove, and those that rules add, so that
 * adding replaces), then what is to come is added, in the configuration's order.
 *
 * Names and constant values live in arena memory of the configuration's generation, one line after another,
 * so that a writer can copy a run of added fields at once. The configuration has validated all names and
 * values: none frames a message, none holds a control character.
 */

import { assert } from '../base/assert.ts';
import { copyWithin } from '../base/bytes.ts';
import { fieldIdOfText, LowerName } from '../http/field-names.ts';
import { F_OTHER, FIELD_NAMES, FIELD_WORDS, type FieldSection } from '../http/fields.ts';
import { type BufferId, type BufferPool, MEDIUM, MEDIUM_BYTES, NO_BUFFER } from '../io/buffer-pool.ts';
import type { Scratch } from './scratch.ts';

/** Variables in values of request rules, as the configuration writes them after `$`; index = id. */
export const VARIABLE_NAMES: readonly string[] = ['client_ip', 'host', 'request_uri', 'scheme', 'request_id'];
export const V_CLIENT_IP = 0;
export const V_HOST = 1;
export const V_REQUEST_URI = 2;
export const V_SCHEME = 3;
export const V_REQUEST_ID = 4;

/** Where the values of variables come from: an exchange. */
export interface VariableSource {
  /** Bytes that the variable takes. */
  variableLength(variable: number): number;
  /** Writes the variable's bytes at an arena offset and returns the offset after them. */
  writeVariable(variable: number, at: number): number;
}

/** Arena memory for constants of one configuration, from the first `put` until `release`. */
export class ConstantBytes {
  readonly pool: BufferPool;
  private readonly held: BufferId[];
  private at: number;
  private end: number;

  constructor(pool: BufferPool) {
    this.pool = pool;
    this.held = [];
    this.at = 0;
    this.end = 0;
  }

  /** Stores Latin-1 text of at most MEDIUM_BYTES and returns its arena offset. Set-up only; throws where the arena is exhausted. */
  put(text: string): number {
    const at = this.reserve(text.length);
    this.pool.text.latin1Write(text, at, text.length);
    return at;
  }

  /** Arena offset of memory to write to later. Set-up only; throws where the arena is exhausted. */
  reserve(length: number): number {
    assert(length <= MEDIUM_BYTES, 'more than a buffer');
    if (this.end - this.at < length) this.takeBuffer();
    const at = this.at;
    this.at = at + length;
    return at;
  }

  private takeBuffer(): void {
    const id = this.pool.acquire(MEDIUM);
    if (id === NO_BUFFER) throw new Error('no memory is left for the constants of a configuration');
    this.held.push(id);
    this.at = this.pool.offsetOf(id);
    this.end = this.at + this.pool.sizeOf(id);
  }

  /** Gives the memory back: nothing may point to it any more. */
  release(): void {
    for (const id of this.held.splice(0)) this.pool.release(id);
    this.at = 0;
    this.end = 0;
  }
}

/** Rules as the configuration gives them. */
export interface HeaderRuleTexts {
  readonly add: readonly (readonly [string, string])[];
  readonly remove: readonly string[];
}

/** Rules for one side (requests or responses) of one route. */
export class HeaderRules {
  /** No rule at all: applying them may be skipped. */
  readonly isEmpty: boolean;
  /** Lines to add whose value is constant or a template; in order. */
  private readonly added: AddedField[];
  /** By field id: 1 where a field with this id goes. */
  private readonly goneIds: Uint8Array;
  /** Names without an id, in lower case, that go. */
  private readonly goneNames: LowerName[];
  /** A `_` in a name is read as `-`: backends that hand fields on as environment variables can't tell them apart. */
  private readonly foldsUnderscores: boolean;
  /** Bit `length & 31` is set where a name of such a length may go. */
  private readonly goneLengths: number;

  /** `expand`: `$variables` in values are expanded (requests), rather than literal (responses). */
  constructor(texts: HeaderRuleTexts, constants: ConstantBytes, expand: boolean) {
    this.isEmpty = texts.add.length === 0 && texts.remove.length === 0;
    this.goneIds = new Uint8Array(FIELD_NAMES.length);
    const names = new Set<string>();
    for (const name of [...texts.remove, ...texts.add.map(([name]) => name)]) {
      const id = fieldIdOfText(name);
      if (id !== F_OTHER) this.goneIds[id] = 1;
      if (id === F_OTHER || (expand && name.includes('-'))) names.add(foldedName(name, expand));
    }
    this.foldsUnderscores = expand;
    this.goneNames = [...names].map((name) => new LowerName(name));
    this.goneLengths = this.goneNames.reduce((bits, name) => bits | (1 << (name.length & 31)), 0);
    this.added = lastOfEachName(texts.add).map(([name, value]) => compile(name, value, constants, expand));
  }

  /** Applies rules without variables (responses). False: the section had no room for all. */
  apply(fields: FieldSection): boolean {
    this.removeFrom(fields);
    const added = this.added;
    for (let index = 0; index < added.length; index++) {
      if (!addConstant(fields, added[index])) return false;
    }
    return true;
  }

  /** Applies rules whose values may hold variables (requests). False: no room in the section, or no memory. */
  applyExpanded(fields: FieldSection, scratch: Scratch, source: VariableSource): boolean {
    this.removeFrom(fields);
    const added = this.added;
    for (let index = 0; index < added.length; index++) {
      const field = added[index];
      const done =
        field.parts.length === 0 ? addConstant(fields, field) : addExpanded(fields, field, scratch, source);
      if (!done) return false;
    }
    return true;
  }

  /** Removes what the rules remove or replace, and adds nothing: for trailers, which could pass for fields. */
  removeFrom(fields: FieldSection): void {
    const { known } = fields;
    if (known === null) {
      this.removeAfter(fields, 0);
      return;
    }
    const before = fields.removedBits & known.mask;
    if (known.rules === this && known.ruledFrom === before) {
      for (let bits = known.ruledBits; bits !== 0; bits &= bits - 1)
        fields.remove(31 - Math.clz32(bits & -bits));
      this.removeAfter(fields, known.count);
      return;
    }
    this.removeAfter(fields, 0);
    known.rules = this;
    known.ruledFrom = before;
    known.ruledBits = fields.removedBits & known.mask & ~before;
  }

  /** Looks at the fields from index `from` on. */
  private removeAfter(fields: FieldSection, from: number): void {
    const { goneIds, goneLengths } = this;
    const { table } = fields;
    for (let index = from, end = fields.count; index < end; index++) {
      const at = index * FIELD_WORDS;
      const id = table[at + 4];
      if (id === F_OTHER) {
        const length = table[at + 1];
        if ((goneLengths & (1 << (length & 31))) !== 0 && this.goesByName(fields.bytes, table[at], length)) {
          fields.remove(index);
        }
      } else if (id > 0 && goneIds[id] === 1) {
        fields.remove(index);
      }
    }
  }

  private goesByName(bytes: Uint8Array, offset: number, length: number): boolean {
    const names = this.goneNames;
    const folds = this.foldsUnderscores;
    for (let index = 0; index < names.length; index++) {
      const name = names[index];
      if (folds ? name.aliases(bytes, offset, length) : name.equals(bytes, offset, length)) return true;
    }
    return false;
  }
}

/** A name as it is compared: in lower case, with `-` for `_` where those are the same. */
function foldedName(name: string, foldsUnderscores: boolean): string {
  const lower = name.toLowerCase();
  return foldsUnderscores ? lower.replaceAll('_', '-') : lower;
}

/** A field to add: `name: value CRLF` in constant memory, or only `name: ` where the value is a template. */
class AddedField {
  readonly id: number;
  readonly lineOffset: number;
  readonly nameLength: number;
  /** Of a constant value; 0 for a template. */
  readonly valueLength: number;
  /** Pairs: arena offset and length of a constant part, or -1 and a variable's id. Empty: the value is constant. */
  readonly parts: Int32Array;

  constructor(id: number, lineOffset: number, nameLength: number, valueLength: number, parts: Int32Array) {
    this.id = id;
    this.lineOffset = lineOffset;
    this.nameLength = nameLength;
    this.valueLength = valueLength;
    this.parts = parts;
  }
}

/** Bytes of `: `, and of CRLF. */
const SEPARATOR_BYTES = 2;
const CR = 0x0d;
const LF = 0x0a;

function addConstant(fields: FieldSection, field: AddedField): boolean {
  const valueOffset = field.lineOffset + field.nameLength + SEPARATOR_BYTES;
  return fields.add(field.lineOffset, field.nameLength, valueOffset, field.valueLength, field.id);
}

function addExpanded(
  fields: FieldSection,
  field: AddedField,
  scratch: Scratch,
  source: VariableSource,
): boolean {
  const parts = field.parts;
  let length = field.nameLength + 2 * SEPARATOR_BYTES;
  for (let part = 0; part < parts.length; part += 2) {
    length += parts[part] < 0 ? source.variableLength(parts[part + 1]) : parts[part + 1];
  }
  const lineOffset = scratch.reserve(length);
  if (lineOffset < 0) return false;
  const bytes = fields.bytes;
  copyWithin(scratch.pool, lineOffset, field.lineOffset, field.nameLength + SEPARATOR_BYTES);
  const valueOffset = lineOffset + field.nameLength + SEPARATOR_BYTES;
  let at = valueOffset;
  for (let part = 0; part < parts.length; part += 2) {
    if (parts[part] < 0) {
      at = source.writeVariable(parts[part + 1], at);
    } else {
      copyWithin(scratch.pool, at, parts[part], parts[part + 1]);
      at += parts[part + 1];
    }
  }
  assert(at === lineOffset + length - SEPARATOR_BYTES, 'a variable wrote another length than it said');
  bytes[at] = CR;
  bytes[at + 1] = LF;
  scratch.commit(length);
  return fields.add(lineOffset, field.nameLength, valueOffset, at - valueOffset, field.id);
}

/** A later rule for a name replaces an earlier one, at the later one's place. */
function lastOfEachName(rules: readonly (readonly [string, string])[]): (readonly [string, string])[] {
  const last = new Map<string, readonly [string, string]>();
  for (const rule of rules) {
    const key = rule[0].toLowerCase();
    last.delete(key);
    last.set(key, rule);
  }
  return [...last.values()];
}

function compile(name: string, value: string, constants: ConstantBytes, expand: boolean): AddedField {
  const id = fieldIdOfText(name);
  const pieces = expand ? splitTemplate(value) : [value];
  if (pieces.every((piece) => typeof piece === 'string')) {
    const offset = constants.put(`${name}: ${value}\r\n`);
    return new AddedField(id, offset, name.length, value.length, new Int32Array(0));
  }
  const offset = constants.put(`${name}: `);
  const parts = pieces.flatMap((piece) =>
    typeof piece === 'string' ? [constants.put(piece), piece.length] : [-1, piece],
  );
  return new AddedField(id, offset, name.length, 0, Int32Array.from(parts));
}

/** Constant texts and ids of variables; a `$` that begins no known variable is itself. */
function splitTemplate(value: string): (string | number)[] {
  const pieces: (string | number)[] = [];
  for (const piece of value.split(/(\$[a-z_]+)/)) {
    const variable = piece.startsWith('$') ? VARIABLE_NAMES.indexOf(piece.slice(1)) : -1;
    if (variable >= 0) pieces.push(variable);
    else if (piece !== '') pieces.push(piece);
  }
  return pieces.length === 0 ? [''] : pieces;
}
