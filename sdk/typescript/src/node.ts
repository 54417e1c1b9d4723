/** What needs a file system or an environment: Node, Bun and Deno. @module */
import { createWriteStream, openAsBlob } from "node:fs";
import { readFile, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Client, type ClientConfig } from "./client.ts";
import { type Interface, nameOf, packCode } from "./code.ts";
import { AlephError } from "./errors.ts";
import { EthereumAccount } from "./eth.ts";
import type { DownloadOptions, Files, PackedFolder, UploadOptions, Uploaded } from "./files.ts";
import { readFolder } from "./folder.ts";
import type { Hash } from "./wire.ts";
import { type NewProgram, defaultRuntime } from "./workloads.ts";

export { type Code, type Interface, packCode } from "./code.ts";

/** Uploads a file from disk, reading it as it is sent. */
export async function uploadPath(files: Files, path: string, o: UploadOptions = {}): Promise<Uploaded> {
  return files.upload(await openAsBlob(path), o);
}

/** Reads a folder from disk, and computes the CID under which IPFS will have it. Links and devices are refused. */
export async function readFolderPath(path: string, o: { signal?: AbortSignal } = {}): Promise<PackedFolder> {
  return readFolder(await filesBelow(path, ""), o);
}

/** What may be said of a program that is deployed. What is left out is found, or takes the network's usual values. */
export interface DeployOptions extends Omit<Partial<NewProgram>, "code" | "encoding" | "interface"> {
  interface?: Interface;
  /** That of the folder or file by default. */
  name?: string;
}

/** A program that was deployed. Its URL is known when it is placed. */
export interface DeployedProgram {
  hash: Hash;
  /** STORE message of its code. */
  code: Hash;
  entrypoint: string;
  /** Of the program's message. */
  status: "processed";
}

/**
 * Packs a folder or a file, stores it, publishes a program that runs it, and waits until the network has it. What the owner cannot
 * pay is an InsufficientFundsError. A program has 256 MiB of memory, unless another number is given.
 */
export async function deployProgram(aleph: Client, path: string, o: DeployOptions = {}): Promise<DeployedProgram> {
  const { entrypoint, interface: kind, name = nameOf(path), runtime, ...rest } = o;
  const code = await packCode(path, { entrypoint, interface: kind });
  if (code.node && runtime === undefined) throw new AlephError(`${path} needs a runtime that has Node.js: name one`, { code: "argument" });
  const { channel, owner, signal, payment } = rest;
  const stored = await aleph.files.upload(code.archive, { channel, owner, signal, ...(payment && { payment }) });
  if (stored.status === "pending") await aleph.messages.wait(stored.hash, { signal });
  const sent = await aleph.workloads.createProgram({
    memory: 256,
    metadata: { name },
    ...rest,
    code: stored.hash,
    encoding: "zip",
    entrypoint: code.entrypoint,
    interface: code.interface,
    // A module stands in the place of its runtime.
    runtime: runtime ?? (code.interface === "wasm" ? stored.hash : defaultRuntime),
  });
  if (sent.status === "pending") await aleph.messages.wait(sent.hash, { signal });
  return { hash: sent.hash, code: stored.hash, entrypoint: code.entrypoint, status: "processed" };
}

async function filesBelow(root: string, folder: string): Promise<[string, Blob | ""][]> {
  const entries = await readdir(join(root, folder), { withFileTypes: true });
  const found: [string, Blob | ""][] = entries.length > 0 || folder === "" ? [] : [[folder, ""]];
  for (const entry of entries) {
    const path = folder + entry.name;
    if (entry.isDirectory()) found.push(...(await filesBelow(root, path + "/")));
    else if (entry.isFile()) found.push([path, await openAsBlob(join(root, path))]);
    else throw new AlephError(`${join(root, path)} is neither file nor folder`, { code: "argument" });
  }
  return found;
}

/** Downloads a file to disk. Under its name it appears only once it is whole and verified. */
export async function downloadPath(files: Files, hash: Hash, path: string, o: DownloadOptions = {}): Promise<void> {
  const part = `${path}.part`;
  try {
    const { stream } = await files.download(hash, o);
    await pipeline(Readable.fromWeb(stream as never), createWriteStream(part), { ...(o.signal && { signal: o.signal }) });
    await rename(part, path);
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
}

/**
 * Reads an Ethereum key from a file that nobody else may read: hex, or the 32 bytes themselves.
 */
export async function accountFromFile(path: string): Promise<EthereumAccount> {
  const { mode } = await stat(path);
  if (process.platform !== "win32" && (mode & 0o077) !== 0) {
    throw new AlephError(`others can read the private key in ${path}: run chmod 600 on it`, { code: "argument" });
  }
  const raw = await readFile(path);
  return EthereumAccount.fromPrivateKey(raw.length === 32 ? new Uint8Array(raw) : raw.toString("utf8"));
}

/**
 * A client of what the environment says, where the configuration says nothing: the node in ALEPH_API_HOST, the key in
 * ALEPH_PRIVATE_KEY or in the file ALEPH_PRIVATE_KEY_FILE, the channel in ALEPH_DEFAULT_CHANNEL.
 */
export async function clientFromEnvironment(config: ClientConfig = {}, env: Record<string, string | undefined> = process.env): Promise<Client> {
  const host = env["ALEPH_API_HOST"];
  const key = env["ALEPH_PRIVATE_KEY"];
  const file = env["ALEPH_PRIVATE_KEY_FILE"];
  const channel = env["ALEPH_DEFAULT_CHANNEL"];
  const signer = config.signer ?? (key ? EthereumAccount.fromPrivateKey(key) : file ? await accountFromFile(file) : undefined);
  return new Client({ ...(host && { nodes: host }), ...(channel && { channel }), ...(signer && { signer }), ...config });
}
