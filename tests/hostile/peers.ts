/**
 * Sends the hostile requests to other proxies and counts what they refuse: the measure of our own strictness,
 * and the proof that the suite can fail. `node tests/hostile/peers.ts [--list]`
 */

import { serveEcho, startOrigin } from '../fixtures/origin.ts';
import { type RunningServer, startHaproxy, startNginx } from '../fixtures/servers.ts';
import { FRAMING_CASES } from './framing-cases.ts';
import { HEAD_CASES } from './head-cases.ts';
import type { RejectedCase } from './request-case.ts';
import { complaints, nextId, sendCase } from './send-case.ts';
import { TARGET_CASES } from './target-cases.ts';

const CLOSE_MS_MAX = 1500;
const CONCURRENCY = 16;

export const ALL_CASES: readonly RejectedCase[] = [...FRAMING_CASES, ...HEAD_CASES, ...TARGET_CASES];

/** nginx as a proxy to `url`, as strict as its configuration lets it be. */
export function nginxProxy(url: string): Promise<RunningServer> {
  return startNginx(
    () => `
    server_name example.com; client_max_body_size 10m; large_client_header_buffers 4 8k;
    location / { proxy_pass ${url}; proxy_http_version 1.1; proxy_set_header Host $host;
      proxy_set_header Connection ""; proxy_request_buffering off; proxy_buffering off; }`,
  );
}

function haproxyProxy(originPort: number): Promise<RunningServer> {
  return startHaproxy(
    (port) => `
defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 5s
  timeout http-request 5s
frontend edge
  bind 127.0.0.1:${port}
  default_backend origin
backend origin
  server origin 127.0.0.1:${originPort}
`,
  );
}

/** Names of the cases that a proxy gets wrong, with what is wrong. */
export async function failures(
  proxy: RunningServer,
  originText: () => string,
  cases: readonly RejectedCase[],
): Promise<Map<string, string[]>> {
  const wrong = new Map<string, string[]>();
  const queue = [...cases];
  const work = async (): Promise<void> => {
    for (let case_ = queue.shift(); case_ !== undefined; case_ = queue.shift()) {
      const id = nextId();
      const verdict = await sendCase(proxy.port, case_, id, 'whole', CLOSE_MS_MAX).catch((error) => error);
      let found = verdict instanceof Error ? [verdict.message] : complaints(case_, verdict, originText(), id);
      // Another refusal than ours is a refusal.
      found = found.filter((complaint) => !/^status [45]/.test(complaint));
      if (found.length > 0) wrong.set(case_.name, found);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, work));
  return wrong;
}

async function main(): Promise<void> {
  for (const name of ['nginx', 'haproxy']) {
    const origin = await startOrigin(serveEcho);
    const proxy = name === 'nginx' ? await nginxProxy(origin.url) : await haproxyProxy(origin.port);
    const wrong = await failures(proxy, () => origin.text(), ALL_CASES);
    console.log(`${name}: ${ALL_CASES.length - wrong.size} of ${ALL_CASES.length}`);
    if (process.argv.includes('--list')) {
      for (const [case_, found] of wrong) console.log(`  ${case_}: ${found.join('; ')}`);
    }
    await proxy.close();
    await origin.close();
  }
}

if (import.meta.main) await main();
