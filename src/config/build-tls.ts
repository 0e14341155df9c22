/**
 * [tls] from a file's values: files exist, and keys that belong together agree. What is in the files, and
 * whether OpenSSL knows the names of suites and groups, is judged by src/tls, which `load` is given.
 */

import type { BuildContext } from './build-context.ts';
import type { KeyPath } from './key-path.ts';
import type { TlsCertificateConfig, TlsConfig } from './model.ts';
import type { Report } from './problem.ts';
import type { RootFields } from './schema.ts';
import type { SectionReading, Values } from './schema-nodes.ts';

type Reading = NonNullable<Values<RootFields>['tls']>;

export function buildTls(reading: Reading | null, context: BuildContext): TlsConfig | null {
  if (reading === null) return null;
  const { values } = reading;
  checkAgreement(reading, context);
  return {
    ...buildCertificate(reading, context),
    ktlsEnabled: values.ktls_enabled,
    ktlsFallbackEnabled: values.ktls_fallback_enabled,
    minVersion: values.min_version,
    ciphers: values.ciphers,
    cipherSuites: values.cipher_suites,
    groups: values.groups,
    clientAuth: values.client_auth,
    clientCaPath: optionalFile(reading, 'client_ca_path', 'File of client authorities', context),
    sessionTickets: values.session_tickets,
    sessionTicketKeyPath: optionalFile(reading, 'session_ticket_key_path', 'File of ticket keys', context),
    sessionTicketRotationSecs: values.session_ticket_rotation_secs,
    certificates: values.certificates.map((each) => buildCertificate(each, context)),
  };
}

interface CertificateReading {
  readonly at: KeyPath;
  readonly values: {
    readonly cert_path: string | null;
    readonly key_path: string | null;
    readonly ocsp_path: string | null;
  };
}

function buildCertificate({ at, values }: CertificateReading, context: BuildContext): TlsCertificateConfig {
  const file = (path: string | null, name: string, what: string): string =>
    path === null ? '' : context.existingFile(path, what, [...at, name]);
  return {
    certPath: file(values.cert_path, 'cert_path', 'TLS certificate file'),
    keyPath: file(values.key_path, 'key_path', 'TLS private key file'),
    ocspPath: values.ocsp_path === null ? null : file(values.ocsp_path, 'ocsp_path', 'OCSP response file'),
  };
}

function optionalFile(
  { at, values }: Reading,
  name: 'client_ca_path' | 'session_ticket_key_path',
  what: string,
  context: BuildContext,
): string | null {
  const path = values[name];
  return path === null ? null : context.existingFile(path, what, [...at, name]);
}

/** Fields that tell backends who the client is (RFC 9440), with `-` for any `_`. */
const IDENTITY = ['client-cert', 'client-cert-chain'];

/** With client_auth the edge alone says who the client is. */
export function checkIdentityRules(root: SectionReading<RootFields>, report: Report): void {
  const { tls, host_routes: hostRoutes, path_routes: pathRoutes } = root.values;
  if (tls === null || tls.values.client_auth === 'none') return;
  for (const { value } of [...hostRoutes, ...pathRoutes.flatMap((host) => host.value)]) {
    const { at, values } = value.values.security;
    const named: readonly (readonly [KeyPath, string])[] = [
      ...values.add_request_headers.map(([name]) => [[...at, 'add_request_headers', name], name] as const),
      ...values.remove_request_headers.map(
        (name, index) => [[...at, 'remove_request_headers', index], name] as const,
      ),
    ];
    for (const [here, name] of named) {
      if (!IDENTITY.includes(name.toLowerCase().replaceAll('_', '-'))) continue;
      const message = `The field ${JSON.stringify(name)} can't be a matter of rules: tls.client_auth sets it`;
      report.add('conflict', here, message, '', 'remove the rule');
    }
  }
}

function checkAgreement({ at, given, wrong, values }: Reading, { report }: BuildContext): void {
  if (!values.ktls_enabled && given.has('ktls_fallback_enabled') && !values.ktls_fallback_enabled) {
    report.warn(
      [...at, 'ktls_fallback_enabled'],
      'ktls_fallback_enabled has no effect: ktls_enabled is false',
      'set ktls_enabled = true, or remove it',
    );
  }
  if (values.client_auth !== 'none' && !given.has('client_ca_path')) {
    report.add(
      'conflict',
      [...at, 'client_auth'],
      `client_auth = "${values.client_auth}" needs authorities to verify clients by`,
      '',
      'name their file with client_ca_path',
    );
  }
  if (values.client_auth === 'none' && !wrong.has('client_auth') && given.has('client_ca_path')) {
    report.warn(
      [...at, 'client_ca_path'],
      'client_ca_path has no effect: client_auth is "none"',
      'set client_auth = "required" or "optional", or remove it',
    );
  }
  if (values.min_version === '1.3' && given.has('ciphers')) {
    report.warn(
      [...at, 'ciphers'],
      'ciphers has no effect: it is for TLS 1.2, and min_version is "1.3"',
      'remove it',
    );
  }
  if (values.session_tickets) return;
  for (const name of ['session_ticket_key_path', 'session_ticket_rotation_secs']) {
    if (!given.has(name)) continue;
    report.warn([...at, name], `${name} has no effect: session_tickets is false`, 'remove one of them');
  }
}
