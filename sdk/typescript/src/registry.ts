/** The registry of nodes: what operators and stakers do with it, and what it says (spec corechannel §4). @module */
import type { Client } from "./client.ts";
import { AlephError, TimeoutError } from "./errors.ts";
import { sleep } from "./nodes.ts";
import type { SendOptions, Submission } from "./publish.ts";
import type { ComputeNodeDetails, CoreNodeDetails, Hash, RegisteredNode, RegisteredNodes } from "./wire.ts";

export type { ComputeNodeDetails, ComputeNodeEntry, CoreNode, CoreNodeDetails, NodeDetails, RegisteredNode, RegisteredNodes } from "./wire.ts";

export interface RegistryConfig {
  /** Whose aggregate is the registry; the public network's by default. */
  owner?: string;
  /** What marks operations of the network; `mainnet` on the public one, and on devnets. */
  tag?: string;
}

/**
 * Reads and changes the registry. An operation is a message like any other: the network keeps it whether the registry's rules
 * allow it or not. What became of it shows in the registry some moments later: see {@link Registry.until}.
 */
export class Registry {
  readonly #client: Client;
  readonly #owner: string;
  readonly #tag: string;

  constructor(client: Client, config: RegistryConfig = {}) {
    this.#client = client;
    this.#owner = config.owner ?? "0xa1B3bb7d2332383D96b7796B908fB7f7F3c2Be10";
    this.#tag = config.tag ?? "mainnet";
  }

  /** Core nodes and compute nodes, with their links, stakes and scores. */
  async list(o: { signal?: AbortSignal } = {}): Promise<RegisteredNodes> {
    const { nodes = [], resource_nodes = [] } = (await this.#client.aggregates.find<Partial<RegisteredNodes>>(this.#owner, "corechannel", o)) ?? {};
    return { nodes: nodes.map(orderly), resource_nodes: resource_nodes.map(orderly) };
  }

  /** Reads the registry until it is as it should be, for a minute by default. */
  async until(done: (nodes: RegisteredNodes) => boolean, o: { signal?: AbortSignal; deadline?: number } = {}): Promise<RegisteredNodes> {
    const end = Date.now() + (o.deadline ?? 60_000);
    for (let pause = 100; ; pause = Math.min(2 * pause, 2_000)) {
      const nodes = await this.list(o);
      if (done(nodes)) return nodes;
      if (Date.now() + pause >= end) throw new TimeoutError("the registry of nodes has not changed as it was waited for");
      await sleep(pause, o.signal);
    }
  }

  /** Registers a core node. The hash of the message is the node's from then on. */
  createCore(d: CoreNodeDetails & { name: string; multiaddress: string }, o: SendOptions = {}): Promise<Submission> {
    return this.#post("create-node", undefined, d, o);
  }

  /** Registers a compute node. The hash of the message is the node's from then on. */
  createCompute(d: ComputeNodeDetails & { name: string; address: string }, o: SendOptions = {}): Promise<Submission> {
    return this.#post("create-resource-node", undefined, { ...d, type: "compute" }, o);
  }

  amendCore(node: Hash, d: CoreNodeDetails, o: SendOptions = {}): Promise<Submission> {
    return this.#post("create-node", node, d, o);
  }

  amendCompute(node: Hash, d: ComputeNodeDetails, o: SendOptions = {}): Promise<Submission> {
    return this.#post("create-resource-node", node, d, o);
  }

  /** Links a compute node to the core node of the signer. */
  link(computeNode: Hash, o: SendOptions = {}): Promise<Submission> {
    return this.#post("link", computeNode, undefined, o);
  }

  /** Ends a link. Both owners may. */
  unlink(computeNode: Hash, o: SendOptions = {}): Promise<Submission> {
    return this.#post("unlink", computeNode, undefined, o);
  }

  /** Backs a core node with what the signer holds, which is split over all that it backs. */
  stake(coreNode: Hash, o: SendOptions = {}): Promise<Submission> {
    return this.#post("stake-split", coreNode, undefined, o);
  }

  unstake(coreNode: Hash, o: SendOptions = {}): Promise<Submission> {
    return this.#post("unstake", coreNode, undefined, o);
  }

  /** Takes a node of the signer out of the registry. */
  drop(node: Hash, o: SendOptions = {}): Promise<Submission> {
    return this.#post("drop-node", node, undefined, o);
  }

  /** Posts an operation. One with details and a reference amends the node. */
  #post(action: string, ref: Hash | undefined, details: object | undefined, o: SendOptions): Promise<Submission> {
    if (details && Object.keys(details).length === 0) throw new AlephError("say what is to be changed of the node, such as its name", { code: "argument" });
    return this.#client.posts.create({
      type: ref !== undefined && details ? "amend" : "corechan-operation",
      content: { action, tags: [action, this.#tag], ...(details && { details }) },
      ...(ref !== undefined && { ref }),
      channel: "FOUNDATION",
      ...o,
    });
  }
}

/** Older registries say nothing of locks, and of who is authorized, with an empty text. */
function orderly<N extends RegisteredNode>(node: N): N {
  const { locked, authorized } = node as { locked: unknown; authorized: unknown };
  return { ...node, locked: Boolean(locked), authorized: typeof authorized === "string" ? authorized.split(/[ ,]+/).filter(Boolean) : (authorized ?? []) };
}
