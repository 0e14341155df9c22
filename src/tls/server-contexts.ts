/**
 * OpenSSL's contexts of a server: one for each set of certificates that serve the same names, chosen by SNI, with
 * settings that are the same in all of them. They belong to a generation of the configuration, and go with it:
 * sessions in handshake keep the context that they have, by OpenSSL's own counting.
 *
 * Start of the list is the default: what clients get that name nothing, or nothing that is known.
 */

import { createHash } from 'node:crypto';
import { assert } from '../base/assert.ts';
import {
  ERR_clear_error,
  opensslErrors,
  SSL_CTX_ctrl,
  SSL_CTX_free,
  SSL_CTX_new,
  SSL_CTX_set_options,
  SSL_new,
  SSL_set_accept_state,
  TLS_server_method,
} from '../sys/openssl.ts';
import {
  addChainCertificate,
  EVP_PKEY_free,
  readCertificate,
  readPrivateKey,
  SSL_CTX_check_private_key,
  SSL_CTX_set_cipher_list,
  SSL_CTX_set_ciphersuites,
  SSL_CTX_set_verify,
  SSL_CTX_use_certificate,
  SSL_CTX_use_PrivateKey,
  SSL_VERIFY_PEER,
  setGroups,
  X509_free,
  X509_STORE_add_cert,
} from '../sys/openssl-client.ts';
import {
  readOcspResponse,
  SSL_CTX_add_client_CA,
  SSL_CTX_get_cert_store,
  SSL_CTX_set_num_tickets,
  SSL_CTX_set_security_level,
  SSL_CTX_set_session_id_context,
  SSL_CTX_set_timeout,
  SSL_CTX_set_verify_depth,
  X509_get0_pubkey,
} from '../sys/openssl-x509.ts';
import { certificateBlocks, readKey, readServerCertificate, type ServerCertificate } from './certificate.ts';
import { exposeSecrets, type Reachability } from './handshake.ts';
import {
  addNames,
  chooseByName,
  offerProtocols,
  replaceNames,
  retireNames,
  sendStaples,
  staple,
  unstaple,
} from './server-callbacks.ts';
import { coversName, ServerNames } from './server-names.ts';
import type { CertificateMaterial, TlsMaterial, TlsSettings } from './settings.ts';
import { TLS12, TLS13 } from './suites.ts';
import { dropTicketKeys, type TicketKeys, useTicketKeys } from './ticket-keys.ts';

const SSL_CTRL_MODE = 33;
const SSL_CTRL_SET_SESS_CACHE_MODE = 44;
const SSL_CTRL_SET_MAX_CERT_LIST = 51;
const SSL_CTRL_SET_MIN_PROTO_VERSION = 123;
const SSL_CTRL_SET_MAX_PROTO_VERSION = 124;
/** The chain is what the file has: nothing is looked for in the store of clients' authorities. */
const SSL_MODE_NO_AUTO_CHAIN = 0x8;
const SSL_MODE_RELEASE_BUFFERS = 0x10;
const SSL_SESS_CACHE_OFF = 0;
const SSL_OP_NO_TICKET = 0x4000;
const SSL_OP_NO_COMPRESSION = 0x20000;
const SSL_OP_PRIORITIZE_CHACHA = 0x200000;
const SSL_OP_CIPHER_SERVER_PREFERENCE = 0x400000;
const SSL_OP_NO_RENEGOTIATION = 0x40000000;
const SSL_VERIFY_FAIL_IF_NO_PEER_CERT = 2;
/** Keys and signatures of 112 bits of security at least (SSL_CTX_set_security_level(3)). */
const SECURITY_LEVEL = 2;
/** Intermediates between a client's certificate and its authority. */
const CLIENT_CHAIN_DEPTH_MAX = 4;
/** Bytes of what a client sends as its chain. */
const CLIENT_CHAIN_BYTES_MAX = 65_536;
/** Tickets after a handshake in TLS 1.3. Each resumption brings the next. */
const TICKETS = 1;

/** One certificate with what belongs to it. */
export interface LoadedCertificate {
  /** Place in the configuration: 0 is that of [tls]. */
  readonly index: number;
  readonly certificate: ServerCertificate;
  readonly material: CertificateMaterial;
}

/**
 * Gives the private key of a certificate: an EVP_PKEY, one reference of which goes to the caller. `publicKey` is the
 * certificate's (an EVP_PKEY, lent). Throws an Error with the reason where there is none.
 */
export type PrivateKeySource = (certificate: LoadedCertificate, publicKey: number) => number;

export interface ServerContextOptions {
  readonly settings: TlsSettings;
  readonly material: TlsMaterial;
  /** Null where tickets are off. They outlive the contexts: their owner frees them. */
  readonly tickets: TicketKeys | null;
  /** For ALPN, best first: `http/1.1`. */
  readonly protocols: readonly string[];
  /** Where private keys come from; the material where absent. */
  readonly privateKeyFor?: PrivateKeySource;
  /** What handshakes wait for, where keys are elsewhere. */
  readonly gate?: Reachability | null;
}

/** The key that the material holds. */
export function localPrivateKey({ certificate, material }: LoadedCertificate): number {
  const pem = material.key;
  if (pem === null) throw new Error('there is no private key');
  const parsed = readKey(pem);
  if (typeof parsed === 'string') throw new Error(`the private key: ${parsed}`);
  if (!certificate.leaf.checkPrivateKey(parsed))
    throw new Error('the private key does not belong to the certificate');
  const key = readPrivateKey(parsed.export({ type: 'pkcs8', format: 'pem' }) as string);
  if (key === 0) throw new Error(`the private key: ${opensslErrors()}`);
  return key;
}

/** Certificates of one context are of kinds that OpenSSL chooses between by itself. */
function slotOf({ certificate }: LoadedCertificate): string {
  return certificate.keyKind.split(' ', 1)[0];
}

export class ServerContexts {
  readonly gate: Reachability | null;
  /** By what they hold: the places of their certificates. */
  private readonly contexts: Map<string, number>;
  private readonly defaultContext: number;
  private readonly certificates: readonly LoadedCertificate[];
  /** OpenSSL's certificates (X509) by place, and their keys (EVP_PKEY). */
  private readonly leaves: number[];
  private readonly keys: number[];
  private readonly options: ServerContextOptions;
  private namesTable: number;
  private isFreed: boolean;

  /** Throws an Error with the reason where something can't be used; nothing is left behind then. */
  constructor(options: ServerContextOptions) {
    this.options = options;
    this.gate = options.gate ?? null;
    this.contexts = new Map();
    this.leaves = [];
    this.keys = [];
    this.namesTable = 0;
    this.isFreed = false;
    ERR_clear_error();
    try {
      this.certificates = options.material.certificates.map(loadCertificate);
      this.openCertificates(options.privateKeyFor ?? localPrivateKey);
      this.defaultContext = this.contextOf(this.setOfDefault());
      this.nameContexts();
    } catch (error) {
      this.free();
      throw error;
    }
  }

  /** A new SSL in accept state; whoever asked frees it. 0: no memory. */
  newSession(): number {
    assert(!this.isFreed, 'a session of contexts that are given up');
    const ssl = SSL_new(this.defaultContext);
    if (ssl !== 0) SSL_set_accept_state(ssl);
    return ssl;
  }

  /** How many contexts there are. */
  get size(): number {
    return this.contexts.size;
  }

  /** From now on `next` is in force, whether or not this is freed: handshakes that began here choose there. */
  followedBy(next: ServerContexts): void {
    replaceNames(this.namesTable, next.namesTable);
  }

  /** Nobody asks for sessions any more. Those in handshake go on. */
  free(): void {
    if (this.isFreed) return;
    this.isFreed = true;
    retireNames(this.namesTable);
    for (const ctx of this.contexts.values()) {
      dropTicketKeys(ctx);
      SSL_CTX_free(ctx);
    }
    for (const leaf of this.leaves) {
      unstaple(leaf);
      X509_free(leaf);
    }
    for (const key of this.keys) EVP_PKEY_free(key);
  }

  private openCertificates(privateKeyFor: PrivateKeySource): void {
    for (const loaded of this.certificates) {
      const at = placeOf(loaded.index);
      const leaf = readCertificate(loaded.certificate.leaf.toString());
      if (leaf === 0) throw new Error(`${at}: ${opensslErrors()}`);
      this.leaves.push(leaf);
      try {
        const key = privateKeyFor(loaded, X509_get0_pubkey(leaf));
        if (key === 0) throw new Error('there is no private key');
        this.keys.push(key);
        if (loaded.material.ocsp !== null) stapleResponse(loaded, leaf, loaded.material.ocsp);
      } catch (error) {
        throw new Error(`${at}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  }

  /** The default certificate, and those of other kinds that serve all of its names as well. */
  private setOfDefault(): LoadedCertificate[] {
    const [first, ...others] = this.certificates;
    const { names } = first.certificate;
    const equal = others.filter(
      ({ certificate }) =>
        names.length > 0 && names.every((name) => certificate.names.some((other) => coversName(other, name))),
    );
    return oneOfEachKind([first, ...equal]);
  }

  /** Every name with the context of all certificates that have it. */
  private nameContexts(): void {
    const byName = new Map<string, LoadedCertificate[]>();
    for (const loaded of this.certificates) {
      for (const name of loaded.certificate.names) byName.set(name, [...(byName.get(name) ?? []), loaded]);
    }
    const table = new ServerNames<number>();
    for (const [name, set] of byName) table.add(name, this.contextOf(oneOfEachKind(set)));
    this.namesTable = addNames(table);
    // With a single context there is nothing to choose, and nobody needs to be asked.
    if (this.contexts.size > 1) chooseByName(this.defaultContext, this.namesTable);
  }

  private contextOf(set: readonly LoadedCertificate[]): number {
    const key = set.map(({ index }) => index).join(' ');
    const known = this.contexts.get(key);
    if (known !== undefined) return known;
    const ctx = SSL_CTX_new(TLS_server_method());
    if (ctx === 0) throw new Error('no memory for a TLS context');
    this.contexts.set(key, ctx);
    applySettings(ctx, this.options);
    for (const loaded of set) this.addCertificate(ctx, loaded);
    return ctx;
  }

  private addCertificate(ctx: number, { index, certificate }: LoadedCertificate): void {
    const isUsed =
      SSL_CTX_use_certificate(ctx, this.leaves[index]) === 1 &&
      SSL_CTX_use_PrivateKey(ctx, this.keys[index]) === 1 &&
      SSL_CTX_check_private_key(ctx) === 1 &&
      certificate.chain.slice(1).every((each) => addIntermediate(ctx, each.toString()));
    if (!isUsed) throw new Error(`${placeOf(index)}: OpenSSL refuses the certificate: ${opensslErrors()}`);
  }
}

/** Why OpenSSL won't have a certificate or its chain (a signature that is too weak), or ''. */
export function certificateFault(certificate: ServerCertificate): string {
  const ctx = SSL_CTX_new(TLS_server_method());
  if (ctx === 0) return 'no memory for a TLS context';
  ERR_clear_error();
  SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
  const leaf = readCertificate(certificate.leaf.toString());
  const isUsed =
    leaf !== 0 &&
    SSL_CTX_use_certificate(ctx, leaf) === 1 &&
    certificate.chain.slice(1).every((each) => addIntermediate(ctx, each.toString()));
  const reason = isUsed ? '' : opensslErrors() || 'OpenSSL refuses it';
  if (leaf !== 0) X509_free(leaf);
  SSL_CTX_free(ctx);
  return reason;
}

/** How messages name a certificate. */
function placeOf(index: number): string {
  return index === 0 ? 'tls' : `tls.certificates[${index - 1}]`;
}

function loadCertificate(material: CertificateMaterial, index: number): LoadedCertificate {
  const certificate = readServerCertificate(material.certificate);
  if (typeof certificate === 'string') throw new Error(`${placeOf(index)}: the certificate: ${certificate}`);
  return { index, certificate, material };
}

/** The first of each kind of key: OpenSSL has one place for each. */
function oneOfEachKind(set: readonly LoadedCertificate[]): LoadedCertificate[] {
  return set.filter((each, at) => set.findIndex((other) => slotOf(other) === slotOf(each)) === at);
}

function addIntermediate(ctx: number, pem: string): boolean {
  const certificate = readCertificate(pem);
  if (certificate === 0) return false;
  const isAdded = addChainCertificate(ctx, certificate) === 1;
  X509_free(certificate);
  return isAdded;
}

function stapleResponse({ certificate }: LoadedCertificate, leaf: number, response: Uint8Array): void {
  const status = ocspStatus(certificate, leaf, response);
  if (typeof status === 'string') throw new Error(`the OCSP response: ${status}`);
  staple(leaf, response, status.nextUpdate);
}

/** What an OCSP response says of a certificate, or why it can't be used. */
export function readOcsp(
  certificate: ServerCertificate,
  response: Uint8Array,
): ReturnType<typeof readOcspResponse> {
  const leaf = readCertificate(certificate.leaf.toString());
  if (leaf === 0) return opensslErrors();
  const status = ocspStatus(certificate, leaf, response);
  X509_free(leaf);
  return status;
}

function ocspStatus(
  certificate: ServerCertificate,
  leaf: number,
  response: Uint8Array,
): ReturnType<typeof readOcspResponse> {
  const issuer = certificate.chain.length > 1 ? readCertificate(certificate.chain[1].toString()) : 0;
  const status = readOcspResponse(response, leaf, issuer);
  if (issuer !== 0) X509_free(issuer);
  ERR_clear_error();
  return status;
}

function applySettings(ctx: number, { settings, material, tickets, protocols }: ServerContextOptions): void {
  const isTls12Allowed = settings.minVersion === '1.2';
  SSL_CTX_ctrl(ctx, SSL_CTRL_SET_MIN_PROTO_VERSION, isTls12Allowed ? TLS12 : TLS13, 0);
  SSL_CTX_ctrl(ctx, SSL_CTRL_SET_MAX_PROTO_VERSION, TLS13, 0);
  SSL_CTX_ctrl(ctx, SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN, 0);
  SSL_CTX_ctrl(ctx, SSL_CTRL_SET_SESS_CACHE_MODE, SSL_SESS_CACHE_OFF, 0);
  SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
  SSL_CTX_set_options(
    ctx,
    SSL_OP_NO_COMPRESSION |
      SSL_OP_NO_RENEGOTIATION |
      SSL_OP_CIPHER_SERVER_PREFERENCE |
      SSL_OP_PRIORITIZE_CHACHA |
      (tickets === null ? SSL_OP_NO_TICKET : 0),
  );
  const isSet =
    SSL_CTX_set_cipher_list(ctx, settings.ciphers) === 1 &&
    SSL_CTX_set_ciphersuites(ctx, settings.cipherSuites) === 1 &&
    setGroups(ctx, settings.groups) === 1;
  if (!isSet) throw new Error(`tls: OpenSSL refuses suites or groups: ${opensslErrors()}`);
  if (tickets === null) SSL_CTX_set_num_tickets(ctx, 0);
  else {
    SSL_CTX_set_num_tickets(ctx, TICKETS);
    SSL_CTX_set_timeout(ctx, tickets.lifetimeSecs);
    useTicketKeys(ctx, tickets);
  }
  const sessionContext = sessionContextOf(settings, material);
  SSL_CTX_set_session_id_context(ctx, sessionContext, sessionContext.length);
  exposeSecrets(ctx);
  offerProtocols(ctx, protocols);
  sendStaples(ctx);
  if (settings.clientAuth !== 'none') verifyClients(ctx, settings, material);
}

/** A session is resumed only where its client would be verified by the same authorities again. 32 letters, OpenSSL's most. */
function sessionContextOf(settings: TlsSettings, material: TlsMaterial): string {
  const hash = createHash('sha256').update(settings.clientAuth);
  if (material.clientAuthorities !== null) hash.update(material.clientAuthorities);
  return hash.digest('hex').slice(0, 32);
}

function verifyClients(ctx: number, settings: TlsSettings, material: TlsMaterial): void {
  const required = settings.clientAuth === 'required' ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0;
  SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | required, 0);
  SSL_CTX_set_verify_depth(ctx, CLIENT_CHAIN_DEPTH_MAX);
  SSL_CTX_ctrl(ctx, SSL_CTRL_SET_MAX_CERT_LIST, CLIENT_CHAIN_BYTES_MAX, 0);
  const blocks = certificateBlocks(material.clientAuthorities ?? new Uint8Array(0));
  if (blocks.length === 0) throw new Error('tls.client_ca_path: it holds no certificate in PEM');
  const store = SSL_CTX_get_cert_store(ctx);
  for (const block of blocks) {
    const authority = readCertificate(block);
    const isAdded =
      authority !== 0 &&
      X509_STORE_add_cert(store, authority) === 1 &&
      SSL_CTX_add_client_CA(ctx, authority) === 1;
    if (authority !== 0) X509_free(authority);
    if (!isAdded) throw new Error(`tls.client_ca_path: ${opensslErrors()}`);
  }
}
