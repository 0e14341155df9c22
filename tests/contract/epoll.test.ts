import { kernelContract } from './kernel-backends.ts';
import { loopRules } from './loop.ts';

kernelContract('epoll', 'epoll');
loopRules('epoll', 'epoll');
