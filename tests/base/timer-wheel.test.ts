import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../src/base/random.ts';
import { NOT_ARMED, Timer, TimerWheel } from '../../src/base/timer-wheel.ts';

/** Remembers what fired, and runs a reaction in the handler. */
class Recorder {
  readonly fired: Timer[] = [];
  react: ((timer: Timer) => void) | null = null;

  onTimer(timer: Timer): void {
    assert.equal(timer.deadlineMs, NOT_ARMED, 'a timer is disarmed when its handler runs');
    this.fired.push(timer);
    this.react?.(timer);
  }

  kinds(): number[] {
    return this.fired.splice(0).map((timer) => timer.kind);
  }
}

const START = 1_000_003;

function setUp(count: number, start = START): { wheel: TimerWheel; recorder: Recorder; timers: Timer[] } {
  const recorder = new Recorder();
  const timers = Array.from({ length: count }, (_, kind) => new Timer(recorder, kind));
  return { wheel: new TimerWheel(start), recorder, timers };
}

test('fires at its deadline, neither before nor twice', () => {
  for (const delay of [1, 2, 31, 32, 33, 1023, 1024, 1025, 32768, 1 << 20, 1 << 25, 2 ** 30, 2 ** 33 + 5]) {
    const { wheel, recorder, timers } = setUp(1);
    wheel.arm(timers[0], START + delay);
    wheel.advance(START + delay - 1);
    assert.deepEqual(recorder.kinds(), [], `too early at ${delay}`);
    wheel.advance(START + delay);
    assert.deepEqual(recorder.kinds(), [0], `not fired at ${delay}`);
    wheel.advance(START + 2 * delay);
    assert.deepEqual(recorder.kinds(), []);
    assert.equal(wheel.armedCount, 0);
  }
});

test('fires in the order of deadlines however far the clock jumps', () => {
  const { wheel, recorder, timers } = setUp(6);
  const delays = [70_000, 5, 2 ** 31, 1500, 6, 1499];
  for (const [index, delay] of delays.entries()) wheel.arm(timers[index], START + delay);
  wheel.advance(START + 2 ** 32);
  assert.deepEqual(recorder.kinds(), [1, 4, 5, 3, 0, 2]);
});

test('a disarmed timer does not fire', () => {
  const { wheel, recorder, timers } = setUp(2);
  wheel.arm(timers[0], START + 10);
  wheel.arm(timers[1], START + 10);
  wheel.disarm(timers[0]);
  wheel.disarm(timers[0]);
  wheel.advance(START + 20);
  assert.deepEqual(recorder.kinds(), [1]);
});

test('moves later and earlier', () => {
  const { wheel, recorder, timers } = setUp(2);
  wheel.arm(timers[0], START + 10);
  wheel.arm(timers[0], START + 5000);
  wheel.arm(timers[0], START + 100);
  wheel.arm(timers[1], START + 5000);
  wheel.arm(timers[1], START + 3);
  wheel.advance(START + 2);
  assert.deepEqual(recorder.kinds(), []);
  wheel.advance(START + 3);
  assert.deepEqual(recorder.kinds(), [1]);
  wheel.advance(START + 99);
  assert.deepEqual(recorder.kinds(), []);
  wheel.advance(START + 100);
  assert.deepEqual(recorder.kinds(), [0]);
});

test('a deadline in the past fires at the next advance, at the same time even', () => {
  const { wheel, recorder, timers } = setUp(2);
  wheel.arm(timers[0], START - 5);
  wheel.arm(timers[1], START);
  assert.equal(wheel.waitMs(START, 1000), 0);
  wheel.advance(START);
  assert.deepEqual(recorder.kinds(), [0, 1]);
});

test('a timer that arms itself for the past fires once an advance', () => {
  const { wheel, recorder, timers } = setUp(1);
  recorder.react = (timer) => wheel.arm(timer, 0);
  wheel.arm(timers[0], START + 1);
  wheel.advance(START + 1);
  assert.deepEqual(recorder.kinds(), [0]);
  wheel.advance(START + 1);
  assert.deepEqual(recorder.kinds(), [0]);
});

test('a handler may disarm or delay a timer that is due in the same advance', () => {
  const { wheel, recorder, timers } = setUp(4);
  for (const timer of timers) wheel.arm(timer, START + 7);
  recorder.react = (timer) => {
    if (timer.kind !== 0) return;
    wheel.disarm(timers[1]);
    wheel.arm(timers[2], START + 50);
  };
  wheel.advance(START + 7);
  assert.deepEqual(recorder.kinds(), [0, 3]);
  wheel.advance(START + 49);
  assert.deepEqual(recorder.kinds(), []);
  wheel.advance(START + 50);
  assert.deepEqual(recorder.kinds(), [2]);
  assert.equal(wheel.armedCount, 0);
});

test('waitMs is never later than the first deadline and at most what is asked', () => {
  const { wheel, timers } = setUp(2);
  assert.equal(wheel.waitMs(START, 250), 250);
  wheel.arm(timers[0], START + 40);
  assert.ok(wheel.waitMs(START, 250) <= 40);
  assert.equal(wheel.waitMs(START + 60, 250), 0);
  wheel.disarm(timers[0]);
  assert.equal(wheel.waitMs(START, 250), 250);
});

test('following waitMs reaches a far deadline in a few steps and exactly on time', () => {
  const { wheel, recorder, timers } = setUp(1);
  const deadline = START + 123_456_789;
  wheel.arm(timers[0], deadline);
  let now = START;
  let steps = 0;
  while (recorder.fired.length === 0) {
    now += wheel.waitMs(now, Number.MAX_SAFE_INTEGER);
    wheel.advance(now);
    assert.ok(++steps < 16);
  }
  assert.equal(now, deadline);
});

/** The same as the wheel, slowly: a map of deadlines. */
class NaiveTimers {
  readonly deadlines = new Map<Timer, number>();

  due(nowMs: number): Timer[] {
    const due = [...this.deadlines].filter(([, deadline]) => deadline <= nowMs);
    return due.map(([timer]) => timer);
  }
}

function runAgainstModel(seed: number): void {
  const random = new Random(seed);
  let now = random.chance(0.3) ? 2 ** 30 * 3 - 500 : random.below(5000);
  const { wheel, recorder, timers } = setUp(40, now);
  const model = new NaiveTimers();
  const touched = new Set<Timer>();
  const act = (): void => {
    const timer = timers[random.below(timers.length)];
    touched.add(timer);
    if (random.chance(0.2)) {
      wheel.disarm(timer);
      model.deadlines.delete(timer);
      return;
    }
    const spans = [3, 40, 1100, 40_000, 2 ** 22, 2 ** 31];
    const deadline = Math.max(0, now - 2 + random.below(spans[random.below(spans.length)]));
    wheel.arm(timer, deadline);
    model.deadlines.set(timer, deadline);
  };
  recorder.react = (timer) => {
    const deadline = model.deadlines.get(timer);
    assert.ok(deadline !== undefined && deadline <= now, `seed ${seed}: fired at ${now}, due at ${deadline}`);
    model.deadlines.delete(timer);
    for (let count = random.below(4); count > 0; count--) act();
  };
  for (let step = 0; step < 400; step++) {
    for (let count = random.below(6); count > 0; count--) act();
    const due = Math.min(...model.deadlines.values());
    assert.ok(now + wheel.waitMs(now, 1e9) <= Math.max(now, due), `seed ${seed}: waits too long`);
    now += random.chance(0.5) ? wheel.waitMs(now, 3000) : random.below(random.chance(0.05) ? 2 ** 29 : 50);
    const before = model.due(now);
    touched.clear();
    wheel.advance(now);
    const fired = new Set(recorder.fired.splice(0));
    for (const timer of before) {
      assert.ok(fired.has(timer) || touched.has(timer), `seed ${seed}: a due timer did not fire`);
    }
    assert.equal(wheel.armedCount, model.deadlines.size, `seed ${seed}`);
    for (const timer of timers) {
      assert.equal(timer.deadlineMs, model.deadlines.get(timer) ?? NOT_ARMED, `seed ${seed}`);
    }
  }
}

test('agrees with a naive model under random arming, moving, disarming and clock jumps', () => {
  for (let seed = 0; seed < 100; seed++) runAgainstModel(seed);
});
