import { utf8ToBytes } from "@noble/hashes/utils.js";
import { AlephError } from "./errors.ts";
import { hashOf } from "./hash.ts";
import type { Signer } from "./signer.ts";
import type { Envelope, Hash, MessageType, PostContent } from "./wire.ts";

/** A signed message, and its content when that has to be stored on a node before the message is published. */
export interface Signed {
  message: Envelope;
  content?: string;
}

/** Contents of this many bytes or more do not travel inside their message (messages §8.1). */
export const inlineLimit = 50_000;

/** The text that a signature is of (messages §4.0). */
export function verificationText(m: Pick<Envelope, "chain" | "sender" | "type" | "item_hash">): string {
  return `${m.chain}\n${m.sender}\n${m.type}\n${m.item_hash}`;
}

/** Members that every content has. */
export type Content = Pick<PostContent, "address" | "time">;

/** What a message is built from. */
export interface Draft {
  chain: string;
  sender: string;
  type: MessageType;
  /** Object of the content, or its JSON as text, which is then taken as it is. */
  content: object | string;
  channel?: string | undefined;
  /** Unix seconds, now by default. Cut to milliseconds. */
  time?: number | undefined;
}

/**
 * A message without its signature. It survives JSON, so that it can be signed on a machine that is on no network, and be
 * published from another.
 */
export class Unsigned {
  readonly message: Omit<Envelope, "signature">;
  /** The content's text. */
  readonly content: string;

  private constructor(message: Omit<Envelope, "signature">, content: string) {
    this.message = message;
    this.content = content;
  }

  static build(draft: Draft): Unsigned {
    const content = typeof draft.content === "string" ? draft.content : JSON.stringify(draft.content);
    const message: Omit<Envelope, "signature"> = {
      chain: draft.chain,
      sender: draft.sender,
      type: draft.type,
      channel: draft.channel ?? null,
      time: draft.time === undefined ? now() : Math.floor(draft.time * 1e6) / 1e6,
      item_type: "inline",
      item_hash: hashOf(content),
    };
    if (utf8ToBytes(content).length < inlineLimit) message.item_content = content;
    else message.item_type = "storage";
    return new Unsigned(message, content);
  }

  /** Takes what toJSON returned, on the machine that signs or on the one that publishes. */
  static fromJSON(value: unknown): Unsigned {
    const v = value as Partial<Unsigned> | null;
    if (typeof v?.content !== "string" || v.message?.item_hash !== hashOf(v.content)) {
      throw new AlephError("this is not an unsigned message: its hash is not that of its content", { code: "argument" });
    }
    if (v.message.item_type === "inline" && v.message.item_content !== v.content) {
      throw new AlephError("this is not an unsigned message: it carries another content", { code: "argument" });
    }
    return new Unsigned(v.message, v.content);
  }

  get itemHash(): Hash {
    return this.message.item_hash;
  }

  /** The text to sign. A wallet that signs bytes takes its UTF-8. */
  get verificationText(): string {
    return verificationText(this.message);
  }

  toJSON(): { message: Omit<Envelope, "signature">; content: string } {
    return { message: this.message, content: this.content };
  }

  /** Adds a signature in the form of the chain. */
  attach(signature: string): Signed {
    const message = { ...this.message, signature };
    return message.item_type === "inline" ? { message } : { message, content: this.content };
  }

  /** Lets a signer sign. */
  async sign(by: Signer): Promise<Signed> {
    if (by.chain !== this.message.chain || by.address !== this.message.sender) {
      throw new AlephError(`this message is ${this.message.sender}'s on ${this.message.chain}, and cannot be signed by ${by.address} on ${by.chain}`, {
        code: "argument",
      });
    }
    return this.attach(await by.sign(utf8ToBytes(this.verificationText), { time: this.message.time }));
  }
}

let latest = 0;

/** Unix seconds, each time later than the last: of what has the same time, the hash would decide which counts. */
export function now(): number {
  latest = Math.max(Date.now() * 1000, latest + 1); // whole microseconds
  return latest / 1e6;
}
