/**
 * A room's side of its channel to the master: puts configurations together, answers pings, and ends the process when
 * the master is gone or sends what it may not. What comes is the handler's business.
 */

import { DescriptorReserve } from '../sys/descriptors.ts';
import { ConfigurationParts } from './configuration-parts.ts';
import type { Message, Purpose } from './message.ts';
import { PolledChannel } from './polled-channel.ts';
import type { Role } from './roles.ts';

/** The descriptor that the launcher leaves for the channel to the master. */
export const CONTROL_DESCRIPTOR = 3;
/** The room ended since its master did, or since it didn't understand it. */
const EXIT_MASTERLESS = 72;

export interface RoomHandler {
  /** A whole configuration, JSON; `ready` or `refuse` is due for it, some time. */
  onConfiguration(generation: number, text: string): void;
  /** `take` hands over the next of the descriptors that came, -1 where there are no more; those left are closed. */
  onDescriptors(purpose: Purpose, peer: Role, index: number, take: () => number): void;
  /** To finish what is in flight within `timeoutMs`; `drained` is due for it. */
  onDrain(timeoutMs: number, isReplaced: boolean): void;
  /** What is sent to one role alone, as the journal's files are; `take` as above. */
  onOther?(message: Message, take: () => number): void;
  openConnections(): number;
  /** The journal's: entries that it got and could not write. */
  unwritten?(): number;
}

export class RoomControl {
  private readonly channel: PolledChannel;
  private readonly parts: ConfigurationParts;
  private readonly handler: RoomHandler;

  constructor(self: Role, handler: RoomHandler) {
    this.handler = handler;
    this.parts = new ConfigurationParts();
    // A worker whose connections have all descriptors still gets a channel to a room that has started anew.
    const reserve = new DescriptorReserve(CONTROL_DESCRIPTOR);
    reserve.take();
    const events = {
      onMessage: (_: PolledChannel, message: Message): void => this.onMessage(message),
      onEnd: (_: PolledChannel, reason: string): void => this.leave(reason),
    };
    this.channel = new PolledChannel(CONTROL_DESCRIPTOR, self, 'master', events, reserve);
  }

  ready(generation: number): void {
    this.channel.send({ kind: 'ready', generation });
  }

  refuse(generation: number, reason: string): void {
    this.channel.send({ kind: 'refused', generation, reason });
  }

  drained(): void {
    this.channel.send({ kind: 'drained' });
  }

  send(message: Message, descriptors: readonly number[] = []): boolean {
    return this.channel.send(message, descriptors);
  }

  /** Nobody is left to serve for. Where the master is gone nobody hears it, else the journal does. */
  private leave(reason: string): never {
    if (reason !== 'gone') process.stderr.write(`Error: the master sent ${reason}\n`);
    process.exit(EXIT_MASTERLESS);
  }

  private readonly take = (): number => this.channel.channel.takeDescriptor();

  private onMessage(message: Message): void {
    const { handler } = this;
    switch (message.kind) {
      case 'configure': {
        const whole = this.parts.add(message);
        if (whole === 'wrong') this.leave('parts of configurations that don’t fit together');
        if (whole !== 'incomplete')
          handler.onConfiguration(message.generation, Buffer.from(whole).toString('utf8'));
        break;
      }
      case 'descriptors':
        handler.onDescriptors(message.purpose, message.peer, message.index, this.take);
        break;
      case 'ping':
        this.channel.send({
          kind: 'pong',
          sequence: message.sequence,
          openConnections: handler.openConnections(),
          unwritten: Math.min(handler.unwritten?.() ?? 0, 0xffffffff),
        });
        break;
      case 'drain':
        handler.onDrain(message.timeoutMs, message.isReplaced);
        break;
      default:
        handler.onOther?.(message, this.take);
    }
  }
}
