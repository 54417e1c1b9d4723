import { secp256k1 } from "@noble/curves/secp256k1.js";
import { ripemd160 } from "@noble/hashes/legacy.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { concatBytes } from "@noble/hashes/utils.js";

/** Signs a digest. Returns r and s, and the bit or two by which the key can be recovered. */
export function signDigest(digest: Uint8Array, key: Uint8Array): { rs: Uint8Array; recovery: number } {
  const made = secp256k1.sign(digest, key, { prehash: false, format: "recovered" });
  return { rs: made.subarray(1), recovery: made[0]! };
}

/** The compressed public key that made a signature. Throws on what is none. */
export function recoverKey(digest: Uint8Array, rs: Uint8Array, recovery: number): Uint8Array {
  return secp256k1.recoverPublicKey(concatBytes(Uint8Array.of(recovery), rs), digest, { prehash: false });
}

/** The hash of a compressed key in most addresses. */
export function hash160(key: Uint8Array): Uint8Array {
  return ripemd160(sha256(key));
}
