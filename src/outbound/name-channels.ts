/**
 * The edges' questions about names, and the answers, now and whenever they change. An edge is told of names that the
 * configuration has and of no others: a worker that was taken over can't ask the world for names of its own making.
 *
 * What an edge sends that it may not costs it its channel, and nobody else anything.
 */

import type { Message } from '../ipc/message.ts';
import { PolledChannel } from '../ipc/polled-channel.ts';
import type { NameBook } from './name-book.ts';
import type { NameAnswer } from './name-lookup.ts';

/** Names that one edge may ask for: a configuration and those before it. */
const QUESTIONS_MAX = 8192;

/** One edge's. */
interface EdgeChannel {
  readonly channel: PolledChannel;
  /** Its last question about each name. */
  readonly questions: Map<string, number>;
}

export class NameChannels {
  private readonly book: NameBook;
  /** `because`: what a channel ended by, unless its edge is gone. */
  private readonly onFault: (edge: number, because: string) => void;
  /** By the edge's place. */
  private readonly edges: Map<number, EdgeChannel>;
  /** There is a configuration: names that aren't in the book are not to be had. */
  private isOpen: boolean;

  constructor(book: NameBook, onFault: (edge: number, because: string) => void) {
    this.book = book;
    this.onFault = onFault;
    this.edges = new Map();
    this.isOpen = false;
  }

  get size(): number {
    return this.edges.size;
  }

  /** A channel to the edge at that place, instead of the one before. */
  add(edge: number, descriptor: number): void {
    this.edges.get(edge)?.channel.close();
    const channel = new PolledChannel(descriptor, 'outbound', 'edge', {
      onMessage: (_, message) => this.onMessage(edge, message),
      onEnd: (ended, reason) => this.onEnd(edge, ended, reason),
    });
    this.edges.set(edge, { channel, questions: new Map() });
  }

  /** The book follows a configuration; questions that waited for it are answered. */
  open(): void {
    this.isOpen = true;
    for (const { channel, questions } of this.edges.values())
      for (const [name, question] of questions) this.answer(channel, name, question);
  }

  /** What is said of a name is new. */
  tell(name: string, answer: NameAnswer): void {
    for (const { channel, questions } of this.edges.values()) {
      const question = questions.get(name);
      if (question !== undefined) send(channel, question, answer);
    }
  }

  private onMessage(edge: number, message: Message): void {
    const known = this.edges.get(edge);
    if (known === undefined || message.kind !== 'resolve') return;
    const { channel, questions } = known;
    const { name, question } = message;
    if (questions.size >= QUESTIONS_MAX && !questions.has(name)) {
      channel.close();
      this.onEnd(edge, channel, 'too many names');
      return;
    }
    questions.set(name, question);
    if (this.isOpen) this.answer(channel, name, question);
  }

  /** A name whose first answer is on its way is told when that is there. */
  private answer(channel: PolledChannel, name: string, question: number): void {
    if (!this.book.has(name)) send(channel, question, NOT_NAMED);
    const answer = this.book.answerOf(name);
    if (answer !== null) send(channel, question, answer);
  }

  private onEnd(edge: number, ended: PolledChannel, reason: string): void {
    if (this.edges.get(edge)?.channel === ended) this.edges.delete(edge);
    if (reason !== 'gone') this.onFault(edge, reason);
  }
}

/** The configuration has no such server. */
const NOT_NAMED: NameAnswer = { status: 'failed', addresses: [], because: '' };

function send(channel: PolledChannel, question: number, { status, addresses }: NameAnswer): void {
  channel.send({ kind: 'resolved', question, status, addresses });
}
