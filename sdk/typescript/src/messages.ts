import { utf8ToBytes } from "@noble/hashes/utils.js";
import { AlephError, NotFoundError, TimeoutError, VerificationError, rejection } from "./errors.ts";
import { type MessageFilter, query } from "./filter.ts";
import { hashOf } from "./hash.ts";
import { type Page, defaultPage, page, walk } from "./lists.ts";
import { type CallOptions, type Nodes, parse, sleep } from "./nodes.ts";
import type { Verifier } from "./signer.ts";
import { FileCID } from "./unixfs.ts";
import { type WatchOptions, watch } from "./watch.ts";
import type { Hash, Message, MessageInfo } from "./wire.ts";

/**
 * Reads messages. Every one is checked: its hash against its text, its signature where the chain's verifier is at hand. Two
 * things rest on the node's word: contents that are stored apart, in lists and watches (get reads them by their hash), and
 * messages of contracts, which nobody signed: their signature is null.
 */
export class Messages {
  readonly #nodes: Nodes;
  readonly #verifiers: Map<string, Verifier>;
  readonly #verify: boolean;
  readonly #webSocket: typeof WebSocket | undefined;

  constructor(nodes: Nodes, verifiers: Map<string, Verifier>, verify: boolean, webSocket: typeof WebSocket | undefined) {
    this.#nodes = nodes;
    this.#verifiers = verifiers;
    this.#verify = verify;
    this.#webSocket = webSocket;
  }

  /** What the node knows of a message, whatever became of it. One that it never heard of is a {@link NotFoundError}. */
  async get(hash: Hash, o: CallOptions = {}): Promise<MessageInfo> {
    const info = await this.#nodes.get<MessageInfo>(`/api/v0/messages/${encodeURIComponent(hash)}`, undefined, o);
    if (info.status !== "processed" && info.status !== "removing") return info;
    if (this.#verify && info.message.item_hash !== hash) {
      throw new VerificationError(`the node was asked for message ${hash} and sent ${info.message.item_hash}`);
    }
    this.check(info.message);
    await this.#fetchContent(info.message, o);
    return info;
  }

  /** Only how the message fares. */
  status(hash: Hash, o: CallOptions = {}): Promise<Pick<MessageInfo, "status" | "item_hash" | "reception_time">> {
    return this.#nodes.get(`/api/v0/messages/${encodeURIComponent(hash)}/status`, undefined, o);
  }

  /** The content of a processed message. */
  async content(hash: Hash, o: CallOptions = {}): Promise<Message["content"]> {
    const info = await this.get(hash, o);
    if (info.status !== "processed") throw new AlephError(`message ${hash} is ${info.status}`, { code: info.status });
    return info.message.content;
  }

  /** One page of the messages that match. */
  async page(filter: MessageFilter = {}, at = 1, o: CallOptions = {}): Promise<Page<Message>> {
    const got = await page<Message>(this.#nodes, "/api/v0/messages.json", "messages", query(filter), at, filter.pageSize ?? 20, o);
    got.items.forEach((m) => this.check(m));
    return got;
  }

  /** Walks through the messages that match, the newest first unless the filter says otherwise. */
  async *iterate(filter: MessageFilter = {}, o: CallOptions = {}): AsyncGenerator<Message, void, undefined> {
    for await (const m of walk<Message>(this.#nodes, "/api/v0/messages.json", "messages", query(filter), filter.pageSize ?? defaultPage, o)) {
      this.check(m);
      yield m;
    }
  }

  /** Returns once the node has processed the message. A refusal is an error; the deadline, one minute by default, too. */
  async wait(hash: Hash, o: CallOptions = {}): Promise<MessageInfo> {
    const end = Date.now() + (o.deadline ?? 60_000);
    for (let pause = 50; ; pause = Math.min(pause * 1.5, 2_000)) {
      let info: MessageInfo | undefined;
      try {
        info = await this.get(hash, o);
      } catch (error) {
        // It may be on its way from another node.
        if (!(error instanceof NotFoundError)) throw error;
      }
      if (info?.status === "rejected") throw rejection(hash, info.error_code, info.details);
      if (info && info.status !== "pending") return info;
      if (Date.now() + pause >= end) throw new TimeoutError(`message ${hash} is not processed yet`);
      await sleep(pause, o.signal);
    }
  }

  /**
   * Yields messages that match as the node processes them, after the newest `history` that it has. The connection is made
   * again when it breaks, and what was missed is asked for; each message comes once. Ends with the signal or the loop.
   */
  watch(filter: MessageFilter = {}, o: WatchOptions = {}): AsyncGenerator<Message, void, undefined> {
    const past = (since: number) => this.iterate({ ...filter, since, oldestFirst: true }, { signal: o.signal });
    return watch(this.#nodes, this.#webSocket, filter, o, (m) => this.check(m), past);
  }

  /** Refuses a message that is not what its hash and its signature say. */
  check(m: Message): void {
    // What was forgotten or removed is listed without its text.
    const ended = (m as { status?: string }).status !== undefined && m.content === undefined && m.item_content == null;
    if (!this.#verify || ended) return;
    if (m.item_type === "inline") {
      if (typeof m.item_content !== "string" || hashOf(m.item_content) !== m.item_hash) {
        throw new VerificationError(`message ${m.item_hash}: the node sent a text that has another hash`);
      }
      // What the node says the content is does not count: the text does.
      m.content = JSON.parse(m.item_content);
    }
    const verifier = this.#verifiers.get(m.chain);
    if (verifier && m.signature !== null && !verifier.verify(m)) {
      throw new VerificationError(`message ${m.item_hash}: its signature is not one of ${m.sender}`);
    }
  }

  /** Reads a content that is stored apart, by its hash. A CID of version 1 cannot be computed for what is so short. */
  async #fetchContent(m: Message, o: CallOptions): Promise<void> {
    if (!this.#verify || m.item_type === "inline" || m.item_hash.startsWith("bafy")) return;
    const answer = await this.#nodes.call(`/api/v0/storage/raw/${encodeURIComponent(m.item_hash)}`, o);
    const hash = m.item_type === "ipfs" ? new FileCID().update(utf8ToBytes(answer.text)).digest() : hashOf(answer.text);
    if (hash !== m.item_hash) throw new VerificationError(`content ${m.item_hash}: the node sent other bytes, whose hash is ${hash}`);
    m.content = parse(answer, m.item_hash) as Message["content"];
  }
}
