import { kernelContract } from './kernel-backends.ts';
import { loopRules } from './loop.ts';

kernelContract('io_uring', 'uring');
loopRules('io_uring', 'uring');
