/** Exit codes of all commands (documented in README.md). */

/** Stopped as asked. */
export const EXIT_OK = 0;
/** The configuration is wrong; nothing was started. */
export const EXIT_CONFIG = 1;
/** The command line is wrong. */
export const EXIT_USAGE = 2;
/** Could not start: a port is taken, a privilege is missing. */
export const EXIT_START = 3;
