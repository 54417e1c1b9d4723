import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import type { Hash } from "./wire.ts";

/** Where the bytes behind a hash live; a message's own content may also travel inline. */
export type HashKind = "storage" | "ipfs";

const storage = /^[0-9a-f]{64}$/;
const ipfs = /^(Qm[1-9A-HJ-NP-Za-km-z]{42,44}|bafy[a-z2-7]{55})$/;

/** Tells the kind of a hash by its form, and returns undefined for a text that is none (messages §2.2). */
export function hashKind(text: string): HashKind | undefined {
  if (storage.test(text)) return "storage";
  return ipfs.test(text) ? "ipfs" : undefined;
}

/** The hash under which the network stores these bytes, or this text in UTF-8. */
export function hashOf(data: Uint8Array | string): Hash {
  return bytesToHex(sha256(typeof data === "string" ? utf8ToBytes(data) : data));
}
