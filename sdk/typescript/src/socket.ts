import { AlephError, NetworkError } from "./errors.ts";

/** Frames that wait for the reader. One that is slower than that loses the connection. */
const maxWaiting = 1000;

/** Milliseconds that a connection may take to stand. */
const patience = 45_000;

/** The WebSocket to use, given or the runtime's own. */
export function socketOf(given: typeof WebSocket | undefined): typeof WebSocket {
  const found = given ?? globalThis.WebSocket;
  if (!found) throw new AlephError("this runtime has no WebSocket: give one, or start Node 20 with --experimental-websocket", { code: "argument" });
  return found;
}

/** One connection, read as a sequence of frames. */
export class Connection implements AsyncIterable<string> {
  opened = false;
  /** Why the other side closed it (RFC 6455 §7.4). */
  closeCode: number | undefined;
  /** Resolves once the connection stands or is closed, and fails when it cannot be made. */
  readonly ready: Promise<void>;
  readonly #socket: WebSocket;
  readonly #waiting: string[] = [];
  #stopped = false;
  #hungUp = false;
  /** Stops listening to a signal that outlives many connections. */
  readonly #forget: () => void;
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
    socket.addEventListener("close", (event) => {
      this.closeCode = event.code;
      this.#fail(`the connection was closed (${event.code}${event.reason && " " + event.reason})`);
    });
    const stop = () => this.close();
    signal?.addEventListener("abort", stop);
    const timer = setTimeout(() => this.#fail("it did not answer in time"), patience);
    this.ready.then(() => clearTimeout(timer), () => clearTimeout(timer));
    this.#forget = () => signal?.removeEventListener("abort", stop);
    if (signal?.aborted) this.close();
  }

  send(text: string): void {
    this.#socket.send(text);
  }

  close(): void {
    this.#stopped = true;
    this.#hangUp();
  }

  #fail(text: string): void {
    if (!this.#stopped) this.#failure ??= new NetworkError(`${this.#socket.url.split("?")[0]}: ${text}`, undefined);
    this.#hangUp();
  }

  /** Closes the socket once: some tell of that as of an error, at once. */
  #hangUp(): void {
    if (!this.#hungUp) {
      this.#hungUp = true;
      this.#forget();
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
