import { concatBytes, utf8ToBytes } from "@noble/hashes/utils.js";
import { base58 } from "@scure/base";
import { hash160 } from "./recover.ts";

/** What both versions of NULS hash before a payload. */
export const prefix = utf8ToBytes("\x18NULS Signed Message:\n");

/** The base58 part of an address: the network, 1 for the address of a key, its hash, and a check. */
export function base58Address(key: Uint8Array, network: number): string {
  const body = concatBytes(Uint8Array.of(network & 255, network >> 8, 1), hash160(key));
  const check = body.reduce((all, byte) => all ^ byte, 0);
  return base58.encode(concatBytes(body, Uint8Array.of(check)));
}

/** Puts the length of a payload before it, as Bitcoin writes it. */
export function withLength(payload: Uint8Array): Uint8Array {
  return concatBytes(length(payload.length), payload);
}

function length(n: number): Uint8Array {
  if (n < 253) return Uint8Array.of(n);
  if (n <= 0xffff) return Uint8Array.of(253, n & 255, n >> 8);
  return Uint8Array.of(254, n & 255, (n >> 8) & 255, (n >> 16) & 255, n >>> 24);
}
