/** Sends one hostile request in one of several ways, and says what became of it. */

import { randomInt } from 'node:crypto';
import { MessageSyntaxError, type ResponseMessage, responseReader } from '../fixtures/message-reader.ts';
import { bytes, RawClient } from '../fixtures/raw-client.ts';
import { POISON, type RejectedCase } from './request-case.ts';

/** How the bytes of a case are cut into segments. */
export const DELIVERIES = ['whole', 'single bytes', 'two halves'] as const;
export type Delivery = (typeof DELIVERIES)[number];

/** Up to this length every byte is sent alone; a longer case is cut at as many places by chance. */
const SINGLE_BYTES_MAX = 400;
const RANDOM_CUTS = 40;

export interface Verdict {
  readonly responses: readonly ResponseMessage[];
  readonly closed: boolean;
  /** Where the bytes were cut, for a message that lets the case be sent again. */
  readonly cuts: readonly number[];
  /** What came back that is no response. */
  readonly garbage: string;
}

let caseCount = 0;

/** A word that marks the bytes of one case among all that an origin gets. */
export function nextId(): string {
  caseCount++;
  return `case-${process.pid}-${caseCount}x`;
}

function cutsFor(delivery: Delivery, length: number): number[] {
  switch (delivery) {
    case 'whole':
      return [];
    case 'two halves':
      return [randomInt(1, length)];
    case 'single bytes': {
      if (length <= SINGLE_BYTES_MAX) return Array.from({ length: length - 1 }, (_, index) => index + 1);
      const cuts = Array.from({ length: RANDOM_CUTS }, () => randomInt(1, length));
      return cuts.sort((a, b) => a - b);
    }
  }
}

/** Sends a case and reads to the end of the connection, or as long as `patienceMs`. */
export async function sendCase(
  port: number,
  case_: RejectedCase,
  id: string,
  delivery: Delivery,
  patienceMs: number,
): Promise<Verdict> {
  const text = case_.mayContinue ? case_.request : case_.request + POISON;
  const data = bytes(text.replaceAll('$ID', id));
  const cuts = cutsFor(delivery, data.length);
  const client = await RawClient.connect(port);
  try {
    await client.sendInPieces(data, cuts);
    if (case_.mayContinue) {
      const response = await client.response(case_.request.split(' ', 1)[0], patienceMs);
      return { responses: [response], closed: client.ending !== 'open', cuts, garbage: '' };
    }
    const closed = await client.closed(patienceMs).then(
      () => true,
      () => false,
    );
    return { ...parseResponses(client.unread(), case_), closed, cuts };
  } finally {
    client.destroy();
  }
}

function parseResponses(
  received: Buffer,
  case_: RejectedCase,
): { responses: ResponseMessage[]; garbage: string } {
  const responses: ResponseMessage[] = [];
  const method = case_.request.startsWith('HEAD ') ? 'HEAD' : 'GET';
  let rest = received;
  try {
    while (rest.length > 0) {
      const reader = responseReader(method);
      if (!reader.push(rest) && !reader.end()) return { responses, garbage: rest.toString('latin1') };
      if (reader.message!.status >= 200) responses.push(reader.message!);
      rest = reader.rest();
    }
  } catch (error) {
    if (!(error instanceof MessageSyntaxError)) throw error;
    return { responses, garbage: `${error.message} in ${rest.toString('latin1')}` };
  }
  return { responses, garbage: '' };
}

/** What is wrong with the verdict on a case; empty when all is well. `originText` is all that the origin got. */
export function complaints(case_: RejectedCase, verdict: Verdict, originText: string, id: string): string[] {
  const found: string[] = [];
  const statuses = verdict.responses.map((response) => response.status);
  const wanted = case_.answered + 1;
  if (statuses.length !== wanted)
    found.push(`${statuses.length} responses, not ${wanted}: ${statuses.join(' ')}`);
  else if (!case_.status.includes(statuses[case_.answered])) {
    found.push(`status ${statuses[case_.answered]}, not ${case_.status.join(' or ')}`);
  }
  if (statuses.slice(0, case_.answered).some((status) => status !== 200)) {
    found.push(`what stands before the fault was answered ${statuses.join(' ')}`);
  }
  if (!case_.mayContinue && !verdict.closed) found.push('the connection stays open');
  if (verdict.garbage !== '') found.push(`no response: ${JSON.stringify(verdict.garbage.slice(0, 200))}`);
  if (originText.includes(`poison-${id}`)) found.push('the origin got what stands behind the fault');
  const heads = originText.split(id).length - 1;
  const headsMax = case_.stage === 'body' ? 1 : case_.answered;
  if (heads > headsMax) found.push(`the origin got it ${heads} times`);
  return found;
}
