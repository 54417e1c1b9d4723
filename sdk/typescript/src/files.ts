import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { checked, lengthOf, unchecked } from "./checked.ts";
import type { Signed } from "./envelope.ts";
import { AlephError, HttpError, VerificationError, rejection } from "./errors.ts";
import { type HashKind, hashKind } from "./hash.ts";
import type { Answer, CallOptions, Nodes } from "./nodes.ts";
import { Prices, decimal, units } from "./prices.ts";
import { type Resumable, resume, resumeFrom } from "./resume.ts";
import type { Publisher, SendOptions, Submission } from "./publish.ts";
import { newSha256 } from "./sha256.ts";
import { type FileSource, type Progress, type Source, after, metered, openSource } from "./source.ts";
import { FileCID } from "./unixfs.ts";
import { post } from "./upload.ts";
import type { Balance, FileVersion, Hash, Payment, StoreContent } from "./wire.ts";

/** How a file is stored. */
export interface UploadOptions extends SendOptions {
  /** `storage`, named by its sha256, or `ipfs`, named by its CID. The first by default. */
  engine?: HashKind;
  /** An earlier STORE message that this one replaces, or a name of the owner's own. */
  ref?: string;
  metadata?: Record<string, unknown>;
  payment?: Payment;
  progress?: Progress;
  /** Told at which byte an upload goes on that broke off before, by this call or an earlier one. */
  resumed?: (at: number) => void;
}

/** A folder that was read to its end, such as readFolder of `@aleph-im/sdk/folder` returns. */
export interface PackedFolder {
  /** Its CID. */
  hash: Hash;
  /** Bytes of the archive in which it travels. */
  size: number;
  archive(): AsyncIterable<Uint8Array>;
}

/** A file that a node took. `hash` is that of the STORE message which keeps it. */
export interface Uploaded extends Submission {
  fileHash: Hash;
  /** Bytes. */
  size: number;
}

export interface DownloadOptions extends CallOptions {
  progress?: Progress;
  /** Checks the bytes against the hash; on by default. Folders and unusual layouts of IPFS cannot be checked. */
  verify?: boolean;
}

/** A file on its way. The stream fails at its end when the bytes were not those of the hash. */
export interface Download {
  /** Bytes, when the node says it. */
  size: number | undefined;
  stream: ReadableStream<Uint8Array>;
}

/** Stores and reads files. */
export class Files {
  readonly #nodes: Nodes;
  readonly #publisher: Publisher;
  readonly #verify: boolean;

  constructor(nodes: Nodes, publisher: Publisher, verify: boolean) {
    this.#nodes = nodes;
    this.#publisher = publisher;
    this.#verify = verify;
  }

  /**
   * Sends a file together with the signed STORE message that pays for it, in constant memory. What can be read twice is
   * read first to hash it; a stream is hashed while it is sent, and signed after its last byte.
   *
   * An upload of 8 MiB or more that breaks off goes on where it was, if it can be read twice and not in browsers: within the call,
   * when the node is back within a minute, and by another call of the same signer for the same file within a day. Nodes that do
   * not offer this get all of it again.
   */
  async upload(file: FileSource, o: UploadOptions = {}): Promise<Uploaded> {
    const engine = o.engine ?? "storage";
    return this.#upload(engine === "ipfs" ? "/api/v0/ipfs/add_file" : "/api/v0/storage/add_file", engine, openSource(file), undefined, o);
  }

  /** Sends a folder to IPFS, together with the signed STORE message that pays for it. */
  async uploadFolder(folder: PackedFolder, o: Omit<UploadOptions, "engine"> = {}): Promise<Uploaded> {
    const blob = this.#nodes.config.xhr ? await collect(folder.archive()) : undefined;
    const source = { size: folder.size, again: true, blob, open: (from = 0) => after(from, folder.archive()) };
    return this.#upload("/api/v0/ipfs/add_car", "ipfs", source, folder.hash, o);
  }

  /** Sends bytes to a path. What they are named by is told when it is not their own hash. */
  async #upload(path: string, engine: HashKind, source: Source, name: Hash | undefined, o: UploadOptions): Promise<Uploaded> {
    let sent: { signed: Signed; fileHash: Hash } | undefined;
    const sign = async (fileHash: Hash) => (sent = { signed: await this.#publisher.build("STORE", store(fileHash, engine, o), o).sign(this.#publisher.signer), fileHash });
    if (name ?? source.again) await sign(name ?? (await digest(source, hasherOf(engine), o.signal)));

    const hasher = hasherOf(engine);
    let size = 0;
    const metadata = (s: Signed) => utf8ToBytes(JSON.stringify({ message: s.message, sync: o.sync ?? true }));
    let answer: Answer | undefined;
    if (sent && source.size !== undefined && source.size >= resumeFrom && !this.#nodes.config.xhr) {
      const whole: Resumable = { source, size: source.size, car: path.endsWith("/add_car"), store: sent.signed.message.item_hash, fileHash: sent.fileHash };
      answer = await resume(this.#nodes, whole, metadata(sent.signed), o);
    }
    answer ??= await post(this.#nodes, path, {
      source,
      first: sent && metadata(sent.signed),
      last: async () => metadata((await sign(hasher.digest())).signed),
      passed: (chunk) => {
        size += chunk.length;
        if (!source.again) hasher.update(chunk);
      },
      progress: o.progress,
      signal: o.signal,
    });
    const { signed, fileHash } = sent!;
    if (answer.status === 402) throw await this.#cannotPay(signed, source.size ?? size, o);
    if (answer.status !== 200 && answer.status !== 202) {
      // Also the status of a message that was refused after the file was taken.
      if (answer.status === 422 && answer.text.startsWith("{")) await this.#publisher.outcome(signed.message, { status: 422, text: '{"message_status":"rejected"}' }, o);
      throw new HttpError("POST", path, answer.status, answer.text);
    }
    return { hash: signed.message.item_hash, status: answer.status === 200 ? "processed" : "pending", failed: [], message: signed.message, fileHash, size: source.size ?? size };
  }

  /** Finds the amounts that the node's bare "Payment Required" leaves out. */
  async #cannotPay({ message }: Signed, size: number, o: UploadOptions): Promise<AlephError> {
    const content = JSON.parse(message.item_content!) as StoreContent;
    const price = await new Prices(this.#nodes).estimate("STORE", { ...content, estimated_size_mib: size / (1 << 20) }, o);
    const balance = await this.#nodes.get<Balance>(`/api/v0/addresses/${encodeURIComponent(content.address)}/balance`, undefined, o);
    if (price.payment_type === "credit") {
      // A day must be covered.
      return rejection(message.item_hash, 6, { errors: [{ required_credits: decimal(units(price.cost) * 86400n), account_credits: String(balance.credit_balance) }] });
    }
    return rejection(message.item_hash, 5, { errors: [{ required_balance: price.cost, account_balance: String(balance.balance - balance.locked_amount) }] });
  }

  /** Keeps a file that is on the network already, such as one of IPFS. */
  pin(fileHash: Hash, o: Omit<UploadOptions, "engine" | "progress"> = {}): Promise<Submission> {
    const kind = hashKind(fileHash);
    if (!kind) throw new AlephError(`${fileHash} is not the hash of a file`, { code: "argument" });
    return this.#publisher.send("STORE", store(fileHash, kind, o), o);
  }

  /** Reads a file as it comes. */
  async download(fileHash: Hash, o: DownloadOptions = {}): Promise<Download> {
    const response = await this.#nodes.open(`/api/v0/storage/raw/${encodeURIComponent(fileHash)}`, o);
    const size = lengthOf(response);
    if (!response.body) throw new AlephError(`file ${fileHash}: the answer has no body`, { code: "answer" });
    const hasher = fileHash.startsWith("bafy") ? new FileCID(1) : hasherOf(hashKind(fileHash) ?? "storage");
    const check = (o.verify ?? this.#verify) ? { update: (chunk: Uint8Array) => hasher.update(chunk), end: () => same(fileHash, hasher.digest()) } : unchecked;
    const stream = checked(response.body, check, size, o.progress);
    return { size, stream };
  }

  /** Reads a whole file into memory. */
  async bytes(fileHash: Hash, o: DownloadOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    const { stream } = await this.download(fileHash, o);
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  /** The file that a STORE message keeps. */
  of(storeHash: Hash, o: CallOptions = {}): Promise<FileVersion> {
    return this.#nodes.get(`/api/v0/storage/by-message-hash/${encodeURIComponent(storeHash)}`, undefined, o);
  }

  /** The newest file under a name of the owner's own. */
  named(owner: string, ref: string, o: CallOptions = {}): Promise<FileVersion> {
    return this.#nodes.get(`/api/v0/storage/by-ref/${encodeURIComponent(owner)}/${encodeURIComponent(ref)}`, undefined, o);
  }

  /** The hash that a file will have, without sending it. */
  hash(file: FileSource, engine: HashKind = "storage", o: CallOptions = {}): Promise<Hash> {
    return digest(openSource(file), hasherOf(engine), o.signal);
  }
}

/** Refuses other bytes than those that were asked for. */
function same(fileHash: Hash, hash: Hash): void {
  if (hash === fileHash) return;
  const unless = hashKind(fileHash) === "ipfs" ? ", unless it is a folder or laid out in an unusual way" : "";
  throw new VerificationError(`file ${fileHash}: the node sent other bytes, whose hash is ${hash}${unless}`);
}

interface Hasher {
  update(chunk: Uint8Array): unknown;
  digest(): Hash;
}

function hasherOf(engine: HashKind): Hasher {
  if (engine === "ipfs") return new FileCID(0);
  const sum = newSha256();
  return { update: (chunk) => sum.update(chunk), digest: () => bytesToHex(sum.digest()) };
}

async function digest(source: Source, hasher: Hasher, signal: AbortSignal | undefined): Promise<Hash> {
  for await (const chunk of metered(source.open(), () => signal?.throwIfAborted())) hasher.update(chunk);
  return hasher.digest();
}

async function collect(bytes: AsyncIterable<Uint8Array>): Promise<Blob> {
  const parts: BlobPart[] = [];
  for await (const chunk of bytes) parts.push(chunk as Uint8Array<ArrayBuffer>);
  return new Blob(parts);
}

function store(fileHash: Hash, engine: HashKind, o: UploadOptions): object {
  return {
    item_type: engine,
    item_hash: fileHash,
    ...(o.ref !== undefined && { ref: o.ref }),
    ...(o.metadata && { metadata: o.metadata }),
    ...(o.payment && { payment: o.payment }),
  };
}
