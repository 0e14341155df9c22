/** The judge: what it says is what loading says, and whatever becomes of it is a judgement. */

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { judgeConfiguration } from '../../src/cli/judgement.ts';
import { loadAndInspect } from '../../src/cli/load.ts';
import { SAME_USER } from '../../src/config/files.ts';
import { KEYS_MAX } from '../../src/config/material.ts';
import { formatProblem } from '../../src/config/problem.ts';
import { edgeUserOf } from '../../src/master/describe.ts';
import { judge } from '../../src/master/judge.ts';
import { probeMachine } from '../../src/master/machine.ts';
import { landlockAbi } from '../../src/sys/landlock.ts';
import { type TestCertificate, testAuthority, testFile } from '../fixtures/certificates.ts';
import { until } from '../fixtures/patience.ts';

const authority = testAuthority();
const SERVER = '[server]\nlisten = "127.0.0.1:21510"\n';
const ROUTE = '[host_routes."*"]\ntype = "Redirect"\nredirect_url = "https://example.com"\n';

function tls({ certPath, keyPath }: { certPath: string; keyPath: string }, more = ''): string {
  return `[tls]\ncert_path = "${certPath}"\nkey_path = "${keyPath}"\n${more}`;
}

function further({ certPath, keyPath }: { certPath: string; keyPath: string }): string {
  return `[[tls.certificates]]\ncert_path = "${certPath}"\nkey_path = "${keyPath}"\n`;
}

function write(toml: string): string {
  return testFile('judged.toml', toml);
}

/** What can be passed on as JSON: all of it. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

describe('a judgement', { timeout: 240_000 }, () => {
  const good = authority.server(['example.com']);
  const other = authority.server(['other.example']);
  const WRONG: readonly { readonly name: string; readonly toml: string }[] = [
    { name: 'no TOML', toml: '[server\nlisten = 1' },
    { name: 'unknown keys and wrong values', toml: '[server]\nlisten = 7\nlisten_too = 8\n[nothing]\n' },
    { name: 'a certificate and another one’s key', toml: SERVER + tls({ ...good, keyPath: other.keyPath }) },
    {
      name: 'files that aren’t there',
      toml: SERVER + tls({ certPath: '/nowhere.crt', keyPath: '/nowhere.key' }),
    },
    {
      name: 'lists that OpenSSL doesn’t know',
      toml: SERVER + tls(good, 'ciphers = "NONSENSE"\ngroups = "X"\n'),
    },
    {
      name: 'a backend’s authorities without a certificate',
      toml: `${SERVER}[host_routes.a]\ntype = "Proxy"\nurl = "https://b.example"\nca_path = "${testFile('no.pem', 'no')}"\n`,
    },
    {
      name: 'warnings alone',
      toml: SERVER + tls(authority.server(['soon.example'], { days: 3 })) + ROUTE,
    },
  ];
  for (const { name, toml } of WRONG) {
    it(`of ${name} is what loading says, word for word`, async () => {
      const path = write(toml);
      const { config, problems, warnings } = loadAndInspect(path, edgeUserOf(probeMachine()));
      const judged = await judge(path, 1);
      assert.deepEqual(judged.problems, plain(problems));
      assert.deepEqual(judged.warnings, plain(warnings));
      assert.deepEqual(judged.accepted?.config ?? null, plain(config));
      assert.notEqual(problems.length + warnings.length, 0);
    });
  }

  it('of a file that isn’t there says so', async () => {
    const { accepted, problems } = await judge('/nowhere/sallyport.toml', 1);
    assert.equal(accepted, null);
    assert.match(
      formatProblem(problems[0], 'x'),
      /Configuration file \/nowhere\/sallyport.toml: there is no such file/,
    );
  });

  it('carries a configuration as data: nothing is lost on the way', async () => {
    const path = join(import.meta.dirname, '../config/document-example.toml');
    const { config } = loadAndInspect(path);
    if (config !== null) assert.deepEqual(plain(config), config);
    const own = write(
      `${SERVER}${tls(good)}${ROUTE}[prometheus]\nenabled = true\n[upstreams.u]\nservers = [{ url = "http://127.0.0.1:9" }]\n`,
    );
    const loaded = loadAndInspect(own, edgeUserOf(probeMachine())).config;
    assert.notEqual(loaded, null);
    assert.deepEqual((await judge(own, 1)).accepted?.config, loaded);
  });
});

describe('what is handed on of files', () => {
  it('is certificates alone, also of files that hold their private key', () => {
    const server = authority.server(['combined.example']);
    const combined = testFile('combined.pem', `${server.key}Bag Attributes\n${server.cert}${server.key}`);
    const client = authority.client('edge');
    const whole = testFile('client.pem', client.cert + client.key);
    const path = write(
      `${SERVER}${tls({ certPath: combined, keyPath: combined })}[host_routes.a]\ntype = "Proxy"
url = "https://b.example"\nca_path = "${testFile('ca.pem', authority.cert + server.key)}"
client_cert_path = "${whole}"\nclient_key_path = "${whole}"\n`,
    );
    const { material, keys, problems } = judgeConfiguration(path, 5, SAME_USER);
    assert.deepEqual(problems, []);
    assert.doesNotMatch(JSON.stringify(material), /PRIVATE/);
    assert.equal(material?.server?.certificates[0].certificate.trim(), server.cert.trim());
    assert.equal(material?.backends.clientCertificates[whole].trim(), client.cert.trim());
    assert.deepEqual(
      keys.map(({ id, role, path: keyPath }) => [id, role, keyPath]),
      [
        [5 * KEYS_MAX, 'server', combined],
        [5 * KEYS_MAX + 1, 'client', whole],
      ],
    );
    assert.equal(material?.server?.certificates[0].keyId, 5 * KEYS_MAX);
    assert.deepEqual(material?.backends.clientKeys, { [whole]: 5 * KEYS_MAX + 1 });
  });

  it('has the system’s certificates once, OCSP responses, authorities of clients, and keys of tickets', () => {
    const server = authority.server(['a.example']);
    const ocspPath = authority.ocspFile(server);
    const tickets = testFile('tickets', Buffer.alloc(80, 7));
    const path = write(
      `${SERVER}${tls(server, `ocsp_path = "${ocspPath}"\nclient_auth = "optional"\nclient_ca_path = "${authority.certPath}"\nsession_ticket_key_path = "${tickets}"\n`)}
[upstreams.u]\nservers = [{ url = "https://b.example" }, { url = "https://c.example" }, { url = "https://d.example", insecure = true }]\n`,
    );
    const { material, problems } = judgeConfiguration(path, 1, SAME_USER);
    assert.deepEqual(problems, []);
    assert.deepEqual(Object.keys(material?.backends.trusts ?? {}), ['']);
    assert.match(material?.backends.trusts[''] ?? '', /^-----BEGIN CERTIFICATE-----/);
    const { certificates, clientAuthorities, ticketKeys } = material?.server ?? {};
    assert.equal(certificates?.[0].ocsp, readFileSync(ocspPath).toString('base64'));
    assert.equal(clientAuthorities?.trim(), authority.cert.trim());
    assert.equal(ticketKeys, Buffer.alloc(80, 7).toString('base64'));
  });

  it('has 200 certificates, each with its key', async () => {
    const all = Array.from(
      { length: 200 },
      (_, index): TestCertificate => authority.server([`n${index}.example`]),
    );
    const path = write(`${SERVER}${tls(all[0])}${all.slice(1).map(further).join('')}${ROUTE}`);
    const { accepted, problems } = await judge(path, 7);
    assert.deepEqual(problems, []);
    assert.equal(accepted?.keys.length, 200);
    for (const [index, { certificate, keyId }] of (accepted?.material.server?.certificates ?? []).entries()) {
      assert.equal(certificate.trim(), all[index].cert.trim());
      assert.equal(accepted?.keys.find(({ id }) => id === keyId)?.path, all[index].keyPath);
    }
  });

  it('numbers a key once, however often it is named', () => {
    const server = authority.server(['a.example']);
    const path = write(`${SERVER}${tls(server)}${further(server)}${ROUTE}`);
    const { material, keys } = judgeConfiguration(path, 1, SAME_USER);
    assert.equal(keys.length, 1);
    assert.deepEqual(
      material?.server?.certificates.map(({ keyId }) => keyId),
      [KEYS_MAX, KEYS_MAX],
    );
  });
});

describe('a judge', { timeout: 240_000 }, () => {
  const script = (source: string): string[] => ['--input-type=module', '-e', source];
  const ENDS: readonly { readonly name: string; readonly source: string; readonly reason: RegExp }[] = [
    { name: 'dies', source: 'process.kill(process.pid, "SIGSEGV")', reason: /it ended with SIGSEGV$/ },
    {
      name: 'throws',
      source: 'throw new Error("out of luck")',
      reason: /it ended with exit code 1: .*out of luck/s,
    },
    { name: 'ends without a word', source: '', reason: /it wrote something else than a judgement$/ },
    {
      name: 'writes nonsense',
      source: 'console.log("[1, 2")',
      reason: /it wrote something else than a judgement$/,
    },
    {
      name: 'writes null',
      source: 'console.log("null")',
      reason: /it wrote something else than a judgement$/,
    },
    {
      name: 'refuses without a reason',
      source:
        'console.log(JSON.stringify({problems: [], warnings: [], keys: [], config: null, material: null}))',
      reason: /it gave no reason$/,
    },
    {
      name: 'names keys of another generation',
      source:
        'console.log(JSON.stringify({problems: [], warnings: [], keys: [{id: 4096, role: "server", path: "/k"}], config: {}, material: {}}))',
      reason: /it named keys that can’t be its own$/,
    },
    {
      name: 'babbles',
      source: 'const line = "x".repeat(1 << 20); for (let n = 0; n < 80; n++) process.stdout.write(line);',
      reason: /its judgement has more than \d+ bytes$/,
    },
  ];
  for (const { name, source, reason } of ENDS) {
    it(`that ${name} is a problem in words`, async () => {
      const { accepted, problems, warnings } = await judge('x', 2, { program: script(source) });
      assert.deepEqual([accepted, warnings, problems.length], [null, [], 1]);
      assert.match(problems[0].message, /^The configuration can't be judged by the process that reads it: /);
      assert.match(problems[0].message, reason);
    });
  }

  it('that takes too long is ended', async () => {
    const program = script('process.stdin.resume(); setInterval(() => {}, 1000)');
    const { problems } = await judge('x', 1, { program, timeoutMs: 300 });
    assert.match(problems[0].message, /it took more than 0.3 seconds$/);
  });

  it('is locked in all its threads before it reads the configuration', async () => {
    const fifo = write('');
    rmSync(fifo);
    execFileSync('mkfifo', [fifo]);
    const judged = judge(fifo, 1);
    let pid = 0;
    await until(() => (pid = lockedJudge(fifo)) > 0, 30_000, 'the judge is locked');
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      const status = readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8');
      assert.match(status, /^NoNewPrivs:\t1$/m);
      // CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH at most.
      assert.match(status, /^CapEff:\t000000000000000[06]$/m);
      assert.match(status, /^CapBnd:\t0{15}[06]$|^CapEff:\t0{16}$/m);
    }
    assert.match(readFileSync(`/proc/${pid}/limits`, 'utf8'), /^Max core file size +0 +0 /m);
    assert.match(readFileSync(`/proc/${pid}/limits`, 'utf8'), /^Max file size +0 +0 /m);
    const writer = spawn('sh', ['-c', `echo nothing > ${fifo}`]);
    await once(writer, 'close');
    assert.notEqual((await judged).problems.length, 0);
  });

  it('can write no file and reach no network', async () => {
    const listener = createServer().listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const { port } = listener.address() as AddressInfo;
    const path = testFile('tried', '');
    // What a judge would do whose parser was taken over: after it has locked itself as the judge does.
    const source = `
      import { writeFileSync } from 'node:fs';
      import { connect } from 'node:net';
      if (process.env.SALLYPORT_JUDGE === undefined) await import(${JSON.stringify(join(import.meta.dirname, '../../src/cli/judge-main.ts'))});
      const tried = [];
      try { writeFileSync(${JSON.stringify(path)}, 'x'); tried.push('written'); } catch (error) { tried.push(error.code); }
      await new Promise((resolve) => connect(${port}, '127.0.0.1').on('connect', () => { tried.push('connected'); resolve(); }).on('error', (error) => { tried.push(error.code); resolve(); }));
      console.error(tried.join());
      process.exit(9);`;
    const file = testFile('taken.mjs', source);
    const { problems } = await judge('x', 1, { program: [file] });
    assert.match(problems[0].message, /exit code 9/);
    assert.doesNotMatch(problems[0].message, /connected/);
    if (landlockAbi() > 0) assert.match(problems[0].message, /EACCES,/);
    assert.equal(readFileSync(path, 'utf8'), '');
    listener.close();
  });
});

/** The process that judges this file and has become itself once more; it can't have read it, since nobody writes. */
function lockedJudge(path: string): number {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      if (!command.includes('judge-main') || !command.includes(path)) continue;
      if (readFileSync(`/proc/${pid}/environ`, 'utf8').includes('SALLYPORT_JUDGE=')) return Number(pid);
    } catch {
      // It is gone, or another user's.
    }
  }
  return 0;
}
