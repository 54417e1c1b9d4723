import type { Aggregates } from "./aggregates.ts";
import { type CallOptions, type Nodes, sleep } from "./nodes.ts";
import { AlephError, NotFoundError, TimeoutError } from "./errors.ts";
import { type CostPreview, type Prices, preview } from "./prices.ts";
import type { Publisher, SendOptions, Submission } from "./publish.ts";
import type { Allocation, Hash, InstanceContent, ProgramContent } from "./wire.ts";

/** What a program and an instance are asked for in the same words. */
type Common = Pick<ProgramContent, "metadata" | "authorized_keys" | "variables" | "payment" | "requirements" | "volumes" | "replaces">;

/** STORE message of the runtime of Python programs on the public network. */
export const defaultRuntime = "63f07193e6ee9d207b7d1fcf8286f9aee34e6f12f101d2ec77c1229f92964696" as Hash;

/** A program to run. What is left out takes the network's usual values. */
export interface NewProgram extends Partial<Common>, SendOptions {
  /** STORE message of the code. */
  code: Hash;
  encoding: ProgramContent["code"]["encoding"];
  /** Such as `main:app`, or a command. */
  entrypoint: string;
  /** STORE message of the runtime. */
  runtime: Hash;
  interface?: "asgi" | "binary" | "wasm";
  args?: string[];
  vcpus?: number;
  /** MiB. */
  memory?: number;
  /** How long one call may take. */
  seconds?: number;
  internet?: boolean;
  /** Runs without being called. */
  persistent?: boolean;
  /** Messages that start the program. */
  subscriptions?: Record<string, unknown>[];
  allowAmend?: boolean;
}

/** A virtual machine. */
export interface NewInstance extends Partial<Common>, SendOptions {
  /** STORE message of the image that the root disk starts from. */
  image: Hash;
  /** MiB of the root disk. */
  diskMiB: number;
  vcpus?: number;
  /** MiB. */
  memory?: number;
  hypervisor?: "qemu" | "firecracker";
  internet?: boolean;
  allowAmend?: boolean;
  ports?: { port: number; protocol?: "tcp" | "udp" }[];
}

/** Creates programs and instances, and finds where they run. */
export class Workloads {
  readonly #nodes: Nodes;
  readonly #publisher: Publisher;
  readonly #prices: Prices;
  readonly #aggregates: Aggregates;
  readonly #scheduler: string;

  constructor(nodes: Nodes, publisher: Publisher, prices: Prices, aggregates: Aggregates, scheduler: string) {
    this.#nodes = nodes;
    this.#publisher = publisher;
    this.#prices = prices;
    this.#aggregates = aggregates;
    this.#scheduler = scheduler;
  }

  createProgram(p: NewProgram): Promise<Submission> {
    return this.#publisher.send("PROGRAM", program(p), options(p));
  }

  createInstance(i: NewInstance): Promise<Submission> {
    return this.#publisher.send("INSTANCE", instance(i), options(i));
  }

  /** What it would cost, in every way to pay. */
  async previewProgram(p: NewProgram): Promise<CostPreview> {
    return preview(await this.#prices.estimate("PROGRAM", { address: this.#publisher.owner(p), ...program(p) }, p));
  }

  /** What it would cost, in every way to pay. */
  async previewInstance(i: NewInstance): Promise<CostPreview> {
    return preview(await this.#prices.estimate("INSTANCE", { address: this.#publisher.owner(i), ...instance(i) }, i));
  }

  /**
   * The STORE message of a runtime that the network's authority, an address, has given a name; of the default one without a name.
   * An authority that names none is a {@link NotFoundError}.
   */
  async runtime(authority: string, name?: string, o: CallOptions = {}): Promise<Hash> {
    const known = await this.#aggregates.get<{ default?: Hash; runtimes?: Record<string, Hash> }>(authority, "runtimes", o);
    const found = name === undefined ? known.default : known.runtimes?.[name];
    if (typeof found === "string" && found !== "") return found;
    const names = Object.keys(known.runtimes ?? {}).sort().join(", ");
    throw new AlephError(`the network has no runtime ${name ?? "by default"}; it has: ${names || "none"}`, { code: "argument" });
  }

  /** Where a workload was placed; a {@link NotFoundError} while it is not. */
  allocation(hash: Hash, o: CallOptions = {}): Promise<Allocation> {
    return this.#nodes.get(`${this.#scheduler}/api/v0/allocation/${encodeURIComponent(hash)}`, undefined, o);
  }

  /** Waits until a workload is placed, two minutes by default. */
  async placed(hash: Hash, o: CallOptions = {}): Promise<Allocation> {
    const end = Date.now() + (o.deadline ?? 120_000);
    for (let pause = 200; ; pause = Math.min(2 * pause, 5_000)) {
      try {
        return await this.allocation(hash, o);
      } catch (error) {
        if (!(error instanceof NotFoundError)) throw error;
      }
      if (Date.now() + pause >= end) throw new TimeoutError(`no node has taken ${hash} yet`);
      await sleep(pause, o.signal);
    }
  }
}

function options(o: SendOptions): SendOptions {
  return { channel: o.channel, owner: o.owner, sync: o.sync, time: o.time, signal: o.signal, deadline: o.deadline };
}

/** Leaves out what was not given: absent members are not null (messages §1.2). */
function given<T extends object>(members: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as never;
}

function common(w: Partial<Common>) {
  return given({
    metadata: w.metadata,
    authorized_keys: w.authorized_keys,
    variables: w.variables,
    payment: w.payment,
    requirements: w.requirements,
    replaces: w.replaces,
    volumes: w.volumes ?? [],
  });
}

function program(p: NewProgram): Omit<ProgramContent, "address" | "time"> {
  return {
    type: "vm-function",
    allow_amend: p.allowAmend ?? false,
    code: { encoding: p.encoding, entrypoint: p.entrypoint, ref: p.code, use_latest: true, ...given({ interface: p.interface, args: p.args }) },
    runtime: { ref: p.runtime, use_latest: true, comment: "" },
    on: { http: true, persistent: p.persistent ?? false, ...given({ message: p.subscriptions }) },
    environment: { reproducible: false, internet: p.internet ?? true, aleph_api: true, shared_cache: false },
    resources: { vcpus: p.vcpus ?? 1, memory: p.memory ?? 128, seconds: p.seconds ?? 30 },
    ...common(p),
  };
}

function instance(i: NewInstance): Omit<InstanceContent, "address" | "time"> {
  return {
    allow_amend: i.allowAmend ?? false,
    environment: { reproducible: false, internet: i.internet ?? true, aleph_api: true, shared_cache: false, hypervisor: i.hypervisor ?? "qemu" },
    resources: { vcpus: i.vcpus ?? 1, memory: i.memory ?? 2048, seconds: 30, ...given({ published_ports: i.ports }) },
    rootfs: { parent: { ref: i.image, use_latest: true }, persistence: "host", size_mib: i.diskMiB },
    ...common(i),
  };
}
