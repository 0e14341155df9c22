/**
 * Judges what the configuration's TLS names: certificates, keys, OCSP responses, authorities, ticket keys, lists of
 * suites and groups. Everything that is wrong is reported with its key, and what will soon be wrong is warned about.
 * Reads the files; starts nothing.
 */

import { X509Certificate } from 'node:crypto';
import {
  certificateBlocks,
  isChainLinked,
  issuerName,
  readKey,
  readServerCertificate,
  type ServerCertificate,
} from './certificate.ts';
import { looseBits, readTlsFile } from './certificate-files.ts';
import { certificateFault, readOcsp } from './server-contexts.ts';
import { coversName, normaliseServerName } from './server-names.ts';
import {
  type CertificateSettings,
  cipherListFault,
  cipherSuitesFault,
  groupsFault,
  type ListFault,
  type TlsSettings,
} from './settings.ts';
import { ticketKeyFault } from './ticket-keys.ts';

type KeyPath = readonly (string | number)[];

/** Where findings go: the report of the configuration's loader. */
export interface TlsReport {
  add(
    kind: 'value' | 'conflict' | 'not-found',
    at: KeyPath,
    message: string,
    allowed?: string,
    mend?: string,
  ): void;
  warn(at: KeyPath, message: string, mend?: string): void;
}

const DAY_MS = 86_400_000;
const DAYS_LEFT_MIN = 30;
/** Hosts that one warning names. */
const HOSTS_NAMED_MAX = 5;
const KEY_KINDS = 'ECDSA P-256 or P-384, RSA of 2048 bits or more, Ed25519';

interface Inspected {
  readonly at: KeyPath;
  readonly settings: CertificateSettings;
  readonly certificate: ServerCertificate;
}

/** `hosts` are those of all routes, as the configuration has them: names, wildcards, addresses, `*`. */
export function inspectTls(
  settings: TlsSettings,
  hosts: readonly string[],
  report: TlsReport,
  nowMs: number = Date.now(),
): void {
  const all = [settings, ...settings.certificates];
  const inspected: Inspected[] = [];
  for (const [index, each] of all.entries()) {
    const at: KeyPath = index === 0 ? ['tls'] : ['tls', 'certificates', index - 1];
    const certificate = inspectCertificate(each, at, report, nowMs);
    inspectKey(each, certificate, at, report);
    if (certificate === null) continue;
    inspectOcsp(each, certificate, at, report, nowMs);
    inspected.push({ at, settings: each, certificate });
  }
  inspectLists(settings, report);
  inspectAuthorities(settings, report, nowMs);
  inspectTicketKeys(settings, report);
  if (inspected.length < all.length) return;
  warnUnused(inspected, report);
  warnUncovered(inspected, hosts, report);
}

function inspectCertificate(
  { certPath }: CertificateSettings,
  at: KeyPath,
  report: TlsReport,
  nowMs: number,
): ServerCertificate | null {
  const here = [...at, 'cert_path'];
  const content = readTlsFile(certPath);
  const certificate = typeof content === 'string' ? content : readServerCertificate(content);
  const fault = typeof certificate === 'string' ? certificate : certificateFault(certificate);
  if (typeof certificate === 'string' || fault !== '') {
    report.add('value', here, `TLS certificate ${certPath}: ${fault}`, `PEM, the key ${KEY_KINDS}`);
    return null;
  }
  warnTimes(certificate.validFrom, certificate.validTo, `The certificate ${certPath}`, here, report, nowMs);
  if (!isChainLinked(certificate.chain)) {
    const mend = 'put the certificate first, then its issuer, then the issuer’s issuer';
    report.warn(here, `The certificates in ${certPath} are not a chain, each issued by the next`, mend);
  }
  if (certificate.names.length === 0) {
    const mend = 'get one with subjectAltName; a common name alone is not looked at';
    report.warn(here, `The certificate ${certPath} has no names: clients will refuse it`, mend);
  }
  return certificate;
}

function warnTimes(
  validFrom: number,
  validTo: number,
  what: string,
  at: KeyPath,
  report: TlsReport,
  nowMs: number,
): void {
  const days = Math.floor((validTo - nowMs) / DAY_MS);
  if (validTo <= nowMs) report.warn(at, `${what} expired on ${dateOf(validTo)}`, 'renew it, and send SIGHUP');
  else if (days < DAYS_LEFT_MIN) {
    const left = days === 1 ? 'one day' : `${days} days`;
    report.warn(at, `${what} expires in ${left}, on ${dateOf(validTo)}`, 'renew it, and send SIGHUP');
  }
  if (validFrom > nowMs)
    report.warn(at, `${what} is not valid before ${dateOf(validFrom)}`, 'check the clock of this machine');
}

function dateOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

function inspectKey(
  { certPath, keyPath }: CertificateSettings,
  certificate: ServerCertificate | null,
  at: KeyPath,
  report: TlsReport,
): void {
  const here = [...at, 'key_path'];
  const content = readTlsFile(keyPath);
  const key = typeof content === 'string' ? content : readKey(content);
  if (typeof content !== 'string') content.fill(0);
  if (typeof key === 'string') {
    report.add('value', here, `TLS private key ${keyPath}: ${key}`, 'PEM, not encrypted');
    return;
  }
  if (certificate !== null && !certificate.leaf.checkPrivateKey(key)) {
    const message = `TLS private key ${keyPath} does not belong to the certificate in ${certPath}`;
    report.add('conflict', here, message, '', 'name the key that the certificate was requested with');
  }
  warnLoose(keyPath, 'The private key', here, report);
}

function warnLoose(path: string, what: string, at: KeyPath, report: TlsReport): void {
  const bits = looseBits(path);
  if (bits === 0) return;
  const who = (bits & 0o004) === 0 ? 'its group' : 'everybody on this machine';
  report.warn(at, `${what} ${path} can be read by ${who}`, `chmod 600 ${path}`);
}

function inspectOcsp(
  { ocspPath }: CertificateSettings,
  certificate: ServerCertificate,
  at: KeyPath,
  report: TlsReport,
  nowMs: number,
): void {
  if (ocspPath === null) return;
  const here = [...at, 'ocsp_path'];
  const content = readTlsFile(ocspPath);
  const status = typeof content === 'string' ? content : readOcsp(certificate, content);
  if (typeof status === 'string') {
    report.add('value', here, `OCSP response ${ocspPath}: ${status}`, 'DER, about this certificate');
    return;
  }
  const mend = 'fetch a fresh one, and send SIGHUP';
  if (status.nextUpdate <= nowMs) {
    const message = `The OCSP response ${ocspPath} ran out on ${dateOf(status.nextUpdate)}: it is not stapled`;
    report.warn(here, message, mend);
  } else if (status.thisUpdate > nowMs) {
    report.warn(here, `The OCSP response ${ocspPath} is not valid before ${dateOf(status.thisUpdate)}`, mend);
  }
  if (status.status !== 'good')
    report.warn(here, `The OCSP response ${ocspPath} says that the certificate is ${status.status}`, mend);
}

function inspectLists(settings: TlsSettings, report: TlsReport): void {
  const check = (key: string, value: string, fault: ListFault | null): void => {
    if (fault === null) return;
    report.add('value', ['tls', key], `Invalid value ${JSON.stringify(value)}: ${fault.why}`, '', fault.mend);
  };
  check('ciphers', settings.ciphers, cipherListFault(settings.ciphers));
  check('cipher_suites', settings.cipherSuites, cipherSuitesFault(settings.cipherSuites));
  check('groups', settings.groups, groupsFault(settings.groups));
}

function inspectAuthorities(settings: TlsSettings, report: TlsReport, nowMs: number): void {
  const path = settings.clientCaPath;
  if (path === null || settings.clientAuth === 'none') return;
  const at = ['tls', 'client_ca_path'];
  const content = readTlsFile(path);
  const blocks = typeof content === 'string' ? [] : certificateBlocks(content);
  let fault = typeof content === 'string' ? content : '';
  if (fault === '' && blocks.length === 0) fault = 'it holds no certificate in PEM';
  for (const block of blocks) {
    try {
      const authority = new X509Certificate(block);
      const what = `The client authority ${authority.subject.replaceAll('\n', ', ')}`;
      warnTimes(authority.validFromDate.getTime(), authority.validToDate.getTime(), what, at, report, nowMs);
    } catch {
      fault = 'it holds a certificate that can’t be read';
    }
  }
  if (fault !== '') report.add('value', at, `Client authorities ${path}: ${fault}`, 'certificates in PEM');
}

function inspectTicketKeys(settings: TlsSettings, report: TlsReport): void {
  const path = settings.sessionTicketKeyPath;
  if (path === null || !settings.sessionTickets) return;
  const at = ['tls', 'session_ticket_key_path'];
  const content = readTlsFile(path);
  const fault = typeof content === 'string' ? content : ticketKeyFault(content);
  if (typeof content !== 'string') content.fill(0);
  if (fault === '') warnLoose(path, 'The file of ticket keys', at, report);
  else report.add('value', at, `Ticket keys ${path}: ${fault}`, '', `openssl rand 80 > ${path}`);
}

/** A certificate all of whose names are served by earlier ones of its kind. */
function warnUnused(inspected: readonly Inspected[], report: TlsReport): void {
  for (const [index, { at, settings, certificate }] of inspected.entries()) {
    const kind = certificate.keyKind.split(' ', 1)[0];
    const before = inspected
      .slice(0, index)
      .filter((each) => each.certificate.keyKind.split(' ', 1)[0] === kind)
      .flatMap((each) => each.certificate.names);
    if (index === 0 || !certificate.names.every((name) => before.includes(name))) continue;
    const message = `The certificate ${settings.certPath} is never used: all its names have one already`;
    report.warn([...at, 'cert_path'], message, 'remove it, or the earlier one');
  }
}

/** Routed hosts without a certificate, and certificates without a routed host. */
function warnUncovered(inspected: readonly Inspected[], hosts: readonly string[], report: TlsReport): void {
  const routed = [...new Set(hosts)].filter((host) => host !== '*').map(normaliseServerName);
  const names = inspected.flatMap(({ certificate }) => certificate.names);
  const bare = routed.filter((host) => host !== '' && !names.some((name) => meets(name, host)));
  if (bare.length > 0 && names.length > 0) {
    const some = bare.slice(0, HOSTS_NAMED_MAX).join(', ');
    const more = bare.length > HOSTS_NAMED_MAX ? `, and for ${bare.length - HOSTS_NAMED_MAX} more hosts` : '';
    const message = `There are routes for ${some}${more}, but no certificate is for them: clients will refuse the default one`;
    report.warn(['tls', 'certificates'], message, 'add a certificate, or remove the routes');
  }
  if (hosts.length === 0 || hosts.includes('*')) return;
  for (const { at, settings, certificate } of inspected) {
    if (certificate.names.length === 0) continue;
    if (certificate.names.some((name) => routed.some((host) => meets(name, host)))) continue;
    const message = `The certificate ${settings.certPath} is for ${certificate.names.slice(0, HOSTS_NAMED_MAX).join(', ')}, which no route knows`;
    report.warn([...at, 'cert_path'], message, 'add a route, or name another certificate');
  }
}

/** Whether a certificate's name and a route's host have a host in common. A route's wildcard is for one label or more. */
function meets(name: string, host: string): boolean {
  if (!host.startsWith('*.')) return coversName(name, host);
  const plain = name.startsWith('*.') ? name.slice(1) : name;
  return plain.endsWith(host.slice(1));
}

/** What `check` tells of one certificate. */
export function describeCertificates(settings: TlsSettings): string[] {
  const lines: string[] = [];
  for (const { certPath, ocspPath } of [settings, ...settings.certificates]) {
    const content = readTlsFile(certPath);
    const certificate = typeof content === 'string' ? content : readServerCertificate(content);
    if (typeof certificate === 'string') continue;
    const names = certificate.names.length === 0 ? 'no names' : certificate.names.join(', ');
    const staple = ocspPath === null ? '' : ', with an OCSP response';
    const issuer = issuerName(certificate.leaf);
    lines.push(
      `${names}: ${certificate.keyKind}, by ${issuer}, until ${dateOf(certificate.validTo)}${staple}`,
    );
  }
  return lines;
}
