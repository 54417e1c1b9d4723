import { AlephError, NetworkError } from "./errors.ts";
import { type MessageFilter, query } from "./filter.ts";
import type { Message } from "./messages.ts";
import { type Nodes, sleep } from "./nodes.ts";

export interface WatchOptions {
  signal?: AbortSignal;
  /** Messages to begin with that the node already has, 0 … 199. None by default. */
  history?: number;
  /** Called when the connection breaks, before it is made again. */
  onDisconnect?: (error: AlephError) => void;
}

/** Seconds before the break of a connection that are asked for again: a message carries its signer's time, and takes a while. */
const overlap = 120;
/** Hashes remembered to tell what was yielded before. */
const remembered = 4096;
/** Messages that wait for the reader. One that is slower than that loses the connection, and then catches up. */
const maxWaiting = 1000;
/** Milliseconds between two attempts to connect. */
const maxPause = 10_000;

/** Connects, reads, and connects again. `past` walks through what the node has from a time on, the oldest first. */
export async function* watch(
  nodes: Nodes,
  webSocket: typeof WebSocket | undefined,
  filter: MessageFilter,
  o: WatchOptions,
  check: (m: Message) => void,
  past: (since: number) => AsyncIterable<Message>,
): AsyncGenerator<Message, void, undefined> {
  if (!webSocket) {
    throw new AlephError("this runtime has no WebSocket: give the client one, or start Node 20 with --experimental-websocket", { code: "argument" });
  }
  const q = query(filter);
  if (filter.types?.length === 1) q["msgType"] = filter.types[0]!; // the only form that reference nodes apply to new messages
  const seen = new Set<string>();
  const fresh = (m: Message): boolean => {
    if (seen.has(m.item_hash)) return false;
    seen.add(m.item_hash);
    if (seen.size > remembered) seen.delete(seen.values().next().value!);
    return true;
  };
  const began = Date.now() / 1000;
  let alive: number | undefined; // when the last connection stood, Unix seconds
  let pause = nodes.config.backoff;
  while (!o.signal?.aborted) {
    const base = nodes.current;
    const history = alive === undefined ? String(o.history ?? 0) : "0";
    const target = `ws${base.slice(4)}/api/ws0/messages?${new URLSearchParams({ ...q, history })}`;
    const connection = new Connection(new webSocket(target), o.signal);
    try {
      await connection.ready;
      pause = nodes.config.backoff;
      if (alive !== undefined) {
        // The connection is there first, so that nothing falls between what is asked for and what is heard.
        for await (const m of past(Math.max(began, alive - overlap))) if (fresh(m)) yield m;
      }
      alive = Date.now() / 1000;
      for await (const frame of connection) {
        alive = Date.now() / 1000;
        const m = JSON.parse(frame) as Message;
        // The confirmation of a message that is known already has no item_type.
        if (!m.item_type) continue;
        check(m);
        if (fresh(m)) yield m;
      }
    } catch (error) {
      if (!(error instanceof AlephError) || !error.retryable) throw error;
      nodes.report(base, connection.opened);
      // A node that refuses the very first connection will refuse the next one.
      if (alive === undefined && !connection.opened) throw error;
      o.onDisconnect?.(error);
    } finally {
      connection.close();
    }
    if (o.signal?.aborted) return;
    try {
      await sleep(pause, o.signal);
    } catch {
      return;
    }
    pause = Math.min(2 * pause, maxPause);
  }
}

/** One connection, read as a sequence of frames. */
class Connection implements AsyncIterable<string> {
  opened = false;
  /** Resolves once the connection stands or is closed, and fails when it cannot be made. */
  readonly ready: Promise<void>;
  readonly #socket: WebSocket;
  readonly #waiting: string[] = [];
  #stopped = false;
  #hungUp = false;
  #failure: NetworkError | undefined;
  #wake: () => void = () => {};

  constructor(socket: WebSocket, signal: AbortSignal | undefined) {
    this.#socket = socket;
    this.ready = new Promise((resolve, reject) => {
      this.#wake = () => (this.#failure ? reject(this.#failure) : resolve());
    });
    socket.addEventListener("open", () => {
      this.opened = true;
      this.#wake();
    });
    socket.addEventListener("message", (event) => {
      if (this.#waiting.push(String(event.data)) > maxWaiting) this.#fail("the reader is slower than the network");
      this.#wake();
    });
    socket.addEventListener("error", () => this.#fail("the connection failed"));
    socket.addEventListener("close", (event) => this.#fail(`the connection was closed (${event.code}${event.reason && " " + event.reason})`));
    signal?.addEventListener("abort", () => this.close(), { once: true });
    if (signal?.aborted) this.close();
  }

  close(): void {
    this.#stopped = true;
    this.#hangUp();
  }

  #fail(text: string): void {
    if (!this.#stopped) this.#failure ??= new NetworkError(`watch messages at ${new URL(this.#socket.url).origin}: ${text}`, undefined);
    this.#hangUp();
  }

  /** Closes the socket once: some tell of that as of an error, at once. */
  #hangUp(): void {
    if (!this.#hungUp) {
      this.#hungUp = true;
      this.#socket.close();
    }
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
    while (!this.#stopped) {
      const frame = this.#waiting.shift();
      if (frame !== undefined) yield frame;
      else if (this.#failure) throw this.#failure;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}
