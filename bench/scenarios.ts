/** What is measured: one line a scenario. */

import type { SystemName } from './systems.ts';

/** bench/load, or wrk for a second opinion. */
export type Generator = 'load' | 'wrk';

/** Who takes part: every proxy, or those that serve files. */
const PROXIES: readonly SystemName[] = ['sallyport', 'sallyport-epoll', 'nginx', 'haproxy', 'forwarder'];
const FILE_SERVERS: readonly SystemName[] = ['sallyport', 'sallyport-epoll', 'nginx'];

/** Requests per second of the latency scenario: about half of what the slowest system can do on one core. */
export const LATENCY_RATE = 15_000;

export interface Scenario {
  readonly name: string;
  readonly title: string;
  readonly path: string;
  readonly bodyBytes: number;
  readonly connections: number;
  /** A new client connection for each request. */
  readonly closeEach: boolean;
  /** Requests per second, whatever the system does; 0: as many as it can. */
  readonly rate: number;
  readonly generator: Generator;
  readonly systems: readonly SystemName[];
}

const KIB = 1024;
const MIB = 1024 * KIB;

function proxy(name: string, title: string, path: string, bodyBytes: number, connections: number): Scenario {
  return {
    name,
    title,
    path,
    bodyBytes,
    connections,
    closeEach: false,
    rate: 0,
    generator: 'load',
    systems: PROXIES,
  };
}

function file(name: string, title: string, path: string, bodyBytes: number, connections: number): Scenario {
  return { ...proxy(name, title, path, bodyBytes, connections), systems: FILE_SERVERS };
}

export const SCENARIOS: readonly Scenario[] = [
  proxy('proxy-1k', 'Proxy, 1 KiB, 64 connections', '/api/1k', KIB, 64),
  {
    ...proxy('proxy-1k-wrk', 'Proxy, 1 KiB, 64 connections, driven by wrk', '/api/1k', KIB, 64),
    generator: 'wrk',
  },
  proxy('proxy-1k-512', 'Proxy, 1 KiB, 512 connections', '/api/1k', KIB, 512),
  proxy('proxy-0', 'Proxy, no content, 64 connections', '/api/0', 0, 64),
  proxy('proxy-64k', 'Proxy, 64 KiB, 64 connections', '/api/64k', 64 * KIB, 64),
  proxy('proxy-10m', 'Proxy, 10 MiB, 8 connections', '/api/10m', 10 * MIB, 8),
  {
    ...proxy(
      'proxy-new',
      'Proxy, 1 KiB, a new connection for each request, 64 at a time',
      '/api/1k',
      KIB,
      64,
    ),
    closeEach: true,
  },
  {
    ...proxy('latency', `Proxy, 1 KiB, 64 connections, ${LATENCY_RATE} requests/s`, '/api/1k', KIB, 64),
    rate: LATENCY_RATE,
  },
  file('static-1k', 'File of 1 KiB, opened for each request, 64 connections', '/static/1k.bin', KIB, 64),
  file('static-1m', 'File of 1 MiB, opened for each request, 16 connections', '/static/1m.bin', MIB, 16),
  file(
    'cached-1k',
    'File of 1 KiB, kept (mode memory; open_file_cache), 64 connections',
    '/cached/1k.bin',
    KIB,
    64,
  ),
];
