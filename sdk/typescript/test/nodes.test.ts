import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, HttpError, InsufficientFundsError, NetworkError, TimeoutError, VerificationError, preview } from "@aleph-im/sdk";
import { EthereumAccount } from "@aleph-im/sdk/eth";

/** A network of nodes that answer what a test says. */
function fake(answer: (url: URL, init: RequestInit) => Response | Promise<Response>): { asked: string[]; fetch: typeof fetch } {
  const asked: string[] = [];
  return {
    asked,
    fetch: async (input, init = {}) => {
      const url = new URL(String(input));
      asked.push(url.host);
      return answer(url, init);
    },
  };
}

const nodes = ["https://a.example", "https://b.example"];
const quick = { backoff: 1 };
const version = () => Response.json({ version: "1" });

test("a call is made again while the node says try later, and then at the next node", async () => {
  const net = fake((url) => (url.host === "a.example" ? new Response("busy", { status: 503 }) : version()));
  const aleph = new Client({ nodes, fetch: net.fetch, ...quick });
  assert.equal(await aleph.version(), "1");
  assert.equal(await aleph.version(), "1");
  assert.deepEqual(net.asked, ["a.example", "b.example", "b.example"]);
});

test("a node that cannot be reached is left for another", async () => {
  const net = fake((url) => {
    if (url.host === "a.example") throw new TypeError("fetch failed", { cause: new Error("connection refused") });
    return version();
  });
  assert.equal(await new Client({ nodes, fetch: net.fetch, ...quick }).version(), "1");

  const dead = fake(() => {
    throw new TypeError("fetch failed", { cause: new Error("connection refused") });
  });
  await assert.rejects(new Client({ nodes, fetch: dead.fetch, attempts: 3, ...quick }).version(), (e) => e instanceof NetworkError && e.retryable && /connection refused/.test(e.message));
  assert.deepEqual(dead.asked, ["a.example", "b.example", "a.example"]);
});

test("other failures are not repeated", async () => {
  const net = fake(() => new Response("broken", { status: 500, headers: { "x-request-id": "r1" } }));
  await assert.rejects(new Client({ nodes, fetch: net.fetch, ...quick }).version(), (e) => e instanceof HttpError && e.status === 500 && e.details === "broken" && e.requestId === "r1" && !e.retryable);
  assert.equal(net.asked.length, 1);
});

test("a pause that the node asks for is not cut short, and the deadline holds", async () => {
  const net = fake(() => new Response("", { status: 429, headers: { "retry-after": "3600" } }));
  await assert.rejects(new Client({ nodes: nodes[0]!, fetch: net.fetch, deadline: 1000, ...quick }).version(), TimeoutError);
  assert.equal(net.asked.length, 1);

  const other = fake((url) => (url.host === "a.example" ? new Response("", { status: 429, headers: { "retry-after": "3600" } }) : version()));
  assert.equal(await new Client({ nodes, fetch: other.fetch, deadline: 1000, ...quick }).version(), "1");
});

test("an answer without end is given up", async () => {
  const piece = new Uint8Array(8 << 20);
  const net = fake(() => new Response(new ReadableStream({ pull: (out) => out.enqueue(piece) })));
  await assert.rejects(new Client({ nodes, fetch: net.fetch, ...quick }).version(), /is larger than/);
});

test("a node that takes a call and says nothing is left for another", async () => {
  const net = fake((url, init) => (url.host === "a.example" ? new Promise<Response>((_, reject) => init.signal!.addEventListener("abort", () => reject(init.signal!.reason))) : new Response("file")));
  const aleph = new Client({ nodes, fetch: net.fetch, timeout: 20, verify: false, ...quick });
  assert.equal((await aleph.files.bytes("0".repeat(64))).length, 4);
});

test("a signal ends a call", async () => {
  const stop = new AbortController();
  const net = fake((_, init) => new Promise((_, reject) => init.signal!.addEventListener("abort", () => reject(init.signal!.reason))));
  const call = new Client({ nodes, fetch: net.fetch, ...quick }).version({ signal: stop.signal });
  stop.abort();
  await assert.rejects(call, { name: "AbortError" });
});

test("nodes are ranked by how soon they answer", async () => {
  const net = fake(async (url) => {
    if (url.host === "a.example") await new Promise((resolve) => setTimeout(resolve, 50));
    return version();
  });
  const aleph = new Client({ nodes, fetch: net.fetch });
  await aleph.nodes.rank();
  assert.equal(aleph.nodes.current, "https://b.example");
});

test("a message that is not what its hash or its signature says is refused", async () => {
  const account = EthereumAccount.generate();
  const aleph = new Client({ nodes, signer: account, fetch: async () => Response.json({ messages: [listed], pagination_total: 1, pagination_per_page: 20 }) });
  const { message } = await aleph.build("POST", { type: "t", content: "true" }).sign(account);
  let listed: object = message;
  assert.equal((await aleph.messages.page()).items.length, 1);

  listed = { ...message, item_content: message.item_content!.replace("true", "fake") };
  await assert.rejects(aleph.messages.page(), VerificationError);
  listed = { ...message, sender: EthereumAccount.generate().address };
  await assert.rejects(aleph.messages.page(), VerificationError);
  await assert.rejects(aleph.messages.iterate().next(), VerificationError);

  // What the node says beside the text does not count.
  listed = { ...message, content: { type: "t", content: "fake" } };
  assert.deepEqual(((await aleph.messages.page()).items[0]!.content as { content: unknown }).content, "true");
});

test("a post is what its messages say, whatever the node adds up", async () => {
  const account = EthereumAccount.generate();
  const build = async (content: object) => (await new Client({ nodes, signer: account }).build("POST", content).sign(account)).message;
  const original = await build({ type: "note", content: 1 });
  const hash = original.item_hash;
  const amend = await build({ type: "amend", ref: hash, content: 2 });
  const other = await build({ type: "amend", ref: "0".repeat(64), content: 3 });
  const messages = Object.fromEntries([original, amend, other].map((m) => [m.item_hash, m]));
  let latest = amend;
  const aleph = new Client({
    nodes,
    signer: account,
    fetch: async (input) => {
      const path = new URL(String(input)).pathname;
      if (path.startsWith("/api/v0/messages/")) return Response.json({ status: "processed", message: messages[path.split("/").at(-1)!] });
      return Response.json({ posts: [{ item_hash: latest.item_hash, original_item_hash: hash, address: account.address, content: "lie" }], pagination_total: 1, pagination_per_page: 1 });
    },
  });
  assert.equal((await aleph.posts.get(hash)).content, 2);
  latest = original;
  assert.equal((await aleph.posts.get(hash)).content, 1);
  latest = other;
  await assert.rejects(aleph.posts.get(hash), VerificationError);
});

test("a node that keeps a content under another hash is not believed", async () => {
  const aleph = new Client({ nodes, signer: EthereumAccount.generate(), fetch: async () => Response.json({ hash: "0".repeat(64) }) });
  await assert.rejects(aleph.posts.create({ type: "t", content: "x".repeat(60_000) }), VerificationError);
});

test("a lack of tokens is told in numbers", async () => {
  const account = EthereumAccount.generate();
  const answers: Record<string, object> = {
    POST: { publication_status: { status: "success", failed: [] }, message_status: "rejected" },
    GET: { status: "rejected", error_code: 5, details: { errors: [{ account_balance: "1", required_balance: "12.5" }] } },
  };
  const aleph = new Client({ nodes, signer: account, fetch: async (_, init) => Response.json(answers[init!.method!], { status: init!.method === "POST" ? 422 : 200 }) });
  await assert.rejects(aleph.posts.create({ type: "t", content: 1 }), (e) => e instanceof InsufficientFundsError && e.kind === "ALEPH" && e.required === "12.5" && e.available === "1" && e.code === 5);
});

test("a price is summed up to the last digit in every way to pay", () => {
  const line = (hold: string, stream: string, credit: string) => ({ type: "EXECUTION" as const, name: "", cost_hold: hold, cost_stream: stream, cost_credit: credit, size_mib: null });
  const price = {
    required_tokens: 0,
    payment_type: "credit" as const,
    cost: "0",
    charged_address: "",
    detail: [line("2000.000000000000000000", "0.000030555555555555", "7.916666666666666666"), line("-2048.000000000000000000", "-0.000011116088888889", "0.000499096917517391")],
  };
  assert.deepEqual(preview(price), {
    hold: "-48",
    stream: { perHour: "0.0699820799999976", perDay: "1.6795699199999424", perMonth: "50.387097599998272" },
    credit: { perHour: "28501.7967489030626052", perDay: "684043.1219736735025248", perMonth: "20521293.659210205075744" },
  });
});
