/** What this machine offers to the edge. */

/** What io/open.ts tells. */
interface IoChoice {
  describeBackend(): string;
}

const IO_OPEN: string = '../io/open.ts';

/** Which backend of the reactor would run here, and why. */
export async function describeMachine(): Promise<string> {
  try {
    return ((await import(IO_OPEN)) as IoChoice).describeBackend();
  } catch (error) {
    return `unknown: ${error instanceof Error ? error.message : String(error)}`;
  }
}
