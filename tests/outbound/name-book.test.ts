/** When names are asked for, and who hears what of them, in virtual time. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TimerWheel } from '../../src/base/timer-wheel.ts';
import type { ResolvedAddress } from '../../src/ipc/message.ts';
import { resolvedAddressOf, socketAddressOf } from '../../src/ipc/resolved-address.ts';
import { type Clock, NameBook, type NameListener } from '../../src/outbound/name-book.ts';
import { type NameAnswer, sameAddresses, sortAddresses } from '../../src/outbound/name-lookup.ts';

/** A book with its clock and its resolver, both in the test's hands. */
class World implements Clock, NameListener {
  nowMs = 1000;
  readonly timers = new TimerWheel(1000);
  readonly asked: { readonly name: string; readonly atMs: number }[] = [];
  readonly heard: string[] = [];
  /** What the resolver says: addresses, an error's word, or null: nothing at all. */
  readonly answers = new Map<string, readonly string[] | string | null>();
  readonly book: NameBook;

  constructor() {
    this.book = new NameBook(
      this,
      (name, onAnswer) => {
        this.asked.push({ name, atMs: this.nowMs });
        const answer = this.answers.get(name) ?? 'ENOTFOUND';
        if (this.answers.get(name) !== null) onAnswer(answerOf(answer));
      },
      this,
    );
  }

  onName(name: string, { status, addresses }: NameAnswer): void {
    this.heard.push(`${name} ${status} ${textOf(addresses)}`.trim());
  }

  onTrouble(name: string, because: string): void {
    this.heard.push(`${name} trouble ${because}`.trim());
  }

  pass(ms: number): void {
    for (const end = this.nowMs + ms; this.nowMs < end; ) {
      this.nowMs++;
      this.timers.advance(this.nowMs);
    }
  }

  timesOf(name: string): number[] {
    return this.asked.filter((each) => each.name === name).map(({ atMs }) => atMs);
  }
}

function answerOf(answer: readonly string[] | string): NameAnswer {
  if (typeof answer === 'string')
    return { status: answer === 'ENOTFOUND' ? 'no-such-name' : 'failed', addresses: [], because: answer };
  return { status: 'found', addresses: sortAddresses(answer.map(addressOf)), because: '' };
}

function addressOf(text: string): ResolvedAddress {
  const address = resolvedAddressOf(text.includes(':') ? 6 : 4, text);
  assert.ok(address !== null);
  return address;
}

function textOf(addresses: readonly ResolvedAddress[]): string {
  return addresses.map((each) => (socketAddressOf(each, 1) as { address: string }).address).join(',');
}

describe('a name', () => {
  it('is asked for at once, and again every ten seconds, give or take a fifth', () => {
    const world = new World();
    world.answers.set('a.test', ['10.0.0.1']);
    world.book.follow(['a.test']);
    world.pass(200_000);
    const times = world.timesOf('a.test');
    const gaps = times.slice(1).map((time, index) => time - times[index]);
    assert.equal(times[0], 1000);
    assert.ok(times.length >= 17 && times.length <= 26, `${times.length} times`);
    assert.ok(
      gaps.every((gap) => gap >= 8000 && gap <= 12_001),
      String(gaps),
    );
    assert.ok(new Set(gaps).size > 3);
    assert.deepEqual(world.heard, ['a.test found 10.0.0.1']);
  });

  it('that fails is asked for again sooner, and less and less so', () => {
    const world = new World();
    world.book.follow(['a.test']);
    world.pass(60_000);
    const times = world.timesOf('a.test');
    const gaps = times.slice(1).map((time, index) => time - times[index]);
    const expected = [500, 1000, 2000, 4000, 8000, 10_000];
    for (const [index, gap] of expected.entries())
      assert.ok(gaps[index] >= gap * 0.8 && gaps[index] <= gap * 1.2 + 1, String(gaps));
    assert.deepEqual(world.heard, ['a.test no-such-name']);
  });

  it('stays what it was while asking for it fails, which is told once', () => {
    const world = new World();
    world.answers.set('a.test', ['10.0.0.1']);
    world.book.follow(['a.test']);
    world.answers.set('a.test', 'EAI_AGAIN');
    world.pass(60_000);
    assert.deepEqual(world.heard, ['a.test found 10.0.0.1', 'a.test trouble EAI_AGAIN']);
    assert.equal(textOf(world.book.answerOf('a.test')?.addresses ?? []), '10.0.0.1');
    world.answers.set('a.test', ['10.0.0.2']);
    world.pass(15_000);
    assert.deepEqual(world.heard.slice(2), ['a.test trouble', 'a.test found 10.0.0.2']);
  });

  it('has changed when its addresses have, but not when only their order has', () => {
    const world = new World();
    world.answers.set('a.test', ['10.0.0.2', '::1', '10.0.0.1']);
    world.book.follow(['a.test']);
    world.answers.set('a.test', ['10.0.0.1', '10.0.0.2', '::1', '10.0.0.1']);
    world.pass(15_000);
    assert.deepEqual(world.heard, ['a.test found 10.0.0.1,10.0.0.2,::1']);
    world.answers.set('a.test', ['10.0.0.1']);
    world.pass(15_000);
    assert.deepEqual(world.heard.slice(1), ['a.test found 10.0.0.1']);
  });

  it('that was not found at first is told when it is', () => {
    const world = new World();
    world.book.follow(['a.test']);
    world.answers.set('a.test', ['10.0.0.1']);
    world.pass(2000);
    assert.deepEqual(world.heard, ['a.test no-such-name', 'a.test found 10.0.0.1']);
  });

  it('is never asked for twice at once, however long the answer takes', () => {
    const world = new World();
    world.answers.set('a.test', null);
    world.book.follow(['a.test']);
    world.pass(100_000);
    world.book.follow(['a.test']);
    assert.equal(world.asked.length, 1);
    assert.equal(world.book.answerOf('a.test'), null);
    assert.equal(world.book.has('a.test'), true);
  });
});

describe('a book of names', () => {
  it('drops the names that nobody follows any more, and what is still said of them', () => {
    const world = new World();
    const late: ((answer: NameAnswer) => void)[] = [];
    const book = new NameBook(world, (_, onAnswer) => late.push(onAnswer), world);
    book.follow(['a.test', 'b.test']);
    book.follow(['b.test']);
    for (const onAnswer of late) onAnswer(answerOf(['10.0.0.1']));
    assert.deepEqual(world.heard, ['b.test found 10.0.0.1']);
    assert.equal(book.has('a.test'), false);
    book.follow([]);
    world.pass(100_000);
    assert.equal(late.length, 2);
  });

  it('keeps what is known of names that stay', () => {
    const world = new World();
    world.answers.set('a.test', ['10.0.0.1']);
    world.book.follow(['a.test']);
    world.book.follow(['a.test', 'b.test']);
    assert.deepEqual(
      world.asked.map(({ name }) => name),
      ['a.test', 'b.test'],
    );
    assert.equal(world.book.answerOf('a.test')?.status, 'found');
  });
});

describe('addresses', () => {
  it('come each once, IPv4 first, and no more than a message carries', () => {
    const many = Array.from({ length: 40 }, (_, index) => `10.0.0.${39 - index}`);
    const sorted = sortAddresses([...many, ...many, '::1'].map(addressOf));
    assert.equal(sorted.length, 32);
    assert.equal(textOf(sorted.slice(0, 2)), '10.0.0.0,10.0.0.1');
    assert.equal(sameAddresses(sorted, sortAddresses(many.toReversed().map(addressOf))), true);
  });

  it('keep what they are on their way to a socket', () => {
    for (const text of ['127.0.0.1', '255.255.255.255', '::1', 'fd00::1:2', '2001:db8::ffff'])
      assert.equal((socketAddressOf(addressOf(text), 80) as { address: string }).address, text);
    assert.equal(resolvedAddressOf(6, 'fe80::1%eth0'), null);
    assert.equal(resolvedAddressOf(4, 'localhost'), null);
  });
});
