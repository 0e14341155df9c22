/** The choosers by themselves: shares, order, stability. What a group makes of them is in balancing-group.test.ts. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Random } from '../../src/base/random.ts';
import { type Balancer, NO_SERVER } from '../../src/edge/balancing.ts';
import { HashBalancer } from '../../src/edge/balancing-hash.ts';
import { QueueBalancer } from '../../src/edge/balancing-queue.ts';
import { type AddressWords, parseAddress } from '../../src/edge/ip-list.ts';

function names(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `http://10.0.0.${index + 1}:8080`);
}

function countsOf(balancer: Balancer, choices: number, servers: number): number[] {
  const counts = new Array<number>(servers).fill(0);
  for (let choice = 0; choice < choices; choice++) counts[balancer.choose(null)]++;
  return counts;
}

/** 10.x.y.z, each one once. */
function clients(count: number): AddressWords[] {
  return Array.from({ length: count }, (_, index) =>
    parseAddress(`10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`),
  );
}

describe('servers in turn', () => {
  it('come one after the other when their weights are equal', () => {
    const balancer = new QueueBalancer([1, 1, 1], false);
    const order = Array.from({ length: 7 }, () => balancer.choose(null));
    assert.deepEqual(order, [0, 1, 2, 0, 1, 2, 0]);
  });

  for (const weights of [[1], [2, 1], [5, 1, 1], [3, 5, 7, 11], [1, 1000], [1000, 999, 998]]) {
    it(`get exactly their shares in each round with weights ${weights}`, () => {
      const balancer = new QueueBalancer(weights, false);
      const round = weights.reduce((sum, weight) => sum + weight, 0);
      for (let rounds = 0; rounds < 20; rounds++)
        assert.deepEqual(countsOf(balancer, round, weights.length), weights);
    });
  }

  it('are spread: the light ones stand between those of the heavy one', () => {
    const balancer = new QueueBalancer([5, 1, 1], false);
    const order = Array.from({ length: 14 }, () => balancer.choose(null)).join('');
    assert.equal(order, '01000200100020');
  });

  it('have at no time had more than one request too many or too few', () => {
    const random = new Random(7);
    for (let trial = 0; trial < 50; trial++) {
      const weights = Array.from({ length: 1 + random.below(12) }, () => 1 + random.below(30));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      const balancer = new QueueBalancer(weights, false);
      const counts = new Array<number>(weights.length).fill(0);
      for (let choice = 1; choice <= 3 * total; choice++) {
        counts[balancer.choose(null)]++;
        for (const [index, weight] of weights.entries()) {
          const due = (choice * weight) / total;
          assert.ok(Math.abs(counts[index] - due) < 1 + weights.length / 2, `${weights}: ${counts}`);
        }
      }
    }
  });

  it('share what one leaves, and it gets no more than its share when it is back', () => {
    const balancer = new QueueBalancer([1, 1, 1], false);
    balancer.setWeight(1, 0);
    assert.deepEqual(countsOf(balancer, 1000, 3), [500, 0, 500]);
    balancer.setWeight(1, 1);
    const counts = countsOf(balancer, 300, 3);
    for (const count of counts) assert.ok(Math.abs(count - 100) <= 1, `${counts}`);
  });

  it('follow a weight that changes under way', () => {
    const balancer = new QueueBalancer([10, 10], false);
    countsOf(balancer, 33, 2);
    balancer.setWeight(1, 1);
    const counts = countsOf(balancer, 1100, 2);
    assert.ok(Math.abs(counts[1] - 100) <= 1, `${counts}`);
  });

  it('keep their shares over millions of choices', () => {
    const balancer = new QueueBalancer([3, 1], false);
    countsOf(balancer, 5_000_000, 2);
    const counts = countsOf(balancer, 4000, 2);
    assert.ok(Math.abs(counts[0] - 3000) <= 1, `${counts}`);
  });

  it('are none when all are out', () => {
    const balancer = new QueueBalancer([1, 1], false);
    balancer.setWeight(0, 0);
    balancer.setWeight(1, 0);
    assert.equal(balancer.choose(null), NO_SERVER);
    assert.equal(balancer.size, 0);
    assert.equal(balancer.chooseExcept(null, new Uint8Array(2)), NO_SERVER);
  });
});

describe('servers by what they have under way', () => {
  it('come in turn while nothing is', () => {
    const balancer = new QueueBalancer([3, 1], true);
    assert.deepEqual(countsOf(balancer, 400, 2), [300, 100]);
  });

  it('are chosen as a search through all of them would, whatever begins and ends', () => {
    for (let seed = 1; seed <= 30; seed++) {
      const random = new Random(seed);
      const weights = Array.from({ length: 1 + random.below(20) }, () => 1 + random.below(9));
      const balancer = new QueueBalancer(weights, true);
      const inFlight = new Array<number>(weights.length).fill(0);
      const isOut = new Array<boolean>(weights.length).fill(false);
      for (let step = 0; step < 2000; step++) {
        const index = random.below(weights.length);
        if (random.below(20) === 0) {
          isOut[index] = !isOut[index];
          balancer.setWeight(index, isOut[index] ? 0 : weights[index]);
        } else if (random.below(2) === 0 && inFlight[index] > 0) {
          balancer.setLoad(index, --inFlight[index]);
        }
        const usable = weights.map((_, at) => at).filter((at) => !isOut[at]);
        const chosen = balancer.choose(null);
        if (usable.length === 0) {
          assert.equal(chosen, NO_SERVER);
          continue;
        }
        const least = Math.min(...usable.map((at) => inFlight[at] / weights[at]));
        assert.ok(usable.includes(chosen), `seed ${seed}: a server that is out was chosen`);
        assert.equal(inFlight[chosen] / weights[chosen], least, `seed ${seed}, step ${step}`);
        balancer.setLoad(chosen, ++inFlight[chosen]);
      }
    }
  });

  it('hold exchanges that never end in proportion to their weights', () => {
    const balancer = new QueueBalancer([1, 2, 3], true);
    const inFlight = [0, 0, 0];
    for (let choice = 0; choice < 600; choice++) {
      const chosen = balancer.choose(null);
      balancer.setLoad(chosen, ++inFlight[chosen]);
    }
    assert.deepEqual(inFlight, [100, 200, 300]);
  });

  it('do not make up for turns that they missed while they were busy', () => {
    const balancer = new QueueBalancer([1, 1], true);
    balancer.setLoad(0, 1);
    assert.deepEqual(countsOf(balancer, 1000, 2), [0, 1000]);
    balancer.setLoad(0, 0);
    const counts = countsOf(balancer, 100, 2);
    assert.ok(Math.abs(counts[0] - 50) <= 1, `${counts}`);
  });

  it('that start slowly are not everybody’s first choice', () => {
    const balancer = new QueueBalancer([1, 1], true);
    balancer.setWeight(0, 0);
    balancer.setLoad(1, 5);
    balancer.setWeight(0, 0.1);
    assert.equal(balancer.choose(null), 1);
    balancer.setWeight(0, 1);
    assert.equal(balancer.choose(null), 0);
  });
});

describe('servers by address', () => {
  for (const weights of [
    [1, 1, 1],
    [1, 2, 3],
    [10, 1, 1, 1],
  ]) {
    it(`get their shares of clients with weights ${weights}`, () => {
      const balancer = new HashBalancer(weights, names(weights.length));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      const counts = new Array<number>(weights.length).fill(0);
      for (const client of clients(60_000)) counts[balancer.choose(client)]++;
      for (const [index, weight] of weights.entries()) {
        const due = (60_000 * weight) / total;
        assert.ok(Math.abs(counts[index] - due) < due * 0.12, `${counts}`);
      }
    });
  }

  for (const weights of [
    [1, 1, 1, 1, 1],
    [1, 2, 3, 4, 5],
  ]) {
    it(`leave everybody else where they were when one leaves, and take back the same (weights ${weights})`, () => {
      const balancer = new HashBalancer(weights, names(5));
      const all = clients(20_000);
      const before = all.map((client) => balancer.choose(client));
      for (let gone = 0; gone < 5; gone++) {
        balancer.setWeight(gone, 0);
        const taken = new Set<number>();
        for (const [at, client] of all.entries()) {
          const now = balancer.choose(client);
          if (before[at] === gone) taken.add(now);
          else assert.equal(now, before[at]);
        }
        assert.ok(!taken.has(gone));
        assert.equal(taken.size, 4, 'its clients are spread over all others');
        balancer.setWeight(gone, weights[gone]);
        assert.deepEqual(
          all.map((client) => balancer.choose(client)),
          before,
        );
      }
    });
  }

  it('are the same whatever the order in which servers left and came', () => {
    const random = new Random(3);
    const weights = [1, 2, 1, 3, 1, 1];
    const once = new HashBalancer(weights, names(6));
    const often = new HashBalancer(weights, names(6));
    for (let step = 0; step < 200; step++) {
      const index = random.below(6);
      often.setWeight(index, random.below(2) === 0 ? 0 : weights[index]);
    }
    for (const [index, weight] of weights.entries()) {
      often.setWeight(index, index === 2 ? 0 : weight);
      once.setWeight(index, index === 2 ? 0 : weight);
    }
    for (const client of clients(5000)) assert.equal(often.choose(client), once.choose(client));
  });

  it('move only a new server’s clients when a configuration adds one', () => {
    const old = new HashBalancer([1, 1, 1], names(3));
    const added = new HashBalancer([1, 1, 1, 1], names(4));
    let moved = 0;
    for (const client of clients(20_000)) {
      const now = added.choose(client);
      if (now === 3) moved++;
      else assert.equal(now, old.choose(client));
    }
    assert.ok(moved > 4000 && moved < 6000, `${moved} moved`);
  });

  it('do not depend on the order in which a configuration names them', () => {
    const [a, b, c] = names(3);
    const one = new HashBalancer([1, 1, 1], [a, b, c]);
    const other = new HashBalancer([1, 1, 1], [c, a, b]);
    for (const client of clients(5000))
      assert.equal([a, b, c][one.choose(client)], [c, a, b][other.choose(client)]);
  });

  it('take all of an IPv6 /64 for one client, and another /64 for another', () => {
    const balancer = new HashBalancer([1, 1, 1, 1], names(4));
    const found = new Set<number>();
    for (let network = 0; network < 64; network++) {
      const first = balancer.choose(parseAddress(`2001:db8:0:${network.toString(16)}::1`));
      found.add(first);
      for (let host = 2; host < 40; host++)
        assert.equal(balancer.choose(parseAddress(`2001:db8:0:${network.toString(16)}:${host}:7::9`)), first);
    }
    assert.equal(found.size, 4);
  });

  it('give a client whose server failed the one that it would have without it', () => {
    const balancer = new HashBalancer([1, 2, 1, 1], names(4));
    for (const client of clients(2000)) {
      const first = balancer.choose(client);
      const excluded = new Uint8Array(4);
      excluded[first] = 1;
      const second = balancer.chooseExcept(client, excluded);
      assert.notEqual(second, first);
      balancer.setWeight(first, 0);
      assert.equal(balancer.choose(client), second);
      balancer.setWeight(first, first === 1 ? 2 : 1);
      if (client.word3 % 16 !== 0) continue;
      excluded.fill(1);
      assert.equal(balancer.chooseExcept(client, excluded), NO_SERVER);
    }
  });

  it('are none when all are out', () => {
    const balancer = new HashBalancer([1, 1], names(2));
    balancer.setWeight(0, 0);
    balancer.setWeight(1, 0);
    assert.equal(balancer.choose(parseAddress('10.0.0.1')), NO_SERVER);
    assert.equal(balancer.size, 0);
  });
});
