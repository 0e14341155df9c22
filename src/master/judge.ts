/**
 * Asks the judge, a short-lived process, what a configuration is worth: it reads the files, private keys included, and
 * hands back what others may know. The master itself never parses a configuration or reads a key.
 *
 * Whatever becomes of the judge, the answer is a judgement: a judge that dies, hangs or babbles is a problem in words.
 */

import { spawn } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PATIENCE } from '../base/patience.ts';
import { GENERATION_MAX, KEYS_MAX, type KeyFile, type Material } from '../config/material.ts';
import type { Config } from '../config/model.ts';
import type { Problem } from '../config/problem.ts';
import { noInput } from './no-input.ts';

/** Bytes of a judgement: a configuration of the longest kind with its problems. */
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
/** What is told of a judge's last words. */
const WORDS_CHARS_MAX = 400;
const JUDGE_MS_MAX = 60_000 * PATIENCE;

/** A configuration that may be put in force. */
export interface Accepted {
  readonly generation: number;
  readonly config: Config;
  readonly material: Material;
  readonly keys: readonly KeyFile[];
}

export interface Judged {
  /** Null where there is any problem. */
  readonly accepted: Accepted | null;
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];
}

/** What the judge writes (src/cli/judgement.ts). */
export interface Judgement {
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];
  /** These are null where there is any problem. */
  readonly config: Config | null;
  readonly material: Material | null;
  readonly keys: readonly KeyFile[];
}

export interface JudgeOptions {
  /** The judge's program, with flags of Node.js before it; that of this installation where absent. */
  readonly program?: readonly string[];
  readonly timeoutMs?: number;
}

/** In the next folder, in the sources as in what is built of them. */
const PROGRAM = fileURLToPath(new URL(`../cli/judge-main${extname(import.meta.filename)}`, import.meta.url));

/** Has a configuration judged. Never rejects. Generations count from 1. */
export async function judge(
  configPath: string,
  generation: number,
  { program = [PROGRAM], timeoutMs = JUDGE_MS_MAX }: JudgeOptions = {},
): Promise<Judged> {
  if (generation > GENERATION_MAX) return failed('there were too many reloads: restart the server');
  const { output, failure } = await run([...program, configPath, String(generation)], timeoutMs);
  if (failure !== '') return failed(failure);
  const judgement = parse(output);
  if (judgement === null) return failed('it wrote something else than a judgement');
  const { problems, warnings, config, material, keys } = judgement;
  if (config === null || material === null || problems.length > 0)
    return problems.length > 0 ? { accepted: null, problems, warnings } : failed('it gave no reason');
  if (!keys.every((key) => isOf(generation, key))) return failed('it named keys that can’t be its own');
  return { accepted: { generation, config, material, keys }, problems, warnings };
}

interface Run {
  readonly output: Buffer;
  /** Empty where it ended as it should. */
  readonly failure: string;
}

function run(command: readonly string[], timeoutMs: number): Promise<Run> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    let words = '';
    let reason = '';
    const child = spawn(process.execPath, [...process.execArgv, ...command], {
      stdio: [noInput(), 'pipe', 'pipe'],
      env: environment(),
      detached: true,
    });
    const stop = (why: string): void => {
      if (reason === '') reason = why;
      child.kill('SIGKILL');
    };
    const timer = setTimeout(() => stop(`it took more than ${timeoutMs / 1000} seconds`), timeoutMs);
    const finish = (failure: string): void => {
      clearTimeout(timer);
      resolve({ output: Buffer.concat(chunks), failure });
    };
    child.stdout?.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > OUTPUT_BYTES_MAX) stop(`its judgement has more than ${OUTPUT_BYTES_MAX} bytes`);
      else chunks.push(chunk);
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      words = (words + chunk.toString('utf8')).slice(-WORDS_CHARS_MAX);
    });
    child.once('error', (error) => finish(`it can’t be started (${error.message})`));
    child.once('close', (code, signal) => {
      const end = signal === null ? `exit code ${code}` : signal;
      const ended = code === 0 ? '' : `it ended with ${end}${words === '' ? '' : `: ${words.trim()}`}`;
      finish(reason || ended);
    });
  });
}

/** Nothing of the master's environment but where the system's certificates are, and what time it is here. */
function environment(): Record<string, string> {
  const variables: Record<string, string> = { UV_USE_IO_URING: '0', OPENSSL_CONF: '/nonexistent' };
  for (const name of ['SSL_CERT_FILE', 'SSL_CERT_DIR', 'TZ']) {
    const value = process.env[name];
    if (value !== undefined) variables[name] = value;
  }
  return variables;
}

function parse(output: Buffer): Judgement | null {
  try {
    const value = JSON.parse(output.toString('utf8')) as Partial<Judgement> | null;
    const isJudgement =
      Array.isArray(value?.problems) && Array.isArray(value.warnings) && Array.isArray(value.keys);
    return isJudgement ? (value as Judgement) : null;
  } catch {
    return null;
  }
}

function isOf(generation: number, { id, role, path }: KeyFile): boolean {
  const first = generation * KEYS_MAX;
  const isNumbered = Number.isInteger(id) && id >= first && id < first + KEYS_MAX;
  return isNumbered && (role === 'server' || role === 'client') && typeof path === 'string';
}

function failed(reason: string): Judged {
  const problem: Problem = {
    kind: 'not-found',
    path: '',
    keys: [],
    line: 0,
    column: 0,
    message: `The configuration can't be judged by the process that reads it: ${reason}`,
    allowed: '',
    mend: '',
  };
  return { accepted: null, problems: [problem], warnings: [] };
}
