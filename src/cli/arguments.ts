/** The command line in parts: which command, and what it is to work on. */

import { parseArgs } from 'node:util';
import { isLikelySlip, nearestWord } from '../config/nearest.ts';

export const CONFIG_PATH_DEFAULT = '/etc/zerocopy-server/config.toml';

/** The name under which the program is the document's server and needs no command. */
export const SERVER_NAME = 'zerocopy-server';

export type Invocation =
  | { readonly command: 'serve' | 'check'; readonly configPath: string }
  | { readonly command: 'help' | 'version' }
  /** Wrong usage, and why. */
  | { readonly command: 'usage'; readonly message: string };

const COMMANDS = ['serve', 'check'] as const;

/** `name` is what the program was called as; as `zerocopy-server` it takes options only and means `serve`. */
export function parseInvocation(name: string, argv: readonly string[]): Invocation {
  let parsed: ReturnType<typeof parseOptions>;
  try {
    parsed = parseOptions(argv);
  } catch (error) {
    return usage(error instanceof Error ? firstSentence(error.message) : String(error));
  }
  const { values, positionals } = parsed;
  if (values.help === true) return { command: 'help' };
  if (values.version === true) return { command: 'version' };
  const paths = values.config ?? [];
  if (paths.length > 1) return usage('-c may be given once');
  const configPath = paths[0] ?? CONFIG_PATH_DEFAULT;
  if (configPath === '') return usage('-c needs the path of a file');
  if (name === SERVER_NAME) {
    if (positionals.length > 0) return usage(`${SERVER_NAME} takes no command: '${positionals[0]}'`);
    return { command: 'serve', configPath };
  }
  return chooseCommand(positionals, configPath);
}

function parseOptions(argv: readonly string[]) {
  return parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      config: { type: 'string', short: 'c', multiple: true },
      help: { type: 'boolean', short: 'h' },
      version: { type: 'boolean', short: 'V' },
    },
  });
}

function chooseCommand(positionals: readonly string[], configPath: string): Invocation {
  const [word, extra] = positionals;
  if (word === undefined) return usage('a command is missing');
  const command = COMMANDS.find((each) => each === word);
  if (command === undefined) {
    const near = nearestWord(word, COMMANDS);
    const hint = isLikelySlip(word, near) ? `; did you mean '${near}'?` : '';
    return usage(`unknown command '${word}'${hint}`);
  }
  if (extra !== undefined) return usage(`unexpected argument '${extra}'; the file is named with -c`);
  return { command, configPath };
}

function usage(message: string): Invocation {
  return { command: 'usage', message };
}

/** Node's messages go on to explain `--`, which nobody asked for. */
function firstSentence(message: string): string {
  return message.split(/\.\s|\n/, 1)[0].replace(/\.$/, '');
}

export function helpText(name: string): string {
  const options = [
    `  -c, --config PATH  the configuration (${CONFIG_PATH_DEFAULT})`,
    '  -h, --help         show this',
    '  -V, --version      show the version',
  ];
  const ends = [
    '',
    'Exit codes: 0 stopped as asked, 1 the configuration is wrong, 2 wrong usage, 3 could not start.',
    'SIGTERM and SIGINT stop it after what is in flight, SIGHUP reads the configuration anew,',
    'SIGUSR1 opens the log file anew, SIGUSR2 puts the program as it is installed now in its place.',
  ];
  if (name === SERVER_NAME) {
    return [`Usage: ${name} [-c PATH]`, '', 'Runs the edge.', '', 'Options:', ...options, ...ends].join('\n');
  }
  return [
    `Usage: ${name} COMMAND [-c PATH]`,
    '',
    'Commands:',
    '  serve              run the edge',
    '  check              validate the configuration and tell what it would do',
    '',
    'Options:',
    ...options,
    ...ends,
  ].join('\n');
}
