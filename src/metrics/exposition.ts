/**
 * Writes metrics as text: Prometheus's format 0.0.4, or OpenMetrics 1.0.0, which differ in how a family of counters is
 * named, in how bounds of buckets are written, and in the end.
 * Sources: prometheus.io/docs/instrumenting/exposition_formats, OpenMetrics 1.0.0.
 */

export type MetricType = 'counter' | 'gauge' | 'histogram';
/** Names and values of labels, in turn. */
export type Labels = readonly string[];

export const TEXT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';
export const OPENMETRICS_TYPE = 'application/openmetrics-text; version=1.0.0; charset=utf-8';

export class Exposition {
  readonly openMetrics: boolean;
  private text: string;
  private name: string;

  constructor(openMetrics: boolean) {
    this.openMetrics = openMetrics;
    this.text = '';
    this.name = '';
  }

  /** Characters written and not taken. */
  get length(): number {
    return this.text.length;
  }

  /** What was written since the last time. */
  take(): string {
    const { text } = this;
    this.text = '';
    return text;
  }

  /** Begins a family, whose samples follow. The name of a counter ends in `_total`. */
  family(name: string, type: MetricType, help: string): void {
    this.name = name;
    const family = this.openMetrics && type === 'counter' ? name.replace(/_total$/, '') : name;
    this.text += `# HELP ${family} ${this.helpText(help)}\n# TYPE ${family} ${type}\n`;
  }

  private helpText(help: string): string {
    const escaped = help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
    return this.openMetrics ? escaped.replaceAll('"', '\\"') : escaped;
  }

  sample(labels: Labels, value: number): void {
    this.text += `${this.name}${labelsText(labels)} ${numberText(value)}\n`;
  }

  /**
   * A histogram out of `cells`: from `at` on the count of each bucket, not cumulative, then the sum. Bounds and sum are
   * divided by `scale`.
   */
  histogram(labels: Labels, cells: Float64Array, at: number, bounds: readonly number[], scale: number): void {
    const { name } = this;
    let count = 0;
    for (let bucket = 0; bucket <= bounds.length; bucket++) {
      count += cells[at + bucket];
      const bound = bucket < bounds.length ? this.boundText(bounds[bucket] / scale) : '+Inf';
      this.text += `${name}_bucket${labelsText([...labels, 'le', bound])} ${count}\n`;
    }
    const sum = cells[at + bounds.length + 1] / scale;
    this.text += `${name}_sum${labelsText(labels)} ${numberText(sum)}\n${name}_count${labelsText(labels)} ${count}\n`;
  }

  /** OpenMetrics wants bounds to look like fractions. */
  private boundText(bound: number): string {
    return this.openMetrics && Number.isInteger(bound) ? `${bound}.0` : numberText(bound);
  }

  /** Nothing follows. */
  end(): void {
    if (this.openMetrics) this.text += '# EOF\n';
  }
}

function labelsText(labels: Labels): string {
  if (labels.length === 0) return '';
  let text = '{';
  for (let index = 0; index < labels.length; index += 2) {
    text += `${index === 0 ? '' : ','}${labels[index]}="${escapeValue(labels[index + 1])}"`;
  }
  return `${text}}`;
}

function escapeValue(value: string): string {
  if (!/["\\\n]/.test(value)) return value;
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

function numberText(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf';
  return String(value);
}

/**
 * Whether a client would rather have OpenMetrics than text, by its Accept (RFC 9110 §12.5.1); empty where it has none.
 * Only version 1.0.0, or none at all, is meant.
 */
export function prefersOpenMetrics(accept: string): boolean {
  let openMetrics = 0;
  let text = accept.trim() === '' ? 1 : 0;
  for (const range of accept.toLowerCase().split(',')) {
    const [type, ...parameters] = range.split(';').map((part) => part.trim());
    const quality = qualityOf(parameters);
    if (type === 'application/openmetrics-text' && takesVersion(parameters))
      openMetrics = Math.max(openMetrics, quality);
    else if (type === 'text/plain' || type === 'text/*') text = Math.max(text, quality);
  }
  return openMetrics > 0 && openMetrics >= text;
}

function qualityOf(parameters: readonly string[]): number {
  const given = parameters.find((each) => each.startsWith('q='));
  if (given === undefined) return 1;
  const quality = Number(given.slice(2));
  return quality >= 0 && quality <= 1 ? quality : 0;
}

function takesVersion(parameters: readonly string[]): boolean {
  const given = parameters.find((each) => each.startsWith('version='));
  return given === undefined || given === 'version=1.0.0' || given === 'version="1.0.0"';
}
