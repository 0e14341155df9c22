import { exhaustionRule, kernelBackend } from './kernel-backends.ts';
import { reactorContract } from './reactor-contract.ts';

reactorContract('epoll', kernelBackend('epoll'));
exhaustionRule('epoll');
