import { exhaustionRule, kernelBackend } from './kernel-backends.ts';
import { reactorContract } from './reactor-contract.ts';

reactorContract('io_uring', kernelBackend('io_uring'));
exhaustionRule('io_uring');
