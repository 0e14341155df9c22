/**
 * The contract of src/io/reactor.ts: one suite that every backend passes. Each rule of that file is a test
 * here, in one of the files beside this one.
 */

import { describe } from 'node:test';
import { connectionRules } from './connections.ts';
import { endRules } from './ends.ts';
import { fileRules } from './files.ts';
import { forwardingRules } from './forwarding.ts';
import { limitRules } from './limits.ts';
import type { MakePair } from './pair.ts';
import { streamRules } from './streams.ts';

export function reactorContract(name: string, makePair: MakePair): void {
  describe(`${name}: connections`, () => connectionRules(makePair));
  describe(`${name}: streams`, () => streamRules(makePair));
  describe(`${name}: ends`, () => endRules(makePair));
  describe(`${name}: files`, () => fileRules(makePair));
  describe(`${name}: forwarding`, () => forwardingRules(makePair));
  describe(`${name}: scarcity and time`, () => limitRules(makePair));
}
