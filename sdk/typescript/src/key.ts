import { hexToBytes } from "@noble/hashes/utils.js";
import { AlephError } from "./errors.ts";

/** Reads a private key of 32 bytes, or its hex with or without 0x. */
export function privateKey(key: string | Uint8Array, valid: (bytes: Uint8Array) => boolean = () => true): Uint8Array {
  const hex = typeof key === "string" ? key.trim().replace(/^0x/i, "") : undefined;
  if (hex !== undefined && !/^[0-9a-fA-F]{64}$/.test(hex)) throw notOne();
  const bytes = typeof key === "string" ? hexToBytes(hex!) : key.slice();
  if (bytes.length !== 32 || !valid(bytes)) throw notOne();
  return bytes;
}

// The text holds nothing of what was given: it may be a key after all.
function notOne(): AlephError {
  return new AlephError("this is not a private key: give 32 bytes, or 64 hex digits", { code: "argument" });
}

/** Runs a check that throws on what is malformed, and makes that false. */
export function holds(check: () => boolean): boolean {
  try {
    return check();
  } catch {
    return false;
  }
}
