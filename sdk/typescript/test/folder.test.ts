import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { Client } from "@aleph-im/sdk";
import { type FolderFile, readFolder } from "@aleph-im/sdk/folder";
import { readFolderPath } from "@aleph-im/sdk/node";
import { TestNode, repository } from "./node.js";

const node = TestNode.forFile();
let dir = "";
before(async () => void (dir = await mkdtemp(join(tmpdir(), "aleph-sdk-"))));
after(() => rm(dir, { recursive: true }));

/** Writes a folder to disk. */
async function lay(name: string, files: Record<string, string | Uint8Array>): Promise<string> {
  const root = join(dir, name);
  await mkdir(root);
  for (const [path, bytes] of Object.entries(files)) {
    const full = join(root, path);
    if (path.includes("/")) await mkdir(path.endsWith("/") ? full : dirname(full), { recursive: true });
    if (!path.endsWith("/")) await writeFile(full, bytes);
  }
  return root;
}

/** The CID that the Go code gives a folder. */
async function cidOf(path: string): Promise<string> {
  const { stdout } = await promisify(execFile)(join(repository, "build/aleph"), ["file", "upload", "--dry-run", "-o", "json", path]);
  return (JSON.parse(stdout) as [{ file_hash: string }])[0].file_hash;
}

/** So many files whose names and CIDs take 256 bytes each. A folder of 1024 is the largest that is not spread. */
const many = (n: number) => Object.fromEntries(Array.from({ length: n }, (_, i) => [String(i).padStart(220, "file "), String(i % 7)]));

const folders: Record<string, Record<string, string | Uint8Array>> = {
  "of no files": { "empty/": "" },
  "of files, an empty one and a large one": { "index.html": "<h1>hi</h1>", empty: "", large: new Uint8Array(600_000).fill(7) },
  "of folders": { "a/b/c.txt": "c", "a/b.txt": "b", "a-b": "-", "a/empty/": "", Z: "z" },
  "with names of all scripts": { "\u{1f600}": "1", "\uffee": "2", é: "3" },
  "just in one block": many(1024),
  "spread over blocks": many(1025),
};

for (const [name, files] of Object.entries(folders)) {
  test(`a folder ${name} has the CID that IPFS gives it`, async () => {
    const path = await lay(name, files);
    const packed = await readFolder(files as Record<string, FolderFile>);
    assert.equal(packed.hash, await cidOf(path));
    if (Object.keys(files).length < 100) {
      const fromDisk = await readFolderPath(path);
      assert.deepEqual([fromDisk.hash, fromDisk.size], [packed.hash, packed.size]);
    }
    let size = 0;
    for await (const chunk of packed.archive()) size += chunk.length;
    assert.equal(size, packed.size);
  });
}

test("paths that are none in a folder are refused", async () => {
  for (const path of ["", "/a", "a//b", "../a", "a/./b", "a/..", "/"]) await assert.rejects(readFolder({ [path]: "x" }), /cannot be the path/, path);
  await assert.rejects(readFolder([["a", "x"], ["a", "y"]]), /cannot be the path/);
  await assert.rejects(readFolder({ a: "x", "a/b": "y" }), /cannot be the path/);
  await assert.rejects(readFolder({ "a/b": "y", a: "x" }), /cannot be the path/);
  const path = await lay("with a link", { a: "x" });
  await symlink("a", join(path, "link"));
  await assert.rejects(readFolderPath(path), /neither file nor folder/);
});

test("a website is a folder with a name, and its versions are kept", async () => {
  const aleph = await node.client({ funded: true });
  const payment = { type: "credit", chain: "ETH" } as const;
  const first = await aleph.websites.deploy("site", await readFolder({ "index.html": "<h1>one</h1>", "img/a.svg": "<svg/>" }), { payment });
  assert.equal(first.status, "processed");
  const folder = await readFolder({ "index.html": new Blob(["<h1>two</h1>"]), "more/large": new Uint8Array(700_000) });
  const told: number[] = [];
  const second = await aleph.websites.deploy("site", folder, { payment, progress: (n) => told.push(n) });
  assert.deepEqual([second.fileHash, second.size, told.at(-1)], [folder.hash, folder.size, folder.size]);
  assert.equal((await aleph.files.of(second.hash)).file_hash, folder.hash);

  assert.equal(second.url, node.url.replace("127.0.0.1", `${second.fileHash}.ipfs.localhost`) + "/");
  const site = (await aleph.websites.list(aleph.signer.address))["site"]!;
  assert.deepEqual([site.version, site.volume_id, site.history, site.payment], [2, second.hash, { 1: first.hash }, payment]);
  await aleph.websites.unpublish("site");
  assert.deepEqual(await aleph.websites.list(aleph.signer.address), {});
  await aleph.websites.publish("site", first.hash);
  await aleph.websites.publish("site", second.hash);
  await aleph.websites.delete("site");
  assert.deepEqual(await aleph.websites.list(aleph.signer.address), {});
  for (const { hash } of [first, second]) assert.equal((await aleph.messages.status(hash)).status, "forgotten");
  await assert.rejects(aleph.websites.delete("site"), /no website/);
});

test("an archive that is not the folder's is refused by the node", async () => {
  const aleph = await node.client({ funded: true });
  const [one, other] = [await readFolder({ a: "x" }), await readFolder({ a: "y" })];
  await assert.rejects(aleph.files.uploadFolder({ ...one, archive: () => other.archive() }));
});

test("websites are where their network serves them", () => {
  for (const [nodes, url] of [
    [undefined, "https://bafy.ipfs.aleph.sh/"],
    ["https://node.example/", "https://node.example/ipfs/bafy/"],
    ["http://192.0.2.1:4024", "http://192.0.2.1:4024/ipfs/bafy/"],
    ["http://[::1]:4024", "http://bafy.ipfs.localhost:4024/"],
    ["http://localhost", "http://bafy.ipfs.localhost/"],
  ] as const) {
    assert.equal(new Client(nodes === undefined ? {} : { nodes }).websites.url("bafy"), url);
  }
});
