/** Compute nodes: calling programs, and operating what one owns (crn §2). @module */
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { base58 } from "@scure/base";
import { AlephError, HttpError } from "./errors.ts";
import { type CallOptions, Nodes, parse } from "./nodes.ts";
import type { Signer } from "./signer.ts";
import { Connection, socketOf } from "./socket.ts";
import type { Hash } from "./wire.ts";

/** What an owner may ask of a workload (crn §2.7.4). */
export type Operation = "start" | "stop" | "reboot" | "erase" | "reinstall";

/** A workload of a compute node. */
export interface Execution {
  vm_type: "instance" | "persistent_program" | "microvm";
  running: boolean;
  networking: {
    ipv4_network?: string;
    /** The node's own. */
    host_ipv4?: string;
    ipv6_network?: string;
    ipv6_ip?: string | null;
    ipv4_ip?: string;
    /** By port of the machine. */
    mapped_ports?: Record<string, { host: number; tcp: boolean; udp: boolean }>;
  };
  /** When it was `defined_at`, `started_at` and so on. */
  status: Record<string, string | null>;
}

/** One line that a workload printed in the past. */
export interface LogLine {
  __REALTIME_TIMESTAMP: string;
  file: "stdout" | "stderr";
  MESSAGE: string;
}

/** One line as it comes; `system` is the node's own word. */
export interface LiveLine {
  type: "stdout" | "stderr" | "system";
  message: string;
}

interface Header {
  payload: string;
  signature: string;
}

/**
 * A key that a wallet lets act for it on compute nodes until it expires. The wallet is asked once; the key itself never
 * leaves the runtime.
 */
export class DelegatedKey {
  readonly expires: Date;
  readonly #header: Header;
  readonly #key: CryptoKey;

  private constructor(expires: Date, header: Header, key: CryptoKey) {
    this.expires = expires;
    this.#header = header;
    this.#key = key;
  }

  /** Makes a key that holds for some minutes, two hours by default. */
  static async create(by: Signer, minutes = 120): Promise<DelegatedKey> {
    if (by.chain !== "ETH" && by.chain !== "SOL") {
      throw new AlephError(`compute nodes take orders from accounts on ETH and SOL, not on ${by.chain}`, { code: "argument" });
    }
    const pair = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign", "verify"]);
    const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", pair.publicKey);
    const expires = new Date(Date.now() + minutes * 60_000);
    const payload = utf8ToBytes(JSON.stringify({ pubkey: { kty, crv, x, y }, alg: "ECDSA", address: by.address, expires: expires.toISOString(), chain: by.chain }));
    const hex = bytesToHex(payload);
    // Solana wallets sign text only, so there the hex is what is signed, and the signature travels in hex too.
    const signature = by.chain === "SOL" ? bareSolana(await by.sign(utf8ToBytes(hex))) : await by.sign(payload);
    return new DelegatedKey(expires, { payload: hex, signature }, pair.privateKey);
  }

  /** The headers for one request within two minutes. */
  async headers(method: string, url: string): Promise<{ "X-SignedPubKey": Header; "X-SignedOperation": Header }> {
    const { hostname, pathname } = new URL(url);
    const act = utf8ToBytes(JSON.stringify({ time: new Date().toISOString(), method, path: pathname, domain: hostname }));
    const proof = new Uint8Array(await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, this.#key, act as Uint8Array<ArrayBuffer>));
    return { "X-SignedPubKey": this.#header, "X-SignedOperation": { payload: bytesToHex(act), signature: bytesToHex(proof) } };
  }
}

function bareSolana(signature: string): string {
  return bytesToHex(base58.decode((JSON.parse(signature) as { signature: string }).signature));
}

export interface ComputeNodeConfig {
  /** Who owns what is operated. Without one, programs can be called. */
  signer?: Signer;
  /** A key that the owner has delegated to before, to several nodes with one question to the wallet. */
  key?: DelegatedKey;
  fetch?: typeof fetch;
  webSocket?: typeof WebSocket;
}

/** Talks to one compute node. */
export class ComputeNode {
  readonly url: string;
  readonly #nodes: Nodes;
  readonly #signer: Signer | undefined;
  readonly #fetch: typeof fetch;
  readonly #webSocket: typeof WebSocket | undefined;
  #key: Promise<DelegatedKey> | undefined;

  constructor(url: string, config: ComputeNodeConfig = {}) {
    const ask = config.fetch ?? globalThis.fetch;
    this.url = url.replace(/\/+$/, "");
    this.#signer = config.signer;
    this.#key = config.key && Promise.resolve(config.key);
    this.#webSocket = config.webSocket;
    this.#fetch = (input, init) => ask(input, init);
    this.#nodes = new Nodes({ urls: [url], fetch: this.#fetch, xhr: false, timeout: 45_000, deadline: 120_000, attempts: 4, backoff: 100 });
  }

  /** Where a program answers, with a slash at its end. */
  programURL(hash: Hash): string {
    return `${this.url}/vm/${hash}/`;
  }

  /** Sends a request to a program. The answer is the program's own, whatever its status, and nothing is repeated. */
  call(hash: Hash, path = "/", init?: RequestInit): Promise<Response> {
    return this.#fetch(this.programURL(hash) + path.replace(/^\//, ""), init);
  }

  /** What the node runs, or keeps stopped. */
  executions(o: CallOptions = {}): Promise<Record<Hash, Execution>> {
    return this.#nodes.get("/v2/about/executions/list", undefined, o);
  }

  /** Does something to a workload and returns what the node says once it is done. Only the signal bounds that. */
  async operate(hash: Hash, operation: Operation, o: { signal?: AbortSignal; eraseVolumes?: boolean } = {}): Promise<string> {
    const query = o.eraseVolumes === undefined ? "" : `?erase_volumes=${o.eraseVolumes}`;
    const url = `${this.url}/control/machine/${hash}/${operation}${query}`;
    const response = await this.#fetch(url, { method: "POST", headers: await this.#headers("POST", url), ...(o.signal && { signal: o.signal }) });
    const text = await response.text();
    if (response.status !== 200) throw new HttpError("POST", url, response.status, text);
    return text;
  }

  /** Has the node read again which ports the owner of a machine wants forwarded. */
  async update(hash: Hash, o: CallOptions = {}): Promise<void> {
    await this.#nodes.call(`/control/machine/${hash}/update`, { ...o, method: "POST" });
  }

  /** Tells the node of an instance that was created for it and is paid by credits or by a stream. */
  async notify(hash: Hash, o: CallOptions = {}): Promise<void> {
    await this.#nodes.post("/control/allocation/notify", { instance: hash }, o);
  }

  /** What a workload has printed. */
  async logs(hash: Hash, o: CallOptions = {}): Promise<LogLine[]> {
    const path = `/control/machine/${hash}/logs`;
    return parse(await this.#nodes.call(path, { ...o, headers: await this.#headers("GET", this.url + path) }), path) as LogLine[];
  }

  /** Yields what a workload has printed, and then what it prints. Ends with the workload, the signal or the loop. */
  async *streamLogs(hash: Hash, o: { signal?: AbortSignal } = {}): AsyncGenerator<LiveLine, void, undefined> {
    const Socket = socketOf(this.#webSocket);
    const url = `${this.url}/control/machine/${hash}/stream_logs`;
    const auth = await (await this.#delegated()).headers("GET", url);
    const connection = new Connection(new Socket("ws" + url.slice(4)), o.signal);
    try {
      await connection.ready;
      if (o.signal?.aborted) return;
      connection.send(JSON.stringify({ auth }));
      for await (const frame of connection) {
        const line = JSON.parse(frame) as LiveLine & { status?: string; reason?: string };
        if (line.status === "failed") throw new AlephError(`logs of ${hash}: ${line.reason}`, { code: "not_allowed" });
        if (line.status === undefined) yield line;
      }
    } catch (error) {
      if (connection.closeCode !== 1000) throw error;
    } finally {
      connection.close();
    }
  }

  async #headers(method: string, url: string): Promise<Record<string, string>> {
    const headers = await (await this.#delegated()).headers(method, url);
    return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, JSON.stringify(value)]));
  }

  /** The key in force. The wallet is asked again only when it is about to expire. */
  async #delegated(): Promise<DelegatedKey> {
    this.#key ??= this.#newKey();
    const key = await this.#key;
    if (key.expires.getTime() > Date.now() + 60_000) return key;
    return (this.#key = this.#newKey());
  }

  #newKey(): Promise<DelegatedKey> {
    if (!this.#signer) throw new AlephError("give the compute node a signer to operate what is yours", { code: "argument" });
    const made = DelegatedKey.create(this.#signer);
    made.catch(() => (this.#key = undefined));
    return made;
  }
}
