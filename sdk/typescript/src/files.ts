import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import type { Signed } from "./envelope.ts";
import { AlephError, HttpError, VerificationError, rejection } from "./errors.ts";
import { type HashKind, hashKind } from "./hash.ts";
import type { CallOptions, Nodes } from "./nodes.ts";
import { Prices, decimal, units } from "./prices.ts";
import type { Publisher, SendOptions, Submission } from "./publish.ts";
import { newSha256 } from "./sha256.ts";
import { type FileSource, type Progress, type Source, metered, openSource } from "./source.ts";
import { FileCID } from "./unixfs.ts";
import { post, unlessStalled } from "./upload.ts";
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
   */
  async upload(file: FileSource, o: UploadOptions = {}): Promise<Uploaded> {
    const engine = o.engine ?? "storage";
    const source = openSource(file);
    let sent: { signed: Signed; fileHash: Hash } | undefined;
    const sign = async (fileHash: Hash) => (sent = { signed: await this.#publisher.build("STORE", store(fileHash, engine, o), o).sign(this.#publisher.signer), fileHash });
    if (source.again) await sign(await digest(source, hasherOf(engine), o.signal));

    const path = engine === "ipfs" ? "/api/v0/ipfs/add_file" : "/api/v0/storage/add_file";
    const hasher = hasherOf(engine);
    let size = 0;
    const metadata = (s: Signed) => utf8ToBytes(JSON.stringify({ message: s.message, sync: o.sync ?? true }));
    const answer = await post(this.#nodes, path, {
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
    const length = response.headers.get("content-length");
    const size = length === null || response.headers.has("content-encoding") ? undefined : Number(length);
    if (!response.body) throw new AlephError(`file ${fileHash}: the answer has no body`, { code: "answer" });
    const verify = o.verify ?? this.#verify;
    const hasher = fileHash.startsWith("bafy") ? new FileCID(1) : hasherOf(hashKind(fileHash) ?? "storage");
    const reader = response.body.getReader();
    let got = 0;
    const stream = new ReadableStream<Uint8Array>({
      async pull(out) {
        try {
          const { done, value } = await unlessStalled(reader.read());
          if (!done) {
            got += value.length;
            if (verify) hasher.update(value);
            o.progress?.(got, size);
            return out.enqueue(value);
          }
          const hash = verify ? hasher.digest() : fileHash;
          if (hash !== fileHash) {
            const unless = hashKind(fileHash) === "ipfs" ? ", unless it is a folder or laid out in an unusual way" : "";
            throw new VerificationError(`file ${fileHash}: the node sent other bytes, whose hash is ${hash}${unless}`);
          }
          out.close();
        } catch (error) {
          await reader.cancel(error).catch(() => {});
          throw error;
        }
      },
      cancel: (why) => reader.cancel(why),
    });
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

function store(fileHash: Hash, engine: HashKind, o: UploadOptions): object {
  return {
    item_type: engine,
    item_hash: fileHash,
    ...(o.ref !== undefined && { ref: o.ref }),
    ...(o.metadata && { metadata: o.metadata }),
    ...(o.payment && { payment: o.payment }),
  };
}
