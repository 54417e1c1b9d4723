/** Accounts and signatures of Avalanche with bech32 addresses (messages §4.6). Those of its C chain that begin with 0x sign as Ethereum accounts do. @module */
import { secp256k1 } from "@noble/curves/secp256k1.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { concatBytes, utf8ToBytes } from "@noble/hashes/utils.js";
import { base58, bech32 } from "@scure/base";
import { verificationText } from "./envelope.ts";
import { AlephError } from "./errors.ts";
import { holds, privateKey } from "./key.ts";
import { hash160, recoverKey, signDigest } from "./recover.ts";
import type { Signer, Verifier } from "./signer.ts";

/** Where an address is. */
export type AvalancheChain = "X" | "P" | "C";

/** The first word of addresses. The network accepts no others, so none of test networks. */
const word = "avax";

export const verifier: Verifier = {
  chains: ["AVAX"],
  verify: (m) =>
    holds(() => {
      const raw = decode(m.signature!);
      const [chain] = m.sender.split("-", 1);
      if (raw.length !== 65) return false;
      return addressOf(recoverKey(digest(utf8ToBytes(verificationText(m))), raw.subarray(0, 64), raw[64]!), chain!) === m.sender;
    }),
};

function digest(payload: Uint8Array): Uint8Array {
  const n = payload.length;
  return sha256(concatBytes(utf8ToBytes("\x1aAvalanche Signed Message:\n"), Uint8Array.of(n >>> 24, (n >> 16) & 255, (n >> 8) & 255, n & 255), payload));
}

function addressOf(key: Uint8Array, chain: string): string {
  return `${chain}-${bech32.encodeFromBytes(word, hash160(key))}`;
}

/** Base58 with the last four bytes of the sha256 as a check. */
function encode(bytes: Uint8Array): string {
  return base58.encode(concatBytes(bytes, sha256(bytes).subarray(28)));
}

function decode(text: string): Uint8Array {
  const raw = base58.decode(text);
  const bytes = raw.subarray(0, -4);
  if (encode(bytes) !== text) throw new Error("wrong checksum");
  return bytes;
}

/** A private key in memory. */
export class AvalancheAccount implements Signer {
  readonly chain = "AVAX";
  readonly address: string;
  readonly verifier = verifier;
  readonly #key: Uint8Array;

  private constructor(key: Uint8Array, chain: AvalancheChain) {
    this.#key = key;
    this.address = addressOf(secp256k1.getPublicKey(key), chain);
  }

  /** Takes 32 bytes, their hex, or the text that wallets export, `PrivateKey-…`. */
  static fromPrivateKey(key: string | Uint8Array, chain: AvalancheChain = "X"): AvalancheAccount {
    const text = typeof key === "string" ? key.trim() : "";
    return new AvalancheAccount(privateKey(text.startsWith("PrivateKey-") ? exported(text) : key, secp256k1.utils.isValidSecretKey), chain);
  }

  static generate(chain: AvalancheChain = "X"): AvalancheAccount {
    return new AvalancheAccount(secp256k1.utils.randomSecretKey(), chain);
  }

  async sign(payload: Uint8Array): Promise<string> {
    const { rs, recovery } = signDigest(digest(payload), this.#key);
    return encode(concatBytes(rs, Uint8Array.of(recovery)));
  }
}

function exported(text: string): Uint8Array {
  try {
    return decode(text.slice("PrivateKey-".length));
  } catch {
    throw new AlephError("this is not a private key of Avalanche: its checksum is wrong", { code: "argument" });
  }
}
