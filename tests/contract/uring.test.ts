import { kernelContract } from './kernel-backends.ts';
import { loopRules } from './loop.ts';

/** Whether it has `sendFrom`. */
const FORWARDS = false;

kernelContract('io_uring', 'uring', FORWARDS);
loopRules('io_uring', 'uring');
