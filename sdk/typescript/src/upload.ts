import { concatBytes, utf8ToBytes } from "@noble/hashes/utils.js";
import { AlephError, TimeoutError } from "./errors.ts";
import { type Answer, type Nodes, reason } from "./nodes.ts";
import { type Progress, type Source, metered } from "./source.ts";

/** Milliseconds without a byte moved after which a transfer is given up. */
export const stall = 60_000;

export interface Form {
  source: Source;
  /** Metadata that goes before the file, when its hash is known. */
  first: Uint8Array | undefined;
  /** Metadata that goes after the file otherwise. */
  last: () => Promise<Uint8Array>;
  /** Gets every chunk of the file. */
  passed: (chunk: Uint8Array) => void;
  progress: Progress | undefined;
  signal: AbortSignal | undefined;
}

/** Sends a file and its metadata as a form, without holding the file in memory. What can be read twice is sent again after a failure. */
export async function post(nodes: Nodes, path: string, form: Form): Promise<Answer> {
  return nodes.repeat(path, { method: "POST", signal: form.signal, deadline: 0x7fffffff, attempts: form.source.again ? nodes.config.attempts : 1, expect: [402, 403, 413, 422, 500] }, async (url) => {
    const answer = nodes.config.xhr && form.source.blob && form.first ? await xhr(url, form, form.source.blob, form.first) : await stream(nodes, url, form);
    return { response: { ok: answer.status < 300, status: answer.status, headers: answer.headers }, value: answer };
  });
}

type Full = Answer & { headers: Headers };

/** Lets fetch read the form while it is made. */
async function stream(nodes: Nodes, url: string, form: Form): Promise<Full> {
  const boundary = "aleph" + crypto.randomUUID();
  const head = (name: string) => utf8ToBytes(`--${boundary}\r\nContent-Disposition: form-data; name="${name}"${name === "file" ? '; filename="file"\r\nContent-Type: application/octet-stream' : ""}\r\n\r\n`);
  const newline = utf8ToBytes("\r\n");
  const before = form.first ? concatBytes(head("metadata"), form.first, newline, head("file")) : head("file");
  const end = utf8ToBytes(`\r\n--${boundary}--\r\n`);
  const patience = new Patience(form.signal);
  let sent = 0;
  async function* body(): AsyncGenerator<Uint8Array, void, undefined> {
    yield before;
    yield* metered(form.source.open(), (chunk) => {
      form.passed(chunk);
      sent += chunk.length;
      patience.renew();
      form.progress?.(sent, form.source.size);
    });
    if (!form.first) yield concatBytes(newline, head("metadata"), await form.last());
    yield end;
  }
  const length = form.first && form.source.size !== undefined ? before.length + form.source.size + end.length : undefined;
  try {
    const response = await nodes.config.fetch(url, {
      method: "POST",
      signal: patience.signal,
      body: readable(body()),
      // A node that knows the length beforehand can refuse the file before it is sent.
      headers: { "content-type": `multipart/form-data; boundary=${boundary}`, ...(length !== undefined && { "content-length": String(length) }) },
      duplex: "half",
    } as RequestInit);
    return { status: response.status, text: await response.text(), headers: response.headers };
  } catch (error) {
    form.signal?.throwIfAborted();
    if (patience.signal.aborted) throw patience.signal.reason;
    throw error instanceof AlephError ? error : new Error(reason(error), { cause: error });
  } finally {
    patience.end();
  }
}

export function readable(body: AsyncGenerator<Uint8Array, void, undefined>): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(out) {
        const next = await body.next();
        if (next.done) out.close();
        else out.enqueue(next.value);
      },
      async cancel() {
        await body.return();
      },
    },
    { highWaterMark: 0 },
  );
}

/** Browsers tell how much of an upload has left only here, and most do not stream requests. */
function xhr(url: string, form: Form, file: Blob, metadata: Uint8Array): Promise<Full> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const patience = new Patience(form.signal);
    patience.signal.addEventListener("abort", () => {
      request.abort();
      reject(patience.signal.reason);
    });
    request.upload.onprogress = (event) => {
      patience.renew();
      form.progress?.(Math.min(event.loaded, file.size), file.size);
    };
    request.onerror = () => reject(new Error("the connection failed"));
    request.onloadend = () => patience.end();
    request.onload = () => resolve({ status: request.status, text: request.responseText, headers: new Headers() });
    request.open("POST", url);
    const body = new FormData();
    body.append("metadata", new TextDecoder().decode(metadata));
    body.append("file", file, "file");
    request.send(body);
  });
}

/** Waits for the next piece of a download. */
export function unlessStalled<T>(next: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(stalled()), stall);
    next.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

function stalled(): TimeoutError {
  return new TimeoutError("no byte has moved for a minute");
}

/** Ends an upload that does not move. */
export class Patience {
  readonly #controller = new AbortController();
  readonly signal: AbortSignal;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #over = false;

  constructor(signal: AbortSignal | undefined) {
    this.signal = signal ? AbortSignal.any([signal, this.#controller.signal]) : this.#controller.signal;
    this.renew();
  }

  /** Waits anew, that many milliseconds. */
  renew(next = stall): void {
    clearTimeout(this.#timer);
    if (!this.#over) this.#timer = setTimeout(() => this.#controller.abort(stalled()), next);
  }

  end(): void {
    this.#over = true;
    clearTimeout(this.#timer);
  }
}
