import { type Draft, type Signed, Unsigned, now } from "./envelope.ts";
import { AlephError, VerificationError, rejection } from "./errors.ts";
import { hashOf } from "./hash.ts";
import type { Messages } from "./messages.ts";
import { type CallOptions, type Nodes, parse } from "./nodes.ts";
import type { Signer } from "./signer.ts";
import type { Envelope, Hash, MessageType } from "./wire.ts";

/** What a write takes besides its content. */
export interface SendOptions extends CallOptions {
  channel?: string | undefined;
  /** Whose data to write, when it is not the signer's. That owner must have granted it. */
  owner?: string | undefined;
  /** Waits until the node has decided, at most half a minute. On by default. */
  sync?: boolean | undefined;
  /** Unix seconds, now by default. */
  time?: number | undefined;
}

/** A message that a node took. */
export interface Submission {
  hash: Hash;
  status: "pending" | "processed";
  /** Networks that the node could not hand it to. */
  failed: readonly ("p2p" | "ipfs")[];
  message: Envelope;
}

/** Builds, signs and publishes messages. */
export class Publisher {
  readonly #nodes: Nodes;
  readonly #messages: Messages;
  readonly #signer: Signer | undefined;
  readonly #channel: string | undefined;

  constructor(nodes: Nodes, messages: Messages, signer: Signer | undefined, channel: string | undefined) {
    this.#nodes = nodes;
    this.#messages = messages;
    this.#signer = signer;
    this.#channel = channel;
  }

  get signer(): Signer {
    if (!this.#signer) throw new AlephError("this client only reads: give it a signer to write", { code: "argument" });
    return this.#signer;
  }

  /** Address in whose name a write acts. */
  owner(o: SendOptions): string {
    return o.owner ?? this.signer.address;
  }

  /** Builds a message of the signer. The members address and time of its content are added. */
  build(type: MessageType, content: object, o: SendOptions = {}): Unsigned {
    const time = o.time === undefined ? now() : Math.floor(o.time * 1000) / 1000;
    const draft: Draft = {
      chain: this.signer.chain,
      sender: this.signer.address,
      type,
      content: { address: this.owner(o), time, ...content },
      channel: o.channel ?? this.#channel,
      time,
    };
    return Unsigned.build(draft);
  }

  async send(type: MessageType, content: object, o: SendOptions = {}): Promise<Submission> {
    return this.broadcast(await this.build(type, content, o).sign(this.signer), o);
  }

  /** Publishes a signed message. Doing it twice does no harm: a message is known by its hash. */
  async broadcast(signed: Signed, o: Pick<SendOptions, "sync" | "signal" | "deadline"> = {}): Promise<Submission> {
    const { message, content } = signed;
    if (content !== undefined) await this.#store(message.item_hash, content, o);
    const answer = await this.#nodes.call("/api/v0/messages", {
      ...o,
      method: "POST",
      body: JSON.stringify({ message, sync: o.sync ?? true }),
      expect: [422, 500],
    });
    return this.outcome(message, answer, o);
  }

  /** Reads the answer to a published message, and asks why when it was refused. */
  async outcome(message: Envelope, answer: { status: number; text: string }, o: CallOptions): Promise<Submission> {
    const hash = message.item_hash;
    let reply: { publication_status?: { failed?: ("p2p" | "ipfs")[] }; message_status?: string | null } = {};
    if (answer.text.startsWith("{")) reply = parse(answer, "/api/v0/messages") as typeof reply;
    if (reply.message_status === "rejected") throw await this.#refusal(hash, o);
    if (answer.status === 422) throw rejection(hash, 0, { errors: [answer.text] });
    if (answer.status === 500) {
      throw new AlephError(`message ${hash}: the node could hand it to no network`, { code: "publication", retryable: true, details: answer.text });
    }
    return {
      hash,
      status: reply.message_status === "processed" ? "processed" : "pending",
      failed: reply.publication_status?.failed ?? [],
      message,
    };
  }

  async #refusal(hash: Hash, o: CallOptions): Promise<AlephError> {
    const known = await this.#messages.get(hash, o);
    if (known.status === "rejected") return rejection(hash, known.error_code, known.details);
    return new AlephError(`message ${hash} was refused, and is now ${known.status}`, { code: "rejected" });
  }

  /** Puts a content on the node, where it stays for a day without a message that needs it. */
  async #store(hash: Hash, content: string, o: CallOptions): Promise<void> {
    if (hashOf(content) !== hash) throw new AlephError("the content is not that of its message", { code: "argument" });
    const answer = await this.#nodes.call("/api/v0/storage/add_file", {
      ...o,
      method: "POST",
      body: content,
      headers: { "content-type": "application/octet-stream" },
    });
    const kept = (parse(answer, "/api/v0/storage/add_file") as { hash: Hash }).hash;
    if (kept !== hash) throw new VerificationError(`the node stored content ${hash} as ${kept}`);
  }
}
