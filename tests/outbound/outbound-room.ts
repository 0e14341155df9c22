/**
 * The room `outbound` for tests: the real program under the real launcher, as confined as this machine allows, with files
 * of the system that are the test's own, and a test in the place of the master, the journal and the edges.
 */

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadBackendTls, readBackendMaterial } from '../../src/backend/backend-tls.ts';
import { serverKey } from '../../src/backend/server-names.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { BackendMaterial } from '../../src/config/material.ts';
import type { Config } from '../../src/config/model.ts';
import type { OutboundConfiguration } from '../../src/config/outbound-need.ts';
import { splitConfiguration } from '../../src/ipc/configuration-parts.ts';
import type { Message } from '../../src/ipc/message.ts';
import { PolledChannel } from '../../src/ipc/polled-channel.ts';
import { socketAddressOf } from '../../src/ipc/resolved-address.ts';
import type { Role } from '../../src/ipc/roles.ts';
import type { IoBackend } from '../../src/master/compartments.ts';
import type { Plan } from '../../src/master/plan.ts';
import { Room } from '../../src/master/room.ts';
import { VerdictName } from '../../src/shared/health-verdicts.ts';
import { SharedState } from '../../src/shared/state.ts';
import { createMessagePair, createSharedMemory, mapSharedMemory } from '../../src/sys/descriptors.ts';
import { until } from '../fixtures/patience.ts';
import { drainPipe, LAUNCHER, openFolder, openPipe, planFor } from '../master/house.ts';

const SLOTS = 4;
const NO_SLOT = 0xffff;
const BUFFER_BYTES = 262_144;

/** What the room finds in /etc, by name; the files may be rewritten while it runs. */
export interface SystemFiles {
  readonly hosts?: string;
  readonly 'resolv.conf'?: string;
  readonly 'nsswitch.conf'?: string;
}

export interface Answer {
  readonly question: number;
  readonly status: string;
  /** Addresses as text. */
  readonly addresses: string[];
}

/** A test in the place of an edge. */
export class Asker {
  readonly answers: Answer[] = [];
  /** Why the channel is over; empty while it isn't. */
  end = '';
  readonly channel: PolledChannel;
  private lastQuestion = 0;

  constructor(descriptor: number) {
    this.channel = new PolledChannel(descriptor, 'edge', 'outbound', {
      onMessage: (_, message) => this.onMessage(message),
      onEnd: (_, reason) => (this.end = reason),
    });
  }

  private onMessage(message: Message): void {
    if (message.kind !== 'resolved') return;
    const { question, status } = message;
    const addresses = message.addresses.map((each) => {
      const address = socketAddressOf(each, 0);
      return address.family === 'unix' ? '' : address.address;
    });
    this.answers.push({ question, status, addresses });
  }

  ask(name: string): number {
    this.channel.send({ kind: 'resolve', question: ++this.lastQuestion, name });
    return this.lastQuestion;
  }

  /** The next answer to a question after `before` of them. */
  async answer(question: number, before = 0, timeoutMs = 10_000): Promise<Answer> {
    const all = (): Answer[] => this.answers.filter((each) => each.question === question);
    await until(() => all().length > before, timeoutMs, `answer ${before + 1} to question ${question}`);
    return all()[before];
  }
}

/** What is there before the room and after it: memory, files of the system, the pipe for its output. */
export class OutboundHouse {
  readonly shared: SharedState;
  readonly folder: string;
  readonly files: Record<string, string>;
  private readonly memory: number;
  private readonly pipe: number;

  private readonly socketFolders: readonly string[];

  /** `libraries`: of the system, which the room may read besides its own. `socketFolders`: of backends' sockets. */
  constructor(
    files: SystemFiles = {},
    libraries: readonly string[] = [],
    socketFolders: readonly string[] = [],
  ) {
    this.socketFolders = socketFolders;
    const bytes = SharedState.bytes(SLOTS);
    this.memory = createSharedMemory('test', bytes);
    const mapped = mapSharedMemory(this.memory, bytes);
    assert.ok(mapped !== undefined);
    SharedState.initialise(mapped.buffer, SLOTS);
    this.shared = new SharedState(mapped.buffer, SLOTS, -1);
    this.folder = openFolder();
    this.files = {};
    const all = {
      hosts: '127.0.0.1 localhost\n',
      'resolv.conf': '',
      'nsswitch.conf': 'hosts: files dns\n',
      ...files,
    };
    for (const [name, text] of Object.entries(all)) {
      this.files[`/etc/${name}`] = join(this.folder, name);
      this.write(name, text);
    }
    for (const path of libraries) this.files[path] = path;
    this.pipe = openPipe();
  }

  /** Rewrites a file of the system in place. */
  write(name: string, text: string): void {
    writeFileSync(join(this.folder, name), text, { mode: 0o644 });
  }

  /** What the room wrote to its output since the last call. */
  output(): string {
    return drainPipe(this.pipe);
  }

  start(io: IoBackend = 'io_uring'): OutboundRoom {
    return new OutboundRoom(this, io, this.memory, this.pipe);
  }

  /** With the test's own files in the place of the machine's. */
  plan(io: IoBackend): Plan {
    const { plan } = planFor('outbound', 'outbound', [], undefined, {
      io,
      socketFolders: this.socketFolders,
    });
    const others = (plan.root ?? []).filter(({ target }) => !(target in this.files));
    const own = Object.entries(this.files).map(([target, source]) => ({
      kind: 'bind' as const,
      source,
      target,
      isWritable: false,
    }));
    assert.ok(plan.root !== null && plan.landlock !== null && plan.sealFilter !== '');
    const { paths } = plan.landlock;
    const missing = Object.keys(this.files).filter((path) => !paths.some((rule) => rule.path === path));
    const landlock = {
      ...plan.landlock,
      paths: [...paths, ...missing.map((path) => ({ path, access: 'read' as const }))],
    };
    return { ...plan, root: [...others, ...own], landlock };
  }
}

export class OutboundRoom {
  readonly room: Room;
  readonly logged: string[] = [];
  readonly refusals: string[] = [];
  /** The generation that it was last ready with. */
  ready = 0;
  /** Why its process is gone. */
  ended = '';
  private readonly house: OutboundHouse;
  private toml = '';
  private generation = 0;
  private control: PolledChannel | null = null;

  constructor(house: OutboundHouse, io: IoBackend, memory: number, output: number) {
    this.house = house;
    process.env['SALLYPORT_IO'] = io === 'epoll' ? 'epoll' : 'uring';
    this.room = new Room(
      'outbound',
      {
        plan: house.plan(io),
        descriptors: [],
        onStarted: (channel) => {
          this.control = channel;
          channel.send({ kind: 'descriptors', purpose: 'statistics', peer: 'outbound', index: NO_SLOT }, [
            memory,
          ]);
        },
      },
      { launcher: LAUNCHER, output },
      {
        onReady: (_, generation) => (this.ready = generation),
        onMessage: (_, message) => {
          if (message.kind === 'refused') this.refusals.push(message.reason);
        },
        onEnded: (_, reason) => (this.ended = reason),
      },
    );
    delete process.env['SALLYPORT_IO'];
    const journal = new PolledChannel(this.connect('journal', 0), 'journal', 'outbound', {
      onMessage: (_, message) => {
        if (message.kind === 'log') this.logged.push(Buffer.from(message.bytes).toString());
      },
      onEnd: () => {},
    });
    void journal;
  }

  /** Gives the room one end of a new channel; returns the other. */
  private connect(peer: Role, index: number): number {
    const pair = createMessagePair(BUFFER_BYTES);
    assert.ok(typeof pair !== 'number');
    this.control?.handOver({ kind: 'descriptors', purpose: 'channel', peer, index }, [pair[0]]);
    return pair[1];
  }

  /** A channel as the edge at that place has. */
  asker(index = 0): Asker {
    return new Asker(this.connect('edge', index));
  }

  /** A channel to the room with the keys. */
  giveDoor(descriptor: number): void {
    this.control?.handOver({ kind: 'descriptors', purpose: 'channel', peer: 'keys', index: NO_SLOT }, [
      descriptor,
    ]);
  }

  /** Sends a configuration; resolves when the room has answered. */
  async configure(toml: string, clientKeys: Readonly<Record<string, number>> = {}): Promise<void> {
    const generation = this.tell(toml, readBackendMaterial(configOf(toml), clientKeys));
    await until(
      () => this.ready === generation || this.refusals.length > 0 || this.ended !== '',
      20_000,
      'an answer to the configuration',
    );
    assert.equal(this.ended, '', this.house.output());
    assert.deepEqual(this.refusals, [], this.house.output());
  }

  /** Sends a configuration, with what its files hold in place of what they do: its generation. */
  tell(toml: string, backends?: BackendMaterial): number {
    const config = configOf(toml);
    this.toml = toml;
    const configuration: OutboundConfiguration = {
      config,
      backends: backends ?? readBackendMaterial(config, {}),
      slots: SLOTS,
    };
    const generation = ++this.generation;
    for (const part of splitConfiguration(generation, Buffer.from(JSON.stringify(configuration))) ?? [])
      this.control?.send(part);
    return generation;
  }

  /** What the table says of the first server of a group of the configuration; undefined: nothing. */
  verdictOf(upstream: string, toml = this.toml): boolean | undefined {
    const config = configOf(toml);
    const entry = config.upstreams.find(({ name }) => name === upstream)?.servers[0];
    if (entry === undefined) return undefined;
    const { verdicts } = this.house.shared;
    const tls = loadBackendTls(config, readBackendMaterial(config, {}));
    const slot = verdicts.find(new VerdictName(upstream, serverKey(entry, tls.of(entry))));
    tls.free();
    return slot < 0 ? undefined : verdicts.isHealthy(slot);
  }

  get log(): string {
    return this.logged.join('');
  }

  /** Resolves when the log has that. */
  async logs(words: string | RegExp, timeoutMs = 10_000): Promise<void> {
    const isThere = (): boolean =>
      typeof words === 'string' ? this.log.includes(words) : words.test(this.log);
    await until(isThere, timeoutMs, `'${words}' in the log`).catch((error: Error) =>
      assert.fail(`${error.message}: ${this.log}${this.house.output()}${this.ended}`),
    );
  }

  async stop(): Promise<void> {
    this.room.kill('the test is over');
    await until(() => this.ended !== '', 5000, 'the end of the room');
  }
}

function configOf(toml: string): Config {
  const { config, problems } = loadConfig(`[server]\nlisten = "127.0.0.1:22000"\n${toml}`, '/etc/test.toml', {
    files: { kindOf: (path) => (path.endsWith('.sock') ? 'socket' : 'file'), isReachable: () => true },
  });
  assert.ok(config !== null, JSON.stringify(problems));
  return config;
}
