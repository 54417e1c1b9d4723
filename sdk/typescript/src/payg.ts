/** Streams of tokens that pay for workloads as they run (sdk-cli §4.6), through any Ethereum provider. @module */
import { keccak_256 } from "@noble/hashes/sha3.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { AlephError, TimeoutError } from "./errors.ts";
import { sleep } from "./nodes.ts";
import { units } from "./prices.ts";
import type { Provider } from "./wallets/ethereum.ts";

/** Where streams are: a chain, the token that flows, and the contract of Superfluid that makes it flow. */
export interface StreamChain {
  chainId: number;
  token: string;
  /** CFAv1Forwarder, at the same address on all chains of Superfluid. */
  forwarder: string;
}

const forwarder = "0xcfA132E353cB4E398080B9700609bb008eceB125";

export const avalanche: StreamChain = { chainId: 43114, token: "0xc0Fbc4967259786C743361a5885ef49380473dCF", forwarder };
export const base: StreamChain = { chainId: 8453, token: "0xc0Fbc4967259786C743361a5885ef49380473dCF", forwarder };

/** Rates in 10⁻¹⁸ tokens a second: four fifths for who runs the workload, the rest for the community. */
export function split(costPerSecond: string): { node: bigint; community: bigint } {
  const whole = units(costPerSecond);
  // Rounded up, so that the node never sees too little.
  const node = (whole * 4n + 4n) / 5n;
  return { node, community: (whole + 4n) / 5n };
}

/** Reads and sets the streams of one account. */
export class Streams {
  readonly #provider: Provider;
  readonly #sender: string;
  readonly #chain: StreamChain;

  constructor(provider: Provider, sender: string, chain: StreamChain) {
    this.#provider = provider;
    this.#sender = sender;
    this.#chain = chain;
  }

  /** What flows to a receiver, in 10⁻¹⁸ tokens a second. */
  async rate(receiver: string): Promise<bigint> {
    await this.#onChain();
    const data = call("getFlowrate(address,address,address)", this.#chain.token, this.#sender, receiver);
    return BigInt((await this.#provider.request({ method: "eth_call", params: [{ to: this.#chain.forwarder, data }, "latest"] })) as string);
  }

  /** Sets what flows to a receiver, 0 to end it, and returns the transaction once it is in a block; two minutes by default. */
  async setRate(receiver: string, rate: bigint, o: { deadline?: number; signal?: AbortSignal } = {}): Promise<string> {
    if (rate < 0n) throw new AlephError("a stream cannot flow backwards", { code: "argument" });
    await this.#onChain();
    const data = call("setFlowrate(address,address,int96)", this.#chain.token, receiver, rate);
    const hash = (await this.#provider.request({ method: "eth_sendTransaction", params: [{ from: this.#sender, to: this.#chain.forwarder, data }] })) as string;
    const end = Date.now() + (o.deadline ?? 120_000);
    for (let pause = 100; ; pause = Math.min(2 * pause, 5_000)) {
      const receipt = (await this.#provider.request({ method: "eth_getTransactionReceipt", params: [hash] })) as { status: string } | null;
      if (receipt && BigInt(receipt.status) === 1n) return hash;
      if (receipt) throw new AlephError(`transaction ${hash} failed: are there enough tokens for the deposit of the stream?`, { code: "transaction", details: receipt });
      if (Date.now() + pause >= end) throw new TimeoutError(`transaction ${hash} is in no block yet`);
      await sleep(pause, o.signal);
    }
  }

  /** Lets more flow to a receiver, or less. Other workloads of the account may be paid by the same stream. */
  async change(receiver: string, by: bigint, o: { deadline?: number; signal?: AbortSignal } = {}): Promise<string> {
    const rate = (await this.rate(receiver)) + by;
    return this.setRate(receiver, rate > 0n ? rate : 0n, o);
  }

  /** Streams on another chain would be lost. */
  async #onChain(): Promise<void> {
    const id = Number(await this.#provider.request({ method: "eth_chainId" }));
    if (id !== this.#chain.chainId) throw new AlephError(`the wallet is on chain ${id}: switch it to ${this.#chain.chainId}`, { code: "wallet" });
  }
}

/** Data of a call: the first four bytes of the hash of what is called, and its arguments in words of 32 bytes. */
function call(signature: string, ...words: (string | bigint)[]): string {
  const selector = bytesToHex(keccak_256(utf8ToBytes(signature)).subarray(0, 4));
  return "0x" + selector + words.map((w) => (typeof w === "bigint" ? w.toString(16) : w.replace(/^0x/, "").toLowerCase()).padStart(64, "0")).join("");
}
