/** Writes docs/CONFIGURATION.md anew: run it after a change of src/config/schema.ts or not-built.ts. */

import { writeFileSync } from 'node:fs';
import { generateReference } from '../src/config/reference.ts';

const path = new URL('../docs/CONFIGURATION.md', import.meta.url);
writeFileSync(path, generateReference());
process.stdout.write('docs/CONFIGURATION.md written\n');
