/** Key paths: where in the file a key is, as one would write it there: `path_routes."example.com"."/api/".url`. */

/** Names of tables and keys, and indices of array elements (from 0), from the outside in. */
export type KeyPath = readonly (string | number)[];

const BARE_KEY = /^[A-Za-z0-9_-]+$/;

/** One key as TOML wants it written: bare where that is allowed, quoted otherwise. */
export function quoteKey(key: string): string {
  return BARE_KEY.test(key) ? key : JSON.stringify(key);
}

/** The path as text; empty for the whole file. */
export function formatKeyPath(path: KeyPath): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else text += text === '' ? quoteKey(step) : `.${quoteKey(step)}`;
  }
  return text;
}
