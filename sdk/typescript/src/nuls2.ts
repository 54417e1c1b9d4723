/** Accounts and signatures of the second version of NULS (messages §4.7). @module */
import { secp256k1 } from "@noble/curves/secp256k1.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { concatBytes, utf8ToBytes } from "@noble/hashes/utils.js";
import { base64 } from "@scure/base";
import { verificationText } from "./envelope.ts";
import { holds, privateKey } from "./key.ts";
import { base58Address, prefix, withLength } from "./nuls.ts";
import { recoverKey, signDigest } from "./recover.ts";
import type { Signer, Verifier } from "./signer.ts";

/** The first byte of a signature, to which the recovery id is added. */
const header = 27;

export const verifier: Verifier = {
  chains: ["NULS2"],
  verify: (m) =>
    holds(() => {
      const raw = base64.decode(m.signature!);
      if (raw.length !== 65) return false;
      const key = recoverKey(digest(utf8ToBytes(verificationText(m))), raw.subarray(1), raw[0]! - header);
      return addressOf(key, m.sender.startsWith("t") ? 2 : 1) === m.sender;
    }),
};

function digest(payload: Uint8Array): Uint8Array {
  return sha256(concatBytes(prefix, withLength(payload)));
}

/** The letter after the network's name counts the name's letters. */
function addressOf(key: Uint8Array, network: 1 | 2): string {
  return (network === 1 ? "NULSd" : "tNULSe") + base58Address(key, network);
}

/** A private key in memory. */
export class NULS2Account implements Signer {
  readonly chain = "NULS2";
  readonly address: string;
  readonly verifier = verifier;
  readonly #key: Uint8Array;

  private constructor(key: Uint8Array, network: 1 | 2) {
    this.#key = key;
    this.address = addressOf(secp256k1.getPublicKey(key), network);
  }

  /** Takes 32 bytes, or their hex, and the network: 1 is the main one, 2 that for tests. */
  static fromPrivateKey(key: string | Uint8Array, network: 1 | 2 = 1): NULS2Account {
    return new NULS2Account(privateKey(key, secp256k1.utils.isValidSecretKey), network);
  }

  static generate(): NULS2Account {
    return new NULS2Account(secp256k1.utils.randomSecretKey(), 1);
  }

  async sign(payload: Uint8Array): Promise<string> {
    const { rs, recovery } = signDigest(digest(payload), this.#key);
    return base64.encode(concatBytes(Uint8Array.of(header + recovery), rs));
  }
}
