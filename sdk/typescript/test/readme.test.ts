import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { transform } from "esbuild";
import { FakeComputeNode } from "./compute.js";
import { TestNode, repository } from "./node.js";

const node = TestNode.forFile();

/** What each example prints, by its headline; the examples use these names without defining them. */
const printed: Record<string, (RegExp | string)[]> = {
  Begin: ["hello, world"],
  Read: [/^0x\w{40} ./, "POST", /^(POST|STORE) \w{64}$/],
  Files: [/^10 of 10 bytes$/, /^\w{64} \w{64}$/, "some bytes"],
  "Sign elsewhere": ["true"],
  Pay: [/^\d+(\.\d+)?$/, /^\d+(\.\d+)? credits are needed, 0 are there$/],
  "Compute nodes": ["200 POST /path hello", "first line", "second line"],
};

test("the examples of the README do what they say", async (t) => {
  const aleph = await node.client();
  const privateKey = "0x" + "05".repeat(32);
  const image = (await aleph.files.upload("image")).hash;
  const hash = (await aleph.posts.create({ type: "t", content: 1, channel: "MY-APP" })).hash;
  const compute = await FakeComputeNode.start();
  t.after(() => compute.close());
  const given = { node: node.url, privateKey, image, hash, computeNode: compute.url, program: hash, signer: aleph.signer };

  const text = await readFile(join(repository, "sdk/typescript/README.md"), "utf8");
  // Beside the compiled tests, so that the package finds itself by its name.
  const dir = join(repository, "sdk/typescript/build/readme");
  await mkdir(dir, { recursive: true });
  const got: Record<string, string[]> = {};
  for (const section of text.split(/^## /m).slice(1)) {
    const title = section.slice(0, section.indexOf("\n"));
    for (const [i, [, code]] of [...section.matchAll(/```ts\n(.*?)```/gs)].entries()) {
      const names = Object.keys(given).join(", ");
      const [imports, body] = [code!.replace(/^(?!import ).*$/gm, ""), code!.replace(/^import .*$/gm, "")];
      const { code: script } = await transform(`${imports}\nexport default async ({ ${names} }, console) => {{\n${body}\n}};`, { loader: "ts" });
      const path = join(dir, `${title.replaceAll(" ", "-")}-${i}.js`);
      await writeFile(path, script);
      const example = (await import(pathToFileURL(path).href)) as { default: (g: typeof given, console: object) => Promise<void> };
      const lines = (got[title] ??= []);
      await example.default(given, { log: (...words: unknown[]) => lines.push(words.map(String).join(" ")) });
    }
  }
  assert.deepEqual(Object.keys(got), Object.keys(printed));
  for (const [title, want] of Object.entries(printed)) {
    const lines = got[title]!;
    for (const line of want) assert.ok(lines.some((l) => (typeof line === "string" ? l === line : line.test(l))), `${title} printed ${JSON.stringify(lines)}, and nothing like ${line}`);
  }
});
