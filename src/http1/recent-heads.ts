/** What a worker remembers of heads that came lately, for all its parsers. */

import { RecentLines } from './recent-lines.ts';
import { RecentSections } from './recent-sections.ts';

export class RecentHeads {
  readonly lines: RecentLines;
  readonly requests: RecentSections;
  readonly responses: RecentSections;

  constructor() {
    this.lines = new RecentLines();
    this.requests = new RecentSections(true);
    this.responses = new RecentSections(false);
  }
}
