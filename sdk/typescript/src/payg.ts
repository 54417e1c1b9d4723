/**
 * Streams of tokens that pay for workloads as they run (sdk-cli §4.6), through any Ethereum provider:
 *
 *     const streams = new Streams(provider, address, base);
 *     const plan = await streams.increase(shares(price.cost, nodeWallet, communityWallet));
 *     await streams.check(plan);
 *     await streams.apply(plan);
 *
 * @module
 */
import { keccak_256 } from "@noble/hashes/sha3.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { AlephError, TimeoutError } from "./errors.ts";
import { sleep } from "./nodes.ts";
import { decimal } from "./prices.ts";
import { type Provider, WalletError, ask } from "./provider.ts";

export { type Provider, WalletError } from "./provider.ts";

/** Where streams are: a chain, the token that flows, and the contracts of Superfluid that make it flow. */
export interface StreamChain {
  /** As in messages. */
  chain: string;
  chainId: number;
  token: string;
  /** The contract that answers getFlow. */
  agreement: string;
  /** The contract that takes changes of streams. Without one the agreement takes them itself, as on devnets. */
  forwarder?: string;
}

const token = "0xc0Fbc4967259786C743361a5885ef49380473dCF";
/** CFAv1Forwarder, at the same address on all public chains. */
const forwarder = "0xcfA132E353cB4E398080B9700609bb008eceB125";

export const avalanche: StreamChain = { chain: "AVAX", chainId: 43114, token, agreement: "0x6946c5B38Ffea373b0a2340b4AEf0De8F6782e58", forwarder };
export const base: StreamChain = { chain: "BASE", chainId: 8453, token, agreement: "0x19ba78B9cDB05A877718841c574325fdB53601bb", forwarder };

/** A stream to a receiver, in 10⁻¹⁸ tokens a second. */
export interface Flow {
  receiver: string;
  rate: bigint;
}

/** Takes one stream from one rate to another. */
export interface Step {
  receiver: string;
  from: bigint;
  to: bigint;
}

/**
 * A change of streams that is to be made. It says from what to what each stream goes, so that one that broke off half way is carried
 * on by carrying out the same plan again, or undone by carrying out its reverse. It can be kept as JSON until it is done.
 */
export class Plan {
  /** As in messages. */
  readonly chain: string;
  readonly sender: string;
  readonly steps: readonly Step[];

  constructor(chain: string, sender: string, steps: readonly Step[]) {
    this.chain = chain;
    this.sender = sender;
    this.steps = steps;
  }

  /** The plan that undoes this one. */
  reverse(): Plan {
    return new Plan(this.chain, this.sender, this.steps.map(({ receiver, from, to }) => ({ receiver, from: to, to: from })).reverse());
  }

  /** Rates are texts: numbers of JSON lose digits in JavaScript. */
  toJSON(): { chain: string; sender: string; steps: { receiver: string; from: string; to: string }[] } {
    return { chain: this.chain, sender: this.sender, steps: this.steps.map(({ receiver, from, to }) => ({ receiver, from: String(from), to: String(to) })) };
  }

  /** Reads what `toJSON` wrote, in this SDK or in that of Go or Python. */
  static fromJSON(kept: unknown): Plan {
    const { chain, sender, steps } = (kept ?? {}) as { chain?: unknown; sender?: unknown; steps?: unknown };
    const rate = (said: unknown) => {
      if (typeof said === "string" && /^\d+$/.test(said)) return BigInt(said);
      throw new AlephError("this is no plan of streams: its rates are not whole numbers, written as texts", { code: "argument", details: kept });
    };
    if (typeof chain !== "string" || typeof sender !== "string" || !Array.isArray(steps)) {
      throw new AlephError("this is no plan of streams: it needs a chain, a sender and steps", { code: "argument", details: kept });
    }
    return new Plan(chain, sender, steps.map((step) => ({ receiver: String(step?.receiver), from: rate(step?.from), to: rate(step?.to) })));
  }
}

/**
 * A transaction was sent, or may have been, and nobody can say yet what became of it: it may still be taken. Before that is known the
 * plan must not be reversed. Once `quiet()` returns, the same plan can be applied again.
 */
export class UnsettledError extends AlephError {
  override name = "UnsettledError";
  /** Of the transaction; undefined when the wallet did not tell it. */
  readonly hash: string | undefined;

  constructor(hash: string | undefined, cause: unknown) {
    const what = hash === undefined ? "the wallet does not say whether it has sent a transaction" : `transaction ${hash} was sent, and what became of it is not known yet`;
    const why = cause instanceof Error ? cause.message : String(cause);
    super(`${what}; wait for quiet(), then apply the same plan again: ${why}`, { code: "unsettled", retryable: true, cause });
    this.hash = hash;
  }
}

/**
 * Splits a price in tokens a second, a decimal: four fifths for who runs the workload, the rest for the community. Each share is
 * rounded up. Without a wallet of the community all goes to the node.
 */
export function shares(price: string, node: string, community?: string): Flow[] {
  const [, whole, fraction = ""] = /^(\d+)(?:\.(\d+))?$/.exec(price) ?? [];
  const digits = BigInt(whole === undefined ? 0 : whole + fraction);
  if (digits === 0n) throw new AlephError(`the price "${price}" a second is no amount that can be streamed`, { code: "argument" });
  const parts = 100n * 10n ** BigInt(fraction.length);
  const part = (hundredths: bigint) => (digits * 10n ** 18n * hundredths + parts - 1n) / parts;
  if (!community || same(community, node)) return [{ receiver: node, rate: part(100n) }];
  return [
    { receiver: node, rate: part(80n) },
    { receiver: community, rate: part(20n) },
  ];
}

/** What rounding leaves: a stream below this rate is ended. */
const leastRate = 100n;
/** Of the chain's own coin, in 10⁻¹⁸, that an account must have to start. */
const leastGas = 10n ** 15n;
/** Seconds for which its tokens must last. */
const leastTime = 4n * 3600n;
/** Contracts keep rates with a sign in 96 bits. */
const maxRate = 1n << 95n;

/** How long to wait for a transaction, two minutes by default, and what cuts the wait short. */
export interface Waiting {
  deadline?: number;
  signal?: AbortSignal;
}

/** The streams of one account. A change is planned, checked and applied. */
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
    return this.#rate(receiver);
  }

  /**
   * Returns when no transaction of the account is on its way: one that is may change its streams after they were read. Fails with a
   * TimeoutError when there still is one after the wait, fifteen seconds by default.
   */
  async quiet(o: Waiting = {}): Promise<void> {
    await this.#onChain();
    const end = Date.now() + (o.deadline ?? 15_000);
    for (let pause = 100; ; pause = Math.min(2 * pause, 2_000)) {
      const sent = quantity(await this.#ask("eth_getTransactionCount", this.#sender, "pending"));
      const taken = quantity(await this.#ask("eth_getTransactionCount", this.#sender, "latest"));
      if (sent <= taken) return;
      if (Date.now() + pause >= end) throw new TimeoutError(`a transaction of ${this.#sender} is in no block yet, and may change its streams: try again later`);
      await sleep(pause, o.signal);
    }
  }

  /** Plans streams that are added to those there are: several workloads may be paid to one receiver. */
  increase(flows: Flow[]): Promise<Plan> {
    return this.#plan(flows, (now, rate) => now + rate);
  }

  /** Plans to take streams away from those there are. */
  reduce(flows: Flow[]): Promise<Plan> {
    return this.#plan(flows, (now, rate) => (now - rate >= leastRate ? now - rate : 0n));
  }

  /** Plans streams of at least these rates. What streams already is used: planning and applying it again does no more. */
  ensure(flows: Flow[]): Promise<Plan> {
    return this.#plan(flows, (now, rate) => (now > rate ? now : rate));
  }

  /** Plans that streams have these rates, whatever they have now; 0 ends one. */
  change(flows: Flow[]): Promise<Plan> {
    return this.#plan(flows, (_, rate) => rate);
  }

  /** Fails with the code "funds" when the account lacks the chain's coin for transactions, or tokens for four hours of what a plan adds. */
  async check(plan: Plan): Promise<void> {
    await this.#onChain();
    const gas = quantity(await this.#ask("eth_getBalance", plan.sender, "latest"));
    if (gas < leastGas) throw lacking(plan.sender, decimal(leastGas), decimal(gas), "of the chain's own coin for its transactions");
    const [held] = await this.#read(this.#chain.token, call("balanceOf(address)", plan.sender), 1);
    const more = plan.steps.reduce((sum, step) => sum + (step.to > step.from ? step.to - step.from : 0n), 0n);
    if (held! < more * leastTime) throw lacking(plan.sender, decimal(more * leastTime), decimal(held!), "ALEPH on the chain of the stream");
  }

  /**
   * Carries out a plan: each stream that is not yet as it should be is changed, and read again. After an error, and after a call that
   * was cut short, the same plan can be applied again. A stream that is neither as it was nor as it should be is left alone and told:
   * then something else changes it.
   */
  async apply(plan: Plan, o: Waiting = {}): Promise<void> {
    if (!same(plan.sender, this.#sender) || plan.chain !== this.#chain.chain) {
      throw new AlephError(`the plan is of ${plan.sender} on chain ${plan.chain}, and not of ${this.#sender} on chain ${this.#chain.chain}`, { code: "argument" });
    }
    for (const step of plan.steps) await this.#apply(step, o);
  }

  /** Whether all streams of a plan are as they should be. */
  async done(plan: Plan): Promise<boolean> {
    await this.#onChain();
    for (const step of plan.steps) if ((await this.#rate(step.receiver)) !== step.to) return false;
    return true;
  }

  async #plan(flows: Flow[], to: (now: bigint, rate: bigint) => bigint): Promise<Plan> {
    await this.#onChain();
    const sums = new Map<string, Flow>(); // spellings of an address differ in their case only
    for (const flow of flows) {
      if (flow.rate < 0n) throw new AlephError("a stream cannot flow backwards", { code: "argument" });
      const key = word(flow.receiver);
      sums.set(key, { receiver: flow.receiver, rate: (sums.get(key)?.rate ?? 0n) + flow.rate });
    }
    const steps: Step[] = [];
    for (const { receiver, rate } of sums.values()) {
      const now = await this.#rate(receiver);
      steps.push({ receiver, from: now, to: to(now, rate) });
    }
    return new Plan(this.#chain.chain, this.#sender, steps);
  }

  async #apply(step: Step, o: Waiting): Promise<void> {
    const what = `the stream from ${this.#sender} to ${step.receiver}`;
    if (step.from < 0n || step.to < 0n || step.to >= maxRate) throw new AlephError(`${what}: the plan does not say from what to what it goes`, { code: "argument" });
    await this.#onChain(); // the wallet may be switched between two steps
    const now = await this.#rate(step.receiver);
    if (now === step.to) return;
    if (now !== step.from) throw new AlephError(`${what} is at ${now}, neither at ${step.from} nor at ${step.to}: something else has changed it, plan anew`, { code: "stream" });
    const { token, agreement, forwarder } = this.#chain;
    const data = call(forwarder ? "setFlowrate(address,address,int96)" : "setFlow(address,address,int96)", token, step.receiver, step.to);
    const draft = { from: this.#sender, to: forwarder ?? agreement, data };
    const gas = quantity(await this.#ask("eth_estimateGas", draft));
    // A quarter more, as the state may change until it runs.
    const hash = await this.#ask("eth_sendTransaction", { ...draft, gas: "0x" + (gas + gas / 4n).toString(16) }).catch((failure: WalletError) => {
      throw failure.settled ? failure : new UnsettledError(undefined, failure);
    });
    await this.#settle(hash as string, step, o);
  }

  /** Returns when a stream is as a transaction made it. Many nodes may answer for a chain, some of them a block behind. */
  async #settle(hash: string, step: Step, o: Waiting): Promise<void> {
    const end = Date.now() + (o.deadline ?? 120_000);
    let last: unknown = new TimeoutError("it is in no block yet");
    for (let pause = 100; ; pause = Math.min(2 * pause, 5_000)) {
      let status: bigint | undefined;
      try {
        const receipt = (await this.#ask("eth_getTransactionReceipt", hash)) as { status: string } | null;
        status = receipt ? quantity(receipt.status) : undefined;
        if (status === 1n) {
          const now = await this.#rate(step.receiver);
          if (now === step.to) return;
          last = new TimeoutError(`it is in a block, and the stream is at ${now} instead of ${step.to}`);
        }
      } catch (failure) {
        last = failure;
      }
      if (status === 0n) throw new AlephError(`transaction ${hash} failed: are there enough tokens for the deposit of the stream?`, { code: "transaction" });
      if (Date.now() + pause >= end) throw new UnsettledError(hash, last);
      await sleep(pause, o.signal).catch((stopped: unknown) => {
        throw new UnsettledError(hash, stopped);
      });
    }
  }

  async #rate(receiver: string): Promise<bigint> {
    const { token, agreement } = this.#chain;
    const [, rate] = await this.#read(agreement, call("getFlow(address,address,address)", token, this.#sender, receiver), 4);
    return rate!;
  }

  /** The numbers that a contract answers. */
  async #read(to: string, data: string, count: number): Promise<bigint[]> {
    const answer = await this.#ask("eth_call", { to, data }, "latest");
    if (typeof answer !== "string" || !new RegExp(`^0x[0-9a-f]{${64 * count}}$`, "i").test(answer)) {
      throw new AlephError(`the contract ${to} on chain ${this.#chain.chain} does not answer as one of streams does`, { code: "wallet", details: answer });
    }
    return Array.from({ length: count }, (_, n) => BigInt("0x" + answer.slice(2 + 64 * n, 66 + 64 * n)));
  }

  #ask(method: string, ...params: unknown[]): Promise<unknown> {
    return ask(this.#provider, method, ...params);
  }

  /** Streams on another chain would be lost. */
  async #onChain(): Promise<void> {
    const id = Number(await this.#ask("eth_chainId"));
    if (id !== this.#chain.chainId) throw new AlephError(`the wallet is on chain ${id}: switch it to ${this.#chain.chainId}`, { code: "wallet" });
  }
}

function same(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}

function quantity(text: unknown): bigint {
  if (typeof text !== "string" || !/^0x[0-9a-f]+$/i.test(text)) throw new AlephError(`the wallet answered ${JSON.stringify(text)} where a number was expected`, { code: "wallet", details: text });
  return BigInt(text);
}

function lacking(address: string, required: string, available: string, unit: string): AlephError {
  return new AlephError(`${address} needs ${required} ${unit}, and has ${available}`, { code: "funds", details: { required, available } });
}

/** An address as 32 bytes in hex. */
function word(address: string): string {
  if (!/^0x[0-9a-f]{40}$/i.test(address)) throw new AlephError(`${address} is no address of an Ethereum-like chain`, { code: "argument" });
  return address.slice(2).toLowerCase().padStart(64, "0");
}

/** Data of a call: the first four bytes of the hash of what is called, and its arguments in words of 32 bytes. */
function call(signature: string, ...args: (string | bigint)[]): string {
  const selector = bytesToHex(keccak_256(utf8ToBytes(signature)).subarray(0, 4));
  return "0x" + selector + args.map((a) => (typeof a === "bigint" ? a.toString(16).padStart(64, "0") : word(a))).join("");
}
