/**
 * Results of a TLS socket's segments that the reactor does not bring in the form in which they were asked for: files,
 * which left in pieces, and what never reached the reactor.
 */

export class TlsResults {
  /** Files whose last bytes are under way: tag and length, in order. */
  private readonly files: number[];
  /** Tag and result, in the order in which they are to be told. */
  private owed: number[];

  constructor() {
    this.files = [];
    this.owed = [];
  }

  fileSealed(tag: number, total: number): void {
    this.files.push(tag, total);
  }

  /** The oldest of the files under way: its length (or `result` where that is negative) is owed. */
  fileLeft(result: number): void {
    const tag = this.files.shift() ?? 0;
    const total = this.files.shift() ?? 0;
    this.owe(tag, result < 0 ? result : total);
  }

  /** The newest of them failed before all of it was with the reactor. Returns its tag. */
  fileDropped(): number {
    this.files.pop();
    return this.files.pop() ?? 0;
  }

  owe(tag: number, result: number): void {
    if (tag !== 0) this.owed.push(tag, result);
  }

  /** All that is owed, which is forgotten. */
  take(): readonly number[] {
    const { owed } = this;
    this.owed = [];
    return owed;
  }
}
