import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import type { Socket } from "node:net";
import { ed25519 } from "@noble/curves/ed25519.js";
import { base58 } from "@scure/base";
import { recover } from "@aleph-im/sdk/eth";

interface Header {
  payload: string;
  signature: string;
}

/** Stands in for a compute node: its program tells what it was asked, and what operates it must be signed as crn §2.1 says. */
export class FakeComputeNode {
  url = "";
  /** Who may operate what is here; anybody when undefined. */
  owner: string | undefined;
  readonly operated: string[] = [];
  /** What a download of a backup gives. */
  archive = "the archive";
  #copying = 0;
  readonly #server = createServer();
  readonly #sockets = new Set<Socket>();

  static async start(): Promise<FakeComputeNode> {
    const node = new FakeComputeNode();
    node.#server.on("request", async (asked, answer) => {
      let body = "";
      for await (const part of asked) body += part;
      const { pathname, search } = new URL(asked.url!, node.url);
      const [, area, , , operation] = pathname.split("/");
      if (area === "vm") return answer.end(`${asked.method} /${pathname.split("/").slice(3).join("/")} ${body}`);
      if (search.startsWith("?signature=")) return answer.end(node.archive);
      if (pathname === "/v2/about/executions/list") return answer.end("{}");
      const headers = Object.fromEntries(["X-SignedPubKey", "X-SignedOperation"].map((name) => [name, JSON.parse((asked.headers[name.toLowerCase()] as string | undefined) ?? "null")]));
      const who = await signerOf(headers, asked.method!, pathname).catch((e: Error) => e);
      if (who instanceof Error) return answer.writeHead(401).end(who.message);
      if (node.owner !== undefined && who !== node.owner) return answer.writeHead(403).end("Unauthorized sender");
      node.operated.push(`${operation}${search}${body && " " + body}`);
      if (operation === "backup") return node.#backup(asked.method!, pathname, answer);
      if (operation === "logs") return answer.end(JSON.stringify([{ __REALTIME_TIMESTAMP: "2020-10-12 01:02:00", file: "stdout", MESSAGE: "first line" }]));
      answer.end(`Done: ${operation}`);
    });
    node.#server.on("upgrade", (asked: IncomingMessage, socket: Socket) => {
      node.#sockets.add(socket);
      const accept = createHash("sha1").update(asked.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
      socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
      const send = (value: object) => socket.write(frame(1, Buffer.from(JSON.stringify(value))));
      socket.on("error", () => {}).once("data", async (data) => {
        const { auth } = JSON.parse(unmasked(data)) as { auth: Record<string, Header> };
        const who = await signerOf(auth, "GET", asked.url!).catch(() => undefined);
        if (who === undefined || (node.owner !== undefined && who !== node.owner)) {
          send({ status: "failed", reason: "unauthorized sender" });
          return socket.end(frame(8, Buffer.from([0x03, 0xf0])));
        }
        send({ status: "connected" });
        send({ type: "stdout", message: "first line" });
        send({ type: "stderr", message: "second line" });
        socket.end(frame(8, Buffer.from([0x03, 0xe8])));
      });
    });
    await new Promise<void>((resolve) => node.#server.listen(0, "127.0.0.1", resolve));
    node.url = `http://127.0.0.1:${(node.#server.address() as { port: number }).port}`;
    return node;
  }

  /** A backup is there once it was asked for twice, until it is deleted. */
  #backup(method: string, path: string, answer: ServerResponse): void {
    if (method === "DELETE") this.#copying = 0;
    if (method === "POST") this.#copying = 1;
    else if (method === "GET" && this.#copying > 0) this.#copying++;
    if (method === "DELETE") return void answer.end("Deleted backup");
    if (this.#copying === 0) return void answer.writeHead(404).end('{"error":"No backup found for this VM"}');
    if (this.#copying < 3) return void answer.writeHead(202).end('{"status":"in_progress"}');
    const checksum = "sha256:" + createHash("sha256").update("the archive").digest("hex");
    // The node knows itself under another name.
    const download_url = `https://crn.example${path}/the-backup?signature=ab&expires=1`;
    answer.end(JSON.stringify({ backup_id: "the-backup", size: 11, volumes: ["rootfs.qcow2"], expires_at: "2030-01-01T00:00:00+00:00", checksum, source_sizes: {}, download_url }));
  }

  close(): void {
    this.#sockets.forEach((socket) => socket.destroy());
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

/** Checks both headers and returns the address that delegated. */
async function signerOf(headers: Record<string, Header | null>, method: string, path: string): Promise<string> {
  const [key, act] = [headers["X-SignedPubKey"], headers["X-SignedOperation"]];
  if (!key || !act) throw new Error("a header is missing");
  const payload = Buffer.from(key.payload, "hex");
  const { pubkey, address, expires, chain } = JSON.parse(payload.toString()) as { pubkey: JsonWebKey; address: string; expires: string; chain: string };
  assert.ok(Date.parse(expires) > Date.now(), "expired");
  if (chain === "SOL") assert.ok(ed25519.verify(Buffer.from(key.signature, "hex"), Buffer.from(key.payload), base58.decode(address)), "signature");
  else assert.equal(recover(payload, key.signature), address);
  const operation = Buffer.from(act.payload, "hex");
  const said = JSON.parse(operation.toString()) as { time: string; method: string; path: string; domain: string };
  assert.deepEqual([said.method, said.path, said.domain], [method, path, "127.0.0.1"]);
  assert.ok(Math.abs(Date.parse(said.time) - Date.now()) < 120_000, "time");
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const verifying = await crypto.subtle.importKey("jwk", pubkey, algorithm, false, ["verify"]);
  assert.ok(await crypto.subtle.verify(algorithm, verifying, Buffer.from(act.signature, "hex"), operation), "signature of the operation");
  return address;
}

/** A short frame of a server (RFC 6455 §5.2). */
function frame(opcode: number, payload: Buffer): Buffer {
  assert.ok(payload.length < 126);
  return Buffer.concat([Buffer.from([0x80 | opcode, payload.length]), payload]);
}

/** The text in the frame of a client, of more than 125 bytes. */
function unmasked(data: Buffer): string {
  assert.equal(data[1]! & 0x7f, 126);
  const mask = data.subarray(4, 8);
  return Buffer.from(data.subarray(8, 8 + data.readUInt16BE(2)).map((byte, i) => byte ^ mask[i % 4]!)).toString();
}
