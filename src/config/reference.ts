/** docs/CONFIGURATION.md, made from the schema: what the program accepts is what the page says. */

import { NOT_BUILT, type NotBuilt } from './not-built.ts';
import { SCHEMA } from './schema.ts';
import type { Fields, Key, Node, Section } from './schema-nodes.ts';

const INTRODUCTION = `# Configuration

<!-- Generated from src/config/schema.ts by tools/generate-configuration-reference.ts. Don't edit. -->

The configuration is one [TOML](https://toml.io) file, by default \`/etc/zerocopy-server/config.toml\`. \`sallyport check -c FILE\` validates it and tells in plain words what it would do; \`serve\` refuses a file with any problem and names all of them at once. On SIGHUP the file is read again, and used if it is right.

- Relative paths start from the folder of the configuration file.
- An unknown key is an error, and so is one whose feature isn't built yet: nothing is ever ignored silently.
- Times end in their unit (\`_secs\`, \`_ms\`); sizes are bytes. TOML allows \`5_242_880\` for \`5242880\`.
- Addresses and ranges: \`192.0.2.1\`, \`192.0.2.0/24\`, \`::1\`, \`2001:db8::/32\`.

A small example:

\`\`\`toml
[server]
listen = "0.0.0.0:8080"

# Everything below /api/ goes to an application, which sees the rest of the path.
[path_routes."example.com"."/api/"]
type = "Proxy"
url = "unix:/run/app.sock"

  [path_routes."example.com"."/api/".security]
  allowed_methods = ["GET", "POST"]
  rate_limit_requests_per_min = 600

# All else is files.
[path_routes."example.com"."/"]
path = "/var/www/html"
\`\`\`

## How a route is chosen

The host comes first: an exact key beats a wildcard, the longer wildcard beats the shorter, \`*\` comes last, and the key that is found owns the host alone. If it stands in both tables, \`server.route_precedence\` decides. Of the paths the longest prefix wins. A host that no route knows is answered 421, a path without a route 404.
`;

/** The whole page. */
export function generateReference(): string {
  const parts = [INTRODUCTION];
  for (const [name, node] of Object.entries(SCHEMA.fields as Fields))
    parts.push(...describeNode(node, [name], `[${name}]`));
  parts.push(describeNotBuilt());
  return `${parts.join('\n')}`;
}

/** `pattern` has `*` for names; `title` has their placeholders. */
function describeNode(node: Node, pattern: readonly string[], title: string): string[] {
  switch (node.kind) {
    case 'section':
      return describeSection(node, pattern, title, node.meaning);
    case 'named': {
      const deeper = `${title.slice(0, -1)}."${node.placeholder}"]`;
      const inner: Node = node.of;
      const merged =
        inner.kind === 'key' ? inner : { ...inner, meaning: joinMeanings(node.meaning, inner.meaning) };
      return describeNode(merged, [...pattern, '*'], deeper);
    }
    case 'entries': {
      const heading = `[${title}]`;
      return describeSection(node.of, [...pattern, '*'], heading, entriesMeaning(node));
    }
    default:
      return [];
  }
}

function joinMeanings(outer: string, inner: string): string {
  return [outer, inner].filter((each) => each !== '').join(' ');
}

function entriesMeaning(node: Extract<Node, { kind: 'entries' }>): string {
  const bare = node.bareKey === '' ? '' : ` Instead of a table, a string stands for its \`${node.bareKey}\`.`;
  return `${node.meaning}${bare} At most ${node.max}.`;
}

function describeSection(
  node: Section<Fields>,
  pattern: readonly string[],
  title: string,
  meaning: string,
): string[] {
  const parts = [`## ${title}`, '', meaning, ''];
  const whole = statusOf(pattern);
  if (whole !== '') parts.push(`**${whole}**`, '');
  // Host routes have the same keys as path routes.
  if (pattern[0] === 'host_routes') {
    const same =
      pattern.length === 2 ? '[path_routes."HOST"."PATH"]' : '[path_routes."HOST"."PATH".security]';
    parts.push(`The keys are those of ${link(same)}.`, '');
    return parts;
  }
  const keys = Object.entries(node.fields).filter(([, child]) => child.kind === 'key');
  parts.push('| Key | Type | Default | Meaning |', '|---|---|---|---|');
  for (const [name, child] of keys) parts.push(describeKey(name, child as Key<unknown>, [...pattern, name]));
  parts.push('');
  for (const [name, child] of Object.entries(node.fields)) {
    if (child.kind !== 'key')
      parts.push(...describeNode(child, [...pattern, name], nestedTitle(title, name)));
  }
  return parts;
}

function nestedTitle(title: string, name: string): string {
  return `${title.slice(0, -1)}.${name}]`;
}

function link(title: string): string {
  const anchor = title.toLowerCase().replaceAll(/[^a-z0-9_ -]/g, '');
  return `[\`${title}\`](#${anchor})`;
}

function describeKey(name: string, key: Key<unknown>, pattern: readonly string[]): string {
  const status = statusOf(pattern);
  const note = status === '' ? '' : ` **${status}**`;
  const example = `Example: \`${key.example}\`.`;
  const cells = [`\`${name}\``, key.type.words, key.fallbackWords, `${key.meaning} ${example}${note}`];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

/** What is not built of this key, or an empty string. */
function statusOf(pattern: readonly string[]): string {
  const joined = pattern.join('.');
  const entries = NOT_BUILT.filter(({ keys }) => keys.includes(joined));
  return entries.map((entry) => statusWords(entry)).join(' ');
}

function statusWords({ values, feature }: NotBuilt): string {
  return values === 'any' ? `Not built yet: ${feature}.` : `Not built yet: ${feature} (refused: ${values}).`;
}

function describeNotBuilt(): string {
  const features = [...new Set(NOT_BUILT.map(({ feature }) => feature))];
  return [
    '## Not built yet',
    '',
    'Asking for one of these is an error:',
    '',
    ...features.map((each) => `- ${each}`),
    '',
  ].join('\n');
}
