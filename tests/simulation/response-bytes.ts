/** Answers of a plan as bytes on the wire: honest, lying and broken. */

import { content, DOWN } from './content.ts';
import type { RequestPlan } from './plan.ts';
import { chunk, split, WEBSOCKET_ACCEPT } from './request-bytes.ts';
import type { Step } from './scripted-socket.ts';

function bytesStep(text: string): Step {
  return { kind: 'bytes', bytes: Buffer.from(text, 'latin1') };
}

function head(plan: RequestPlan, connection: number, fields: readonly string[]): string {
  const lines = [`HTTP/1.1 ${plan.response.status} As Planned`, `X-Sim-Id: ${plan.id}`];
  lines.push(`X-Sim-Connection: ${connection}`, ...fields);
  if (plan.response.afterwards === 'closes') lines.push('Connection: close');
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** A whole response that nobody asked for. */
export function unasked(connection: number): Step {
  const fields = `Content-Length: 5\r\nX-Sim-Id: 999999\r\nX-Sim-Connection: ${connection}`;
  return bytesStep(`HTTP/1.1 200 OK\r\n${fields}\r\n\r\nevil!`);
}

/** Whether this answer has content at all. */
export function hasContent(plan: RequestPlan): boolean {
  const { status } = plan.response;
  return plan.method !== 'HEAD' && status !== 204 && status !== 304;
}

/** Whether the connection ends with this answer. */
export function closesAfter(plan: RequestPlan): boolean {
  const { behaviour, framing, afterwards } = plan.response;
  if (behaviour !== 'answers') return true;
  return (framing === 'until-close' && hasContent(plan)) || afterwards !== 'keeps';
}

export function upgradeSteps(plan: RequestPlan): Step[] {
  const lines = [
    'HTTP/1.1 101 Switching Protocols',
    `X-Sim-Id: ${plan.id}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    `Sec-WebSocket-Accept: ${WEBSOCKET_ACCEPT}`,
  ];
  return [
    bytesStep(`${lines.join('\r\n')}\r\n\r\n`),
    ...pieces(plan, plan.response.bytes, (bytes) => bytes),
    { kind: 'fin' },
  ];
}

function pieces(plan: RequestPlan, bytes: number, wrap: (bytes: Uint8Array) => Uint8Array): Step[] {
  const { response, id } = plan;
  return split(bytes, response.pieces).flatMap(({ from, length }) => {
    const step: Step = { kind: 'bytes', bytes: wrap(content(id, DOWN, from, length)) };
    return response.pauseMs > 0 ? [step, { kind: 'wait', ms: response.pauseMs } as const] : [step];
  });
}

/** The whole answer on an origin's connection of this number, up to what the origin does with its connection. */
export function answerSteps(plan: RequestPlan, connection: number): Step[] {
  const { response } = plan;
  const steps: Step[] = [];
  if (response.delayMs > 0) steps.push({ kind: 'wait', ms: response.delayMs });
  if (plan.version === '1.1') {
    for (let count = 0; count < response.interims; count++) {
      steps.push(bytesStep('HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n'));
    }
  }
  if (response.behaviour === 'answers') steps.push(...honest(plan, connection));
  else steps.push(...dishonest(plan, connection));
  return steps;
}

function honest(plan: RequestPlan, connection: number): Step[] {
  const { response } = plan;
  if (!hasContent(plan)) {
    const length = plan.method === 'HEAD' ? ['Content-Length: 1234'] : [];
    return [bytesStep(head(plan, connection, length))];
  }
  switch (response.framing) {
    case 'length':
      return [
        bytesStep(head(plan, connection, [`Content-Length: ${response.bytes}`])),
        ...pieces(plan, response.bytes, (bytes) => bytes),
      ];
    case 'chunked':
      return [
        bytesStep(head(plan, connection, ['Transfer-Encoding: chunked'])),
        ...pieces(plan, response.bytes, (bytes) => chunk(bytes, ';ext=1')),
        bytesStep(`0\r\n${response.trailer ? 'X-Trailer: yes\r\n' : ''}\r\n`),
      ];
    case 'until-close':
      return [bytesStep(head(plan, connection, [])), ...pieces(plan, response.bytes, (bytes) => bytes)];
  }
}

function dishonest(plan: RequestPlan, connection: number): Step[] {
  const { response } = plan;
  const { bytes } = response;
  const some = Math.max(1, bytes);
  const raw = (part: Uint8Array): Uint8Array => part;
  const coded = [bytesStep(head(plan, connection, ['Transfer-Encoding: chunked']))];
  switch (response.behaviour) {
    case 'too-long':
      return [
        bytesStep(head(plan, connection, hasContent(plan) ? [`Content-Length: ${bytes}`] : [])),
        ...(hasContent(plan) ? pieces(plan, bytes, raw) : []),
        unasked(connection),
        { kind: 'fin' },
      ];
    case 'too-short':
    case 'too-short-reset':
      return [
        bytesStep(head(plan, connection, [`Content-Length: ${bytes + 10}`])),
        ...pieces(plan, bytes, raw),
        { kind: response.behaviour === 'too-short' ? 'fin' : 'reset' },
      ];
    case 'bad-chunk':
      return [
        ...coded,
        ...pieces(plan, bytes, (part) => chunk(part, '')),
        bytesStep('x5\r\nhello\r\n0\r\n\r\n'),
      ];
    case 'no-last-chunk':
      return [...coded, ...pieces(plan, bytes, (part) => chunk(part, '')), { kind: 'fin' }];
    case 'garbage':
      return [
        { kind: 'bytes', bytes: content(plan.id, DOWN, 0, Math.min(2000, some)) },
        bytesStep('\r\n\r\n'),
      ];
    case 'two-lengths':
      return [
        bytesStep(head(plan, connection, ['Content-Length: 5', 'Content-Length: 6'])),
        bytesStep('hello!'),
      ];
    case 'length-and-coding':
      return [
        bytesStep(head(plan, connection, ['Content-Length: 5', 'Transfer-Encoding: chunked'])),
        bytesStep('5\r\nhello\r\n0\r\n\r\n'),
      ];
    case 'folded-field':
      return [bytesStep(head(plan, connection, ['X-Folded: one', '\ttwo', 'Content-Length: 0']))];
    case 'huge-head':
      return [bytesStep(head(plan, connection, [`X-Huge: ${'x'.repeat(80_000)}`, 'Content-Length: 0']))];
    case 'closes-before-head':
      return [{ kind: 'fin' }];
    case 'resets-before-head':
      return [{ kind: 'reset' }];
    case 'closes-in-head':
      return [bytesStep(`HTTP/1.1 200 OK\r\nX-Sim-Id: ${plan.id}\r\nContent-Le`), { kind: 'fin' }];
    case 'never-answers':
      return [];
    case 'stops-in-content':
      return [
        bytesStep(head(plan, connection, [`Content-Length: ${bytes + 1000}`])),
        ...pieces(plan, bytes, raw),
      ];
    case 'answers':
      return [];
  }
}
