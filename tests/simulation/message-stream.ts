/**
 * A strict and simple reader of HTTP/1.1 messages, independent of the edge's own: what an edge sends must
 * please it. Bytes in, calls out; anything that RFC 9112 forbids is a complaint.
 */

export interface MessageHead {
  readonly startLine: string;
  readonly fields: readonly (readonly [string, string])[];
}

/** How content is framed, as the owner decides from the head. */
export type Framing =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly bytes: number }
  | { readonly kind: 'chunked' }
  | { readonly kind: 'until-close' }
  /** After a 101: no messages any more, only bytes. */
  | { readonly kind: 'tunnel' };

export interface MessageOwner {
  /** A head is complete. Null: nothing more is to be read. */
  onHead(head: MessageHead): Framing | null;
  onContent(bytes: Uint8Array): void;
  /** The message is complete. */
  onMessageEnd(): void;
  onComplaint(what: string): void;
}

const HEAD_BYTES_MAX = 70_000;
const FIELD_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*$/;

export function fieldValues(head: MessageHead, name: string): string[] {
  return head.fields.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value);
}

export class MessageStream {
  private readonly owner: MessageOwner;
  private waiting: Buffer;
  private framing: Framing | null;
  /** Bytes of content, or of the present chunk, still to come. */
  private left: number;
  /** Within chunked content: what the next line is. */
  private line: 'size' | 'data-end' | 'trailer';
  private stopped: boolean;

  constructor(owner: MessageOwner) {
    this.owner = owner;
    this.waiting = Buffer.alloc(0);
    this.framing = null;
    this.left = 0;
    this.line = 'size';
    this.stopped = false;
  }

  /** Nothing of a message has come yet. */
  get between(): boolean {
    return this.framing === null && this.waiting.length === 0;
  }

  /** The head is complete and the content is not. */
  get inContent(): boolean {
    return this.framing !== null;
  }

  /** The stream's end is the content's end. */
  get untilClose(): boolean {
    return this.framing?.kind === 'until-close' || this.framing?.kind === 'tunnel';
  }

  stop(): void {
    this.stopped = true;
    this.waiting = Buffer.alloc(0);
  }

  feed(bytes: Uint8Array): void {
    if (this.stopped) return;
    this.waiting = this.waiting.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.waiting, bytes]);
    while (!this.stopped && this.step());
  }

  private step(): boolean {
    if (this.framing === null) return this.readHead();
    if (this.waiting.length === 0) return false;
    switch (this.framing.kind) {
      case 'length':
        return this.readCounted();
      case 'chunked':
        return this.left > 0 ? this.readCounted() : this.readChunkLine();
      default:
        this.owner.onContent(this.take(this.waiting.length));
        return false;
    }
  }

  private readHead(): boolean {
    const end = this.waiting.indexOf('\r\n\r\n');
    if (end < 0) {
      if (this.waiting.length > HEAD_BYTES_MAX) this.complain('a head without an end');
      return false;
    }
    const lines = this.take(end + 4)
      .subarray(0, end)
      .toString('latin1')
      .split('\r\n');
    const fields: [string, string][] = [];
    for (const line of lines.slice(1)) {
      const match = FIELD_LINE.exec(line);
      if (match === null) {
        this.complain(`a bad field line ${JSON.stringify(line)}`);
        return false;
      }
      fields.push([match[1], match[2]]);
    }
    if (/[\r\n\0]/.test(lines[0])) this.complain(`a bad start line ${JSON.stringify(lines[0])}`);
    const framing = this.owner.onHead({ startLine: lines[0], fields });
    if (framing === null) {
      this.stop();
      return false;
    }
    this.begin(framing);
    return true;
  }

  private begin(framing: Framing): void {
    this.framing = framing;
    this.line = 'size';
    this.left = framing.kind === 'length' ? framing.bytes : 0;
    if (framing.kind === 'none' || (framing.kind === 'length' && framing.bytes === 0)) this.endMessage();
  }

  private readCounted(): boolean {
    const bytes = this.take(Math.min(this.left, this.waiting.length));
    this.left -= bytes.length;
    this.owner.onContent(bytes);
    if (this.left > 0) return false;
    if (this.framing?.kind === 'length') this.endMessage();
    else this.line = 'data-end';
    return true;
  }

  private readChunkLine(): boolean {
    const end = this.waiting.indexOf('\r\n');
    if (end < 0) {
      if (this.waiting.length > HEAD_BYTES_MAX) this.complain('a chunk line without an end');
      return false;
    }
    const text = this.take(end + 2)
      .subarray(0, end)
      .toString('latin1');
    if (this.line === 'data-end') {
      if (text !== '') this.complain(`${JSON.stringify(text)} after a chunk`);
      this.line = 'size';
    } else if (this.line === 'trailer') {
      if (text === '') this.endMessage();
      else if (!FIELD_LINE.test(text)) this.complain(`a bad trailer ${JSON.stringify(text)}`);
    } else if (!/^[0-9a-fA-F]{1,8}$/.test(text)) {
      this.complain(`a bad chunk size ${JSON.stringify(text)}`);
    } else {
      this.left = Number.parseInt(text, 16);
      if (this.left === 0) this.line = 'trailer';
    }
    return !this.stopped;
  }

  private endMessage(): void {
    this.framing = null;
    this.owner.onMessageEnd();
  }

  private complain(what: string): void {
    this.stop();
    this.owner.onComplaint(what);
  }

  private take(count: number): Buffer {
    const bytes = this.waiting.subarray(0, count);
    this.waiting = this.waiting.subarray(count);
    return bytes;
  }
}

/** Framing by the fields alone (RFC 9112 §6.3), or what is wrong with them. */
export function framingOf(head: MessageHead, otherwise: Framing): Framing | string {
  const lengths = fieldValues(head, 'content-length');
  const codings = fieldValues(head, 'transfer-encoding');
  if (codings.length > 0) {
    if (lengths.length > 0) return 'both Content-Length and Transfer-Encoding';
    return codings.join() === 'chunked' ? { kind: 'chunked' } : `Transfer-Encoding: ${codings.join()}`;
  }
  if (lengths.length === 0) return otherwise;
  if (lengths.length > 1 || !/^\d{1,15}$/.test(lengths[0])) return `Content-Length: ${lengths.join()}`;
  return { kind: 'length', bytes: Number(lengths[0]) };
}
