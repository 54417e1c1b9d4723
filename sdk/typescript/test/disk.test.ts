import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Client, VerificationError } from "@aleph-im/sdk";
import { accountFromFile, clientFromEnvironment, downloadPath, uploadPath } from "@aleph-im/sdk/node";
import { TestNode } from "./node.js";

const node = TestNode.forFile();
let dir = "";
before(async () => void (dir = await mkdtemp(join(tmpdir(), "aleph-sdk-"))));
after(() => rm(dir, { recursive: true }));

test("a file goes from disk to disk", async () => {
  const aleph = await node.client({ funded: true });
  const bytes = Buffer.alloc(3_000_000, "disk");
  await writeFile(join(dir, "in"), bytes);
  const up = await uploadPath(aleph.files, join(dir, "in"));
  await downloadPath(aleph.files, up.fileHash, join(dir, "out"));
  assert.ok(bytes.equals(await readFile(join(dir, "out"))));
});

test("a download that is not verified leaves nothing on disk", async () => {
  const lying = new Client({ nodes: "http://lying.example", fetch: async () => new Response("other bytes") });
  const path = join(dir, "lie");
  await assert.rejects(downloadPath(lying.files, "0".repeat(64), path), VerificationError);
  assert.deepEqual([existsSync(path), existsSync(path + ".part")], [false, false]);
});

test("CommonJS gets the same classes", () => {
  const required = createRequire(import.meta.url)("@aleph-im/sdk") as { Client: unknown };
  assert.equal(required.Client, Client);
});

test("keys come from files that only their owner reads, and from the environment", async () => {
  const path = join(dir, "key");
  await writeFile(path, "0x" + "01".repeat(32) + "\n", { mode: 0o600 });
  const address = "0x1a642f0E3c3aF545E7AcBD38b07251B3990914F1";
  assert.equal((await accountFromFile(path)).address, address);
  const aleph = await clientFromEnvironment({}, { ALEPH_API_HOST: node.url, ALEPH_PRIVATE_KEY_FILE: path, ALEPH_DEFAULT_CHANNEL: "FROM-ENV" });
  assert.deepEqual([aleph.signer?.address, aleph.nodes.current], [address, node.url]);
  assert.equal((await aleph.posts.create({ type: "t", content: 1 })).message.channel, "FROM-ENV");
  assert.equal((await clientFromEnvironment({ nodes: "http://given.example" }, { ALEPH_API_HOST: node.url })).nodes.current, "http://given.example");

  await writeFile(path, Buffer.alloc(32, 1));
  assert.equal((await accountFromFile(path)).address, address);
  await chmod(path, 0o644);
  await assert.rejects(accountFromFile(path), /chmod 600/);
});
