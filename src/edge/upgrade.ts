/** Upgrades (RFC 9110 §7.8) and the WebSocket handshake (RFC 6455 §4) as a proxy must check them. */

import { createHash } from 'node:crypto';
import { F_SEC_WEBSOCKET_ACCEPT, F_SEC_WEBSOCKET_KEY, F_UPGRADE } from '../http/fields.ts';
import type { RequestHead, ResponseHead } from '../http/message.ts';
import type { Exchange } from './exchange.ts';

/** RFC 6455 §1.3. */
const WEBSOCKET_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/**
 * The value of Upgrade that is passed on: the tokens offered that the route allows. Empty when only `h2c` was
 * offered, which always ends here; null when anything else that is not allowed was.
 */
export function offeredUpgrade(value: string, allowed: readonly string[]): string | null {
  const offered: string[] = [];
  for (const part of value.split(',')) {
    const token = part.trim();
    if (token === '' || token.toLowerCase() === 'h2c') continue;
    if (!allowed.includes(token.toLowerCase())) return null;
    offered.push(token);
  }
  return offered.join(', ');
}

/** Whether a 101 is what was asked for. */
export function validUpgrade(request: RequestHead, response: ResponseHead, offered: string): boolean {
  if (offered === '' || response.upgradeIndex < 0) return false;
  const chosen = response.fields.valueText(response.upgradeIndex).trim().toLowerCase();
  const tokens = offered.toLowerCase().split(', ');
  if (!tokens.includes(chosen)) return false;
  if (chosen !== 'websocket') return true;
  const key = request.fields.find(F_SEC_WEBSOCKET_KEY, 0);
  const accept = response.fields.find(F_SEC_WEBSOCKET_ACCEPT, 0);
  if (key < 0 || accept < 0) return false;
  return response.fields.valueText(accept) === acceptOf(request, key);
}

function acceptOf(request: RequestHead, key: number): string {
  return createHash('sha1')
    .update(request.fields.valueText(key) + WEBSOCKET_GUID)
    .digest('base64');
}

/**
 * Makes the response of an extended CONNECT (RFC 8441 §5) the 101 that it is over HTTP/1.1, with what was `offered`. False: no
 * room.
 */
export function acceptUpgrade(exchange: Exchange, offered: string): boolean {
  const { request, response, scratch } = exchange;
  const { fields } = response;
  const key = request.fields.find(F_SEC_WEBSOCKET_KEY, 0);
  response.status = 101;
  fields.removeAll(F_SEC_WEBSOCKET_ACCEPT);
  if (key >= 0 && !scratch.addField(fields, F_SEC_WEBSOCKET_ACCEPT, '', acceptOf(request, key))) return false;
  response.upgradeIndex = fields.count;
  return scratch.addField(fields, F_UPGRADE, '', offered);
}
