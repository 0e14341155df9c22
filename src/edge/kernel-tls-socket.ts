/**
 * A client's TLS connection whose records the kernel seals and opens after the handshake, so that sending,
 * sending files (sendfile) and receiving go straight to the reactor.
 *
 * Sending moves to the kernel when the handshake's last output has left and before anybody hears of the connection,
 * so that all of its content is sealed there. Receiving moves at the first boundary between records at which no
 * bytes are in our hands: what came with the handshake's end is opened in user space, and the rest of a record that
 * is not whole is received to the byte. While that lasts every receive takes one buffer, so that none is armed when the
 * kernel is given the key. Alerts and handshake messages go on to be ours.
 *
 * Where the kernel refuses: the connection goes on in user space (either direction by itself), or is refused.
 *
 * A client's KeyUpdate: with Linux 6.14 or newer both directions get new keys; with an older one, which can't, the
 * client gets the alert internal_error and the connection ends.
 */

import { type BufferId, MEDIUM, NO_BUFFER, SMALL } from '../io/buffer-pool.ts';
import type { FileHandle, Handle, Reactor } from '../io/reactor.ts';
import { LAST_TAG, T_CLOSING, T_HANDSHAKE, T_OPEN, type TlsOwner, TlsSocket } from '../socket/tls-socket.ts';
import { EBADMSG, EMSGSIZE, errnoName } from '../sys/errno.ts';
import { TLS_RX, TLS_TX } from '../sys/kernel-tls.ts';
import {
  ALERT_BAD_RECORD_MAC,
  ALERT_INTERNAL_ERROR,
  ALERT_RECORD_OVERFLOW,
  ALERT_UNEXPECTED_MESSAGE,
} from '../tls/alert.ts';
import type { Handshake } from '../tls/handshake.ts';
import {
  KEY_RECORDS_MAX,
  PLAINTEXT_MAX,
  RECORD_ALERT,
  RECORD_HANDSHAKE,
  type RecordLayer,
} from '../tls/record-layer.ts';
import { TLS13 } from '../tls/suites.ts';
import { type KernelTls, kernelTlsKey } from './kernel-tls.ts';

/** What the handler wants while receiving has not moved. */
const W_NOTHING = 0;
const W_STREAM = 1;
const W_ONCE = 2;

/** Tags of the handshake's output, and of our KeyUpdate. */
const HANDSHAKE_TAG: number = LAST_TAG + 1;
const KEY_UPDATE_TAG: number = LAST_TAG + 2;
/** Type key_update, length 1 in three bytes, update_not_requested (RFC 8446 §4.6.3). */
const KEY_UPDATE_MESSAGE = Uint8Array.of(24, 0, 0, 1, 0);

export class KernelTlsSocket extends TlsSocket {
  private readonly kernel: KernelTls;
  /** The kernel seals what is sent; opens what is received. */
  private seals: boolean;
  private opens: boolean;
  /** It has been decided who opens what is received. */
  private isSettled: boolean;
  /** The handshake is complete, and its last output is still leaving. */
  private leaving: Handshake | null;
  /** What came behind the handshake meanwhile. */
  private held: BufferId;
  private heldOffset: number;
  private heldEnd: number;
  private want: number;
  /** Records that were sent under the present key, about. */
  private recordsSent: number;

  constructor(reactor: Reactor, handle: Handle, handshake: Handshake, owner: TlsOwner, kernel: KernelTls) {
    super(reactor, handle, handshake, true, owner);
    this.kernel = kernel;
    this.seals = false;
    this.opens = false;
    this.isSettled = false;
    this.leaving = null;
    this.held = NO_BUFFER;
    this.heldOffset = 0;
    this.heldEnd = 0;
    this.want = W_NOTHING;
    this.recordsSent = 0;
  }

  override accept(handshakeMs: number): void {
    this.reactor.adopt(this.handle, this);
    this.armTimer(handshakeMs);
    this.reactor.receiveOnce(this.handle);
  }

  protected override dispose(): void {
    super.dispose();
    this.leaving = null;
    if (this.held !== NO_BUFFER) this.reactor.pool.release(this.held);
    this.held = NO_BUFFER;
  }

  // ---- From the handshake to the kernel -----------------------------------------------------------------

  protected override get outputTag(): number {
    return HANDSHAKE_TAG;
  }

  protected override open(handshake: Handshake): void {
    if (this.reactor.sendQueuedBytes(this.handle) > 0) this.leaving = handshake;
    else super.open(handshake);
  }

  /** The handshake's output has left. */
  private outputLeft(handshake: Handshake, result: number): void {
    if (result < 0) {
      this.failHandshake('the connection broke');
      return;
    }
    if (this.reactor.sendQueuedBytes(this.handle) > 0) return;
    this.leaving = null;
    super.open(handshake);
    const { held, heldOffset, heldEnd } = this;
    this.held = NO_BUFFER;
    this.readOn(held, heldOffset, heldEnd);
    if (held !== NO_BUFFER) this.reactor.pool.release(held);
  }

  protected override prepare(layer: RecordLayer): boolean {
    let objection = this.kernel.objection(layer);
    if (objection === '') objection = this.moveSending(layer);
    if (objection === '') return true;
    this.isSettled = true;
    this.kernel.report(objection);
    if (!this.kernel.isRequired) return true;
    this.failHandshake(`kernel TLS: ${objection}`);
    return false;
  }

  private moveSending(layer: RecordLayer): string {
    const key = kernelTlsKey(layer, layer.writeSlot, layer.writeSequence);
    const result = this.reactor.startKernelTls?.(this.handle, TLS_TX, key) ?? -1;
    this.seals = result === 0;
    return this.seals ? '' : `the kernel refused a key for sending (${errnoName(result)})`;
  }

  /** Opens what is in our hands, then lets the kernel open the rest, as soon as that is possible. */
  private readOn(buffer: BufferId, offset: number, end: number): void {
    if (this.state !== T_OPEN) return;
    const wasOnce = this.want === W_ONCE;
    if (wasOnce) this.want = W_NOTHING;
    this.delivered = false;
    if (end > offset && !this.peerEnded) this.openRecords(buffer, offset, end);
    // A record of interest to nobody: the handler still waits for what it asked.
    if (wasOnce && !this.delivered && this.want === W_NOTHING) this.want = W_ONCE;
    if (!this.isReading || this.opens) return;
    if (this.isSettled) this.applyWant();
    else if (this.partial !== null) this.reactor.receiveAtMost?.(this.handle, this.partial.bytesMissing);
    else this.moveReceiving();
  }

  private moveReceiving(): void {
    const { layer } = this;
    if (layer === null) return;
    const key = kernelTlsKey(layer, layer.readSlot, layer.readSequence);
    const result = this.reactor.startKernelTls?.(this.handle, TLS_RX, key) ?? -1;
    this.isSettled = true;
    this.opens = result === 0;
    if (!this.opens) this.kernel.report(`the kernel refused a key for receiving (${errnoName(result)})`);
    if (!this.opens && this.kernel.isRequired) this.fail(ALERT_INTERNAL_ERROR);
    else this.applyWant();
  }

  /** Receiving is settled: what the handler asked for meanwhile. */
  private applyWant(): void {
    const { want } = this;
    this.want = W_NOTHING;
    if (want === W_STREAM) super.receiveStart();
    else if (want === W_ONCE) super.receiveOnce();
  }

  // ---- Receiving ----------------------------------------------------------------------------------------

  override onReceive(handle: Handle, buffer: BufferId, offset: number, length: number): void {
    if (this.opens) this.take(handle, buffer, offset, length);
    else if (this.state === T_HANDSHAKE) this.receiveHandshake(buffer, offset, offset + length);
    else if (this.isSettled || this.state !== T_OPEN) super.onReceive(handle, buffer, offset, length);
    else {
      this.readOn(buffer, offset, offset + length);
      this.reactor.pool.release(buffer);
    }
  }

  private receiveHandshake(buffer: BufferId, offset: number, end: number): void {
    const { pool } = this.reactor;
    const at = this.shake(offset, end);
    if (this.leaving !== null && at < end) {
      this.held = buffer;
      this.heldOffset = at;
      this.heldEnd = end;
      return;
    }
    if (this.state === T_OPEN) this.readOn(buffer, at, end);
    else if (this.state === T_HANDSHAKE && this.leaving === null) this.reactor.receiveOnce(this.handle);
    pool.release(buffer);
  }

  /** Content that the kernel has opened. */
  private take(handle: Handle, buffer: BufferId, offset: number, length: number): void {
    const { handler } = this;
    if (this.isReading && handler !== null && this.post === null) {
      this.controls = 0;
      handler.onReceive(handle, buffer, offset, length);
      return;
    }
    this.reactor.pool.release(buffer);
    if (this.state === T_CLOSING) this.discard(length);
    else this.fail(ALERT_UNEXPECTED_MESSAGE);
  }

  onRecord(_handle: Handle, type: number, bytes: Uint8Array, length: number): void {
    if (!this.isReading) return;
    const { pool } = this.reactor;
    const id = pool.acquire(MEDIUM);
    if (id === NO_BUFFER) {
      this.outOfMemory();
      return;
    }
    const at = pool.offsetOf(id);
    pool.bytes.set(bytes.subarray(0, length), at);
    // Nothing may come between the parts of a message, and none of them is empty (RFC 8446 §5.1).
    if (length === 0 || (type !== RECORD_HANDSHAKE && this.post !== null))
      this.fail(ALERT_UNEXPECTED_MESSAGE);
    else if (type === RECORD_ALERT) this.readAlert(at, length);
    else if (type === RECORD_HANDSHAKE) this.readHandshakeMessages(at, length);
    else this.fail(ALERT_UNEXPECTED_MESSAGE);
    pool.release(id);
  }

  override onReceiveEnd(handle: Handle, errno: number): void {
    if (this.opens && this.isReading && errno === -EBADMSG) this.fail(ALERT_BAD_RECORD_MAC);
    else if (this.opens && this.isReading && errno === -EMSGSIZE) this.fail(ALERT_RECORD_OVERFLOW);
    else super.onReceiveEnd(handle, errno);
  }

  override receiveStart(): void {
    if (this.isSettled) super.receiveStart();
    else this.want = W_STREAM;
  }

  override receiveOnce(): void {
    if (this.isSettled) super.receiveOnce();
    else this.want = W_ONCE;
  }

  override receiveStop(): void {
    if (this.isSettled) super.receiveStop();
    else this.want = W_NOTHING;
  }

  // ---- Keys ---------------------------------------------------------------------------------------------

  protected override readHandshakeMessages(offset: number, length: number): void {
    super.readHandshakeMessages(offset, length);
    if (this.updateDue && this.seals && this.isReading) this.updateSending();
  }

  protected override updateReadKey(layer: RecordLayer): boolean {
    super.updateReadKey(layer);
    if (!this.opens) return true;
    const key = kernelTlsKey(layer, layer.readSlot, 0);
    const result = this.kernel.rekeys ? this.reactor.startKernelTls?.(this.handle, TLS_RX, key) : -1;
    if (result === 0) return true;
    this.kernel.report('a client changed its keys, which this kernel can’t follow (Linux 6.14 can)');
    this.fail(ALERT_INTERNAL_ERROR);
    return false;
  }

  /** Our KeyUpdate; the key follows when it has left. */
  private updateSending(): void {
    this.updateDue = false;
    if (!this.kernel.rekeys) {
      this.fail(ALERT_INTERNAL_ERROR);
      return;
    }
    this.sendControl(RECORD_HANDSHAKE, KEY_UPDATE_MESSAGE, KEY_UPDATE_TAG);
  }

  private keyUpdateLeft(result: number): void {
    const { layer } = this;
    if (layer === null || result < 0) return;
    layer.updateWriteKey();
    const key = kernelTlsKey(layer, layer.writeSlot, 0);
    if (this.reactor.startKernelTls?.(this.handle, TLS_TX, key) === 0) return;
    if (this.isReading) this.fail(ALERT_INTERNAL_ERROR);
    else this.finish(true);
  }

  // ---- Sending ------------------------------------------------------------------------------------------

  override send(handle: Handle, buffer: BufferId, offset: number, length: number, tag: number): void {
    if (!this.seals || this.sendErrno !== 0) super.send(handle, buffer, offset, length, tag);
    else if (this.state === T_OPEN && !this.endAsked) {
      this.reactor.send(this.handle, buffer, offset, length, tag);
      this.countRecords(length);
    } else this.reactor.pool.release(buffer);
  }

  override sendFile(handle: Handle, file: FileHandle, fileOffset: number, length: number, tag: number): void {
    if (!this.seals || this.sendErrno !== 0) super.sendFile(handle, file, fileOffset, length, tag);
    else if (this.state === T_OPEN && !this.endAsked) {
      this.reactor.sendFile(this.handle, file, fileOffset, length, tag);
      this.countRecords(length);
    }
  }

  /** A key of AES-GCM is good for so many records (RFC 8446 §5.5); where the kernel takes no other, it goes on with it. */
  private countRecords(length: number): void {
    this.recordsSent += Math.ceil(length / PLAINTEXT_MAX);
    if (this.recordsSent < KEY_RECORDS_MAX || !this.kernel.rekeys || this.layer?.suite.version !== TLS13)
      return;
    this.recordsSent = 0;
    this.updateSending();
  }

  protected override sendAlert(level: number, code: number, tag: number): void {
    if (!this.seals) super.sendAlert(level, code, tag);
    else if (this.layer !== null && !this.notified) {
      this.notified = this.sendControl(RECORD_ALERT, Uint8Array.of(level, code), tag);
    }
  }

  private sendControl(type: number, content: Uint8Array, tag: number): boolean {
    const { pool } = this.reactor;
    const id = pool.acquire(SMALL);
    if (id === NO_BUFFER) return false;
    const at = pool.offsetOf(id);
    pool.bytes.set(content, at);
    this.reactor.sendRecord?.(this.handle, type, id, at, content.length, tag);
    return true;
  }

  override onSend(handle: Handle, tag: number, result: number): void {
    if (this.leaving !== null) this.outputLeft(this.leaving, result);
    else if (tag === KEY_UPDATE_TAG) this.keyUpdateLeft(result);
    else if (tag !== HANDSHAKE_TAG) super.onSend(handle, tag, result);
  }
}
