import assert from "node:assert/strict";
import { createServer as createHttp } from "node:http";
import { createConnection, createServer, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { Client, InsufficientFundsError, NetworkError } from "@aleph-im/sdk";
import { EthereumAccount } from "@aleph-im/sdk/eth";
import { readFolder } from "@aleph-im/sdk/folder";
import { TestNode } from "./node.js";

const node = TestNode.forFile();
const size = 12 << 20;

function noise(length: number, seed: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let i = 0, x = seed; i < length; i++) bytes[i] = (x = (x * 1103515245 + 12345) & 0x7fffffff) >> 16;
  return bytes;
}

/** A proxy in front of the node that ends the connection of each PATCH after some bytes, as often as it is told. */
async function cutting(t: TestContext, cuts: number[]) {
  const about = { url: "", sent: 0, cuts };
  const { port } = new URL(node.url);
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const there = createConnection(Number(port), "127.0.0.1");
    for (const [one, other] of [[client, there], [there, client]] as const) {
      sockets.add(one);
      one.on("error", () => other.destroy()).on("close", () => other.destroy());
    }
    there.pipe(client);
    let left = Infinity;
    client.on("data", (data: Buffer) => {
      about.sent += data.length;
      if (data.subarray(0, 6).toString() === "PATCH ") left = cuts.shift() ?? Infinity;
      if ((left -= data.length) <= 0) client.resetAndDestroy();
      else if (!there.write(data)) {
        client.pause();
        there.once("drain", () => client.resume());
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  about.url = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  return about;
}

const quick = { backoff: 1, channel: "TEST" };

test("an upload goes on where it broke off", async (t) => {
  const { signer } = await node.client({ funded: true });
  for (const [seed, what] of (["bytes", "blob", "ipfs", "folder"] as const).entries()) {
    const bytes = noise(size, seed + 10);
    const proxy = await cutting(t, [5 << 20, 3 << 20]);
    const aleph = new Client({ nodes: proxy.url, signer, ...quick });
    const at: number[] = [];
    const moved: number[] = [];
    const o = { resumed: (n: number) => at.push(n), progress: (n: number) => moved.push(n) };
    const folder = await readFolder({ "large.bin": bytes, note: what });
    const engine = what === "ipfs" ? "ipfs" : "storage";
    const up = what === "folder" ? await aleph.files.uploadFolder(folder, o) : await aleph.files.upload(what === "blob" ? new Blob([bytes]) : bytes, { ...o, engine });
    assert.equal(up.status, "processed");
    assert.deepEqual(proxy.cuts, [], what);
    assert.ok(at.length === 2 && 0 < at[0]! && at[0]! < at[1]! && at[1]! < up.size, `${what} went on at ${at}`);
    assert.equal(moved.at(-1), up.size);
    assert.ok(proxy.sent < size + (6 << 20), `${what}: ${proxy.sent} bytes were sent`);
    if (what !== "folder") assert.deepEqual(await aleph.files.bytes(up.fileHash), bytes);
  }
});

test("a later call goes on", async () => {
  const aleph = await node.client({ funded: true });
  const bytes = noise(size, 2);
  const stop = new AbortController();
  await assert.rejects(aleph.files.upload(bytes, { signal: stop.signal, progress: (n) => n > size / 2 && stop.abort() }), { name: "AbortError" });
  const at: number[] = [];
  const up = await aleph.files.upload(bytes, { resumed: (n) => at.push(n) });
  assert.equal(up.status, "processed");
  assert.ok(at.length === 1 && at[0]! > size / 4, `it went on at ${at}`);
});

test("who cannot pay is told before a byte is sent", async (t) => {
  const proxy = await cutting(t, []);
  const poor = new Client({ nodes: proxy.url, signer: EthereumAccount.generate(), ...quick });
  await assert.rejects(poor.files.upload(noise(27 << 20, 3)), InsufficientFundsError);
  assert.ok(proxy.sent < 1 << 20);
});

/** Answers each request in turn, the last one for ever; null ends the connection. */
async function script(t: TestContext, answers: ([status: number, headers?: Record<string, string>, text?: string] | null)[]) {
  const asked: string[] = [];
  const server = createHttp(async (request, answer) => {
    for await (const _ of request);
    // Whether the message is known may be asked at any time.
    if (request.method === "GET" && !answers[0]?.[2]) return void answer.writeHead(404).end();
    asked.push(`${request.method} ${request.url!.replace(/[0-9a-f]{64}/, "…")}`);
    const next = answers.length > 1 ? answers.shift()! : answers[0]!;
    if (next === null) return void request.socket.destroy();
    answer.writeHead(next[0], next[1]);
    answer.end(next[2]);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const nodes = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  return { asked, aleph: new Client({ nodes, signer: EthereumAccount.generate(), ...quick }) };
}

const made = [201, { location: "/api/v0/uploads/x" }] as [number, Record<string, string>];
const has = (offset: number) => [200, { "upload-offset": String(offset) }] as [number, Record<string, string>];
const status = (s: string) => [200, {}, JSON.stringify({ status: s })] as [number, Record<string, string>, string];

test("an upload that a node gave up is looked for anew", async (t) => {
  const { aleph, asked } = await script(t, [made, has(0), [408], [503], made, has(1 << 20), [204], status("processed")]);
  assert.equal((await aleph.files.upload(new Uint8Array(8 << 20))).status, "processed");
  assert.deepEqual(asked.map((a) => a.split(" ")[0]), ["POST", "HEAD", "PATCH", "POST", "POST", "HEAD", "PATCH", "GET"]);
});

test("an upload whose message is processed is done", async (t) => {
  const { aleph, asked } = await script(t, [made, has(10), null, [409], status("processed")]);
  assert.equal((await aleph.files.upload(new Uint8Array(8 << 20))).status, "processed");
  assert.equal(asked.at(-1), "GET /api/v0/messages/…/status");
});

test("a node that stays away is given up after a minute", async (t) => {
  const { aleph } = await script(t, [made, has(10), null]);
  const began = Date.now();
  let passed = 0;
  t.mock.method(Date, "now", () => began + (passed += 5_000)); // each look at the clock finds it later
  await assert.rejects(aleph.files.upload(new Uint8Array(8 << 20)), (e) => e instanceof NetworkError && /goes on where it was, within a day/.test(e.message));
});

test("a node that takes files in one piece gets one", async (t) => {
  for (const code of [404, 405, 501, 503]) {
    const { aleph, asked } = await script(t, [[code], [200, {}, "{}"]]);
    assert.equal((await aleph.files.upload(new Uint8Array(8 << 20))).status, "processed");
    assert.deepEqual(asked, ["POST /api/v0/uploads", "POST /api/v0/storage/add_file"]);
  }
});

test("what makes no sense is refused", async (t) => {
  for (const offset of [(8 << 20) + 1, -1]) {
    const { aleph } = await script(t, [made, has(offset)]);
    await assert.rejects(aleph.files.upload(new Uint8Array(8 << 20)), /makes no sense/);
  }
});
