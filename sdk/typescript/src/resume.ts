import { base64 } from "@scure/base";
import { utf8ToBytes } from "@noble/hashes/utils.js";
import { AlephError, NetworkError, TimeoutError, httpError, triesLater } from "./errors.ts";
import { type Answer, type Nodes, reason, sleep } from "./nodes.ts";
import { type Progress, type Source, metered } from "./source.ts";
import { Patience, readable, stall } from "./upload.ts";
import type { Hash } from "./wire.ts";

const uploads = "/api/v0/uploads";

/** Bytes from which on an upload is one that resumes: smaller ones are quicker sent again than asked about. */
export const resumeFrom = 8 << 20;

/** Milliseconds in which a node answers that has all of an upload: it may take half an hour to store it. */
const settling = 31 * 60_000;

/** Answers after which an upload is elsewhere than was thought. */
const looksAnew = [400, 404, 408, 409, 410, 423];

/** What can be sent in pieces. */
export interface Resumable {
  source: Source;
  size: number;
  /** The archive of a folder. */
  car: boolean;
  /** The message that pays. */
  store: Hash;
  fileHash: Hash;
}

interface Options {
  sync?: boolean | undefined;
  signal?: AbortSignal | undefined;
  progress?: Progress;
  resumed?: (at: number) => void;
}

/**
 * Sends what the node lacks by tus 1.0.0 (decision 32), again while it is away for less than a minute. The answer is that of an upload
 * in one piece; undefined stands for a node that takes the file only so.
 */
export async function resume(nodes: Nodes, file: Resumable, metadata: Uint8Array, o: Options): Promise<Answer | undefined> {
  const upload = new Upload(nodes, file, metadata, o);
  let pause = nodes.config.backoff;
  for (let attempt = 1; ; attempt++) {
    const base = nodes.current;
    const before = upload.at;
    let failure: AlephError | undefined;
    let answer: Answer | undefined;
    try {
      answer = await upload.attempt(base);
      if (!answer || !triesLater(answer.status)) {
        if (answer) nodes.report(base, true);
        return answer;
      }
    } catch (error) {
      o.signal?.throwIfAborted();
      if (error instanceof AlephError && !error.retryable && !looksAnew.includes(error.code as number)) throw error;
      failure = error instanceof AlephError ? error : new NetworkError(`upload ${file.fileHash} to ${base}: ${reason(error)}`, error);
    }
    nodes.report(base, false);
    if (upload.at > before) [attempt, pause] = [1, nodes.config.backoff];
    if (attempt >= nodes.config.attempts && (upload.at < 0 || Date.now() - upload.moved > stall)) {
      failure ??= httpError("POST", base + uploads, answer!.status, answer!.text);
      if (upload.at > 0) throw new NetworkError(`${failure.message}; the same upload goes on where it was, within a day`, failure);
      throw failure;
    }
    await sleep(pause / 2 + (Math.random() * pause) / 2, o.signal);
    pause = Math.min(2 * pause, 5_000);
  }
}

class Upload {
  /** Bytes that a node is known to have; -1 before the upload began. */
  at = -1;
  /** When at last grew. */
  moved = Date.now();
  readonly #nodes: Nodes;
  readonly #file: Resumable;
  readonly #options: Options;
  readonly #metadata: string;

  constructor(nodes: Nodes, file: Resumable, metadata: Uint8Array, o: Options) {
    this.#nodes = nodes;
    this.#file = file;
    this.#options = o;
    this.#metadata = `metadata ${base64.encode(metadata)}` + (file.car ? `,format ${base64.encode(utf8ToBytes("car"))}` : "");
  }

  /** Begins the upload at a node, or finds it there, and sends what is missing. */
  async attempt(base: string): Promise<Answer | undefined> {
    const { size } = this.#file;
    if (this.at === size) {
      const done = await this.#finished(base); // the answer to its end may be what was lost
      if (done) return done;
    }
    let answer = await this.#exchange("POST", base + uploads, { "upload-length": String(size), "upload-metadata": this.#metadata });
    if ([404, 405, 501].includes(answer.status) || (answer.status === 503 && this.at < 0)) return undefined;
    if (answer.status === 409) return (await this.#finished(base)) ?? answer; // the node has the message already
    const location = answer.headers.get("location");
    if (answer.status !== 201) return answer;
    if (location === null) return undefined;
    const place = new URL(location, base + uploads).href;
    answer = await this.#exchange("HEAD", place, {}, undefined, settling);
    if (answer.status !== 200) return this.#stopped("HEAD", base, place, answer);
    const said = answer.headers.get("upload-offset") ?? "";
    const offset = /^\d+$/.test(said) ? Number(said) : NaN;
    if (!(offset <= size)) throw new AlephError(`HEAD ${place}: the node has "${said}" of ${size} bytes, which makes no sense`, { code: "answer" });
    if (offset > 0) this.#options.resumed?.(offset);
    this.#reached(offset);
    answer = await this.#exchange("PATCH", place, { "upload-offset": said, "content-type": "application/offset+octet-stream" }, offset);
    if (answer.status !== 204) return this.#stopped("PATCH", base, place, answer);
    const done = (this.#options.sync ?? true) && (await this.#finished(base));
    return done || { status: 202, text: "" };
  }

  #reached(at: number): void {
    if (at > this.at) [this.at, this.moved] = [at, Date.now()];
    this.#options.progress?.(at, this.#file.size);
  }

  /** Makes an error of an answer after which the upload is looked for anew. */
  async #stopped(method: string, base: string, place: string, answer: Answer): Promise<Answer> {
    const done = [404, 410].includes(answer.status) && (await this.#finished(base));
    if (done) return done;
    if (looksAnew.includes(answer.status)) throw httpError(method, place, answer.status, answer.text);
    return answer;
  }

  /** Asks whether the node has the message that pays, and answers as an upload in one piece does. */
  async #finished(base: string): Promise<Answer | undefined> {
    try {
      const answer = await this.#exchange("GET", `${base}/api/v0/messages/${this.#file.store}/status`, {});
      if (answer.status !== 200) return undefined;
      const { status } = JSON.parse(answer.text) as { status: string };
      const code = { processed: 200, pending: 202, rejected: 422 }[status];
      return code === undefined ? undefined : { status: code, text: JSON.stringify({ hash: this.#file.fileHash }) };
    } catch {
      this.#options.signal?.throwIfAborted();
      return undefined;
    }
  }

  /** Sends one request, with the file from a byte on as its body if one is named. */
  async #exchange(method: string, url: string, headers: Record<string, string>, from?: number, wait = stall): Promise<Answer & { headers: Headers }> {
    const { source, size } = this.#file;
    const patience = new Patience(this.#options.signal);
    patience.renew(wait);
    let at = from ?? 0;
    const body = () =>
      metered(source.open(at), (chunk) => {
        at += chunk.length;
        patience.renew(at < size ? stall : settling);
        this.#reached(at);
      });
    try {
      const response = await this.#nodes.config.fetch(url, {
        method,
        signal: patience.signal,
        headers: { "tus-resumable": "1.0.0", ...headers, ...(from !== undefined && { "content-length": String(size - from) }) },
        ...(from !== undefined && (from < size ? { body: readable(body()), duplex: "half" } : { body: new Uint8Array() })),
      } as RequestInit);
      if (from === size) patience.renew(settling);
      return { status: response.status, text: method === "HEAD" ? "" : await response.text(), headers: response.headers };
    } catch (error) {
      this.#options.signal?.throwIfAborted();
      if (patience.signal.aborted) throw patience.signal.reason instanceof TimeoutError ? patience.signal.reason : error;
      throw error;
    } finally {
      patience.end();
    }
  }
}
