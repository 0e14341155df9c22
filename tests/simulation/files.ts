/**
 * The files of a simulated world. Each keeps a list of what it has been; a complete response must be one of
 * those, from the first byte to the last, and never a mixture.
 */

import type { Random } from '../../src/base/random.ts';
import type { SimFileSystem } from '../../src/io/sim-files.ts';
import { type SimNetwork, WALL_START_MS } from '../../src/io/sim-network.ts';
import { content, DOWN, wrongByte } from './content.ts';

/** A content that a file has had. */
interface Version {
  readonly contentId: number;
  readonly bytes: number;
}

export interface LibraryFile {
  readonly name: string;
  readonly versions: Version[];
}

/** Ids of contents, apart from those of requests. */
const CONTENT_IDS = 100_000;
export const FILES_ROOT = '/srv/files';

export class Library {
  readonly files: LibraryFile[];
  private readonly network: SimNetwork;
  private readonly system: SimFileSystem;
  private readonly random: Random;
  private contents: number;
  private quiet: boolean;

  constructor(network: SimNetwork, random: Random, bytesMax: number) {
    this.network = network;
    this.system = network.files;
    this.random = random;
    this.contents = CONTENT_IDS;
    this.quiet = false;
    this.files = [];
    this.system.makeDirectory(FILES_ROOT);
    for (let index = 0; index < 6; index++) {
      const small = random.chance(0.5);
      const bytes = random.below(small ? 4000 : Math.max(1, Math.min(bytesMax, 400_000)));
      this.files.push({ name: `f${index}.txt`, versions: [] });
      this.write(this.files[index], index === 0 ? 0 : bytes, false);
    }
  }

  /** From time to time somebody changes a file: by another in its place, in place, or by cutting it. */
  disturb(): void {
    const { random, network } = this;
    if (this.quiet) return;
    const file = this.files[random.below(this.files.length)];
    const now = file.versions[file.versions.length - 1];
    const draw = random.below(3);
    if (draw === 0) this.write(file, random.below(2 * now.bytes + 10), false);
    else if (draw === 1)
      this.write(file, random.chance(0.5) ? now.bytes : random.below(now.bytes + 10), true);
    else this.truncate(file, now);
    network.at(network.timeMs + 1 + random.below(1500), () => this.disturb());
  }

  leaveAlone(): void {
    this.quiet = true;
  }

  private write(file: LibraryFile, bytes: number, inPlace: boolean): void {
    const contentId = ++this.contents;
    const path = `${FILES_ROOT}/${file.name}`;
    const fresh = content(contentId, DOWN, 0, bytes);
    if (inPlace) this.system.overwrite(path, fresh, this.wallMs());
    else this.system.writeFile(path, fresh, this.wallMs());
    file.versions.push({ contentId, bytes });
  }

  private truncate(file: LibraryFile, now: Version): void {
    const bytes = this.random.below(now.bytes + 1);
    this.system.truncate(`${FILES_ROOT}/${file.name}`, bytes, this.wallMs());
    file.versions.push({ contentId: now.contentId, bytes });
  }

  private wallMs(): number {
    return WALL_START_MS + this.network.timeMs;
  }
}

/** Keeps a response's content until it is complete, and then looks for the version that it is. */
export class VersionCheck {
  private readonly file: LibraryFile;
  private readonly from: number;
  private readonly total: number;
  private readonly parts: Uint8Array[];

  /** `total`: the whole file's size as the response tells it; `from`: where its content begins. */
  constructor(file: LibraryFile, from: number, total: number) {
    this.file = file;
    this.from = from;
    this.total = total;
    this.parts = [];
  }

  feed(bytes: Uint8Array): void {
    this.parts.push(bytes);
  }

  /** What is wrong with the response now that it is complete; empty when nothing is. `length` is what it should have. */
  complaint(length: number): string {
    const bytes = Buffer.concat(this.parts);
    if (bytes.length !== length) return `${bytes.length} of ${length} bytes`;
    const versions = this.file.versions.filter((version) => version.bytes === this.total);
    if (versions.some(({ contentId }) => wrongByte(contentId, DOWN, this.from, bytes) < 0)) return '';
    return `content of no version of ${this.total} bytes`;
  }
}
