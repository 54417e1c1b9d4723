import assert from "node:assert/strict";
import { type IncomingMessage, createServer, request } from "node:http";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { Client, type Message, NetworkError } from "@aleph-im/sdk";
import { TestNode } from "./node.js";

const node = TestNode.forFile();

test("a watch yields the history it was asked for, then new messages", async () => {
  const aleph = await node.client();
  const channel = "watch";
  const post = async (n: number) => (await aleph.posts.create({ type: "t", content: n, channel })).hash;
  const want = [await post(1), await post(2)];
  const got: string[] = [];
  for await (const m of aleph.messages.watch({ channels: [channel] }, { history: 2 })) {
    got.push(m.item_hash);
    if (got.length === 2) want.push(await post(3));
    if (got.length === 3) break;
  }
  assert.deepEqual(got, want);
});

test("a watch ends with its signal", async () => {
  const aleph = await node.client();
  const stop = new AbortController();
  const watching = (async () => {
    for await (const m of aleph.messages.watch({ channels: ["nobody writes here"] }, { signal: stop.signal })) assert.fail(`got ${m.item_hash}`);
  })();
  stop.abort();
  await watching;
});

test("a connection that breaks is made again, and nothing is missed or told twice", async () => {
  const proxy = await Proxy.before(node.url);
  const writer = await node.client();
  const reader = new Client({ nodes: proxy.url, verifiers: [writer.signer.verifier], backoff: 10 });
  const channel = "break";
  const contents: unknown[] = [];
  let breaks = 0;
  const post = (n: number) => writer.posts.create({ type: "t", content: n, channel });
  await post(0); // came before, and was not asked for
  const messages = reader.messages.watch({ channels: [channel] }, { onDisconnect: () => breaks++ });
  const next = async () => {
    const { value } = (await messages.next()) as { value: Message & { type: "POST" } };
    contents.push(value.content.content);
  };
  const first = next();
  await proxy.connected();
  await post(1);
  await first;
  proxy.refuse();
  await post(2);
  await post(3);
  proxy.accept();
  await next();
  await next();
  await post(4);
  await next();
  await messages.return();
  proxy.close();
  assert.ok(breaks > 0);
  assert.deepEqual(contents.slice(-3), [2, 3, 4]);
  assert.equal(contents.length, 4);
});

test("a node that cannot be reached at first is an error", async () => {
  const aleph = new Client({ nodes: "http://127.0.0.1:9" });
  await assert.rejects(aleph.messages.watch().next(), NetworkError);
});

/** Stands before a node and can cut what goes through. */
class Proxy {
  url = "";
  #open = true;
  #sockets = new Set<Socket>();
  #server = createServer();
  #upgraded!: () => void;
  #first = new Promise<void>((resolve) => (this.#upgraded = resolve));

  static async before(target: string): Promise<Proxy> {
    const proxy = new Proxy();
    const { hostname, port } = new URL(target);
    proxy.#server.on("request", (asked: IncomingMessage, answer) => {
      if (!proxy.#open) return asked.destroy();
      const on = request(target + asked.url, { method: asked.method, headers: asked.headers }, (got) => {
        answer.writeHead(got.statusCode!, got.headers);
        got.pipe(answer);
      });
      asked.pipe(on);
    });
    proxy.#server.on("upgrade", (asked: IncomingMessage, client: Socket) => {
      if (!proxy.#open) return client.destroy();
      const upstream = connect(Number(port), hostname, () => {
        const headers = asked.rawHeaders.map((text, i) => (i % 2 ? text + "\r\n" : text + ": ")).join("");
        upstream.write(`GET ${asked.url} HTTP/1.1\r\n${headers}\r\n`);
        upstream.once("data", () => proxy.#upgraded());
        client.pipe(upstream).pipe(client);
      });
      for (const socket of [client, upstream]) {
        proxy.#sockets.add(socket);
        socket.on("error", () => {}).on("close", () => (client.destroy(), upstream.destroy()));
      }
      return undefined;
    });
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    proxy.url = `http://127.0.0.1:${(proxy.#server.address() as { port: number }).port}`;
    return proxy;
  }

  /** Resolves once a WebSocket stands. */
  connected(): Promise<void> {
    return this.#first;
  }

  refuse(): void {
    this.#open = false;
    this.#sockets.forEach((socket) => socket.destroy());
    this.#sockets.clear();
  }

  accept(): void {
    this.#open = true;
  }

  close(): void {
    this.refuse();
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
