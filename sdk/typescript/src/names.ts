import type { Aggregates } from "./aggregates.ts";
import { AlephError } from "./errors.ts";
import type { Files, PackedFolder, UploadOptions, Uploaded } from "./files.ts";
import { type CallOptions, type Nodes, mainnet } from "./nodes.ts";
import type { Publisher, SendOptions, Submission } from "./publish.ts";
import type { DomainTarget, ForwardedPorts, Hash, Payment, PortUse, Website } from "./wire.ts";

/** Leads domains to sites and workloads (the aggregate `domains`). Their DNS records are the owner's to make. */
export class Domains {
  readonly #aggregates: Aggregates;

  constructor(aggregates: Aggregates) {
    this.#aggregates = aggregates;
  }

  attach(domain: string, type: DomainTarget["type"], hash: Hash, o: SendOptions & { catchAllPath?: string } = {}): Promise<Submission> {
    const { catchAllPath, ...rest } = o;
    const target: DomainTarget = {
      message_id: hash,
      type,
      programType: type,
      updated_at: Math.floor(Date.now() / 1000),
      options: catchAllPath === undefined ? null : { catch_all_path: catchAllPath },
    };
    return this.#aggregates.merge("domains", { [domain]: target }, rest);
  }

  detach(domain: string, o: SendOptions = {}): Promise<Submission> {
    return this.#aggregates.deleteMembers("domains", [domain], o);
  }

  async list(owner: string, o: CallOptions = {}): Promise<Record<string, DomainTarget>> {
    return members(await this.#aggregates.find<Record<string, DomainTarget | null>>(owner, "domains", o));
  }

  /** The DNS records that a domain needs (sdk-cli §4.8). */
  records(domain: string, type: DomainTarget["type"], owner: string): { type: "CNAME" | "TXT"; name: string; value: string }[] {
    const target = type === "ipfs" ? "ipfs.public.aleph.sh" : `${domain}.${type}.public.aleph.sh`;
    const records: { type: "CNAME" | "TXT"; name: string; value: string }[] = [
      { type: "CNAME", name: domain, value: target },
      { type: "TXT", name: `_control.${domain}`, value: owner },
    ];
    if (type === "ipfs") records.push({ type: "CNAME", name: `_dnslink.${domain}`, value: `_dnslink.${domain}.static.public.aleph.sh` });
    return records;
  }
}

/** Says which ports of machines are forwarded (the aggregate `port-forwarding`). */
export class Ports {
  readonly #aggregates: Aggregates;
  readonly #publisher: Publisher;

  constructor(aggregates: Aggregates, publisher: Publisher) {
    this.#aggregates = aggregates;
    this.#publisher = publisher;
  }

  /** Ports of a machine, by number. */
  async list(owner: string, machine: Hash, o: CallOptions = {}): Promise<Record<string, PortUse>> {
    const all = await this.#aggregates.find<Record<string, ForwardedPorts | null>>(owner, "port-forwarding", o);
    return all?.[machine]?.ports ?? {};
  }

  /** Opens ports, by number, besides those that are open. */
  async open(machine: Hash, ports: Record<string, Partial<PortUse>>, o: SendOptions = {}): Promise<Submission> {
    const added = Object.entries(ports).map(([port, use]) => [port, { tcp: use.tcp ?? false, udp: use.udp ?? false }]);
    return this.#write(machine, { ...(await this.list(this.#publisher.owner(o), machine, o)), ...Object.fromEntries(added) }, o);
  }

  async close(machine: Hash, port: number, o: SendOptions = {}): Promise<Submission> {
    const { [String(port)]: _, ...ports } = await this.list(this.#publisher.owner(o), machine, o);
    return this.#write(machine, ports, o);
  }

  /** Closes all ports of a machine. */
  closeAll(machine: Hash, o: SendOptions = {}): Promise<Submission> {
    return this.#aggregates.deleteMembers("port-forwarding", [machine], o);
  }

  #write(machine: Hash, ports: Record<string, PortUse>, o: SendOptions): Promise<Submission> {
    return this.#aggregates.merge("port-forwarding", { [machine]: { ports } }, o);
  }
}

/** Gives stored folders names (the aggregate `websites`). */
export class Websites {
  readonly #nodes: Nodes;
  readonly #aggregates: Aggregates;
  readonly #files: Files;
  readonly #publisher: Publisher;

  constructor(nodes: Nodes, aggregates: Aggregates, files: Files, publisher: Publisher) {
    this.#nodes = nodes;
    this.#aggregates = aggregates;
    this.#files = files;
    this.#publisher = publisher;
  }

  async list(owner: string, o: CallOptions = {}): Promise<Record<string, Website>> {
    return members(await this.#aggregates.find<Record<string, Website | null>>(owner, "websites", o));
  }

  /**
   * Where a folder is served: by the gateway of the public network, elsewhere by the core node that is asked. On this machine a site
   * has a host, and so an origin, of its own.
   */
  url(cid: Hash): string {
    const node = this.#nodes.current;
    if (mainnet.includes(node)) return `https://${cid}.ipfs.aleph.sh/`;
    const { protocol, hostname, port } = new URL(node);
    if (!/^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname)) return `${node}/ipfs/${cid}/`;
    return `${protocol}//${cid}.ipfs.localhost${port && ":" + port}/`;
  }

  /** Stores a folder and gives it a name. A name that exists gets a new version. */
  async deploy(name: string, folder: PackedFolder, o: Omit<UploadOptions, "engine" | "ref" | "metadata"> = {}): Promise<Uploaded & { url: string }> {
    const stored = await this.#files.uploadFolder(folder, o);
    const { payment, progress: _, ...rest } = o;
    await this.publish(name, stored.hash, { ...rest, ...(payment && { payment }) });
    return { ...stored, url: this.url(stored.fileHash) };
  }

  /** Gives a name to the folder that a STORE message keeps. A name that exists gets a new version. */
  async publish(name: string, volume: Hash, o: SendOptions & { payment?: Payment } = {}): Promise<Submission> {
    const { payment, ...rest } = o;
    const now = Math.floor(Date.now() / 1000);
    const before = (await this.list(this.#publisher.owner(o), o))[name];
    const site: Website = {
      metadata: { name, tags: [], framework: "none" },
      ens: [],
      created_at: now,
      ...before,
      ...(payment && { payment }),
      version: (before?.version ?? 0) + 1,
      volume_id: volume,
      history: before ? { ...before.history, [String(before.version)]: before.volume_id } : {},
      updated_at: now,
    };
    return this.#aggregates.merge("websites", { [name]: site }, rest);
  }

  /** Takes a name away. The folders of its versions stay until their messages are forgotten. */
  unpublish(name: string, o: SendOptions = {}): Promise<Submission> {
    return this.#aggregates.deleteMembers("websites", [name], o);
  }

  /** Takes a name away, and has the network forget the folders of all its versions. */
  async delete(name: string, o: SendOptions = {}): Promise<Submission> {
    const site = (await this.list(this.#publisher.owner(o), o))[name];
    if (!site) throw new AlephError(`there is no website ${name}`, { code: "argument" });
    await this.unpublish(name, o);
    const hashes = [...new Set([...Object.values(site.history), site.volume_id])];
    return this.#publisher.send("FORGET", { hashes, aggregates: [], reason: "deleted by its owner" }, o);
  }
}

/** Members that were not deleted. */
function members<T>(aggregate: Record<string, T | null> | undefined): Record<string, T> {
  return Object.fromEntries(Object.entries(aggregate ?? {}).filter(([, value]) => value !== null)) as Record<string, T>;
}
