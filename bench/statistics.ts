/** The few statistics that the tables use. */

/** NaN for an empty list. */
export function median(values: readonly number[]): number {
  if (values.length === 0) return Number.NaN;
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * Median over the rounds of the ratio within each round: what slows the machine down for a while slows both
 * sides of the ratio.
 */
export function medianRatio(ours: readonly number[], theirs: readonly number[]): number {
  const count = Math.min(ours.length, theirs.length);
  return median(Array.from({ length: count }, (_, round) => ours[round] / theirs[round]));
}
