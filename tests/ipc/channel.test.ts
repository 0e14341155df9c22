/** Channels over real socket pairs: what the other end does wrong ends the channel, and nothing else. */

import assert from 'node:assert/strict';
import { closeSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Channel } from '../../src/ipc/channel.ts';
import { JournalSink } from '../../src/ipc/journal-sink.ts';
import { encodeMessage, MESSAGE_BYTES_MAX, type Message } from '../../src/ipc/message.ts';
import { PolledChannel } from '../../src/ipc/polled-channel.ts';
import type { Role } from '../../src/ipc/roles.ts';
import { createMessagePair, MessageTransfer } from '../../src/sys/descriptors.ts';
import { until } from '../fixtures/patience.ts';

function pair(bytes = 262144): readonly [number, number] {
  const made = createMessagePair(bytes);
  if (typeof made === 'number') throw new Error(`no pair: ${made}`);
  return made;
}

/** Both ends of a channel between a master and a room. */
function ends(role: Role = 'edge'): [Channel, Channel] {
  const [a, b] = pair();
  return [new Channel(a, 'master', role), new Channel(b, role, 'master')];
}

function openCount(): number {
  return readdirSync('/proc/self/fd').length;
}

/** A master's end, and what sends raw bytes to it. */
function raw(role: Role = 'edge'): {
  channel: Channel;
  send: (bytes: Uint8Array, descriptors?: number[]) => void;
  close: () => void;
} {
  const [a, b] = pair();
  const transfer = new MessageTransfer(MESSAGE_BYTES_MAX + 100);
  return {
    channel: new Channel(a, 'master', role),
    send: (bytes, descriptors = []) => {
      transfer.bytes.set(bytes);
      assert.equal(transfer.send(b, bytes.length, descriptors, false), bytes.length);
    },
    close: () => {
      transfer.unmap();
      closeSync(b);
    },
  };
}

function bytesOf(message: Message, descriptors = 0): Uint8Array {
  const target = new Uint8Array(MESSAGE_BYTES_MAX);
  return target.slice(0, encodeMessage(target, message, descriptors));
}

describe('a channel', () => {
  it('carries messages, and both ends know its state', () => {
    const [master, room] = ends();
    assert.equal(
      master.send({ kind: 'configure', generation: 1, part: 0, parts: 1, bytes: Uint8Array.of(1, 2) }),
      'sent',
    );
    assert.equal(room.receive()?.kind, 'configure');
    assert.equal(room.receive(), null);
    assert.equal(room.end, '');
    room.send({ kind: 'ready', generation: 1 });
    assert.equal(master.receive()?.kind, 'ready');
    assert.deepEqual([master.state, room.state], ['running', 'running']);
    master.send({ kind: 'drain', timeoutMs: 5, isReplaced: false });
    assert.equal(room.receive()?.kind, 'drain');
    room.send({ kind: 'drained' });
    assert.equal(master.receive()?.kind, 'drained');
    assert.equal(master.state, 'draining');
    room.close();
    assert.equal(master.receive(), null);
    assert.equal(master.end, 'gone');
    master.close();
  });

  it('passes descriptors, which work, and are closed by execve', () => {
    const [master, room] = ends();
    const file = openSync(import.meta.filename, 'r');
    master.send({ kind: 'descriptors', purpose: 'key', peer: 'keys', index: 7 }, [file]);
    closeSync(file);
    assert.deepEqual(room.receive(), { kind: 'descriptors', purpose: 'key', peer: 'keys', index: 7 });
    const passed = room.takeDescriptor();
    assert.equal(room.takeDescriptor(), -1);
    const start = Buffer.alloc(3);
    readSync(passed, start, 0, 3, 0);
    assert.equal(start.toString(), '/**');
    closeSync(passed);
    master.close();
    room.close();
  });

  it('closes descriptors that nobody takes', () => {
    const [master, room] = ends();
    const file = openSync('/dev/null', 'r');
    const before = openCount();
    master.send({ kind: 'descriptors', purpose: 'listener', peer: 'edge', index: 0 }, [file, file, file]);
    room.receive();
    assert.equal(openCount(), before + 3);
    room.receive();
    assert.equal(openCount(), before);
    closeSync(file);
    master.close();
    room.close();
  });

  const wrong: [string, () => Uint8Array, number, RegExp][] = [
    ['what is no message', () => Uint8Array.of(1, 2, 3), 0, /malformed/],
    [
      'a message of a master’s',
      () => bytesOf({ kind: 'drain', timeoutMs: 1, isReplaced: false }),
      0,
      /drain while starting/,
    ],
    ['a message out of its time', () => bytesOf({ kind: 'drained' }), 0, /drained while starting/],
    [
      'a message for another room',
      () => bytesOf({ kind: 'log', dropped: 0, bytes: new Uint8Array(1) }),
      0,
      /log while/,
    ],
    [
      'descriptors that it may not pass',
      () => bytesOf({ kind: 'ready', generation: 1 }, 1),
      1,
      /1 descriptors/,
    ],
    [
      'descriptors that it doesn’t tell of',
      () => bytesOf({ kind: 'ready', generation: 1 }),
      2,
      /2 descriptors/,
    ],
    [
      'fewer descriptors than it says',
      () => bytesOf({ kind: 'ready', generation: 1 }, 3),
      0,
      /0 descriptors/,
    ],
    ['a message that is too long', () => new Uint8Array(MESSAGE_BYTES_MAX + 1), 0, /too long/],
    ['an empty datagram', () => new Uint8Array(0), 0, /gone/],
  ];
  for (const [what, make, descriptors, reason] of wrong) {
    it(`ends when it gets ${what}, and keeps no descriptor`, () => {
      const file = openSync('/dev/null', 'r');
      const before = openCount();
      const { channel, send, close } = raw();
      send(make(), new Array(descriptors).fill(file));
      assert.equal(channel.receive(), null);
      assert.match(channel.end, reason);
      assert.equal(channel.send({ kind: 'ping', sequence: 1 }), 'ended');
      assert.equal(channel.receive(), null);
      channel.close();
      close();
      assert.equal(openCount(), before);
      closeSync(file);
    });
  }

  it('survives whatever comes, as a value', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 80 }), { maxLength: 6 }), (datagrams) => {
        const { channel, send, close } = raw('keys');
        for (const each of datagrams) send(each);
        for (let count = 0; count <= datagrams.length; count++) channel.receive();
        channel.close();
        close();
      }),
      { numRuns: 500 },
    );
  });

  it('says that the other end is behind, and goes on when it has caught up', () => {
    const [a, b] = pair(4096);
    const sender = new Channel(a, 'edge', 'journal');
    const receiver = new Channel(b, 'journal', 'edge');
    const entry: Message = { kind: 'log', dropped: 0, bytes: new Uint8Array(1000) };
    let sent = 0;
    while (sender.send(entry) === 'sent') sent++;
    assert.ok(sent > 0);
    assert.equal(sender.end, '');
    assert.equal(receiver.receive()?.kind, 'log');
    assert.equal(sender.send(entry), 'sent');
    sender.close();
    receiver.close();
  });
});

describe('a polled channel', () => {
  it('delivers in order, holds back what the other end is too slow for, and tells of its end once', {
    timeout: 60_000,
  }, async () => {
    const [a, b] = pair(8192);
    const received: number[] = [];
    const reasons: string[] = [];
    const master = new PolledChannel(a, 'master', 'edge', {
      onMessage() {},
      onEnd: (_, reason) => reasons.push(reason),
    });
    for (let part = 0; part < 200; part++)
      assert.ok(
        master.send({
          kind: 'configure',
          generation: 1,
          part,
          parts: 200,
          bytes: new Uint8Array(2000).fill(part),
        }),
      );
    const room = new PolledChannel(b, 'edge', 'master', {
      onMessage: (_, message) => {
        if (message.kind !== 'configure') return;
        assert.ok(message.bytes.every((byte) => byte === message.part));
        received.push(message.part);
      },
      onEnd() {},
    });
    await until(() => received.length === 200, 10_000, 'all parts are there');
    assert.deepEqual(received, [...received.keys()]);
    room.close();
    await until(() => reasons.length > 0, 5000, 'the end is told');
    assert.deepEqual(reasons, ['gone']);
    assert.equal(master.send({ kind: 'ping', sequence: 1 }), false);
  });

  it('ends when too much waits', async () => {
    const [a, b] = pair(4096);
    const reasons: string[] = [];
    const master = new PolledChannel(a, 'master', 'edge', {
      onMessage() {},
      onEnd: (_, reason) => reasons.push(reason),
    });
    let sent = 0;
    while (sent < 5000 && master.send({ kind: 'ping', sequence: sent })) sent++;
    assert.ok(sent > 1000 && sent < 5000);
    await until(() => reasons.length > 0, 5000, 'the end is told');
    assert.deepEqual(reasons, ['too far behind']);
    closeSync(b);
  });
});

describe('a journal sink', () => {
  it('takes nothing while there is no journal, and goes on with the next one when it has died', () => {
    const sink = new JournalSink('edge');
    const lines = Buffer.from('a\nb\n');
    assert.ok(!sink.take(lines, 2, 0));
    for (const dropped of [0, 3]) {
      const [mine, its] = pair();
      const journal = new Channel(its, 'journal', 'edge');
      sink.connect(mine);
      assert.ok(sink.isConnected && sink.take(lines, 2, dropped));
      const message = journal.receive();
      assert.ok(message?.kind === 'log');
      assert.deepEqual([message.dropped, Buffer.from(message.bytes)], [dropped, lines]);
      journal.close();
      assert.ok(!sink.take(lines, 2, 0));
      assert.ok(!sink.isConnected);
    }
  });

  it('takes nothing while the journal is behind, without waiting for it', () => {
    const [mine, its] = pair(4096);
    const sink = new JournalSink('keys');
    sink.connect(mine);
    const lines = Buffer.alloc(1000, '\n');
    while (sink.take(lines, 1000, 0));
    assert.ok(sink.isConnected);
    const journal = new Channel(its, 'journal', 'keys');
    journal.receive();
    assert.ok(sink.take(lines, 1000, 0));
    journal.close();
    assert.ok(!sink.take(lines, 1000, 0));
  });

  it('takes a piece of the size that it says, which is one message', () => {
    const [mine, its] = pair();
    const sink = new JournalSink('edge');
    sink.connect(mine);
    assert.ok(sink.take(Buffer.alloc(sink.bytesMax, '\n'), 1, 0));
    const journal = new Channel(its, 'journal', 'edge');
    const message = journal.receive();
    assert.ok(message?.kind === 'log' && message.bytes.length === sink.bytesMax);
    journal.close();
    assert.ok(!sink.take(Buffer.alloc(1, '\n'), 1, 0));
  });
});

describe('descriptors', () => {
  it('of this process are as many as before', () => {
    // Whoever leaks sockets in the tests above leaves them here.
    const sockets = readdirSync('/proc/self/fd').filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:') && Number(fd) > 2;
      } catch {
        return false;
      }
    });
    assert.ok(sockets.length <= 2, `${sockets.length} sockets are left`);
  });
});
