import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SEND_HIGH_BYTES } from '../../src/edge/responder.ts';
import { E_FILE, E_FILE_CHANGED, E_FORBIDDEN, E_NOT_FOUND, E_OVERLOAD } from '../../src/http/fault.ts';
import { LARGE_BYTES } from '../../src/io/buffer-pool.ts';
import { FILE_MS, type Question } from './file-fixture.ts';
import { BIG, site } from './file-site.ts';

const EIO = -5;
const EMFILE = -24;
const ELOOP = -40;
const ENAMETOOLONG = -36;

describe('files that change', () => {
  it('are cut when they end early', () => {
    const bench = site();
    const target = bench.begin('/big.bin');
    bench.reactor.files.truncate('/srv/big.bin', 100, FILE_MS + 1);
    bench.settle(target);
    assert.equal(target.fault, E_FILE_CHANGED);
    assert.ok(target.cut);
    assert.ok(target.body.length < BIG.length);
    bench.close();
  });

  it('are cut when they were overwritten in place, with the same length', () => {
    const bench = site();
    const target = bench.begin('/big.bin');
    bench.reactor.files.truncate('/srv/big.bin', BIG.length, FILE_MS + 1);
    bench.settle(target);
    assert.equal(target.fault, E_FILE_CHANGED);
    assert.ok(target.cut);
    bench.close();
  });

  it('are cut in the middle of several ranges, too', () => {
    const bench = site();
    const target = bench.begin({ target: '/big.bin', fields: [['Range', 'bytes=0-9,100000-189999']] });
    bench.reactor.files.truncate('/srv/big.bin', BIG.length, FILE_MS + 1);
    bench.settle(target);
    assert.equal(target.fault, E_FILE_CHANGED);
    bench.close();
  });

  for (const mode of ['sendfile', 'memory'] as const) {
    it(`are opened once more when they change before they are read (${mode})`, () => {
      for (const content of ['altered in place, and longer', 'x', 'NO EXTENSION']) {
        const bench = site({ mode });
        bench.reactor.pending = true;
        const target = bench.begin('/data');
        bench.reactor.settleOne();
        bench.reactor.files.overwrite('/srv/data', new Uint8Array(Buffer.from(content)), FILE_MS + 1);
        bench.settle(target);
        assert.equal(target.status, 200);
        assert.equal(target.body.toString(), content);
        bench.close();
      }
    });

    it(`are cut when they change again and again (${mode})`, () => {
      const bench = site({ mode });
      bench.reactor.pending = true;
      bench.reactor.before = (operation) => {
        const bytes = new Uint8Array(Buffer.from(`version ${operation}`));
        bench.reactor.files.overwrite('/srv/data', bytes, FILE_MS + operation);
      };
      const target = bench.ask('/data');
      assert.equal(target.fault, E_FILE_CHANGED);
      bench.close();
    });

    it(`are never a mixture, whatever they are read in (${mode})`, () => {
      for (let step = 0; step < 8; step++) {
        const bench = site({ mode });
        bench.reactor.readMost = 3;
        bench.reactor.before = (operation) => {
          if (operation !== step) return;
          const bytes = new Uint8Array(Buffer.from('NO EXTENSION'));
          bench.reactor.files.overwrite('/srv/data', bytes, FILE_MS + 1);
        };
        const target = bench.ask('/data');
        assert.ok(['no extension', 'NO EXTENSION'].includes(target.body.toString()), target.body.toString());
        bench.close();
      }
    });
  }

  it('go on from the old content when they were replaced or removed', () => {
    for (const replace of [true, false]) {
      const bench = site();
      const target = bench.begin('/big.bin');
      bench.reactor.files.remove('/srv/big.bin');
      if (replace) bench.write('/srv/big.bin', 'another file', FILE_MS + 5);
      bench.settle(target);
      assert.equal(target.fault, 0);
      assert.deepEqual(target.body, Buffer.from(BIG));
      bench.close();
    }
  });

  it('are not served from memory for longer than a second', () => {
    const bench = site({ mode: 'memory' });
    assert.equal(bench.ask('/data').body.toString(), 'no extension');
    const operations = bench.reactor.operations;
    bench.reactor.nowMs += 999;
    assert.equal(bench.ask('/data').body.toString(), 'no extension');
    assert.equal(bench.reactor.operations, operations, 'from memory without asking');
    bench.write('/srv/data', 'new content', FILE_MS + 5);
    bench.reactor.nowMs += 1;
    assert.equal(bench.ask('/data').body.toString(), 'new content');
    bench.reactor.files.remove('/srv/data');
    bench.reactor.nowMs += 1000;
    assert.equal(bench.ask('/data').status, 404);
    bench.close();
  });

  it('stay in memory when they are found unchanged', () => {
    const bench = site({ mode: 'memory' });
    bench.ask('/data');
    bench.reactor.nowMs += 1000;
    const before = bench.reactor.operations;
    bench.ask('/data');
    assert.equal(bench.reactor.operations - before, 1, 'one open, no read');
    bench.close();
  });
});

describe('memory', () => {
  it('holds no more than its share of the arena; what is over it is sent all the same', () => {
    const bench = site({ mode: 'memory' });
    for (let index = 0; index < 12; index++) {
      bench.write(`/srv/l${index}.bin`, BIG.subarray(0, 100_000 + index));
      assert.equal(bench.ask(`/l${index}.bin`).body.length, 100_000 + index);
    }
    // A quarter of 32 large buffers.
    assert.equal(bench.reactor.pool.shape.large - bench.reactor.pool.freeCount(2), 8);
    const before = bench.reactor.operations;
    bench.ask('/l7.bin');
    assert.equal(bench.reactor.operations, before, 'within the share: from memory');
    bench.ask('/l8.bin');
    assert.ok(bench.reactor.operations > before, 'beyond it: from the file');
    bench.close();
  });

  it('holds no file larger than its limit', () => {
    const bench = site({ mode: 'memory' });
    bench.write('/srv/max.bin', new Uint8Array(1 << 20));
    bench.write('/srv/over.bin', new Uint8Array((1 << 20) + 1));
    bench.ask('/max.bin');
    assert.equal(bench.reactor.pool.shape.large - bench.reactor.pool.freeCount(2), (1 << 20) / LARGE_BYTES);
    assert.equal(bench.ask('/over.bin').body.length, (1 << 20) + 1);
    bench.close();
  });

  it('is given back while a slow client still reads from it', () => {
    const bench = site({ mode: 'memory' });
    const content = Buffer.concat([BIG, BIG, BIG]);
    bench.write('/srv/huge.bin', content);
    bench.ask('/huge.bin');
    const slow = bench.begin({ target: '/huge.bin', slow: true });
    bench.write('/srv/huge.bin', 'short', FILE_MS + 9);
    bench.reactor.nowMs += 1000;
    assert.equal(bench.ask('/huge.bin').body.toString(), 'short');
    while (!slow.ended) slow.take();
    assert.deepEqual(slow.body, content);
    bench.close();
  });

  it('waits for a client that takes nothing', () => {
    const bench = site({ mode: 'memory' });
    bench.write('/srv/huge.bin', new Uint8Array(1 << 20));
    bench.ask('/huge.bin');
    const slow = bench.begin({ target: '/huge.bin', slow: true });
    assert.ok(slow.body.length > SEND_HIGH_BYTES && slow.body.length <= SEND_HIGH_BYTES + LARGE_BYTES);
    assert.ok(slow.flushes > 0);
    slow.abort();
    bench.close();
  });
});

const TROUBLE: readonly { errno: number; fault: number }[] = [
  { errno: EIO, fault: E_FILE },
  { errno: EMFILE, fault: E_OVERLOAD },
  { errno: ELOOP, fault: E_FORBIDDEN },
  { errno: ENAMETOOLONG, fault: E_NOT_FOUND },
];

const SCENARIOS: readonly { name: string; question: Question }[] = [
  { name: 'a small file', question: { target: '/css/style.css' } },
  { name: 'a large file', question: { target: '/big.bin' } },
  {
    name: 'several ranges',
    question: { target: '/big.bin', fields: [['Range', 'bytes=0-9,500-70000,90000-199999']] },
  },
  { name: 'a bare directory', question: { target: '/bare/' } },
  {
    name: 'neighbours',
    question: { target: '/css/style.css', fields: [['Accept-Encoding', 'br, gzip, zstd']] },
  },
];

describe('trouble with one operation', () => {
  for (const { errno, fault } of TROUBLE) {
    it(`when the file is opened with errno ${errno} becomes fault ${fault}`, () => {
      const bench = site();
      bench.reactor.failAt = 0;
      bench.reactor.failErrno = errno;
      assert.equal(bench.ask('/css/style.css').fault, fault);
      bench.reactor.failAt = -1;
      assert.equal(bench.ask('/css/style.css').status, 200);
      bench.close();
    });
  }

  for (const mode of ['sendfile', 'memory'] as const) {
    for (const { name, question } of SCENARIOS) {
      for (const pending of [false, true]) {
        it(`breaks ${name} cleanly at each step (${mode}, ${pending ? 'later' : 'at once'})`, () => {
          for (let step = 0; step < 20; step++) {
            for (const errno of [EIO, EMFILE, 0]) {
              const bench = site({ mode });
              bench.reactor.pending = pending;
              bench.reactor.failAt = step;
              // A result of 0 is the end of a file where bytes were expected; an open never gives it.
              bench.reactor.failErrno = errno;
              bench.reactor.before = (operation) => {
                const opens = bench.reactor.lastOperationOpens;
                if (errno === 0 && operation === step && opens) bench.reactor.failErrno = EIO;
              };
              const target = bench.ask(question);
              assert.ok(target.fault !== 0 || target.status > 0);
              bench.close();
            }
          }
        });

        it(`and the client's going at each step leaves nothing of ${name} (${mode}, ${pending ? 'later' : 'at once'})`, () => {
          for (let steps = 0; steps < 20; steps++) {
            const bench = site({ mode });
            bench.reactor.pending = pending;
            const target = bench.begin(question);
            for (let step = 0; step < steps && !target.ended; step++) {
              if (!bench.reactor.settleOne()) target.fileLeaves();
            }
            if (!target.ended) target.abort();
            while (bench.reactor.settleOne());
            assert.equal(bench.ask('/css/style.css').status, 200, 'the next exchange is not harmed');
            bench.close();
          }
        });
      }
    }
  }

  it('answers 503 while there is no memory, and goes on after', () => {
    const bench = site();
    const { pool } = bench.reactor;
    const target = bench.begin({ target: '/css/style.css', method: 'HEAD' });
    assert.equal(target.status, 200);
    const taken: number[] = [];
    // One small buffer is left, which the exchange itself takes.
    while (pool.freeCount(0) > 1) taken.push(pool.acquire(0));
    assert.equal(bench.ask('/css/style.css').fault, E_OVERLOAD);
    for (const id of taken) pool.release(id);
    assert.equal(bench.ask('/css/style.css').status, 200);
    bench.close();
  });

  it('sends files by sendfile when large buffers become few', () => {
    const bench = site();
    const { pool } = bench.reactor;
    const taken: number[] = [];
    while (pool.freeCount(2) > 0) taken.push(pool.acquire(2));
    bench.write('/srv/mid.bin', BIG.subarray(0, 50_000));
    assert.deepEqual(bench.ask('/mid.bin').body, Buffer.from(BIG.subarray(0, 50_000)));
    for (const id of taken) pool.release(id);
    bench.close();
  });
});
