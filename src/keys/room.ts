/**
 * What the keys room does: keeps the keys of its configuration, serves its doors. One thing at a time, in a loop that
 * waits in the kernel (BlockingLoop).
 *
 * Keys come as descriptors of their files and are read at once; the configuration that follows says what they are for.
 * Those that it doesn't name are forgotten, and wiped: by OpenSSL, when V8 gives up the last reference, which is seen to.
 */

import { BlockingLoop } from '../ipc/blocking-loop.ts';
import { Channel } from '../ipc/channel.ts';
import { ConfigurationParts } from '../ipc/configuration-parts.ts';
import type { Message } from '../ipc/message.ts';
import { CONTROL_DESCRIPTOR } from '../ipc/room-control.ts';
import { close } from '../sys/libc.ts';
import { REQUEST_BYTES_MAX } from '../tls/signature-request.ts';
import { Signer } from '../tls/signer.ts';
import { type KeyOrder, parseConfiguration } from './configuration.ts';
import { Doors } from './doors.ts';
import { forgetNow, KeyFiles } from './key-files.ts';

/** Of one key: more than any machine signs. What counts is the rate of whoever asks (doors.ts). */
const KEY_RATE = { perSecond: 1e6, burst: 1e6 };
/** Characters of a refusal. */
const REASON_CHARS_MAX = 1000;

export class KeysRoom {
  private readonly log: (line: string) => void;
  private readonly control: Channel;
  private readonly parts: ConfigurationParts;
  private readonly signer: Signer;
  private readonly files: KeyFiles;
  private readonly doors: Doors;
  private readonly loop: BlockingLoop;
  private isDrained: boolean;

  constructor(log: (line: string) => void) {
    this.log = log;
    this.control = new Channel(CONTROL_DESCRIPTOR, 'keys', 'master');
    this.parts = new ConfigurationParts();
    this.signer = new Signer(KEY_RATE, () => performance.now());
    this.files = new KeyFiles();
    this.loop = new BlockingLoop(
      this.control,
      {
        onMessage: (message) => this.onMessage(message),
        answer: (door, request) => this.doors.answer(door, request),
      },
      REQUEST_BYTES_MAX,
    );
    this.doors = new Doors(this.loop, this.signer, log, () => performance.now());
    this.isDrained = false;
  }

  /** Serves until it is told to end, or there is no master. */
  run(): 'drained' | 'masterless' {
    this.loop.run();
    return this.isDrained ? 'drained' : 'masterless';
  }

  /** False ends the loop. */
  private onMessage(message: Message): boolean {
    switch (message.kind) {
      case 'descriptors':
        this.onDescriptors(message);
        return true;
      case 'configure': {
        const whole = this.parts.add(message);
        if (whole === 'wrong') return false;
        if (whole !== 'incomplete') this.configure(message.generation, Buffer.from(whole).toString('utf8'));
        return true;
      }
      case 'ping':
        this.control.send({ kind: 'pong', sequence: message.sequence, openConnections: 0, unwritten: 0 });
        return true;
      case 'drain':
        this.control.send({ kind: 'drained' });
        this.isDrained = true;
        return false;
      default:
        return true;
    }
  }

  /** Descriptors that nobody takes are closed by the channel. */
  private onDescriptors({ purpose, peer, index }: Message & { readonly kind: 'descriptors' }): void {
    if (purpose === 'channel' && (peer === 'edge' || peer === 'outbound'))
      this.doors.open(peer, index, this.control.takeDescriptor());
    if (purpose !== 'key') return;
    let id = index;
    for (let fd = this.control.takeDescriptor(); fd >= 0; fd = this.control.takeDescriptor()) {
      this.files.read(id++, fd);
      close(fd);
    }
  }

  private configure(generation: number, text: string): void {
    const orders = parseConfiguration(text);
    const reasons = orders === null ? ['the configuration of keys can’t be read'] : this.check(orders);
    if (orders === null || reasons.length > 0) {
      const reason = reasons.join('; ').slice(0, REASON_CHARS_MAX);
      this.control.send({ kind: 'refused', generation, reason });
    } else {
      this.adopt(orders);
      this.doors.serve();
      this.control.send({ kind: 'ready', generation });
    }
    this.files.clear();
    forgetNow();
  }

  /** Why these keys can't be put in force; those that aren't needed are only told of. */
  private check(orders: readonly KeyOrder[]): string[] {
    const reasons: string[] = [];
    for (const order of orders) {
      if (this.signer.has(order.id)) continue;
      const fault = this.files.faultOf(order);
      if (fault === '') continue;
      const reason = `the private key ${order.path}: ${fault}`;
      if (order.isNeeded) reasons.push(reason);
      else this.log(`${reason}; handshakes with it fail until the configuration is loaded again`);
    }
    return reasons;
  }

  private adopt(orders: readonly KeyOrder[]): void {
    const wanted = new Set(orders.map(({ id }) => id));
    for (const id of this.signer.keyIds) if (!wanted.has(id)) this.signer.remove(id);
    for (const order of orders) {
      const key = this.signer.has(order.id) ? null : this.files.take(order);
      if (key !== null) this.signer.add(order.id, order.role, key);
    }
  }
}
