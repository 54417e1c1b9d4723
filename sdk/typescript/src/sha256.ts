import { sha256 } from "@noble/hashes/sha2.js";

/** A sha256 that takes what it hashes in parts. */
export interface Sha256 {
  update(part: Uint8Array): unknown;
  digest(): Uint8Array;
}

interface Runtime {
  process?: { getBuiltinModule?: (name: string) => { createHash?: (algorithm: string) => Sha256 } | undefined };
}

/** Uses the runtime's own where there is one, as in Node: it is many times quicker. WebCrypto hashes only what is in memory. */
export function newSha256(): Sha256 {
  const native = (globalThis as Runtime).process?.getBuiltinModule?.("node:crypto");
  return native?.createHash ? native.createHash("sha256") : sha256.create();
}
