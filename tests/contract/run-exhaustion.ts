/** Runs the exhaustion rule in a process of its own, which was started with a low limit of descriptors. */

import { runOutOfDescriptors } from './exhaustion.ts';
import { kernelBackend } from './kernel-backends.ts';

const pair = kernelBackend(process.argv[2] ?? '')();
runOutOfDescriptors(pair);
pair.dispose();
console.log('ran out and recovered');
