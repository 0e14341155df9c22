/** How many workers a configuration has. */

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { type Config, WORKERS_MAX } from '../../src/config/model.ts';
import { Foundations } from '../../src/master/foundations.ts';
import { Listeners } from '../../src/master/listeners.ts';
import { LogFiles } from '../../src/master/log-files.ts';
import { workerCount } from '../../src/master/needed-rooms.ts';

function workersOf(threads: number, cores: number): number {
  const config = { server: { threads } } as Config;
  return workerCount(config, [...Array(cores).keys()]);
}

it('there are as many workers as were asked for, or one for each core', () => {
  assert.equal(workersOf(3, 8), 3);
  assert.equal(workersOf(0, 8), 8);
});

it('however many cores a machine has, all workers can be replaced at once', () => {
  assert.equal(workersOf(0, 1024), WORKERS_MAX);
  const logFiles = new LogFiles({ level: 'off', filePath: null, maxLogSize: 0 });
  const foundations = new Foundations(WORKERS_MAX, new Listeners(), logFiles);
  assert.ok(foundations.slots >= 2 * WORKERS_MAX);
  foundations.close();
});
