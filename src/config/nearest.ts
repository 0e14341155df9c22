/** Finding the known word that a mistyped one was probably meant to be. */

/** Edits (insert, delete, replace, swap neighbours) between two words; case counts as half nothing: it is ignored. */
export function editDistance(from: string, to: string): number {
  const a = from.toLowerCase();
  const b = to.toLowerCase();
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = last[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      let best = Math.min(last[j] + 1, row[j - 1] + 1, replaced);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, beforeLast[j - 2] + 1);
      }
      row.push(best);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length];
}

/** Longer words are cut before they are compared: nobody mistypes a key of this length. */
const COMPARED_CHARS_MAX = 64;

/** The nearest of `known` (the first of several), or an empty string when there is none to choose from. */
export function nearestWord(word: string, known: readonly string[]): string {
  let best = '';
  let bestDistance = Number.POSITIVE_INFINITY;
  const compared = word.slice(0, COMPARED_CHARS_MAX);
  for (const candidate of known) {
    const distance = editDistance(compared, candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Whether two words are near enough that one is likely a slip for the other. */
export function isLikelySlip(word: string, known: string): boolean {
  return (
    known !== '' && editDistance(word.slice(0, COMPARED_CHARS_MAX), known) <= Math.max(2, known.length / 3)
  );
}
