/** What a client's HTTP/2 connection costs when its streams are reset, and what becomes of an address that was cut. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { STRIKES_REFUSED } from '../../src/shared/client-strikes.ts';
import { SharedState } from '../../src/shared/state.ts';
import { describeFrame, frame, framesOf, GET, HELLO, headers, POST, uint32 } from '../http2/raw-frames.ts';
import { EdgeWorld, type EdgeWorldOptions, ok, type Peer } from './edge-world.ts';

const CANCEL = 8;
const HALF_LIFE_MS = 10_000;
const PATIENCE_MS = 5000;
const RESET_BURST = 8;
const FEW_RESETS: EdgeWorldOptions = {
  config: `
[http2]
resets_burst = ${RESET_BURST}
resets_per_sec = 1
[path_routes."example.com"."/"]
type = "Proxy"
url = "http://10.0.0.2:8080/"
`,
};

const cancelled = (id: number): Buffer => Buffer.concat([headers(id, GET), frame(3, 0, id, uint32(CANCEL))]);
const odd = (count: number): number[] => Array.from({ length: count }, (_, index) => 2 * index + 1);
const latin1 = (...parts: Buffer[]): string => Buffer.concat(parts).toString('latin1');
const lines = (peer: Peer): string[] => framesOf(Buffer.from(peer.text, 'latin1')).map(describeFrame);

/** A client that is cut for its resets. */
function abuse(world: EdgeWorld): string[] {
  const peer = world.client(latin1(HELLO, ...odd(RESET_BURST + 1).map(cancelled)));
  world.until(() => peer.end !== null, PATIENCE_MS);
  return lines(peer);
}

describe('streams that are reset in the piece in which they came', () => {
  it('begin no exchange: nobody is asked, nothing is logged, nothing is left', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const peer = world.client(latin1(HELLO, ...odd(100).map(cancelled)));
    world.settle();
    assert.equal(world.worker.counters.exchanges, 0);
    assert.equal(origin.peers.length, 0);
    assert.deepEqual(lines(peer).slice(-1), ['SETTINGS ack']);
    world.end();
  });

  it('begin none either where we reset them, or where the connection fails in that piece', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const wrong = (id: number): Buffer => Buffer.concat([headers(id, GET), frame(8, 0, id, uint32(0))]);
    world.client(
      latin1(HELLO, ...odd(20).map(wrong), headers(41, POST, false), frame(0, 0, 41, 'abc'), frame(6, 0, 1)),
    );
    world.settle();
    assert.equal(world.worker.counters.exchanges, 0);
    assert.equal(origin.peers.length, 0);
    world.end();
  });

  it('leave the requests between them alone', () => {
    const world = new EdgeWorld();
    world.origin().answers(ok('here'));
    const peer = world.client(latin1(HELLO, cancelled(1), headers(3, GET), cancelled(5), headers(7, GET)));
    world.settle();
    assert.equal(world.worker.counters.exchanges, 2);
    assert.deepEqual(
      lines(peer).filter((line) => line.startsWith('DATA')),
      ['DATA 3 end 4', 'DATA 7 end 4'],
    );
    world.end();
  });
});

describe('content that came in the piece of its head', () => {
  const post: [string, string][] = [...POST, ['te', 'trailers']];

  it('reaches the backend whole, with its trailers', () => {
    const world = new EdgeWorld();
    const origin = world.origin();
    const parts = [frame(0, 0, 1, 'one '), frame(0, 0, 1, 'two ')];
    const trailers = headers(1, [['x-checksum', '7']]);
    world.client(latin1(HELLO, headers(1, post, false), ...parts, trailers));
    world.settle();
    const { text } = origin.last;
    assert.ok(text.includes('one ') && text.includes('two '), text);
    assert.match(text, /x-checksum: 7/i);
    origin.last.send(ok('thanks'));
    world.settle();
    world.end();
  });

  it('is given back where its request is refused at the first of its pieces', () => {
    const world = new EdgeWorld({ security: 'max_chunked_body_size = 10' });
    world.origin();
    const parts = odd(40).map(() => frame(0, 0, 1, 'more than ten bytes'));
    const peer = world.client(latin1(HELLO, headers(1, POST, false), ...parts, frame(0, 1, 1)));
    world.settle();
    assert.ok(lines(peer).some((line) => line.startsWith('HEADERS 1')));
    assert.ok(!lines(peer).some((line) => line.startsWith('GOAWAY')));
    world.end();
  });
});

describe('an address whose connections were cut', () => {
  const cut = (streams: number): string => `GOAWAY ${streams * 2 - 1} code 11 reset-flood`;
  const refused = ['SETTINGS', 'GOAWAY 0 code 11 penalty'];

  it('has ever smaller budgets, and is refused after four cuts, before any stream', () => {
    const world = new EdgeWorld(FEW_RESETS);
    const bystander = world.client(latin1(HELLO));
    for (const budget of [RESET_BURST, RESET_BURST / 2, RESET_BURST / 4, RESET_BURST / 8])
      assert.deepEqual(abuse(world).slice(-1), [cut(budget + 1)]);
    assert.deepEqual(abuse(world), refused);
    assert.equal(world.worker.counters.exchanges, 0);
    // Whoever of that address is connected already goes on.
    world.origin().answers(ok('here'));
    bystander.send(latin1(headers(1, GET)));
    world.settle();
    assert.equal(lines(bystander).at(-1), 'DATA 1 end 4');
    world.end();
  });

  it('is served again a half-life after the last cut, however often it was refused', () => {
    const world = new EdgeWorld(FEW_RESETS);
    world.origin().answers(ok('here'));
    for (let cuts = 0; cuts < STRIKES_REFUSED; cuts++) abuse(world);
    // Each of them waits a second to be told.
    for (let at = 0; at < HALF_LIFE_MS - 2000; at += 1100) assert.deepEqual(abuse(world), refused);
    world.pass(3000);
    const peer = world.client(latin1(HELLO, headers(1, GET)));
    world.settle();
    assert.equal(lines(peer).at(-1), 'DATA 1 end 4');
    world.end();
  });

  it('has its strikes at all workers, and at one that comes in the place of another', () => {
    const memory = new SharedArrayBuffer(SharedState.bytes(2));
    SharedState.initialise(memory, 2);
    const states = [0, 1].map((own) => new SharedState(memory, 2, own, 0));
    const [one, two] = states.map((shared) => new EdgeWorld({ ...FEW_RESETS, shared }));
    for (const [index, world] of [one, two, one, two].entries())
      assert.deepEqual(abuse(world).slice(-1), [cut(RESET_BURST / 2 ** index + 1)]);
    for (const world of [one, two]) {
      assert.deepEqual(abuse(world), refused);
      world.end();
    }
    states[0].clearSlot(1);
    const next = new EdgeWorld({ ...FEW_RESETS, shared: new SharedState(memory, 2, 1, 0) });
    assert.deepEqual(abuse(next), refused);
    next.end();
  });

  it('is never refused where it is a trusted proxy', () => {
    const world = new EdgeWorld({ ...FEW_RESETS, server: 'trusted_proxies = ["10.0.0.3"]' });
    for (let cuts = 0; cuts < 2 * STRIKES_REFUSED; cuts++)
      assert.deepEqual(abuse(world).slice(-1), [cut(RESET_BURST + 1)]);
    world.end();
  });
});
