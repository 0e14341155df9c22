/** Runs the exhaustion rule in a process of its own, which was started with a low limit of descriptors. */

import { DEFAULT_LIMITS } from '../../src/io/kernel-reactor.ts';
import { runOutOfDescriptors } from './exhaustion.ts';
import { kernelBackend } from './kernel-backends.ts';

// Pipes would take most of the few descriptors.
const pair = kernelBackend(process.argv[2] ?? '', { ...DEFAULT_LIMITS, pipes: 0 })();
runOutOfDescriptors(pair);
pair.dispose();
console.log('ran out and recovered');
