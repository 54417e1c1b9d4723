import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { EthereumAccount } from "@aleph-im/sdk/eth";
import { FakeComputeNode } from "./compute.js";
import { DevelopmentChain, TestNode, repository } from "./node.js";

const node = TestNode.forFile();

/** What the examples print, by their headline. */
const printed: Record<string, (RegExp | string)[]> = {
  Begin: ["hello, world"],
  Read: [/^0x\w{40} ./, "POST", /^(POST|STORE) \w{64}$/],
  Files: [/^10 of 10 bytes$/, /^\w{64} \w{64}$/, "some bytes"],
  Websites: [/^bafy\w{55}$/, /^\w{64} http:\/\/bafy\w{55}\.ipfs\.localhost:\d+\/$/],
  Programs: [/^main:app \w{64} \w{64}$/],
  "Sign elsewhere": ["true"],
  Pay: [/^\d+(\.\d+)?$/, /^\d+(\.\d+)? credits are needed, 0 are there$/],
  Streams: ["true"],
  "Compute nodes": ["200 POST /path hello", "first line", "second line"],
  Registry: ["0 core nodes, 0 compute nodes", /^node \w{64}$/],
};

/** Names that the examples use without defining them. */
const names = `
  import type { Provider, StreamChain } from "@aleph-im/sdk/payg";
  declare global {
    const node: string, privateKey: string, image: string, computeNode: string, program: string, folder: string;
    const provider: Provider, payer: string, chain: StreamChain, nodeWallet: string, communityWallet: string;
  }`;

const config = { extends: "../../tsconfig.json", compilerOptions: { rootDir: ".", outDir: ".", declaration: false }, include: ["."], exclude: [] };

test("the examples of the README compile as strictly as the package, and do what they say", async (t) => {
  const folder = join(repository, "sdk/typescript");
  // In the package, so that it finds itself by its name.
  const dir = join(folder, "build/readme");
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, "names.ts"), names);
  await writeFile(join(dir, "tsconfig.json"), JSON.stringify(config));
  const examples: { title: string; path: string }[] = [];
  for (const section of (await readFile(join(folder, "README.md"), "utf8")).split(/^## /m).slice(1)) {
    const title = section.slice(0, section.indexOf("\n"));
    for (const [, code] of section.matchAll(/```ts\n(.*?)```/gs)) {
      const path = join(dir, `${examples.length}`);
      await writeFile(path + ".ts", code!);
      examples.push({ title, path: path + ".js" });
    }
  }
  try {
    execFileSync(process.execPath, [join(folder, "node_modules/typescript/bin/tsc"), "-p", dir], { encoding: "utf8" });
  } catch (error) {
    assert.fail((error as { stdout: string }).stdout);
  }

  const aleph = await node.client({ funded: true });
  const app = join(dir, "hello");
  await mkdir(app);
  await writeFile(join(app, "main.py"), "app = 1\n");
  await node.nameRuntime("python");
  const privateKey = "0x" + "05".repeat(32);
  await node.fund(EthereumAccount.fromPrivateKey(privateKey).address);
  const compute = await FakeComputeNode.start();
  t.after(() => compute.close());
  const image = (await aleph.files.upload("image")).hash;
  const { hash } = await aleph.posts.create({ type: "t", content: 1, channel: "MY-APP" });
  Object.assign(globalThis, { node: node.url, privateKey, image, computeNode: compute.url, program: hash, folder: app });
  const chain = await DevelopmentChain.start();
  t.after(() => chain.stop());
  const [nodeWallet, communityWallet] = Array.from({ length: 2 }, () => EthereumAccount.generate().address);
  Object.assign(globalThis, { provider: chain.wallet, payer: chain.wallet.address, chain: chain.streams, nodeWallet, communityWallet });
  const got: Record<string, string[]> = {};
  for (const { title, path } of examples) {
    const lines = (got[title] ??= []);
    const log = t.mock.method(console, "log", (...words: unknown[]) => void lines.push(words.map(String).join(" ")));
    await import(pathToFileURL(path).href);
    log.mock.restore();
  }
  assert.deepEqual(Object.keys(got), Object.keys(printed));
  for (const [title, want] of Object.entries(printed)) {
    for (const line of want) assert.ok(got[title]!.some((l) => (typeof line === "string" ? l === line : line.test(l))), `${title} printed ${JSON.stringify(got[title])}, and nothing like ${line}`);
  }
});
