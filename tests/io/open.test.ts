import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openReactor, ReactorUnavailable } from '../../src/io/open.ts';

const SHAPE = { small: 4, medium: 16, large: 4 };

test('SALLYPORT_IO=epoll and =uring choose the backend, and the reason says so', () => {
  const epoll = openReactor({ shape: SHAPE, backend: 'epoll' });
  assert.equal(epoll.reactor.name, 'epoll');
  assert.match(epoll.reason, /SALLYPORT_IO/);
  epoll.reactor.destroy();
  const uring = openReactor({ shape: SHAPE, backend: 'uring' });
  assert.equal(uring.reactor.name, 'io_uring');
  uring.reactor.destroy();
});

test('an unknown name is refused with the names that are allowed', () => {
  assert.throws(
    () => openReactor({ shape: SHAPE, backend: 'kqueue' }),
    (error) => error instanceof ReactorUnavailable && /'kqueue'.*'uring' or 'epoll'/.test(error.message),
  );
});

const REFUSALS = [
  { errno: 1, name: 'forbidden', says: /io_uring is forbidden here/ },
  { errno: 38, name: 'missing', says: /has no io_uring/ },
  { errno: 22, name: 'too old', says: /takes Linux 6\.1 or newer \(EINVAL\)/ },
];

for (const { errno, name, says } of REFUSALS) {
  test(`where io_uring is ${name}, epoll serves and says why; io_uring asked for by name is refused`, () => {
    const script = fileURLToPath(new URL('run-without-uring.ts', import.meta.url));
    const { stdout, stderr } = spawnSync(process.execPath, [script, String(errno)], { encoding: 'utf8' });
    const [chosen, refused] = stdout.split('\n');
    assert.match(chosen, /^epoll: /, stderr);
    assert.match(chosen, says);
    assert.match(refused, says);
    assert.match(refused, /unset it to use epoll/);
  });
}

test('two reactors of a kind live side by side, and a destroyed one leaves room for many more', () => {
  for (let count = 0; count < 40; count++) {
    const one = openReactor({ shape: SHAPE }).reactor;
    const two = openReactor({ shape: SHAPE }).reactor;
    one.turn(0);
    two.turn(0);
    one.destroy();
    two.destroy();
    two.destroy();
  }
});
