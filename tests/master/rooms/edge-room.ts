/**
 * The edge as a locked room, for tests: its reactor on a restricted io_uring, its worker with TLS, files and a backend,
 * on a listening socket that the master opened. Seals itself, does all that might need more than the seal leaves
 * (compilation, collection of garbage, timers, text in all languages), and says that it is ready.
 *
 * Arguments: the configuration, `io_uring` or `epoll`. Descriptors: 3 to the master, 4 the listening socket.
 */

import { randomBytes } from 'node:crypto';
import { loadBackendTls } from '../../../src/backend/backend-tls.ts';
import { loadAndInspect } from '../../../src/cli/load.ts';
import { Names } from '../../../src/edge/names.ts';
import { ServerTls } from '../../../src/edge/server-tls.ts';
import { withKernelTls } from '../../../src/edge/tls-acceptor.ts';
import { EdgeWorker } from '../../../src/edge/worker.ts';
import type { KernelReactor } from '../../../src/io/kernel-reactor.ts';
import { runReactor } from '../../../src/io/loop.ts';
import { openReactor } from '../../../src/io/open.ts';
import type { SocketSlot } from '../../../src/io/socket-slot.ts';
import { REACTOR_OPERATIONS } from '../../../src/io/uring-restrictions.ts';
import { Log } from '../../../src/log/log.ts';
import { seal, warmUp } from '../../../src/sys/process-seal.ts';
import { readTlsFiles } from '../../../src/tls/certificate-files.ts';
import { FileSink } from '../../fixtures/log-sink.ts';
import { stressEngine } from './stress-engine.ts';

const LISTENER = 4;

const { config, problems } = loadAndInspect(process.argv[2]);
if (config === null) throw new Error(JSON.stringify(problems));
const { reactor } = openReactor({
  operations: REACTOR_OPERATIONS,
  backend: process.argv[3] === 'epoll' ? 'epoll' : 'uring',
});
const kernelReactor = reactor as unknown as KernelReactor<SocketSlot>;
kernelReactor.listen = (_address, _options, handler) => kernelReactor.listenOn(LISTENER, handler);
const worker = new EdgeWorker(reactor, new Log(config.logging, new FileSink(config.logging.filePath)));
const sessions =
  config.tls === null
    ? null
    : withKernelTls(new ServerTls().load(config.tls, readTlsFiles(config.tls), false), null);
const backendTls = loadBackendTls(config);
worker.configure(config, await new Names(() => {}).resolve(config), sessions, backendTls);
worker.listen(config.server.listen[0]);
await warmUp();
process.on('SIGHUP', () => console.log('hangup'));
process.on('SIGTERM', () => process.exit(0));
const sealed = seal();
if (sealed < 0) throw new Error(`cannot be sealed: ${sealed}`);
stressEngine(randomBytes(16).toString('hex'));
await new Promise((resolve) => setTimeout(resolve, 5));
runReactor(reactor);
console.log(`ready with ${reactor.name}`);
