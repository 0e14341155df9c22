/**
 * Media types by file name extension, from the IANA registry and what browsers expect. Text is declared as
 * UTF-8; JSON has no charset parameter (RFC 8259 §11); JavaScript is text/javascript (RFC 9239).
 */

export interface MediaType {
  /** Value of Content-Type. */
  readonly value: string;
  /** Whether compression pays, so that precompressed neighbours are looked for and Vary is sent. */
  readonly compressible: boolean;
}

/** Type of a file whose extension is not known. */
export const OCTET_STREAM: MediaType = { value: 'application/octet-stream', compressible: false };

/** The type of a file by its name: the `length` bytes at `offset` are the name, or a path that ends in it. */
export function mediaTypeOf(bytes: Uint8Array, offset: number, length: number): MediaType {
  let hash = HASH_SEED;
  // From the end to the dot, so that one pass finds the extension and hashes it.
  for (let i = length - 1; i > 0 && length - i <= EXTENSION_BYTES_MAX + 1; i--) {
    const byte = bytes[offset + i];
    if (byte === SLASH) return OCTET_STREAM;
    if (byte === DOT) {
      // A name that only begins with a dot (`.profile`) has no extension.
      if (bytes[offset + i - 1] === SLASH) return OCTET_STREAM;
      const found = BY_HASH.get(hash);
      if (found === undefined) return OCTET_STREAM;
      return hasExtension(bytes, offset + i + 1, length - i - 1, found.extension) ? found.type : OCTET_STREAM;
    }
    hash = mix(hash, lower(byte));
  }
  return OCTET_STREAM;
}

const SLASH = 0x2f;
const DOT = 0x2e;
const EXTENSION_BYTES_MAX = 11;
const HASH_SEED = 0x811c9dc5 | 0;

function mix(hash: number, byte: number): number {
  return Math.imul(hash ^ byte, 0x01000193);
}

function lower(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte;
}

function hasExtension(bytes: Uint8Array, offset: number, length: number, extension: string): boolean {
  if (length !== extension.length) return false;
  for (let i = 0; i < length; i++) if (lower(bytes[offset + i]) !== extension.charCodeAt(i)) return false;
  return true;
}

/** Types worth compressing. */
const COMPRESSIBLE: readonly (readonly [string, string])[] = [
  ['text/html; charset=utf-8', 'html htm shtml'],
  ['text/css; charset=utf-8', 'css'],
  ['text/javascript; charset=utf-8', 'js mjs cjs'],
  ['text/plain; charset=utf-8', 'txt text log conf ini cfg diff patch'],
  ['text/markdown; charset=utf-8', 'md markdown'],
  ['text/csv; charset=utf-8', 'csv'],
  ['text/tab-separated-values; charset=utf-8', 'tsv'],
  ['text/calendar; charset=utf-8', 'ics'],
  ['text/vcard; charset=utf-8', 'vcf'],
  ['text/vtt; charset=utf-8', 'vtt'],
  ['text/yaml; charset=utf-8', 'yaml yml'],
  ['text/x-component; charset=utf-8', 'htc'],
  ['application/json', 'json map'],
  ['application/ld+json', 'jsonld'],
  ['application/geo+json', 'geojson'],
  ['application/jsonl', 'jsonl ndjson'],
  ['application/manifest+json', 'webmanifest'],
  ['application/toml', 'toml'],
  ['application/xml', 'xml xsl xsd'],
  ['application/xhtml+xml', 'xhtml'],
  ['application/rss+xml', 'rss'],
  ['application/atom+xml', 'atom'],
  ['application/gpx+xml', 'gpx'],
  ['application/vnd.google-earth.kml+xml', 'kml'],
  ['application/wasm', 'wasm'],
  ['application/rtf', 'rtf'],
  ['application/sql', 'sql'],
  ['application/x-sh', 'sh'],
  ['application/vnd.ms-fontobject', 'eot'],
  ['application/postscript', 'ps eps ai'],
  ['font/ttf', 'ttf'],
  ['font/otf', 'otf'],
  ['font/collection', 'ttc'],
  ['image/svg+xml', 'svg'],
  ['image/bmp', 'bmp'],
  ['image/x-icon', 'ico cur'],
  ['model/gltf+json', 'gltf'],
  ['model/obj', 'obj'],
];

/** Types that are compressed already, or too seldom worth it. */
const OTHER: readonly (readonly [string, string])[] = [
  ['image/png', 'png'],
  ['image/apng', 'apng'],
  ['image/jpeg', 'jpg jpeg jpe jfif'],
  ['image/gif', 'gif'],
  ['image/webp', 'webp'],
  ['image/avif', 'avif'],
  ['image/heic', 'heic'],
  ['image/jxl', 'jxl'],
  ['image/tiff', 'tif tiff'],
  ['font/woff', 'woff'],
  ['font/woff2', 'woff2'],
  ['audio/mpeg', 'mp3'],
  ['audio/mp4', 'm4a'],
  ['audio/aac', 'aac'],
  ['audio/ogg', 'ogg oga opus'],
  ['audio/flac', 'flac'],
  ['audio/wav', 'wav'],
  ['audio/webm', 'weba'],
  ['audio/midi', 'mid midi'],
  ['audio/mpegurl', 'm3u'],
  ['video/mp4', 'mp4 m4v'],
  ['video/mpeg', 'mpeg mpg'],
  ['video/webm', 'webm'],
  ['video/ogg', 'ogv'],
  ['video/quicktime', 'mov'],
  ['video/matroska', 'mkv'],
  ['video/mp2t', 'ts m2ts'],
  ['video/3gpp', '3gp'],
  ['video/x-msvideo', 'avi'],
  ['video/x-flv', 'flv'],
  ['application/vnd.apple.mpegurl', 'm3u8'],
  ['application/dash+xml', 'mpd'],
  ['application/pdf', 'pdf'],
  ['application/epub+zip', 'epub'],
  ['application/zip', 'zip'],
  ['application/gzip', 'gz tgz'],
  ['application/zstd', 'zst'],
  ['application/x-brotli', 'br'],
  ['application/x-bzip2', 'bz2'],
  ['application/x-xz', 'xz'],
  ['application/x-tar', 'tar'],
  ['application/x-7z-compressed', '7z'],
  ['application/vnd.rar', 'rar'],
  ['application/java-archive', 'jar war ear'],
  ['application/vnd.android.package-archive', 'apk'],
  ['application/vnd.debian.binary-package', 'deb'],
  ['application/x-rpm', 'rpm'],
  ['application/x-apple-diskimage', 'dmg'],
  ['application/x-iso9660-image', 'iso'],
  ['application/msword', 'doc'],
  ['application/vnd.ms-excel', 'xls'],
  ['application/vnd.ms-powerpoint', 'ppt'],
  ['application/vnd.openxmlformats-officedocument.wordprocessingml.document', 'docx'],
  ['application/vnd.openxmlformats-officedocument.spreadsheetml.sheet', 'xlsx'],
  ['application/vnd.openxmlformats-officedocument.presentationml.presentation', 'pptx'],
  ['application/vnd.oasis.opendocument.text', 'odt'],
  ['application/vnd.oasis.opendocument.spreadsheet', 'ods'],
  ['application/vnd.oasis.opendocument.presentation', 'odp'],
  ['application/x-x509-ca-cert', 'crt pem der'],
  ['application/vnd.sqlite3', 'sqlite'],
  ['application/x-bittorrent', 'torrent'],
  ['application/octet-stream', 'bin exe dll img msi'],
  ['model/gltf-binary', 'glb'],
  ['model/stl', 'stl'],
];

interface Known {
  readonly extension: string;
  readonly type: MediaType;
}

/** By hash of the extension, read backwards; the extension itself is compared too. */
const BY_HASH: ReadonlyMap<number, Known> = buildTable();

function buildTable(): Map<number, Known> {
  const table = new Map<number, Known>();
  addTypes(table, COMPRESSIBLE, true);
  addTypes(table, OTHER, false);
  return table;
}

function addTypes(
  table: Map<number, Known>,
  types: readonly (readonly [string, string])[],
  compressible: boolean,
): void {
  for (const [value, extensions] of types) {
    const type: MediaType = { value, compressible };
    for (const extension of extensions.split(' ')) {
      let hash = HASH_SEED;
      for (let i = extension.length - 1; i >= 0; i--) hash = mix(hash, extension.charCodeAt(i));
      if (table.has(hash)) throw new Error(`extension ${extension} is listed twice`);
      table.set(hash, { extension, type });
    }
  }
}
