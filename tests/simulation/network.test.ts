import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { test } from 'node:test';
import { Timer } from '../../src/base/timer-wheel.ts';
import { MEDIUM, MEDIUM_BYTES } from '../../src/io/buffer-pool.ts';
import { type Handle, PENDING } from '../../src/io/reactor.ts';
import { SimBufferPool, SimReactor } from '../../src/io/sim.ts';
import { NO_FAULTS, type SimFaults } from '../../src/io/sim-faults.ts';
import { SimNetwork } from '../../src/io/sim-network.ts';
import type { SocketAddress } from '../../src/sys/sockaddr.ts';

const { EACCES, ECONNREFUSED, ECONNRESET, EIO, EMFILE } = constants.errno;

const SERVER: SocketAddress = { family: 'ipv4', address: '10.0.0.1', port: 80 };

/** Two nodes, a connection between them if it comes about, and a diary of what both were told. */
class Stage {
  readonly network: SimNetwork;
  readonly server: SimReactor;
  readonly client: SimReactor;
  readonly diary: string[];
  readonly listener: Handle;
  accepted: Handle;

  constructor(faults: Partial<SimFaults>, seed = 1) {
    this.network = new SimNetwork(seed, { ...NO_FAULTS, ...faults });
    this.server = new SimReactor(this.network, { label: 'server', ipv4: '10.0.0.1' });
    this.client = new SimReactor(this.network, { label: 'client', ipv4: '10.0.0.2' });
    this.diary = [];
    this.accepted = 0;
    this.listener = this.server.listen(SERVER, { backlog: 8, reusePort: false }, this);
  }

  connect(): Handle {
    return this.client.connect(SERVER, this.handler('client', this.client));
  }

  /** Lets time pass. */
  pass(ms: number): string[] {
    this.network.run(this.network.timeMs + ms);
    return this.diary.splice(0);
  }

  send(node: SimReactor, handle: Handle, bytes: number): void {
    const buffer = node.pool.acquire(MEDIUM);
    node.send(handle, buffer, node.pool.offsetOf(buffer), bytes, 1);
  }

  onAccept(_listener: Handle, handle: Handle): void {
    this.accepted = handle;
    this.diary.push('accepted');
    this.server.adopt(handle, this.handler('server', this.server));
    this.server.receiveStart(handle);
  }

  onAcceptError(_listener: Handle, errno: number): void {
    this.diary.push(`accept ${errno}`);
  }

  private handler(name: string, node: SimReactor) {
    const note = (what: string): void => {
      this.diary.push(`${name} ${what}`);
    };
    return {
      onConnect(handle: Handle, errno: number): void {
        note(`connect ${errno}`);
        if (errno === 0) node.receiveStart(handle);
      },
      onReceive(_handle: Handle, buffer: number, _offset: number, length: number): void {
        node.pool.release(buffer);
        note(`receive ${length}`);
      },
      onReceiveEnd: (_handle: Handle, errno: number) => note(`end ${errno}`),
      onSend: (_handle: Handle, _tag: number, result: number) => note(`send ${result}`),
      onClose: () => note('close'),
    };
  }
}

test('without faults a connection is made and bytes arrive', () => {
  const stage = new Stage({});
  const handle = stage.connect();
  assert.deepEqual(stage.pass(1).sort(), ['accepted', 'client connect 0']);
  stage.send(stage.client, handle, 100);
  assert.deepEqual(stage.pass(1).sort(), ['client send 100', 'server receive 100']);
});

test('virtual time leaps over hours in which nothing happens', () => {
  const stage = new Stage({});
  let fired = 0;
  const timer = new Timer({ onTimer: () => fired++ }, 0);
  stage.server.timers.arm(timer, stage.server.nowMs + 36_000_000);
  stage.pass(35_999_000);
  assert.equal(fired, 0);
  stage.pass(2000);
  assert.equal(fired, 1);
  assert.ok(stage.network.rounds < 200);
});

test('a refused connect', () => {
  const stage = new Stage({ refuse: 1 });
  stage.connect();
  assert.deepEqual(stage.pass(1), [`client connect ${-ECONNREFUSED}`, 'client close']);
});

test('a connect that is never answered can be closed', () => {
  const stage = new Stage({ deadConnect: 1 });
  const handle = stage.connect();
  assert.deepEqual(stage.pass(1_000_000), []);
  stage.client.close(handle, false);
  assert.deepEqual(stage.pass(1), ['client close']);
});

test('a slow connect takes its time', () => {
  const stage = new Stage({ slowConnect: 1, stallMsMax: 5000 }, 3);
  stage.connect();
  assert.deepEqual(stage.pass(1), []);
  assert.deepEqual(stage.pass(5000).sort(), ['accepted', 'client connect 0']);
});

test('accepting fails with EMFILE, pauses, and tries again when asked', () => {
  const stage = new Stage({ acceptFailure: 1 });
  stage.connect();
  assert.deepEqual(stage.pass(100).sort(), [`accept ${-EMFILE}`, 'client connect 0'].sort());
  assert.deepEqual(stage.pass(100), []);
  stage.server.acceptResume(stage.listener);
  assert.deepEqual(stage.pass(100), [`accept ${-EMFILE}`]);
});

test('connecting fails with EMFILE at once', () => {
  assert.equal(new Stage({ connectFailure: 1 }).connect(), -EMFILE);
});

test('a connection is reset at some time for both ends', () => {
  const stage = new Stage({ reset: 1, resetMsMax: 1000 }, 2);
  stage.connect();
  const diary = stage.pass(2000);
  assert.ok(diary.includes(`client end ${-ECONNRESET}`) && diary.includes(`server end ${-ECONNRESET}`));
});

test('on a connection that has vanished nothing arrives, not even the end', () => {
  const stage = new Stage({ vanish: 1, resetMsMax: 0 });
  const handle = stage.connect();
  stage.pass(10);
  stage.send(stage.client, handle, 100);
  stage.pass(10);
  stage.client.close(handle, true);
  assert.deepEqual(stage.pass(1_000_000), ['client close']);
});

test('a receive without a buffer is counted and goes on later', () => {
  const stage = new Stage({ starve: 0.9 });
  const handle = stage.connect();
  stage.pass(10);
  stage.send(stage.client, handle, 100);
  const diary = stage.pass(1000);
  assert.ok(diary.includes('server receive 100'));
  assert.ok(stage.server.counters.bufferStarvations > 0);
});

test('a small window makes a sender wait for its reader', () => {
  const stage = new Stage({ windowBytesMin: 1000, windowBytesMax: 1000 });
  const handle = stage.connect();
  stage.pass(10);
  stage.server.receiveStop(stage.accepted);
  stage.send(stage.client, handle, 4000);
  assert.deepEqual(stage.pass(1000), []);
  assert.equal(stage.client.sendQueuedBytes(handle), 3000);
  stage.server.receiveStart(stage.accepted);
  assert.ok(stage.pass(1000).includes('client send 4000'));
});

test('receives and sends come in pieces', () => {
  const stage = new Stage({ partialReceive: 1, shortSend: 1, reorder: 0.3 });
  const handle = stage.connect();
  stage.pass(10);
  stage.send(stage.client, handle, 16_000);
  const pieces = stage.pass(1000).filter((entry) => entry.startsWith('server receive'));
  assert.ok(pieces.length > 3, `${pieces.length} pieces`);
  const bytes = pieces.reduce((sum, entry) => sum + Number(entry.split(' ')[2]), 0);
  assert.equal(bytes, 16_000);
});

test('file operations are pending, fail and read short', () => {
  const diary: number[] = [];
  const handler = {
    onOpen: (_tag: number, result: number) => diary.push(result),
    onRead: (_tag: number, result: number) => diary.push(result),
  };
  const open = (faults: Partial<SimFaults>): { stage: Stage; result: number } => {
    const stage = new Stage(faults);
    stage.network.files.writeFile('/srv/a', new Uint8Array(1000), 0);
    const root = stage.server.openRoot('/srv');
    const { pool } = stage.server;
    const offset = pool.offsetOf(pool.acquire(MEDIUM));
    pool.bytes.set([0x61, 0], offset);
    return { stage, result: stage.server.openFile(root, offset, 1, handler, 1) };
  };
  const failed = open({ fileFailure: 1 }).result;
  assert.ok(failed === -EIO || failed === -EACCES);
  const pending = open({ filePending: 1, filePendingMsMax: 50 });
  assert.equal(pending.result, PENDING);
  pending.stage.pass(100);
  assert.ok(diary.length === 1 && diary[0] > 0);
  const short = open({ shortRead: 1 });
  let read = 1000;
  for (let attempt = 0; attempt < 10 && read === 1000; attempt++) {
    read = short.stage.server.readFile(short.result, 0, 0, 1000, handler, 2);
  }
  assert.ok(read > 0 && read < 1000);
});

test('a buffer that comes home is overwritten', () => {
  const pool = new SimBufferPool({ small: 1, medium: 1, large: 1 });
  const buffer = pool.acquire(MEDIUM);
  const offset = pool.offsetOf(buffer);
  pool.bytes[offset] = 7;
  pool.release(buffer);
  assert.equal(pool.bytes[offset], 0xdd);
});

test('what is left is told by name', () => {
  const stage = new Stage({});
  assert.throws(() => stage.network.assertQuiet(), /server: 1 handles open/);
  stage.server.markBaseline();
  stage.network.assertQuiet();
  const buffer = stage.client.pool.acquire(MEDIUM);
  stage.client.timers.arm(new Timer({ onTimer: () => {} }, 0), 5000);
  assert.throws(() => stage.network.assertQuiet(), /client: 1 buffers held; client: 1 timers armed/);
  stage.client.pool.release(buffer);
});

test('a segment outside its buffer, or a free buffer, is refused', () => {
  const stage = new Stage({});
  const handle = stage.connect();
  stage.pass(10);
  const { pool } = stage.client;
  const buffer = pool.acquire(MEDIUM);
  const offset = pool.offsetOf(buffer);
  assert.throws(() => stage.client.send(handle, buffer, offset - 1, 10, 0), /outside its buffer/);
  assert.throws(() => stage.client.send(handle, buffer, offset, MEDIUM_BYTES + 1, 0), /outside its buffer/);
  pool.release(buffer);
  assert.throws(() => stage.client.send(handle, buffer, offset, 10, 0), /free buffer/);
});
