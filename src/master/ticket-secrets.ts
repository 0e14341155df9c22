/**
 * The secret that workers derive the keys of session tickets from, where no file has them: one for all, so that a ticket
 * of one worker is good with another and after a worker was replaced. It moves on with time as each worker's own does
 * (TicketKeys of src/tls): what protected the tickets of the past is gone here, too.
 */

import { hkdfSync, randomBytes } from 'node:crypto';
import type { TicketSecret } from '../config/material.ts';
import type { TlsConfig } from '../config/model.ts';

const SECRET_BYTES = 32;
/** A secret that is so many periods behind is made anew: nobody has tickets of it any more. */
const STEPS_MAX = 4096;

export class TicketSecrets {
  private secret: Buffer;
  private period: number;
  private periodSecs: number;
  private readonly now: () => number;

  /** `now` gives milliseconds since 1970. */
  constructor(now: () => number = Date.now) {
    this.secret = Buffer.alloc(0);
    this.period = 0;
    this.periodSecs = 0;
    this.now = now;
  }

  /** What a worker that starts or is configured now is given; null where tickets are off or their keys are in a file. */
  current(tls: TlsConfig | null): TicketSecret | null {
    if (tls === null || !tls.sessionTickets || tls.sessionTicketKeyPath !== null) return null;
    this.advance(tls.sessionTicketRotationSecs);
    return { secret: this.secret.toString('base64'), period: this.period };
  }

  private advance(periodSecs: number): void {
    const target = Math.floor(this.now() / (periodSecs * 1000));
    if (periodSecs !== this.periodSecs || target - this.period > STEPS_MAX) {
      this.periodSecs = periodSecs;
      this.period = target;
      this.replace(randomBytes(SECRET_BYTES));
    }
    for (; this.period < target; this.period++)
      this.replace(Buffer.from(hkdfSync('sha256', this.secret, '', 'next', SECRET_BYTES)));
  }

  private replace(secret: Buffer): void {
    this.secret.fill(0);
    this.secret = secret;
  }
}
