import { AlephError, NetworkError, TimeoutError, httpError, triesLater } from "./errors.ts";

/** Nodes of the public network. */
export const mainnet: readonly string[] = ["https://api2.aleph.im", "https://api3.aleph.im"];

/** What every call takes. */
export interface CallOptions {
  signal?: AbortSignal | undefined;
  /** Milliseconds for the whole call, its repetitions included. */
  deadline?: number | undefined;
}

export interface NodesConfig {
  /** Base URLs, the preferred one first. */
  urls: readonly string[];
  fetch: typeof fetch;
  /** Uploads may go through XMLHttpRequest, which alone tells their progress in browsers. */
  xhr: boolean;
  /** Milliseconds of one attempt. */
  timeout: number;
  /** Milliseconds of a whole call. */
  deadline: number;
  /** Attempts of a call, the first included. */
  attempts: number;
  /** Milliseconds before the second attempt, doubled for each further one. */
  backoff: number;
  /** Called with every answer, to log or to measure. */
  onAnswer?: ((about: { method: string; url: string; status: number; milliseconds: number }) => void) | undefined;
}

/** A request that can be sent again. */
export interface Request extends CallOptions {
  method?: string;
  query?: Record<string, string>;
  body?: string;
  headers?: Record<string, string>;
  /** Statuses besides 2xx that the caller reads itself. */
  expect?: readonly number[];
  /** Instead of the client's own number. */
  attempts?: number;
}

export interface Answer {
  status: number;
  text: string;
}

/** How long a node that failed is set aside, doubled with each failure in a row, up to sixteen times. */
const setAside = 5_000;

/**
 * The core nodes that a client may ask. Calls go to one of them as long as it answers, so that what was just written can be
 * read; when it does not, to the next.
 */
export class Nodes {
  readonly config: NodesConfig;
  readonly #health: { url: string; failures: number; until: number }[];

  constructor(config: NodesConfig) {
    if (config.urls.length === 0) throw new AlephError("name at least one node", { code: "argument" });
    this.config = config;
    this.#health = config.urls.map((url) => ({ url: url.replace(/\/+$/, ""), failures: 0, until: 0 }));
  }

  /** The node that is asked next. */
  get current(): string {
    return this.#best().url;
  }

  #best() {
    const at = Date.now();
    return (this.#health.find((n) => n.until <= at) ?? [...this.#health].sort((a, b) => a.until - b.until)[0])!;
  }

  /** Remembers whether a node answered. */
  report(url: string, well: boolean): void {
    const node = this.#health.find((n) => n.url === url);
    if (!node) return;
    node.failures = well ? 0 : node.failures + 1;
    node.until = well ? 0 : Date.now() + setAside * 2 ** Math.min(node.failures - 1, 4);
  }

  /** Asks every node for its version at once and prefers from then on those that answer soonest. Returns milliseconds by URL. */
  async rank(options: CallOptions = {}): Promise<Map<string, number>> {
    const measured = await Promise.all(
      this.#health.map(async (node) => {
        const began = performance.now();
        try {
          const answer = await this.#fetch(node.url + "/api/v0/version", {}, bounded(options.signal, this.config.timeout));
          await textOf(answer);
          return { node, took: answer.ok ? performance.now() - began : Infinity };
        } catch {
          return { node, took: Infinity };
        }
      }),
    );
    measured.sort((a, b) => a.took - b.took);
    this.#health.splice(0, this.#health.length, ...measured.map((m) => m.node));
    for (const m of measured) this.report(m.node.url, m.took < Infinity);
    return new Map(measured.map((m) => [m.node.url, m.took]));
  }

  /** Reads JSON from a path of a node. */
  async get<T>(path: string, query?: Record<string, string>, options: CallOptions = {}): Promise<T> {
    return parse(await this.call(path, { ...options, ...(query && { query }) }), path) as T;
  }

  /** Sends JSON to a path of a node. */
  async post<T>(path: string, body: unknown, options: CallOptions = {}): Promise<T> {
    return parse(await this.call(path, { ...options, method: "POST", body: JSON.stringify(body) }), path) as T;
  }

  /** Sends a request, again and to other nodes if need be, and returns its answer. A path may be a whole URL. */
  call(path: string, request: Request = {}): Promise<Answer> {
    return this.repeat(path, request, async (url, milliseconds) => {
      const response = await this.#fetch(url, request, bounded(request.signal, milliseconds));
      return { response, value: { status: response.status, text: await textOf(response) } };
    });
  }

  /** The same for an answer that is read as it comes: only the wait for its beginning is bounded. */
  open(path: string, request: Request = {}): Promise<Response> {
    return this.repeat(path, request, async (url, milliseconds) => {
      const patience = new AbortController();
      const timer = setTimeout(() => patience.abort(new Error("it did not answer in time")), milliseconds);
      try {
        const response = await this.#fetch(url, request, request.signal ? AbortSignal.any([request.signal, patience.signal]) : patience.signal);
        const failed = !response.ok && !request.expect?.includes(response.status);
        return { response, value: response, ...(failed && { text: await textOf(response) }) };
      } finally {
        clearTimeout(timer);
      }
    });
  }

  /** Tries until an attempt gives an answer that will not be better later. */
  async repeat<T extends Answer | Response>(
    path: string,
    request: Request,
    attemptAt: (url: string, milliseconds: number) => Promise<{ response: Pick<Response, "ok" | "status" | "headers">; value: T; text?: string }>,
  ): Promise<T> {
    const deadline = Date.now() + (request.deadline ?? this.config.deadline);
    const method = request.method ?? "GET";
    const elsewhere = /^https?:/.test(path);
    let pause = this.config.backoff;
    for (let attempt = 1; ; attempt++) {
      const base = elsewhere ? "" : this.current;
      const url = base + path + (request.query ? "?" + new URLSearchParams(request.query) : "");
      let failure: AlephError;
      let asked = 0;
      try {
        const { response, value, text = (value as Answer).text } = await attemptAt(url, Math.min(this.config.timeout, deadline - Date.now()));
        this.report(base, !triesLater(response.status));
        if (response.ok || request.expect?.includes(response.status)) return value;
        failure = httpError(method, url, response.status, text.slice(0, 64 << 10), response.headers.get("x-request-id") ?? undefined);
        if (!failure.retryable) throw failure;
        asked = retryAfter(response.headers.get("retry-after"));
      } catch (error) {
        if (error instanceof AlephError) throw error;
        request.signal?.throwIfAborted();
        this.report(base, false);
        failure = new NetworkError(`${method} ${url}: the node cannot be reached: ${reason(error)}`, error);
      }
      // Half of the pause is random, so that clients which failed together do not come back together.
      // What one node asks for does not hold up another.
      const wait = Math.max(base === this.current || elsewhere ? asked : 0, pause / 2 + (Math.random() * pause) / 2);
      if (attempt >= (request.attempts ?? this.config.attempts)) throw failure;
      if (Date.now() + wait >= deadline) throw new TimeoutError(`${failure.message} (the deadline has passed)`, failure);
      await sleep(wait, request.signal);
      pause = Math.min(2 * pause, 5_000);
    }
  }

  async #fetch(url: string, request: Request, signal: AbortSignal): Promise<Response> {
    const method = request.method ?? "GET";
    const began = performance.now();
    const response = await this.config.fetch(url, {
      method,
      signal,
      ...(request.body !== undefined && { body: request.body }),
      headers: { ...(request.body !== undefined && { "content-type": "application/json" }), ...request.headers },
    });
    this.config.onAnswer?.({ method, url, status: response.status, milliseconds: performance.now() - began });
    return response;
  }
}

/** Bytes of an answer that is no file. */
const maxAnswer = 64 << 20;

/** Reads an answer, unless it has no end. */
async function textOf(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  for await (const chunk of chunks(response.body)) {
    size += chunk.length;
    if (size > maxAnswer) throw new AlephError(`${response.url}: the answer is larger than ${maxAnswer} bytes`, { code: "answer" });
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** Reads a stream piece by piece. Not every runtime can iterate over its streams. */
export async function* chunks(stream: ReadableStream<Uint8Array> | null): AsyncGenerator<Uint8Array, void, undefined> {
  if (!stream) return;
  const reader = stream.getReader();
  try {
    for (let r = await reader.read(); !r.done; r = await reader.read()) yield r.value;
  } finally {
    // It may have failed, which was told already.
    await reader.cancel().catch(() => {});
  }
}

/** Reads an answer's JSON. */
export function parse(answer: Answer, path: string): unknown {
  try {
    return JSON.parse(answer.text);
  } catch (cause) {
    throw new AlephError(`${path}: the answer is not JSON`, { code: "answer", details: answer.text.slice(0, 1000), cause });
  }
}

/** A signal that also ends after some milliseconds. */
export function bounded(signal: AbortSignal | undefined, milliseconds: number): AbortSignal {
  const timer = AbortSignal.timeout(Math.max(1, Math.min(milliseconds, 0x7fffffff)));
  return signal ? AbortSignal.any([signal, timer]) : timer;
}

/** Waits some milliseconds, or until the signal. */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** Milliseconds that a Retry-After header asks for: seconds or a date. */
function retryAfter(header: string | null): number {
  if (!header) return 0;
  const seconds = Number(header);
  const milliseconds = Number.isNaN(seconds) ? Date.parse(header) - Date.now() : seconds * 1000;
  return milliseconds > 0 ? milliseconds : 0;
}

/** What fetch knows of a failure: the cause, which it hides behind "fetch failed". */
export function reason(error: unknown): string {
  const e = error as { message?: string; cause?: { message?: string } };
  return e?.cause?.message || e?.message || String(error);
}
