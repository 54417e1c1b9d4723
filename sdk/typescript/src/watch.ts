import { AlephError } from "./errors.ts";
import { type MessageFilter, query } from "./filter.ts";
import { type Nodes, sleep } from "./nodes.ts";
import { Connection, socketOf } from "./socket.ts";
import type { Message } from "./wire.ts";

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
  const Socket = socketOf(webSocket);
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
    const connection = new Connection(new Socket(target), o.signal);
    try {
      await connection.ready;
      if (o.signal?.aborted) return;
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
      if (o.signal?.aborted) return;
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
