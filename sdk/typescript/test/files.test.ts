import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import { test } from "node:test";
import { Client, FileCID, InsufficientFundsError, NotFoundError, VerificationError } from "@aleph-im/sdk";
import { TestNode, vectors } from "./node.js";

const node = TestNode.forFile();

/** Bytes that differ everywhere. */
function noise(size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  for (let i = 0, x = 1; i < size; i++) bytes[i] = (x = (x * 1103515245 + 12345) & 0x7fffffff) >> 16;
  return bytes;
}

test("a file comes back as it was, with its progress told", async () => {
  const aleph = await node.client({ funded: true });
  const bytes = noise(1_000_003);
  const told: number[] = [];
  const up = await aleph.files.upload(new Blob([bytes]), {
    ref: "noise",
    progress: (n, total) => {
      assert.equal(total, bytes.length);
      told.push(n);
    },
  });
  assert.equal(up.status, "processed");
  assert.equal(up.size, bytes.length);
  assert.equal(up.fileHash, await aleph.files.hash(bytes));
  assert.ok(told.length > 5 && told.at(-1) === bytes.length);

  const got: number[] = [];
  assert.deepEqual(await aleph.files.bytes(up.fileHash, { progress: (n) => got.push(n) }), bytes);
  assert.equal(got.at(-1), bytes.length);
  assert.equal((await aleph.files.of(up.hash)).file_hash, up.fileHash);
  assert.equal((await aleph.files.named(aleph.signer.address, "noise")).file_hash, up.fileHash);
  const owned: string[] = [];
  for await (const f of aleph.accounts.files(aleph.signer.address)) owned.push(f.item_hash);
  assert.deepEqual(owned, [up.hash]);
  await assert.rejects(aleph.files.bytes("0".repeat(64)), NotFoundError);
});

test("a stream of unknown length is hashed while it is sent", async () => {
  const aleph = await node.client({ funded: true });
  const bytes = noise(300_000);
  async function* parts() {
    for (let at = 0; at < bytes.length; at += 10_000) yield bytes.subarray(at, at + 10_000);
  }
  const up = await aleph.files.upload(parts());
  assert.deepEqual([up.size, up.fileHash], [bytes.length, await aleph.files.hash(bytes)]);
  assert.deepEqual(await aleph.files.bytes(up.fileHash), bytes);
});

test("a file of IPFS is named by its CID before it is sent", async () => {
  const aleph = await node.client({ funded: true });
  const bytes = noise(600_000);
  const up = await aleph.files.upload(bytes, { engine: "ipfs", payment: { type: "credit", chain: "ETH" } });
  assert.match(up.fileHash, /^Qm/);
  assert.deepEqual(await aleph.files.bytes(up.fileHash), bytes);
});

test("a runtime without hashes of its own gives the same ones", async (t) => {
  const aleph = new Client({ nodes: node.url });
  const bytes = noise(300_000);
  const [storage, ipfs] = [await aleph.files.hash(bytes), await aleph.files.hash(bytes, "ipfs")];
  const own = process.getBuiltinModule;
  t.after(() => (process.getBuiltinModule = own));
  (process as { getBuiltinModule?: unknown }).getBuiltinModule = undefined;
  assert.deepEqual([await aleph.files.hash(bytes), await aleph.files.hash(bytes, "ipfs")], [storage, ipfs]);
});

test("CIDs are those that IPFS gives", async () => {
  const { files } = await vectors<{ files: FileVector[] }>("hashes.json");
  let checked = 0;
  for (const f of files) {
    if (f.size > 64 << 20) continue; // takes seconds
    for (const [version, want] of [[0, f.cid_v0], [1, f.cid_v1_raw_leaves]] as const) {
      if (want.startsWith("bafk")) continue;
      const cid = new FileCID(version);
      for (const part of content(f)) cid.update(part);
      assert.equal(cid.digest(), want, `${f.size} bytes, version ${version}`);
      checked++;
    }
  }
  assert.ok(checked >= 13, `only ${checked} files`);
});

interface FileVector {
  /** What the file repeats. */
  unit_hex: string;
  size: number;
  cid_v0: string;
  cid_v1_raw_leaves: string;
}

function* content({ unit_hex, size }: FileVector): Generator<Uint8Array> {
  const unit = Buffer.from(unit_hex, "hex");
  const block = Buffer.alloc(unit.length * 100_000, unit);
  for (let left = size; left > 0; left -= block.length) yield block.subarray(0, left);
}

test("a download that is not what was asked for fails at its end", async () => {
  const lying = await serve((_, answer) => answer.end("other bytes"));
  const aleph = new Client({ nodes: lying.url });
  const hash = await aleph.files.hash("the bytes");
  await assert.rejects(aleph.files.bytes(hash), VerificationError);
  assert.equal(new TextDecoder().decode(await aleph.files.bytes(hash, { verify: false })), "other bytes");
  lying.server.close();
});

test("an upload that nobody can pay for is refused", async () => {
  const aleph = await node.client();
  await assert.rejects(aleph.files.upload(noise(27 << 20)), (e) => e instanceof InsufficientFundsError && e.kind === "ALEPH" && Number(e.required) > 0 && e.available === "0");
  await assert.rejects(aleph.files.upload("x", { payment: { type: "credit", chain: "ETH" } }), (e) => e instanceof InsufficientFundsError && e.kind === "CREDIT" && Number(e.required) > 0);
});

test("an upload ends when it is aborted", async () => {
  const aleph = await node.client({ funded: true });
  const stop = new AbortController();
  const upload = aleph.files.upload(noise(5_000_000), { signal: stop.signal, progress: (n) => n > 200_000 && stop.abort() });
  await assert.rejects(upload, { name: "AbortError" });
});

test("in a browser an upload goes the way that tells its progress", async (t) => {
  const aleph = await node.client({ funded: true });
  const told: number[] = [];
  // Sends forms as a browser does, and tells of the half and the whole.
  class Page {
    upload: { onprogress?: (event: { loaded: number }) => void } = {};
    onload = () => {};
    onloadend = () => {};
    onerror = () => {};
    status = 0;
    responseText = "";
    #url = "";
    open(method: string, url: string) {
      assert.equal(method, "POST");
      this.#url = url;
    }
    async send(body: FormData) {
      this.upload.onprogress!({ loaded: 2 });
      const answer = await fetch(this.#url, { method: "POST", body });
      [this.status, this.responseText] = [answer.status, await answer.text()];
      this.upload.onprogress!({ loaded: 1000 });
      this.onload();
      this.onloadend();
    }
  }
  (globalThis as { XMLHttpRequest?: unknown }).XMLHttpRequest = Page;
  t.after(() => delete (globalThis as { XMLHttpRequest?: unknown }).XMLHttpRequest);
  const page = new Client({ nodes: node.url, signer: aleph.signer });
  const up = await page.files.upload("page", { progress: (n) => told.push(n) });
  assert.equal(up.status, "processed");
  assert.deepEqual(told, [2, 4]);
});

async function serve(handle: Parameters<typeof createServer>[1] & {}): Promise<{ server: Server; url: string }> {
  const server = createServer(handle);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, url: `http://127.0.0.1:${(server.address() as { port: number }).port}` };
}
