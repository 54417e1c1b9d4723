import { Accounts } from "./accounts.ts";
import { Aggregates } from "./aggregates.ts";
import { Authorizations } from "./authorizations.ts";
import type { Signed, Unsigned } from "./envelope.ts";
import { Files } from "./files.ts";
import { Messages } from "./messages.ts";
import { Domains, Ports, Websites } from "./names.ts";
import { type CallOptions, Nodes, type NodesConfig, mainnet } from "./nodes.ts";
import { Posts } from "./posts.ts";
import { Prices } from "./prices.ts";
import { Publisher, type SendOptions, type Submission } from "./publish.ts";
import type { Signer, Verifier } from "./signer.ts";
import { Workloads } from "./workloads.ts";
import type { Hash, MessageType } from "./wire.ts";

/** Says which nodes to talk to, and how. */
export interface ClientConfig {
  /** Base URLs of core nodes, the preferred one first; those of the public network by default. */
  nodes?: string | readonly string[];
  /** Who writes. Without one the client reads. */
  signer?: Signer;
  /** Checks signatures of what is read, besides the signer's own. */
  verifiers?: readonly Verifier[];
  /** Of messages that are written; none by default. */
  channel?: string;
  /** Checks what a node returns against hashes and signatures, where there are such; on by default. */
  verify?: boolean;
  /** Base URL of who says where workloads run; the core node by default. */
  scheduler?: string;
  /** Milliseconds of one attempt of a call that is no file; 45 s by default, above the node's own 30 s. */
  timeout?: number;
  /** Milliseconds of a whole call with its repetitions; two minutes by default. */
  deadline?: number;
  /** Attempts of a call, the first included; 4 by default. */
  attempts?: number;
  /** Milliseconds before the second attempt, doubled for each further one; 100 by default. */
  backoff?: number;
  fetch?: typeof fetch;
  webSocket?: typeof WebSocket;
  onAnswer?: NodesConfig["onAnswer"];
}

/** Talks to the network through core nodes. */
export class Client {
  readonly nodes: Nodes;
  readonly messages: Messages;
  readonly posts: Posts;
  readonly aggregates: Aggregates;
  readonly files: Files;
  readonly accounts: Accounts;
  readonly authorizations: Authorizations;
  readonly prices: Prices;
  readonly workloads: Workloads;
  readonly domains: Domains;
  readonly ports: Ports;
  readonly websites: Websites;
  readonly signer: Signer | undefined;
  readonly #publisher: Publisher;

  constructor(config: ClientConfig = {}) {
    const own = config.signer?.verifier;
    const verifiers = new Map([...(config.verifiers ?? []), ...(own ? [own] : [])].flatMap((v) => v.chains.map((chain) => [chain, v] as const)));
    const verify = config.verify ?? true;
    const ask = config.fetch ?? globalThis.fetch;
    this.signer = config.signer;
    this.nodes = new Nodes({
      urls: typeof config.nodes === "string" ? [config.nodes] : (config.nodes ?? mainnet),
      // Browsers refuse a fetch that is called as a member of another object.
      fetch: (input, init) => ask(input, init),
      xhr: config.fetch === undefined && typeof XMLHttpRequest === "function",
      timeout: config.timeout ?? 45_000,
      deadline: config.deadline ?? 120_000,
      attempts: config.attempts ?? 4,
      backoff: config.backoff ?? 100,
      onAnswer: config.onAnswer,
    });
    this.messages = new Messages(this.nodes, verifiers, verify, config.webSocket);
    this.#publisher = new Publisher(this.nodes, this.messages, config.signer, config.channel);
    this.posts = new Posts(this.nodes, this.#publisher, this.messages, verify);
    this.aggregates = new Aggregates(this.nodes, this.#publisher);
    this.files = new Files(this.nodes, this.#publisher, verify);
    this.accounts = new Accounts(this.nodes, this.#publisher);
    this.authorizations = new Authorizations(this.nodes, this.aggregates, this.#publisher);
    this.prices = new Prices(this.nodes);
    this.workloads = new Workloads(this.nodes, this.#publisher, this.prices, this.aggregates, config.scheduler ?? "");
    this.domains = new Domains(this.aggregates);
    this.ports = new Ports(this.aggregates, this.#publisher);
    this.websites = new Websites(this.nodes, this.aggregates, this.files, this.#publisher);
  }

  /** Builds a message of the signer without signing it: for another machine to sign, or to look at. */
  build(type: MessageType, content: object, o: SendOptions = {}): Unsigned {
    return this.#publisher.build(type, content, o);
  }

  /** Builds, signs and publishes a message of any type. */
  send(type: MessageType, content: object, o: SendOptions = {}): Promise<Submission> {
    return this.#publisher.send(type, content, o);
  }

  /** Publishes a message that was signed elsewhere. */
  broadcast(signed: Signed, o: Pick<SendOptions, "sync" | "signal" | "deadline"> = {}): Promise<Submission> {
    return this.#publisher.broadcast(signed, o);
  }

  /** Asks the network to forget messages of the signer, with what they hold. */
  forget(hashes: readonly Hash[], o: SendOptions & { aggregates?: readonly Hash[]; reason?: string } = {}): Promise<Submission> {
    const { aggregates, reason, ...rest } = o;
    return this.#publisher.send("FORGET", { hashes, aggregates: aggregates ?? [], ...(reason !== undefined && { reason }) }, rest);
  }

  /** What the node says it runs. */
  async version(o: CallOptions = {}): Promise<string> {
    return (await this.nodes.get<{ version: string }>("/api/v0/version", undefined, o)).version;
  }
}
