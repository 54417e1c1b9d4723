import { utf8ToBytes } from "@noble/hashes/utils.js";
import { chunks } from "./nodes.ts";

/** What a file may be given as. A blob of a file on disk is read as it is sent. */
export type FileSource = Uint8Array | ArrayBuffer | string | Blob | ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>;

/** Tells how many bytes have passed, of how many when that is known. */
export type Progress = (bytes: number, total: number | undefined) => void;

/** A file that can be read. */
export interface Source {
  size: number | undefined;
  /** Whether open may be called more than once. */
  again: boolean;
  /** The same as a blob, for runtimes that send only those. */
  blob: Blob | undefined;
  /** From a byte on, which is not 0 only where open may be called more than once. */
  open(from?: number): AsyncIterable<Uint8Array>;
}

/** Bytes that are handed on at a time. */
const piece = 64 << 10;

export function openSource(file: FileSource): Source {
  if (typeof file === "string") file = utf8ToBytes(file);
  if (file instanceof ArrayBuffer) file = new Uint8Array(file);
  if (file instanceof Uint8Array) {
    const bytes = file as Uint8Array<ArrayBuffer>;
    return { size: bytes.length, again: true, blob: new Blob([bytes]), open: (from = 0) => pieces(bytes.subarray(from)) };
  }
  if (file instanceof Blob) {
    const blob = file;
    return { size: blob.size, again: true, blob, open: (from = 0) => small(blob.slice(from).stream()) };
  }
  const stream = file;
  return { size: undefined, again: false, blob: undefined, open: () => (stream instanceof ReadableStream ? small(stream) : stream) };
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += piece) yield bytes.subarray(at, at + piece);
}

async function* small(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of chunks(stream)) yield* pieces(chunk);
}

/** Leaves out the first bytes. */
export async function* after(from: number, file: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of file) {
    if (chunk.length > from) yield chunk.subarray(from);
    from = Math.max(0, from - chunk.length);
  }
}

/** Tells of each chunk before it is handed on. */
export async function* metered(file: AsyncIterable<Uint8Array>, passed: (chunk: Uint8Array) => void): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of file) {
    passed(chunk);
    yield chunk;
  }
}
