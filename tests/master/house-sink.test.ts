/** Where the master's own entries go. */

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { HouseSink, type Told } from '../../src/master/house-sink.ts';

const lines = Buffer.from('one\n');

describe('the master’s log', () => {
  it('goes to the journal as it takes it', () => {
    const sink = new HouseSink();
    const told: unknown[] = [];
    let answer: Told = 'sent';
    sink.toJournal((message) => {
      told.push(message);
      return answer;
    });
    assert.ok(sink.take(lines, 1, 3));
    assert.deepEqual(told, [{ kind: 'log', dropped: 3, bytes: lines }]);
    answer = 'full';
    assert.ok(!sink.take(lines, 1, 0));
  });

  it('goes to standard error, in order, while there is none and when all ends', () => {
    const script = `
      import { Log } from '${join(import.meta.dirname, '../../src/log/log.ts')}';
      import { HouseSink } from '${join(import.meta.dirname, '../../src/master/house-sink.ts')}';
      const sink = new HouseSink();
      const log = new Log({ level: 'info', format: 'json', channelSize: 1000, flushIntervalMs: 1 }, sink);
      let isThere = false;
      sink.toJournal(() => (isThere ? 'sent' : 'absent'));
      for (let entry = 0; entry < 300; entry++) {
        log.info(String(entry));
        log.flush();
        if (entry % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      }
      await new Promise((resolve) => setTimeout(resolve, 500));
      isThere = true;
      log.info('to the journal');
      log.flush();
      sink.toStandardError();
      log.info('last');
      log.flush();
    `;
    const { stderr, status } = spawnSync(
      process.execPath,
      ['--no-warnings', '--input-type=module', '-e', script],
      {
        encoding: 'utf8',
        timeout: 60_000,
      },
    );
    assert.equal(status, 0, stderr);
    const messages = stderr
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).message);
    assert.deepEqual(messages, [...[...Array(300).keys()].map(String), 'last']);
  });

  it('waits for nobody who doesn’t read standard error', async () => {
    const script = `
      import { HouseSink } from '${join(import.meta.dirname, '../../src/master/house-sink.ts')}';
      const sink = new HouseSink();
      const lines = Buffer.from('a line\\n'.repeat(5000));
      let count = 0;
      while (sink.take(lines, 5000, 0) && count < 1000) count++;
      sink.toStandardError();
      process.exit(count < 1000 && sink.take(lines, 5000, 0) ? 0 : 1);
    `;
    const child = spawn(process.execPath, ['--no-warnings', '--input-type=module', '-e', script], {
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: 60_000,
    });
    const [code, signal] = await once(child, 'exit');
    child.stderr.destroy();
    assert.deepEqual({ code, signal }, { code: 0, signal: null });
  });
});
