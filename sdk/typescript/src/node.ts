/** What needs a file system or an environment: Node, Bun and Deno. @module */
import { createWriteStream, openAsBlob } from "node:fs";
import { readFile, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Client, type ClientConfig } from "./client.ts";
import { AlephError } from "./errors.ts";
import { EthereumAccount } from "./eth.ts";
import type { DownloadOptions, Files, PackedFolder, UploadOptions, Uploaded } from "./files.ts";
import { readFolder } from "./folder.ts";
import type { Hash } from "./wire.ts";

/** Uploads a file from disk, reading it as it is sent. */
export async function uploadPath(files: Files, path: string, o: UploadOptions = {}): Promise<Uploaded> {
  return files.upload(await openAsBlob(path), o);
}

/** Reads a folder from disk, and computes the CID under which IPFS will have it. Links and devices are refused. */
export async function readFolderPath(path: string, o: { signal?: AbortSignal } = {}): Promise<PackedFolder> {
  return readFolder(await filesBelow(path, ""), o);
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
