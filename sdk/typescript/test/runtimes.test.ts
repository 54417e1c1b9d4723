import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { TestNode, repository } from "./node.js";

const node = TestNode.forFile();
const folder = join(repository, "sdk/typescript");

/** Other runtimes, by where npm puts their programs, and what they are started with. */
const runtimes = [
  { name: "Deno", scope: "@deno", program: "deno", options: ["run", "--no-prompt", "--allow-net=127.0.0.1", "--allow-read", "--allow-env"] },
  { name: "Bun", scope: "@oven", program: "bin/bun", options: [] },
];

for (const { name, scope, program, options } of runtimes) {
  test(`everything works in ${name}`, async () => {
    const [platform] = await readdir(join(folder, "node_modules", scope));
    const path = join(folder, "node_modules", scope, platform!, program);
    const { stdout } = await promisify(execFile)(path, [...options, "build/test/portable-main.js", node.url], { cwd: folder, timeout: 60_000, env: { ...process.env, DENO_NO_UPDATE_CHECK: "1" } });
    assert.equal(stdout, "post ETH, post SOL, post TEZOS, post DOT, post CSDK, post AVAX, post NULS, post NULS2, file, stream, website, watch, delegate\n");
  });
}
