/** What is measured: one line a scenario. */

import type { SystemName } from './systems.ts';

/** bench/load, or wrk for a second opinion; h2load for HTTP/2. */
export type Generator = 'load' | 'wrk' | 'h2load';

/** Who takes part: every proxy, or those that serve files. */
const PROXIES: readonly SystemName[] = ['sallyport', 'sallyport-epoll', 'nginx', 'haproxy', 'forwarder'];
const FILE_SERVERS: readonly SystemName[] = ['sallyport', 'sallyport-epoll', 'nginx'];

/** Those that speak TLS themselves, and HTTP/2. */
const TLS_PROXIES: readonly SystemName[] = ['sallyport', 'sallyport-epoll', 'nginx', 'haproxy'];
/** Those that speak HTTP/2 to backends; nginx doesn't. */
const H2C_PROXIES: readonly SystemName[] = ['sallyport', 'sallyport-epoll', 'haproxy'];

export type TlsVersion = '1.2' | '1.3';

/** The suite that the client offers, alone, so that all systems use the same; by version. */
export const TLS_SUITES: Readonly<Record<TlsVersion, string>> = {
  '1.2': 'ECDHE-ECDSA-AES256-GCM-SHA384',
  '1.3': 'TLS_AES_256_GCM_SHA384',
};

export interface TlsLoad {
  readonly version: TlsVersion;
  /** With `closeEach`: each handshake resumes the session of the connection before. Otherwise all are full. */
  readonly resumes: boolean;
}

/** Requests per second of the latency scenario: about half of what the slowest system can do on one core. */
export const LATENCY_RATE = 15_000;

export interface Scenario {
  readonly name: string;
  readonly title: string;
  readonly path: string;
  /** Length of the content; -1: each system's own. */
  readonly bodyBytes: number;
  readonly connections: number;
  /** A new client connection for each request. */
  readonly closeEach: boolean;
  /** Over TLS, in this way; null: plain HTTP. */
  readonly tls: TlsLoad | null;
  /** Over HTTP/2, with so many requests at once on each connection; 0: HTTP/1.1. */
  readonly streams: number;
  /** Status of every response. */
  readonly status: number;
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
    tls: null,
    streams: 0,
    status: 200,
    rate: 0,
    generator: 'load',
    systems: PROXIES,
  };
}

function file(name: string, title: string, path: string, bodyBytes: number, connections: number): Scenario {
  return { ...proxy(name, title, path, bodyBytes, connections), systems: FILE_SERVERS };
}

const TLS_1_3: TlsLoad = { version: '1.3', resumes: false };

function secure(scenario: Scenario, tls: TlsLoad = TLS_1_3): Scenario {
  const speaksTls = (name: SystemName): boolean => TLS_PROXIES.includes(name);
  return { ...scenario, tls, systems: scenario.systems.filter(speaksTls) };
}

/** A handshake and the smallest answer that all of them have: a redirect. */
function handshakes(name: string, title: string, tls: TlsLoad): Scenario {
  return { ...secure(proxy(name, title, '/elsewhere', -1, 64), tls), closeEach: true, status: 301 };
}

/** 10 clients with 32 requests at once each, to backends of HTTP/1.1 (`/api/`) or h2c (`/h2c/`). */
function multiplexed(name: string, title: string, path: string, systems: readonly SystemName[]): Scenario {
  return { ...proxy(name, title, path, KIB, 10), streams: 32, generator: 'h2load', systems };
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
  secure(proxy('https-1k', 'HTTPS, TLS 1.3: proxy, 1 KiB, 64 connections', '/api/1k', KIB, 64)),
  secure(proxy('https-1k-tls12', 'HTTPS, TLS 1.2: proxy, 1 KiB, 64 connections', '/api/1k', KIB, 64), {
    version: '1.2',
    resumes: false,
  }),
  handshakes('https-handshakes', 'HTTPS, TLS 1.3: full handshakes, 64 at a time', TLS_1_3),
  handshakes('https-resumed', 'HTTPS, TLS 1.3: resumed handshakes, 64 at a time', {
    version: '1.3',
    resumes: true,
  }),
  secure(proxy('https-10m', 'HTTPS, TLS 1.3: proxy, 10 MiB, 8 connections', '/api/10m', 10 * MIB, 8)),
  secure(
    file('https-file-10m', 'HTTPS, TLS 1.3: file of 10 MiB, 8 connections', '/static/10m.bin', 10 * MIB, 8),
  ),
  multiplexed('h2c-http1', 'h2c, 10 × 32 streams: 1 KiB from HTTP/1.1', '/api/1k', TLS_PROXIES),
  multiplexed('h2c-h2c', 'h2c, 10 × 32 streams: 1 KiB from h2c', '/h2c/1k', H2C_PROXIES),
  secure(
    multiplexed(
      'h2-http1',
      'HTTP/2 over TLS 1.3, 10 × 32 streams: 1 KiB from HTTP/1.1',
      '/api/1k',
      TLS_PROXIES,
    ),
  ),
  secure(
    multiplexed('h2-h2c', 'HTTP/2 over TLS 1.3, 10 × 32 streams: 1 KiB from h2c', '/h2c/1k', H2C_PROXIES),
  ),
];

/** Ones of SCENARIOS, by name. */
function named(name: string): Scenario {
  const scenario = SCENARIOS.find((candidate) => candidate.name === name);
  if (scenario === undefined) throw new Error(`no scenario ${name}`);
  return scenario;
}

/** What fills the connections of memory runs. */
export const MEMORY_SCENARIO = named('proxy-1k');
export const TLS_MEMORY_SCENARIO = named('https-1k');
