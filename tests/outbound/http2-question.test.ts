/** A check over HTTP/2, piece by piece, and what a server may do to it. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Random } from '../../src/base/random.ts';
import { ResponseHead } from '../../src/http/message.ts';
import { H2_ENHANCE_YOUR_CALM, H2_REFUSED_STREAM } from '../../src/http2/constants.ts';
import { arenaBytes, BufferPool, LARGE, LARGE_BYTES } from '../../src/io/buffer-pool.ts';
import { Http2Question } from '../../src/outbound/http2-question.ts';
import { Q_CONTINUES, Q_MALFORMED, Q_REFUSED } from '../../src/outbound/question.ts';
import { End, type EndOptions, type TestStream } from '../http2/end.ts';

const SHAPE = { small: 4, medium: 4, large: 4 };
const NOW_MS = 1000;

/** A question, and a server that has it. */
class Check {
  readonly question: Http2Question;
  readonly server: End;
  private readonly pool: BufferPool;

  constructor(options: EndOptions = {}) {
    this.pool = new BufferPool(new ArrayBuffer(arenaBytes(SHAPE)), 0, SHAPE);
    this.question = new Http2Question(this.pool, 'origin.test:81', '/health?deep=1', NOW_MS);
    this.server = new End(true, options);
  }

  /** The server reads what the question has to say. */
  pass(): boolean {
    return this.server.receive(this.question.take());
  }

  get stream(): TestStream {
    assert.equal(this.server.all.length, 1);
    return this.server.all[0];
  }

  /** The question reads these bytes, cut into pieces of so many. */
  read(bytes: Uint8Array, pieceBytes = LARGE_BYTES): number {
    const buffer = this.pool.acquire(LARGE);
    const at = this.pool.offsetOf(buffer);
    let result = Q_CONTINUES;
    for (let from = 0; from < bytes.length && result === Q_CONTINUES; from += pieceBytes) {
      const piece = bytes.subarray(from, from + pieceBytes);
      this.pool.bytes.set(piece, at);
      result = this.question.read(buffer, at, piece.length, NOW_MS);
    }
    this.pool.release(buffer);
    return result;
  }
}

function headOf(status: number): ResponseHead {
  const head = new ResponseHead(new Uint8Array(0));
  head.status = status;
  return head;
}

describe('a check over HTTP/2', () => {
  it('asks in one stream, at once, as what it is', () => {
    const check = new Check();
    assert.equal(check.pass(), true);
    const { method, path, query, authority, fields, bodyKind, ended } = check.stream;
    assert.deepEqual([method, path, query, authority], ['GET', '/health', 'deep=1', 'origin.test:81']);
    assert.deepEqual(
      fields.filter(([name]) => name !== 'host'),
      [
        ['user-agent', 'sallyport-health'],
        ['accept', '*/*'],
      ],
    );
    assert.equal(bodyKind === 0 || ended, true);
  });

  for (const pieceBytes of [1, 7, 100_000])
    it(`reads the status in pieces of ${pieceBytes}, after interim ones, and says goodbye`, () => {
      const check = new Check();
      check.pass();
      const { server, stream } = check;
      server.engine.inform(stream, headOf(103));
      server.respond(stream, 204, [['a', 'b']], null);
      assert.equal(check.read(server.flush(), pieceBytes), 204);
      assert.equal(check.pass(), true);
      assert.deepEqual(server.goaway, [0, 0]);
    });

  it('counts a status without waiting for its content', () => {
    const check = new Check();
    check.pass();
    check.server.respond(check.stream, 503, [], Buffer.alloc(100_000));
    assert.equal(check.read(check.server.flush()), 503);
  });

  it('acknowledges settings and pings while it waits', () => {
    const check = new Check();
    check.pass();
    check.server.engine.ping(1, 2);
    assert.equal(check.read(check.server.flush()), Q_CONTINUES);
    assert.equal(check.pass(), true);
    assert.equal(check.server.pongs, 1);
    assert.equal(check.server.engine.settingsAcknowledged, true);
  });

  it('is refused by a reset', () => {
    const check = new Check();
    check.pass();
    check.server.engine.reset(check.stream, H2_REFUSED_STREAM);
    assert.equal(check.read(check.server.flush()), Q_REFUSED);
  });

  it('is refused by a server that takes no streams', () => {
    const check = new Check({ accepts: () => false });
    check.pass();
    assert.equal(check.read(check.server.flush()), Q_REFUSED);
  });

  it('fails by a GOAWAY that its stream is not among', () => {
    const check = new Check({ accepts: () => false });
    check.server.receive(check.question.take());
    const early = new End(true);
    early.engine.fail(H2_ENHANCE_YOUR_CALM, -1);
    assert.ok(check.read(early.flush()) < 0);
  });

  it('fails by what is no HTTP/2', () => {
    for (const text of [
      'HTTP/1.1 400 Bad Request\r\n\r\n',
      'SSH-2.0-x\r\n',
      '\0'.repeat(200),
      'x'.repeat(70_000),
    ])
      assert.equal(new Check().read(Buffer.from(text)), Q_MALFORMED, JSON.stringify(text.slice(0, 20)));
  });

  it('fails by interim responses without end', () => {
    const check = new Check();
    check.pass();
    for (let count = 0; count < 40; count++) check.server.engine.inform(check.stream, headOf(103));
    assert.equal(check.read(check.server.flush()), Q_MALFORMED);
  });

  it('fails by a server that makes it write without end', () => {
    const check = new Check();
    check.pass();
    for (let count = 0; count < 5000; count++) check.server.engine.ping(count, 0);
    assert.equal(check.read(check.server.flush()), Q_MALFORMED);
  });

  it('comes to an end of some kind whatever bytes come, without an exception', () => {
    const random = new Random(22);
    const well = new Check();
    well.pass();
    well.server.respond(well.stream, 200, [['a', 'b']], Buffer.alloc(1000));
    const bytes = well.server.flush();
    for (let round = 0; round < 3000; round++) {
      const spoilt = Buffer.from(bytes);
      for (let change = 0; change <= round % 4; change++)
        spoilt[random.below(spoilt.length)] = random.below(256);
      const check = new Check();
      check.question.take();
      const result = check.read(spoilt, 1 + random.below(200));
      assert.ok(result <= 999, `round ${round}`);
      check.question.take();
      check.question.release();
    }
  });
});
