/** Every default, as the zerocopy-server document and SPEC.md give them. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Config } from '../../src/config/model.ts';
import { load, withRoute, withServer } from './fixture.ts';

function loaded(toml: string): Config {
  const { config, problems } = load(toml);
  assert.deepEqual(problems, []);
  assert.ok(config !== null);
  return config;
}

test('a file with a listener and a directory gets all defaults', () => {
  assert.deepEqual(loaded(withServer('')), {
    source: '/etc/edge/config.toml',
    server: {
      listen: [{ family: 'ipv4', address: '127.0.0.1', port: 8080 }],
      http: [],
      threads: 0,
      http2Enabled: true,
      http3Enabled: false,
      routePrecedence: 'host',
      trustedProxies: [],
      shutdownTimeoutSecs: 30,
      keepAliveTimeoutSecs: 60,
      writeTimeoutSecs: 30,
      minRateBytesPerSec: 100,
      via: false,
    },
    logging: {
      level: 'info',
      format: 'text',
      channelSize: 100_000,
      flushIntervalMs: 1000,
      maxLogSize: 104_857_600,
      filePath: null,
    },
    security: {
      dropPrivilegesUser: null,
      dropPrivilegesGroup: null,
      maxConcurrentConnections: 0,
      maxConnectionsPerIp: 0,
      allowDegraded: false,
      enableSeccomp: null,
      seccompMode: null,
      enableLandlock: null,
      landlockReadPaths: null,
      landlockWritePaths: null,
      enableSandbox: null,
      sandbox: {},
    },
    performance: { reuseportBalancing: 'kernel', hugePagesEnabled: false },
    tls: null,
    routes: [
      {
        name: 'example.com:/',
        host: 'example.com',
        path: '/',
        action: { type: 'File', path: '/srv/site', isDirectory: true, mode: 'sendfile', index: 'index.html' },
        security: {
          maxRequestBodySize: 10_485_760,
          maxChunkedBodySize: 10_485_760,
          maxRequestHeaderSize: 8192,
          clientHeaderTimeoutSecs: 30,
          clientBodyTimeoutSecs: 30,
          backendConnectTimeoutSecs: 10,
          backendResponseTimeoutSecs: 30,
          allowedMethods: null,
          rateLimitRequestsPerMin: 0,
          allowedIps: [],
          deniedIps: [],
          maxIdleConnectionsPerHost: 8,
          idleConnectionTimeoutSecs: 30,
          addRequestHeaders: [],
          removeRequestHeaders: [],
          addResponseHeaders: [],
          removeResponseHeaders: [],
          websocketPollMode: 'adaptive',
          websocketPollTimeoutMs: 1,
          websocketPollMaxTimeoutMs: 100,
          websocketPollBackoffMultiplier: 2,
          websocketIdleTimeoutSecs: 0,
        },
      },
    ],
    upstreams: [],
    prometheus: { enabled: false, path: '/__metrics', allowedIps: [] },
    status: { listen: null },
    http2: {
      headerTableSize: 4096,
      maxConcurrentStreams: 100,
      initialWindowSize: 65_535,
      maxFrameSize: 16_384,
      maxHeaderListSize: 16_384,
      connectionWindowSize: 65_535,
      resets: { burst: 200, perSec: 30 },
      settings: { burst: 50, perSec: 5 },
      pings: { burst: 200, perSec: 50 },
      priorities: { burst: 500, perSec: 50 },
      emptyFrames: { burst: 100, perSec: 10 },
      windowUpdates: { burst: 2000, perSec: 500 },
      tinyData: { burst: 1000, perSec: 200 },
      maxContinuationFrames: 16,
      maxFieldBlockSize: 65_536,
      abuseHalfLifeMs: 10_000,
    },
    http3: {
      listen: [{ family: 'ipv4', address: '127.0.0.1', port: 8080 }],
      maxIdleTimeoutMs: 30_000,
      maxUdpPayloadSize: 1350,
      initialMaxData: 10_000_000,
      initialMaxStreamsBidi: 100,
      initialMaxStreamsUni: 100,
    },
  });
});

test('[tls] has TLS 1.2 and 1.3 with tickets, no client certificates, and kTLS off with its fallback on', () => {
  const { tls } = loaded(withServer('[tls]\ncert_path = "server.crt"\nkey_path = "/etc/edge/server.key"'));
  assert.deepEqual(tls, {
    certPath: '/etc/edge/server.crt',
    keyPath: '/etc/edge/server.key',
    ktlsEnabled: false,
    ktlsFallbackEnabled: true,
    ocspPath: null,
    minVersion: '1.2',
    ciphers: [
      'ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256',
      'ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384',
      'ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305',
    ].join(':'),
    cipherSuites: 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256',
    groups: 'X25519MLKEM768:X25519:P-256:P-384',
    clientAuth: 'none',
    clientCaPath: null,
    sessionTickets: true,
    sessionTicketKeyPath: null,
    sessionTicketRotationSecs: 43_200,
    certificates: [],
  });
});

test('a redirect is 301 and keeps no path', () => {
  const { routes } = loaded(withRoute('type = "Redirect"\nredirect_url = "https://www.example.com/"'));
  assert.deepEqual(routes[0].action, {
    type: 'Redirect',
    url: 'https://www.example.com/',
    status: 301,
    preservePath: false,
  });
});

test('a plain url becomes a group of one named by the route', () => {
  const { routes, upstreams } = loaded(withRoute('type = "Proxy"\nurl = "http://localhost:8080/app/"'));
  assert.deepEqual(routes[0].action, {
    type: 'Proxy',
    upstream: 'route example.com:/api/',
    hostHeader: 'preserve',
    allowedUpgrades: ['websocket'],
  });
  assert.deepEqual(upstreams, [
    {
      name: 'route example.com:/api/',
      algorithm: 'round_robin',
      servers: [
        {
          url: 'http://localhost:8080/app/',
          scheme: 'http',
          target: { kind: 'tcp', host: 'localhost', port: 8080 },
          basePath: '/app',
          authority: 'localhost:8080',
          sniName: null,
          useH2c: false,
          weight: 1,
          caPath: null,
          clientCertPath: null,
          clientKeyPath: null,
          insecure: false,
        },
      ],
      healthCheck: null,
    },
  ]);
});

test('a health check has the defaults of the document', () => {
  const { upstreams } = loaded(
    withServer('[upstreams.pool]\nservers = ["http://a", "http://b"]\n[upstreams.pool.health_check]'),
  );
  assert.equal(upstreams[0].algorithm, 'round_robin');
  assert.deepEqual(upstreams[0].healthCheck, {
    intervalSecs: 10,
    path: '/',
    timeoutSecs: 5,
    healthyStatuses: [200, 201, 202, 204, 301, 302, 304],
    unhealthyThreshold: 3,
    healthyThreshold: 2,
  });
});

test('seccomp without a mode means filter', () => {
  assert.equal(loaded(withServer('[security]\nenable_seccomp = true')).security.seccompMode, 'filter');
});

test('the metrics page is off, at /__metrics, for everyone, even with an empty section', () => {
  assert.deepEqual(loaded(withServer('[prometheus]')).prometheus, {
    enabled: false,
    path: '/__metrics',
    allowedIps: [],
  });
});
