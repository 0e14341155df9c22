/** Keys of [tls] that must agree with each other. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { load, problemsOf, warningsOf, withServer } from './fixture.ts';

const PAIR = '[tls]\ncert_path = "server.crt"\nkey_path = "server.key"\n';

const PROBLEMS: readonly { name: string; lines: string; expected: readonly string[] }[] = [
  {
    name: 'client authentication without authorities',
    lines: 'client_auth = "optional"',
    expected: ['tls.client_auth: client_auth = "optional" needs authorities to verify clients by'],
  },
  {
    name: 'files that are not there',
    lines:
      'client_auth = "required"\nclient_ca_path = "ca.crt"\nocsp_path = "a.ocsp"\nsession_ticket_key_path = "t.key"',
    expected: [
      'tls.client_ca_path: File of client authorities not found: ca.crt',
      'tls.ocsp_path: OCSP response file not found: a.ocsp',
      'tls.session_ticket_key_path: File of ticket keys not found: t.key',
    ],
  },
  {
    name: 'a response for a further certificate that is not there',
    lines: '[[tls.certificates]]\ncert_path = "server.crt"\nkey_path = "server.key"\nocsp_path = "b.ocsp"',
    expected: ['tls.certificates[0].ocsp_path: OCSP response file not found: b.ocsp'],
  },
  {
    name: 'an old version',
    lines: 'min_version = "1.1"',
    expected: ['tls.min_version: Unknown value "1.1"'],
  },
  {
    name: 'a list that could not be one',
    lines: 'groups = "X25519 P-256"',
    expected: ['tls.groups: Invalid value "X25519 P-256": it is empty, or not names and colons alone'],
  },
];

for (const { name, lines, expected } of PROBLEMS) {
  test(`refuses ${name}`, () => assert.deepEqual(problemsOf(load(withServer(PAIR + lines))), expected));
}

const WARNINGS: readonly { name: string; lines: string; expected: readonly string[] }[] = [
  {
    name: 'authorities that nobody is verified by',
    lines: 'client_ca_path = "server.crt"',
    expected: ['tls.client_ca_path: client_ca_path has no effect: client_auth is "none"'],
  },
  {
    name: 'suites of a version that is off',
    lines: 'min_version = "1.3"\nciphers = "ECDHE+AESGCM"',
    expected: ['tls.ciphers: ciphers has no effect: it is for TLS 1.2, and min_version is "1.3"'],
  },
  {
    name: 'details of tickets that are off',
    lines: 'session_tickets = false\nsession_ticket_rotation_secs = 60',
    expected: [
      'tls.session_ticket_rotation_secs: session_ticket_rotation_secs has no effect: session_tickets is false',
    ],
  },
];

for (const { name, lines, expected } of WARNINGS) {
  test(`warns of ${name}`, () => {
    const result = load(withServer(PAIR + lines));
    assert.deepEqual(problemsOf(result), []);
    assert.deepEqual(warningsOf(result), expected);
  });
}

const RULES = `client_auth = "required"
client_ca_path = "server.crt"
[host_routes.a]
type = "Redirect"
redirect_url = "https://b"
[host_routes.a.security]
add_request_headers = { "Client_Cert" = "x", "X-Client-Cert" = "x" }
remove_request_headers = ["client-cert-chain"]
`;

test('refuses rules about who the client is, where the edge tells that itself', () => {
  assert.deepEqual(problemsOf(load(withServer(PAIR + RULES))), [
    `host_routes.a.security.add_request_headers.Client_Cert: The field "Client_Cert" can't be a matter of rules: tls.client_auth sets it`,
    `host_routes.a.security.remove_request_headers[0]: The field "client-cert-chain" can't be a matter of rules: tls.client_auth sets it`,
  ]);
  assert.deepEqual(problemsOf(load(withServer(PAIR + RULES.replace('required', 'none')))), []);
});

test('what is inspected beyond the text is reported with the lines of its keys', () => {
  const text = withServer(PAIR);
  const { config, problems } = load(text, {
    inspect: (_, report) => report.add('value', ['tls', 'key_path'], 'It does not fit'),
  });
  assert.equal(config, null);
  assert.equal(problems[0].line, text.split('\n').indexOf('key_path = "server.key"') + 1);
});

test('nothing is inspected where the text is wrong', () => {
  const { problems } = load(withServer('[tls]\n'), { inspect: () => assert.fail('was inspected') });
  assert.equal(problems.length, 2);
});
