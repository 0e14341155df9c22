/**
 * Tells the service manager that started the master how things are (sd_notify(3)): a datagram to the socket that
 * NOTIFY_SOCKET names. Without one, nothing is told.
 */

import { sendDatagram } from '../sys/descriptors.ts';

/** systemd shows a status in one line. */
const STATUS_CHARS_MAX = 200;

export class ServiceNotification {
  private readonly path: string;

  /** `socket` is what NOTIFY_SOCKET says: an absolute path, or `@` and an abstract name. */
  constructor(socket: string | undefined = process.env['NOTIFY_SOCKET']) {
    const isUsable = socket !== undefined && /^[/@]./.test(socket);
    this.path = isUsable ? socket.replace(/^@/, '\0') : '';
  }

  ready(status: string): void {
    this.tell('READY=1', statusLine(status));
  }

  /** The configuration is read anew; `ready` follows. The manager compares the time with its own clock. */
  reloading(): void {
    this.tell('RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
  }

  stopping(status: string): void {
    this.tell('STOPPING=1', statusLine(status));
  }

  status(status: string): void {
    this.tell(statusLine(status));
  }

  /** A new master has taken over. */
  mainProcess(pid: number): void {
    this.tell(`MAINPID=${pid}`);
  }

  private tell(...lines: readonly string[]): void {
    // A manager that doesn't listen is no reason to stop.
    if (this.path !== '') sendDatagram(this.path, Buffer.from(lines.join('\n'), 'utf8'));
  }
}

function statusLine(status: string): string {
  return `STATUS=${status.replaceAll(/[\r\n]+/g, ' ').slice(0, STATUS_CHARS_MAX)}`;
}
