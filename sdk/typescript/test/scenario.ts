// Does the steps of test/scenario/scenario.json through this SDK; its README has the rules.
import { randomInt } from "node:crypto";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { type Allocation, type AnyContent, Client, type DomainTarget, type HashKind, HttpError, InsufficientFundsError, type Message, type MessageType, NotFoundError, RejectedError, type Submission } from "@aleph-im/sdk";
import { ComputeNode, type Operation } from "@aleph-im/sdk/crn";
import { EthereumAccount } from "@aleph-im/sdk/eth";
import { repository } from "./node.js";

interface Network {
  core: string;
  accounts: Record<string, { chain: string; address: string; private_key: string }>;
  runtime: string;
  image?: string;
  ssh_key?: string;
}

interface Step {
  about?: string;
  as: string;
  do: string;
  with?: Record<string, unknown>;
  expect?: unknown;
  fails?: unknown;
  within?: number;
  save?: Record<string, string>;
  needs?: keyof Network;
}

/** A user with an account, and the nodes that it talks to. */
class User {
  readonly aleph: Client;
  readonly account: EthereumAccount;

  constructor(core: string, account: EthereumAccount, channel: string) {
    this.account = account;
    this.aleph = new Client({ nodes: core, signer: account, channel });
  }

  async machine(hash: string): Promise<ComputeNode> {
    const { node } = await this.aleph.workloads.allocation(hash);
    return new ComputeNode(node.url!, { signer: this.account });
  }
}

/** Arguments of all operations; each uses its own. */
interface Arguments {
  text: string;
  engine?: HashKind;
  payment?: "hold" | "credit";
  file_hash: string;
  item_hash: string;
  item_hashes: string[];
  reason?: string;
  address: string;
  type: MessageType;
  types?: MessageType[];
  channels?: string[];
  addresses?: string[];
  post_types?: string[];
  content: object & AnyContent["STORE"];
  original: string;
  key: string;
  files: Record<string, string>;
  entrypoint: string;
  runtime: string;
  image: string;
  disk_mib: number;
  vcpus: number;
  memory_mib: number;
  ssh_keys: string[];
  path: string;
  port: number;
  ports: Record<string, { tcp: boolean; udp: boolean }>;
  operation: Operation;
  name: string;
  target: DomainTarget["type"];
}

let watching: AsyncGenerator<Message, void, undefined> | undefined;
let nextMessage: Promise<IteratorResult<Message, void>> | undefined;

/** Every operation, as a user of the SDK would write it. */
const operations: Record<string, (user: User, a: Arguments) => Promise<object | void>> = {
  "file.upload": async ({ aleph }, { text, engine, payment }) => {
    const up = await aleph.files.upload(text, { engine: engine ?? "storage", ...(payment && { payment: { type: payment, chain: "ETH" } }) });
    return { ...sent(up), file_hash: up.fileHash };
  },
  "file.pin": async ({ aleph }, { file_hash }) => sent(await aleph.files.pin(file_hash)),
  "file.download": async ({ aleph }, { file_hash }) => ({ text: new TextDecoder().decode(await aleph.files.bytes(file_hash)) }),
  "file.list": async ({ aleph }, { address }) => ({ files: await all(aleph.accounts.files(address)) }),
  "post.create": async ({ aleph }, { type, content, address }) => sent(await aleph.posts.create({ type, content, owner: address })),
  "post.amend": async ({ aleph }, { original, content }) => sent(await aleph.posts.amend(original, content)),
  "post.get": ({ aleph }, { original }) => aleph.posts.get(original),
  "aggregate.set": async ({ aleph }, { key, content, address }) => sent(await aleph.aggregates.merge(key, content, { owner: address })),
  "aggregate.get": async ({ aleph }, { address, key }) => ({ content: await aleph.aggregates.get(address, key) }),
  "authorization.grant": async ({ aleph }, authorization) => sent(await aleph.authorizations.grant(authorization)),
  "authorization.revoke": async ({ aleph }, { address }) => sent(await aleph.authorizations.revoke(address)),
  "authorization.list": async ({ aleph }, { address }) => ({ authorizations: await aleph.authorizations.list(address) }),
  "message.get": async ({ aleph }, { item_hash }) => {
    const info = await aleph.messages.get(item_hash);
    return { ...("message" in info && info.message), status: info.status, ...(info.status === "forgotten" && { forgotten_by: info.forgotten_by }) };
  },
  "message.list": async ({ aleph }, filter) => ({ item_hashes: (await all(aleph.messages.iterate(filter))).map((m) => m.item_hash) }),
  "message.forget": async ({ aleph }, { item_hashes, reason }) => sent(await aleph.forget(item_hashes, reason === undefined ? {} : { reason })),
  "watch.open": async ({ aleph }, filter) => {
    watching = aleph.messages.watch(filter, { history: 10 });
    nextMessage = watching.next();
  },
  "watch.next": async () => {
    const { value } = await nextMessage!;
    nextMessage = watching!.next();
    return value!;
  },
  "watch.close": async () => {
    nextMessage?.catch(() => {});
    void watching?.return();
  },
  "price.estimate": ({ aleph }, { type, content }) => aleph.prices.estimate(type, content),
  "price.of": ({ aleph }, { item_hash }) => aleph.prices.get(item_hash),
  "balance.get": ({ aleph }, { address }) => aleph.accounts.balance(address),
  "credit.history": async ({ aleph }, { address }) => ({ entries: await all(aleph.accounts.creditHistory(address)) }),
  "program.deploy": async ({ aleph }, { files, entrypoint, runtime, memory_mib }) => {
    const [text] = Object.values(files);
    const code = await aleph.files.upload(text!);
    return sent(await aleph.workloads.createProgram({ code: code.hash, encoding: "plain", entrypoint, runtime, memory: memory_mib }));
  },
  "program.call": async (user, { item_hash, path }) => {
    const answer = await (await user.machine(item_hash)).call(item_hash, path);
    return { http_status: answer.status, text: await answer.text() };
  },
  "instance.create": async ({ aleph }, { image, disk_mib, vcpus, memory_mib, ssh_keys }) =>
    sent(await aleph.workloads.createInstance({ image, diskMiB: disk_mib, vcpus, memory: memory_mib, authorized_keys: ssh_keys })),
  "machine.where": async ({ aleph }, { item_hash }) => {
    const { node }: Allocation = await aleph.workloads.allocation(item_hash);
    return { url: node.url, node_hash: node.node_id };
  },
  "machine.execution": async (user, { item_hash }) => {
    const execution = (await (await user.machine(item_hash)).executions())[item_hash];
    return { running: execution?.running, ...execution?.networking };
  },
  "machine.greeting": async (user, { item_hash, port }) => {
    const networking = (await (await user.machine(item_hash)).executions())[item_hash]?.networking;
    return { text: await firstLine(networking!.host_ipv4!, networking!.mapped_ports![port]!.host) };
  },
  "machine.operate": async (user, { item_hash, operation }) => {
    await (await user.machine(item_hash)).operate(item_hash, operation);
  },
  "port.open": async (user, { item_hash, ports }) => {
    const opened = await user.aleph.ports.open(item_hash, ports);
    await (await user.machine(item_hash)).update(item_hash);
    return sent(opened);
  },
  "port.list": async ({ aleph }, { address, item_hash }) => ({ ports: await aleph.ports.list(address, item_hash) }),
  "domain.attach": async ({ aleph }, { name, target, item_hash }) => sent(await aleph.domains.attach(name, target, item_hash)),
  "domain.list": async ({ aleph }, { address }) => ({ domains: await aleph.domains.list(address) }),
  "domain.detach": async ({ aleph }, { name }) => sent(await aleph.domains.detach(name)),
};

function sent(s: Submission): { item_hash: string; status: string } {
  return { item_hash: s.hash, status: s.status };
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

function firstLine(host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, host).setTimeout(10_000);
    let text = "";
    socket.on("data", (data) => {
      text += data;
      if (!text.includes("\n")) return;
      resolve(text.split(/\r?\n/)[0]!);
      socket.destroy();
    });
    socket.on("timeout", () => socket.destroy(new Error("the port says nothing")));
    socket.on("error", reject).on("close", () => reject(new Error("the port closed without a line")));
  });
}

/** What a failed operation is in the words of the scenario. */
function failure(error: unknown): { kind: string; code?: string | number } {
  if (error instanceof InsufficientFundsError) return { kind: "insufficient_funds" };
  if (error instanceof RejectedError) return { kind: "rejected", code: error.code };
  if (error instanceof NotFoundError) return { kind: "not_found" };
  if (error instanceof HttpError && (error.status === 401 || error.status === 403)) return { kind: "not_allowed" };
  return { kind: "other" };
}

/** Whether a value fits a pattern. */
function fits(value: unknown, pattern: unknown): boolean {
  if (pattern === null) return value == null;
  if (Array.isArray(pattern)) return Array.isArray(value) && value.length === pattern.length && pattern.every((p, i) => fits(value[i], p));
  if (typeof pattern !== "object") return value === pattern;
  const [[name, p] = ["", undefined], ...more] = Object.entries(pattern);
  if (more.length === 0) {
    switch (name) {
      case "$above":
        return value != null && Number(value) > (p as number);
      case "$contains":
        return Array.isArray(value) && value.some((v) => fits(v, p));
      case "$starts":
        return typeof value === "string" && value.startsWith(p as string);
      case "$ends":
        return typeof value === "string" && value.endsWith(p as string);
      case "$any":
        return value != null;
    }
  }
  return typeof value === "object" && value !== null && Object.entries(pattern).every(([k, v]) => fits((value as Record<string, unknown>)[k], v));
}

/** Puts the values of variables in. */
function filled(value: unknown, variables: Record<string, unknown>): unknown {
  const text = (s: string) => s.replace(/\$\{(\w+)\}/g, (whole, name: string) => (name in variables ? String(variables[name]) : whole));
  if (typeof value === "string") return value.startsWith("$") && value.slice(1) in variables ? variables[value.slice(1)] : text(value);
  if (Array.isArray(value)) return value.map((v) => filled(v, variables));
  if (typeof value !== "object" || value === null) return value;
  const name = (k: string) => (k.startsWith("$") && k.slice(1) in variables ? String(variables[k.slice(1)]) : text(k));
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [name(k), filled(v, variables)]));
}

/** Does an operation and tells what is wrong with what it gave, if anything. */
async function attempt(user: User, step: Step, seconds: number): Promise<{ result?: unknown; problem?: string }> {
  const do_ = operations[step.do];
  if (!do_) throw new Error(`there is no operation ${step.do}`);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => (timer = setTimeout(() => reject(new Error(`not done within ${seconds} seconds`)), seconds * 1000)));
  try {
    const result = await Promise.race([do_(user, (step.with ?? {}) as unknown as Arguments), late]);
    if (step.fails !== undefined) return { problem: `it should have failed, and gave ${JSON.stringify(result)}` };
    if (step.expect !== undefined && !fits(result, step.expect)) return { problem: `it gave ${JSON.stringify(result)}` };
    return { result };
  } catch (error) {
    if (step.fails !== undefined && fits(failure(error), step.fails)) return {};
    return { problem: `it failed as ${JSON.stringify(failure(error))}: ${(error as Error).message}` };
  } finally {
    clearTimeout(timer);
  }
}

async function run(): Promise<number> {
  const file = process.env["ALEPH_SCENARIO_NETWORK"];
  if (!file) throw new Error("ALEPH_SCENARIO_NETWORK names no network: give it the path of a JSON file");
  const network = JSON.parse(await readFile(file, "utf8")) as Network;
  const { steps } = JSON.parse(await readFile(join(repository, "test/scenario/scenario.json"), "utf8")) as { steps: Step[] };
  const id = Array.from({ length: 8 }, () => String.fromCharCode(97 + randomInt(26))).join("");
  const variables: Record<string, unknown> = { run: id, channel: `SCENARIO-${id}`, key: `scenario-${id}` };
  for (const name of ["runtime", "image", "ssh_key"] as const) if (network[name] !== undefined) variables[name] = network[name];
  const users: Record<string, User> = {};
  for (const [name, { private_key, address }] of Object.entries(network.accounts)) {
    users[name] = new User(network.core, EthereumAccount.fromPrivateKey(private_key), `SCENARIO-${id}`);
    variables[name] = address;
  }
  for (const [number, raw] of steps.entries()) {
    if (raw.about !== undefined) {
      console.log(`\n${raw.about}`);
      continue;
    }
    const title = `${number} ${raw.as} ${raw.do}`;
    if (raw.needs && network[raw.needs] === undefined) {
      console.log(`  left out: ${title}: the network has no ${raw.needs}`);
      continue;
    }
    const step = { ...raw, with: filled(raw.with ?? {}, variables), expect: filled(raw.expect, variables), fails: filled(raw.fails, variables) } as Step;
    const end = Date.now() + (step.within ?? 60) * 1000;
    const once = step.within === undefined || step.do === "watch.next";
    let got = await attempt(users[step.as]!, step, (end - Date.now()) / 1000);
    while (got.problem && !once && Date.now() + 1000 < end) {
      await new Promise((resolve) => setTimeout(resolve, 1000));
      got = await attempt(users[step.as]!, step, (end - Date.now()) / 1000);
    }
    if (got.problem) {
      console.log(`  WRONG ${title}: ${got.problem}\n  step: ${JSON.stringify(step)}`);
      return 1;
    }
    for (const [name, member] of Object.entries(step.save ?? {})) variables[name] = (got.result as Record<string, unknown>)[member];
    console.log(`  ok ${title}`);
  }
  return 0;
}

process.exit(await run());
