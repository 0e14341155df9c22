import { kernelContract } from './kernel-backends.ts';
import { loopRules } from './loop.ts';

/** Whether it has `sendFrom`. */
const FORWARDS = false;

kernelContract('epoll', 'epoll', FORWARDS);
loopRules('epoll', 'epoll');
