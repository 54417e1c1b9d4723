/** Accounts and signatures of Solana and Eclipse (messages §4.2). @module */
import { ed25519 } from "@noble/curves/ed25519.js";
import { equalBytes } from "@noble/curves/utils.js";
import { utf8ToBytes } from "@noble/hashes/utils.js";
import { base58 } from "@scure/base";
import { verificationText } from "./envelope.ts";
import { AlephError } from "./errors.ts";
import { holds, privateKey } from "./key.ts";
import type { Signer, Verifier } from "./signer.ts";

export const verifier: Verifier = {
  chains: ["SOL", "ES"],
  verify: (m) =>
    holds(() => {
      const { signature, publicKey, version } = JSON.parse(m.signature!) as Record<string, unknown>;
      if (publicKey !== m.sender || (version !== undefined && version !== 1)) return false;
      return ed25519.verify(base58.decode(signature as string), utf8ToBytes(verificationText(m)), base58.decode(m.sender), { zip215: false });
    }),
};

/** Puts a signature of 64 bytes in the form that travels in an envelope. */
export function encodeSignature(signature: Uint8Array, publicKey: string): string {
  return JSON.stringify({ signature: base58.encode(signature), publicKey });
}

/** A private key in memory. */
export class SolanaAccount implements Signer {
  readonly chain: "SOL" | "ES";
  readonly address: string;
  readonly verifier = verifier;
  readonly #seed: Uint8Array;

  private constructor(seed: Uint8Array, chain: "SOL" | "ES") {
    this.#seed = seed;
    this.chain = chain;
    this.address = base58.encode(ed25519.getPublicKey(seed));
  }

  /** Takes a seed of 32 bytes, a secret key of 64 as wallets export it, or either in base58 or as a JSON list; hex is a seed. */
  static fromPrivateKey(key: string | Uint8Array, chain: "SOL" | "ES" = "SOL"): SolanaAccount {
    const bytes = typeof key === "string" && !/^(0x)?[0-9a-fA-F]{64}$/.test(key.trim()) ? decode(key.trim()) : key;
    if (typeof bytes !== "string" && bytes.length === 64) {
      const account = new SolanaAccount(bytes.slice(0, 32), chain);
      if (!equalBytes(base58.decode(account.address), bytes.subarray(32))) {
        throw new AlephError("the two halves of this secret key do not belong together", { code: "argument" });
      }
      return account;
    }
    return new SolanaAccount(privateKey(bytes), chain);
  }

  static generate(): SolanaAccount {
    return new SolanaAccount(ed25519.utils.randomSecretKey(), "SOL");
  }

  async sign(payload: Uint8Array): Promise<string> {
    return encodeSignature(ed25519.sign(payload, this.#seed), this.address);
  }
}

function decode(text: string): Uint8Array {
  try {
    return text.startsWith("[") ? Uint8Array.from(JSON.parse(text) as number[]) : base58.decode(text);
  } catch {
    throw new AlephError("this is not a Solana private key: give it in base58, or as a list of bytes", { code: "argument" });
  }
}
