import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MetricsArea } from '../../src/metrics/area.ts';
import { AREA_BYTES, C_ACCEPT_PAUSES, G_CONNECTIONS_OPEN } from '../../src/metrics/layout.ts';
import { STRIKES_REFUSED } from '../../src/shared/client-strikes.ts';
import { VerdictName } from '../../src/shared/health-verdicts.ts';
import { NO_SLOT, SharedState } from '../../src/shared/state.ts';
import { createSharedMemory, mapSharedMemory } from '../../src/sys/descriptors.ts';
import { close } from '../../src/sys/libc.ts';
import { clientOf, houseOf } from './hammer-words.ts';

const SLOTS = 3;

function memoryOf(slots = SLOTS): ArrayBuffer {
  const memory = new ArrayBuffer(SharedState.bytes(slots));
  SharedState.initialise(memory, slots);
  return memory;
}

describe('SharedState', () => {
  it('is one memory, in whichever process it is mapped', () => {
    const bytes = SharedState.bytes(SLOTS);
    const fd = createSharedMemory('test', bytes);
    const [master, worker] = [0, 1].map(() => mapSharedMemory(fd, bytes)?.buffer as ArrayBuffer);
    SharedState.initialise(master, SLOTS);
    const masters = new SharedState(master, SLOTS, NO_SLOT);
    const workers = new SharedState(worker, SLOTS, 1);
    masters.house.write(houseOf(3));
    assert.deepEqual(workers.house.read(), houseOf(3));
    workers.connections.take(clientOf(1), 0, 0);
    assert.equal(masters.connections.total, 1);
    workers.strikes.strike(clientOf(1), 1000, 1000);
    assert.equal(masters.strikes.strikesOf(clientOf(1), 1000, 1000), 1);
    const name = new VerdictName('pool', 'http://a');
    masters.verdicts.set(masters.verdicts.claim(name), false);
    assert.equal(workers.verdicts.isHealthy(workers.verdicts.find(name)), false);
    close(fd);
  });

  it('has parts that do not overlap', () => {
    const memory = memoryOf();
    const state = new SharedState(memory, SLOTS, 0, 0);
    assert.equal(state.metrics.offset + SLOTS * AREA_BYTES, memory.byteLength);
    // Each part's last and first words are used by what belongs there.
    for (let slot = 0; slot < SLOTS; slot++)
      new MetricsArea(memory, state.metrics.offset + slot * AREA_BYTES);
    for (let cut = 0; cut < 10 * STRIKES_REFUSED; cut++) state.strikes.strike(clientOf(cut % 10), 1000, 1000);
    for (let client = 0; client < 100_000; client++) {
      state.strikes.strike(clientOf(client), 1000, 1000);
      state.rateLimiter.admit(5, 1, clientOf(client), 1000);
      state.connections.take(clientOf(client), 0, 0);
    }
    const names = Array.from({ length: 4096 }, (_, server) => new VerdictName('pool', `${server}`));
    for (const name of names) assert.ok(state.verdicts.claim(name) >= 0);
    state.house.write(houseOf(39));
    const again = new SharedState(memory, SLOTS, 1, 0);
    assert.deepEqual(again.house.read(), houseOf(39));
    assert.equal(again.connections.total, 100_000);
    for (let client = 0; client < 10; client++)
      assert.equal(again.strikes.strikesOf(clientOf(client), 1000, 1000), STRIKES_REFUSED);
    assert.ok(names.every((name) => again.verdicts.isHealthy(again.verdicts.find(name))));
    state.clearSlot(0);
    assert.equal(again.connections.total, 0);
  });

  it('is refused where its memory is too small, or its slot is none', () => {
    assert.throws(() => new SharedState(memoryOf(1), 2, 0, 0), /too small/);
    assert.throws(() => new SharedState(memoryOf(1), 1, 1, 0), /a slot that there is not/);
  });

  it('clears what a slot holds and leaves what it has counted', () => {
    const memory = memoryOf();
    const states = [0, 1].map((own) => new SharedState(memory, SLOTS, own, 0));
    const areas = states.map(
      ({ metrics }) => new MetricsArea(memory, metrics.offset + metrics.own * AREA_BYTES),
    );
    for (const area of areas) {
      area.add(C_ACCEPT_PAUSES, 2);
      area.add(G_CONNECTIONS_OPEN, 5);
    }
    for (const { connections } of states) connections.take(clientOf(1), 0, 0);
    states[0].strikes.strike(clientOf(1), 1000, 1000);
    states[1].clearSlot(0);
    states[1].clearSlot(2);
    assert.equal(states[1].connections.ofAddress(clientOf(1)), 1);
    assert.equal(states[1].strikes.strikesOf(clientOf(1), 1000, 1000), 1);
    const [cleared, other] = areas.map(({ views }) => [
      views.cells[C_ACCEPT_PAUSES],
      views.cells[G_CONNECTIONS_OPEN],
    ]);
    assert.deepEqual(cleared, [2, 0]);
    assert.deepEqual(other, [2, 5]);
  });

  it('can be mapped and used by who comes next, whatever a room has written everywhere', () => {
    const memory = memoryOf();
    const words = new Int32Array(memory);
    for (const fill of [-1, 0x7fffffff, 0x01010101]) {
      words.fill(fill);
      const state = new SharedState(memory, SLOTS, 1, 0);
      state.clearSlot(1);
      assert.equal(state.house.read(), null);
      for (let request = 0; request < 20; request++) {
        const waitMs = state.rateLimiter.admit(5, 1, clientOf(request), 1000);
        assert.ok(waitMs >= 0 && waitMs <= 60_000);
      }
      for (let cuts = 0; cuts < 20; cuts++) {
        const strikes = state.strikes.strike(clientOf(cuts), 1000, 1000);
        assert.ok(strikes >= 0 && strikes <= STRIKES_REFUSED);
      }
      state.connections.take(clientOf(1), 5, 5);
      assert.equal(typeof state.connections.ofAddress(clientOf(1)), 'number');
      new MetricsArea(memory, state.metrics.offset + AREA_BYTES).countRequest(0, 1, 200);
      assert.equal(typeof state.verdicts.find(new VerdictName('pool', 'http://a')), 'number');
    }
  });
});
