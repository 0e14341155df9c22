/**
 * Features that the configuration knows and the product doesn't have yet. Asking for one is refused, never
 * ignored. When a feature is built, its entry is deleted here; nothing else changes.
 */

import type { TomlTable, TomlValue } from './toml.ts';

export interface NotBuilt {
  /** Keys whose value may ask for the feature; `*` stands for a name or an index. */
  readonly keys: readonly string[];
  /** Whether this value asks for it. `siblings` is the table that the key is in. */
  readonly asks: (value: TomlValue, siblings: TomlTable) => boolean;
  /** What is missing: completes "Not supported yet: …". */
  readonly feature: string;
  /** Which values ask for it, for the reference: `true`. */
  readonly values: string;
  readonly mend: string;
}

const always = (): boolean => true;
const isTrue = (value: TomlValue): boolean => value === true;

export const NOT_BUILT: readonly NotBuilt[] = [
  {
    keys: ['server.http3_enabled'],
    asks: isTrue,
    feature: 'HTTP/3',
    values: '`true`',
    mend: 'leave it out, or write false',
  },
  { keys: ['http3'], asks: always, feature: 'HTTP/3', values: 'any', mend: 'remove the section' },
];
