/** Protocol state of HTTP/1.1 for one message each way. Pooled: only a connection with work holds one. */

import { BodyDecoder } from '../http1/body-decoder.ts';
import type { RecentHeads } from '../http1/recent-heads.ts';
import { type HeadLimits, RequestParser } from '../http1/request-parser.ts';
import { ResponseParser } from '../http1/response-parser.ts';
import type { BufferPool } from '../io/buffer-pool.ts';
import { MessageOut } from './message-out.ts';

/** A client's connection: requests come in, responses go out. */
export class ServerEngine {
  readonly parser: RequestParser;
  readonly decoder: BodyDecoder;
  readonly out: MessageOut;
  /** The limits that it was made for; one with other limits than those in force is not reused. */
  readonly limits: HeadLimits;

  constructor(pool: BufferPool, limits: HeadLimits, recent: RecentHeads) {
    this.parser = new RequestParser(limits, recent);
    this.decoder = new BodyDecoder();
    this.out = new MessageOut(pool);
    this.limits = limits;
  }
}

/** A backend's connection: requests go out, responses come in. */
export class ClientEngine {
  readonly parser: ResponseParser;
  readonly decoder: BodyDecoder;
  readonly out: MessageOut;

  constructor(pool: BufferPool, limits: HeadLimits, recent: RecentHeads) {
    this.parser = new ResponseParser(limits, recent);
    this.decoder = new BodyDecoder();
    this.out = new MessageOut(pool);
  }
}
