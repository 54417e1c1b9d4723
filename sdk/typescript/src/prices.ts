import type { Content } from "./envelope.ts";
import { hashOf } from "./hash.ts";
import type { CallOptions, Nodes } from "./nodes.ts";
import type { AnyContent, Hash, MessageType, Price } from "./wire.ts";

/** A price in all ways to pay and in the units that people think in. */
export interface CostPreview {
  /** ALEPH to hold. */
  hold: string;
  /** ALEPH. */
  stream: { perHour: string; perDay: string; perMonth: string };
  credit: { perHour: string; perDay: string; perMonth: string };
}

/** Reads what things cost. */
export class Prices {
  readonly #nodes: Nodes;

  constructor(nodes: Nodes) {
    this.#nodes = nodes;
  }

  /** What a processed message costs. */
  get(hash: Hash, o: CallOptions = {}): Promise<Price> {
    return this.#nodes.get(`/api/v0/price/${encodeURIComponent(hash)}`, undefined, o);
  }

  /**
   * What a content would cost, before anything is signed or sent. Files that are not stored yet are given by a member
   * estimated_size_mib (ccn-api §11.3).
   */
  estimate<T extends MessageType>(type: T, content: Omit<AnyContent[T], keyof Content> & Partial<Content> & { estimated_size_mib?: number }, o: CallOptions = {}): Promise<Price> {
    const text = JSON.stringify({ address: "0x0000000000000000000000000000000000000000", time: 0, ...content });
    return this.#nodes.post("/api/v0/price/estimate", { message: { type, item_type: "inline", item_content: text, item_hash: hashOf(text) } }, o);
  }

  /** What keeping a file of so many bytes would cost. */
  estimateFile(bytes: number, payment: "hold" | "credit" = "hold", o: CallOptions = {}): Promise<Price> {
    const content = { item_type: "storage" as const, item_hash: hashOf(""), payment: { type: payment }, estimated_size_mib: bytes / (1 << 20) };
    return this.estimate("STORE", content, o);
  }
}

/** Sums a price up in all ways to pay. A month has 30 days. */
export function preview(price: Price): CostPreview {
  const sum = (column: "cost_hold" | "cost_stream" | "cost_credit") => price.detail.reduce((total, line) => total + units(line[column]), 0n);
  const rates = (perSecond: bigint) => ({ perHour: decimal(perSecond * 3600n), perDay: decimal(perSecond * 86400n), perMonth: decimal(perSecond * 2592000n) });
  return { hold: decimal(sum("cost_hold")), stream: rates(sum("cost_stream")), credit: rates(sum("cost_credit")) };
}

/** Reads a decimal with at most 18 digits after the point as a number of 10⁻¹⁸. */
export function units(text: string): bigint {
  const [whole = "", fraction = ""] = text.replace("-", "").split(".");
  const value = BigInt(whole + fraction.slice(0, 18).padEnd(18, "0"));
  return text.startsWith("-") ? -value : value;
}

/** Writes a number of 10⁻¹⁸ as a decimal without zeros at its end. */
export function decimal(value: bigint): string {
  const digits = (value < 0n ? -value : value).toString().padStart(19, "0");
  return (value < 0n ? "-" : "") + `${digits.slice(0, -18)}.${digits.slice(-18)}`.replace(/\.?0+$/, "");
}
