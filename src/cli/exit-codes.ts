/** Exit codes of commands (documented in README.md); those of a start that fails are the master's. */

/** Stopped as asked. */
export const EXIT_OK = 0;
/** The configuration is wrong; nothing was started. */
export const EXIT_CONFIG = 1;
/** The command line is wrong. */
export const EXIT_USAGE = 2;
