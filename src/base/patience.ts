/**
 * How much longer than usual the program's own processes may take: for their start, for an answer, for a signature. An
 * emulated processor needs it, as that of tests of other kernels; nobody else should. Limits of clients and backends are
 * not stretched.
 */

/** In the environment: a whole number from 1 to PATIENCE_MAX. Anything else is 1. */
export const PATIENCE_VARIABLE = 'SALLYPORT_PATIENCE';
const PATIENCE_MAX = 100;

/** What `value`, of the variable, stands for. */
export function patienceOf(value: string | undefined): number {
  const factor = Number(value ?? 1);
  return Number.isInteger(factor) && factor >= 1 && factor <= PATIENCE_MAX ? factor : 1;
}

/** The factor of this process, by which limits are multiplied. */
export const PATIENCE: number = patienceOf(process.env[PATIENCE_VARIABLE]);
