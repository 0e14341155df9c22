/**
 * The areas of all workers, added up by what their names say. A copy: it holds still while a page is written from it,
 * however long its reader takes.
 */

import { type AreaViews, hostOfKey, methodOfKey, seriesKey, statusOfKey } from './area.ts';
import {
  ACTIVE_CELL,
  DURATION_CELL,
  FAULTS_CELL,
  METHODS_MAX,
  SERIES_CELL,
  SERIES_SLOTS,
  SERVER_CELL,
  SERVER_CELLS,
  TIME_CELLS,
} from './layout.ts';

const HOST_DURATION_CELLS = METHODS_MAX * TIME_CELLS;

/** A host's cells. */
export class HostTotals {
  readonly name: string;
  active: number;
  /** METHODS_MAX histograms of TIME_CELLS cells. */
  readonly durations: Float64Array;

  constructor(name: string) {
    this.name = name;
    this.active = 0;
    this.durations = new Float64Array(HOST_DURATION_CELLS);
  }
}

export class ServerTotals {
  readonly name: string;
  /** SERVER_CELLS cells. */
  readonly cells: Float64Array;

  constructor(name: string) {
    this.name = name;
    this.cells = new Float64Array(SERVER_CELLS);
  }
}

export class Totals {
  /** SCALARS cells, and what follows them up to the series. */
  readonly cells: Float64Array;
  readonly hosts: HostTotals[];
  readonly servers: ServerTotals[];
  /** By series key, whose host is an index in `hosts`. */
  readonly requests: Map<number, number>;
  private readonly hostIndexes: Map<string, number>;
  private readonly serverIndexes: Map<string, number>;

  constructor(areas: readonly AreaViews[]) {
    this.cells = new Float64Array(SERIES_CELL);
    this.hosts = [];
    this.servers = [];
    this.requests = new Map();
    this.hostIndexes = new Map();
    this.serverIndexes = new Map();
    for (const area of areas) if (area.isUsed) this.addArea(area);
  }

  private addArea(area: AreaViews): void {
    const { cells } = area;
    addCells(this.cells, cells, 0);
    const hostIndexes: number[] = [];
    for (const [number, name] of area.hostNames().entries()) {
      let index = this.hostIndexes.get(name) ?? -1;
      if (index < 0) {
        index = this.hosts.push(new HostTotals(name)) - 1;
        this.hostIndexes.set(name, index);
      }
      hostIndexes.push(index);
      this.hosts[index].active += cells[ACTIVE_CELL + number];
      addCells(this.hosts[index].durations, cells, DURATION_CELL + number * HOST_DURATION_CELLS);
    }
    for (const [number, name] of area.serverNames().entries()) {
      let index = this.serverIndexes.get(name) ?? -1;
      if (index < 0) {
        index = this.servers.push(new ServerTotals(name)) - 1;
        this.serverIndexes.set(name, index);
      }
      addCells(this.servers[index].cells, cells, SERVER_CELL + number * SERVER_CELLS);
    }
    this.addRequests(area, hostIndexes);
  }

  private addRequests(area: AreaViews, hostIndexes: readonly number[]): void {
    for (let slot = 0; slot < SERIES_SLOTS; slot++) {
      const key = area.keys[slot];
      if (key === 0) continue;
      // A host that was named after its names were read: the next page has it.
      const host = hostIndexes[hostOfKey(key)];
      if (host === undefined) continue;
      const merged = seriesKey(host, methodOfKey(key), statusOfKey(key));
      const count = area.cells[SERIES_CELL + slot];
      this.requests.set(merged, (this.requests.get(merged) ?? 0) + count);
    }
  }

  fault(number: number): number {
    return this.cells[FAULTS_CELL + number];
  }
}

function addCells(to: Float64Array, from: Float64Array, at: number): void {
  for (let index = 0; index < to.length; index++) to[index] += from[at + index];
}
