import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { after, before } from "node:test";
import { openSync } from "node:fs";
import { type Address, type Hex, type PublicClient, createPublicClient, createWalletClient, http } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { Client } from "@aleph-im/sdk";
import { EthereumAccount } from "@aleph-im/sdk/eth";
import type { Provider, StreamChain } from "@aleph-im/sdk/payg";

/** The folder of the repository. */
export const repository = join(dirname(fileURLToPath(import.meta.url)), "../../../..");

/** Reads shared protocol vectors, which lie beside the checkout or where ALEPH_VECTORS says. */
export async function vectors<T>(name: string): Promise<T> {
  const dir = process.env["ALEPH_VECTORS"] ?? join(repository, "../shared/vectors");
  return JSON.parse(await readFile(join(dir, name), "utf8")) as T;
}

/** The account that a devnet believes about balances and credits. Everybody knows its key. */
const authority = EthereumAccount.fromPrivateKey("0x2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6");

/** A core node of a devnet, of its own for the tests of one file. */
export class TestNode {
  url = "";
  #end: () => Promise<void> = async () => {};

  /** Starts the node before the tests of the file and stops it after them. */
  static forFile(): TestNode {
    const node = new TestNode();
    before(() => node.start());
    after(() => node.stop());
    return node;
  }

  async start(): Promise<void> {
    const dir = await mkdtemp(join(tmpdir(), "aleph-sdk-"));
    const port = await freePort();
    this.url = `http://127.0.0.1:${port}`;
    const log = openSync(join(dir, "log"), "w");
    const args = ["ccn", "--network", "devnet", "--data-dir", join(dir, "data"), "--http-listen", `127.0.0.1:${port}`, "--p2p-listen", "/ip4/127.0.0.1/tcp/0", "--log-level", "warn"];
    const child = spawn(join(repository, "build/alephd"), args, { stdio: ["ignore", log, log] });
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()).once("error", () => resolve()));
    this.#end = async () => {
      child.kill("SIGTERM");
      await ended;
      await rm(dir, { recursive: true });
    };
    const deadline = Date.now() + 30_000;
    for (;;) {
      const up = await fetch(this.url + "/api/v0/messages.json?pagination=1").then((r) => r.ok, () => false);
      if (up) return;
      if (Date.now() > deadline || child.exitCode !== null || child.pid === undefined) {
        throw new Error(`the node did not start; run \`make build\` first. It said: ${await readFile(join(dir, "log"), "utf8")}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  stop(): Promise<void> {
    return this.#end();
  }

  /** A client of the node that writes as a new account, which has credits and tokens when it is funded. */
  async client({ funded = false } = {}): Promise<Client & { signer: EthereumAccount }> {
    const signer = EthereumAccount.generate();
    if (funded) await this.fund(signer.address);
    return new Client({ nodes: this.url, signer, channel: "TEST" }) as Client & { signer: EthereumAccount };
  }

  /** Stores a runtime, which is none, and gives it a name as a network does. Returns the address that says so. */
  async nameRuntime(name: string): Promise<string> {
    const bank = new Client({ nodes: this.url, signer: authority });
    const { hash } = await bank.files.upload("runtime");
    await bank.aggregates.merge("runtimes", { default: hash, runtimes: { [name]: hash } });
    return authority.address;
  }

  /** Gives an address a billion credits and a million tokens. */
  async fund(address: string): Promise<void> {
    const bank = new Client({ nodes: this.url, signer: authority });
    const credits = [{ address, amount: 1_000_000_000, price: "0.1", tx_hash: "0x" + "5e".repeat(32), provider: "test" }];
    await bank.posts.create({ type: "aleph_credit_distribution", channel: "ALEPH_CREDIT", content: { distribution: { token: "ALEPH", chain: "ETH", credits } } });
    await bank.posts.create({ type: "balances-update", content: { tags: ["mainnet"], chain: "ETH", height: 1, main_height: 1, balances: { [address]: 1_000_000 } } });
  }
}

/** A wallet of Ethereum as pages find it, with a key that every development chain gives tokens to. */
export class DevelopmentWallet implements Provider {
  readonly address: string;
  /** How many of the next transactions it sends without telling their hash. */
  silent = 0;
  readonly #reader: PublicClient;
  readonly #send: (tx: { to: Address; data: Hex; gas: bigint }) => Promise<Hex>;

  constructor(rpc: string) {
    const account = privateKeyToAccount("0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d");
    const transport = http(rpc);
    const wallet = createWalletClient({ account, transport });
    this.address = account.address;
    this.#reader = createPublicClient({ transport });
    this.#send = (tx) => wallet.sendTransaction({ ...tx, chain: null });
  }

  async request({ method, params }: { method: string; params?: unknown[] }): Promise<unknown> {
    if (method !== "eth_sendTransaction") return this.#reader.request({ method, params } as never);
    const [{ to, data, gas }] = params as [{ to: Address; data: Hex; gas: Hex }];
    const hash = await this.#send({ to, data, gas: BigInt(gas) });
    if (this.silent-- > 0) throw new Error("the wallet was closed");
    return hash;
  }
}

/** The chain of a devnet, alone. */
export class DevelopmentChain {
  readonly streams: StreamChain;
  readonly wallet: DevelopmentWallet;
  readonly #process: ChildProcess;

  private constructor(process: ChildProcess, rpc: string, token: string, agreement: string) {
    this.#process = process;
    this.streams = { chain: "AVAX", chainId: 31337, token, agreement };
    this.wallet = new DevelopmentWallet(rpc);
  }

  static async start(): Promise<DevelopmentChain> {
    const process = spawn(join(repository, "build/aleph-devnet"), ["--chain-only"], { stdio: ["ignore", "pipe", "inherit"] });
    const said = new Map<string, string>();
    for await (const line of createInterface(process.stdout)) {
      const [what, is] = line.trim().split(/\s+/);
      said.set(what!, is!);
      const [rpc, token, agreement] = [said.get("chain"), said.get("token"), said.get("streams")];
      if (rpc && token && agreement) return new DevelopmentChain(process, rpc, token, agreement);
    }
    throw new Error("the chain did not start; run `make build` first");
  }

  async stop(): Promise<void> {
    this.#process.kill("SIGTERM");
    if (this.#process.exitCode === null) await once(this.#process, "exit");
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
