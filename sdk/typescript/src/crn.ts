/** Compute nodes: calling programs, and operating what one owns (crn §2). @module */
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { base58 } from "@scure/base";
import { checked } from "./checked.ts";
import { AlephError, HttpError, NotFoundError, TimeoutError, VerificationError } from "./errors.ts";
import type { Download } from "./files.ts";
import { type CallOptions, Nodes, parse, sleep } from "./nodes.ts";
import { newSha256 } from "./sha256.ts";
import type { Signer } from "./signer.ts";
import type { Progress } from "./source.ts";
import { Connection, socketOf } from "./socket.ts";
import type { Backup, Execution, Hash, LiveLine, LogLine } from "./wire.ts";

export type { Backup, Execution, LiveLine, LogLine, MappedPort, Networking } from "./wire.ts";

/** What an owner may ask of a workload (crn §2.7.4). */
export type Operation = "start" | "stop" | "reboot" | "erase" | "reinstall";

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
    return (await this.#signed("POST", hash, operation + query, o)).text;
  }

  /** Has the node copy the disks of an instance, the root disk alone or its volumes too. Undefined while the copy is being made. */
  startBackup(hash: Hash, o: { signal?: AbortSignal; includeVolumes?: boolean } = {}): Promise<Backup | undefined> {
    return this.#backup("POST", hash, o.includeVolumes ? "?include_volumes=true" : "", o);
  }

  /** The backup of an instance; undefined while it is being made, a {@link NotFoundError} when there is none. */
  getBackup(hash: Hash, o: { signal?: AbortSignal } = {}): Promise<Backup | undefined> {
    return this.#backup("GET", hash, "", o);
  }

  /** Waits for a backup that was started, half an hour by default. */
  async awaitBackup(hash: Hash, o: { signal?: AbortSignal; deadline?: number } = {}): Promise<Backup> {
    const end = Date.now() + (o.deadline ?? 1_800_000);
    for (let pause = 500; ; pause = Math.min(2 * pause, 5_000)) {
      const backup = await this.getBackup(hash, o);
      if (backup) return backup;
      if (Date.now() + pause >= end) throw new TimeoutError(`the backup of ${hash} is not made yet`);
      await sleep(pause, o.signal);
    }
  }

  async #backup(method: "GET" | "POST", hash: Hash, query: string, o: { signal?: AbortSignal }): Promise<Backup | undefined> {
    const answer = await this.#signed(method, hash, "backup" + query, o, 202);
    return answer.status === 202 ? undefined : (parse(answer, `backup of ${hash}`) as Backup);
  }

  /** Reads the archive of a backup as it comes. The stream fails at its end when the bytes are not those that were copied. */
  async downloadBackup(backup: Backup, o: { signal?: AbortSignal; progress?: Progress } = {}): Promise<Download> {
    if (!backup.checksum) throw new VerificationError(`backup ${backup.backup_id}: the node tells no checksum that it could be held to`);
    // The link is the node's word on itself; the node was reached under another name perhaps.
    const { pathname, search } = new URL(backup.download_url, this.url);
    const response = await this.#nodes.open(pathname + search, { ...(o.signal && { signal: o.signal }) });
    if (!response.body) throw new AlephError(`backup ${backup.backup_id}: the answer has no body`, { code: "answer" });
    const sum = newSha256();
    const end = () => {
      const got = "sha256:" + bytesToHex(new Uint8Array(sum.digest()));
      if (got !== backup.checksum) throw new VerificationError(`backup ${backup.backup_id}: the node sent other bytes, whose checksum is ${got}`);
    };
    return { size: backup.size, stream: checked(response.body, { update: (chunk) => sum.update(chunk), end }, backup.size, o.progress) };
  }

  /** Removes a backup from the node. */
  async deleteBackup(hash: Hash, id: string, o: { signal?: AbortSignal } = {}): Promise<void> {
    if (!/^[\w-]+$/.test(id)) throw new AlephError(`${id} is not the name of a backup`, { code: "argument" });
    await this.#signed("DELETE", hash, `backup/${id}`, o);
  }

  /** Replaces the root disk of an instance by a QCOW2 file that a STORE message keeps, and starts it again. */
  async restore(hash: Hash, file: Hash, o: { signal?: AbortSignal } = {}): Promise<void> {
    await this.#signed("POST", hash, "restore", { ...o, body: JSON.stringify({ volume_ref: file }) });
  }

  /** Sends one request of the owner of a workload, and does not repeat it. */
  async #signed(method: string, hash: Hash, what: string, o: { signal?: AbortSignal; body?: string }, other = 200): Promise<{ status: number; text: string }> {
    const url = `${this.url}/control/machine/${hash}/${what}`;
    const headers = { ...(await this.#headers(method, url)), ...(o.body && { "content-type": "application/json" }) };
    const response = await this.#fetch(url, { method, headers, ...(o.body && { body: o.body }), ...(o.signal && { signal: o.signal }) });
    const text = await response.text();
    if (response.status === 404) throw new NotFoundError(method, url, 404, text);
    if (response.status !== 200 && response.status !== other) throw new HttpError(method, url, response.status, text);
    return { status: response.status, text };
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
