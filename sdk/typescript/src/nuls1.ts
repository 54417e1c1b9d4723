/** Accounts and signatures of the first version of NULS, which is kept for what was signed with it (messages §4.8). @module */
import { secp256k1 } from "@noble/curves/secp256k1.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, concatBytes, hexToBytes, utf8ToBytes } from "@noble/hashes/utils.js";
import { base58 } from "@scure/base";
import { verificationText } from "./envelope.ts";
import { holds, privateKey } from "./key.ts";
import { base58Address, prefix, withLength } from "./nuls.ts";
import { signDigest } from "./recover.ts";
import type { Signer, Verifier } from "./signer.ts";

/** Networks by the number in their addresses: `Ns…` and `TT…`. */
export const networks = { main: 8964, test: 261 } as const;

/** Length of a compressed key. */
const keyLength = 33;

export const verifier: Verifier = {
  chains: ["NULS"],
  verify: (m) =>
    holds(() => {
      // Length, public key, a byte that is ignored, length, DER.
      const raw = hexToBytes(m.signature!);
      const head = keyLength + 3;
      if (raw[0] !== keyLength || raw[head - 1] !== raw.length - head) return false;
      const key = raw.subarray(1, 1 + keyLength);
      const [low, high] = base58.decode(m.sender);
      if (base58Address(key, low! | (high! << 8)) !== m.sender) return false;
      return secp256k1.verify(raw.subarray(head), digest(utf8ToBytes(verificationText(m))), key, { prehash: false, format: "der", lowS: true });
    }),
};

/** The digest that the network checks: of the payload's bytes as Python shows them, which is what its first nodes hashed. */
function digest(payload: Uint8Array): Uint8Array {
  return sha256(concatBytes(prefix, utf8ToBytes(shown(withLength(payload)))));
}

function shown(bytes: Uint8Array): string {
  const quote = bytes.includes(0x27) && !bytes.includes(0x22) ? '"' : "'";
  const escapes: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", [quote]: "\\" + quote };
  let text = "";
  for (const byte of bytes) {
    const letter = String.fromCharCode(byte);
    text += escapes[letter] ?? (byte < 0x20 || byte > 0x7e ? "\\x" + byte.toString(16).padStart(2, "0") : letter);
  }
  return `b${quote}${text}${quote}`;
}

/** A private key in memory. */
export class NULS1Account implements Signer {
  readonly chain = "NULS";
  readonly address: string;
  readonly verifier = verifier;
  readonly #key: Uint8Array;
  readonly #public: Uint8Array;

  private constructor(key: Uint8Array, network: number) {
    this.#key = key;
    this.#public = secp256k1.getPublicKey(key);
    this.address = base58Address(this.#public, network);
  }

  /** Takes 32 bytes, or their hex, and the number of the network. */
  static fromPrivateKey(key: string | Uint8Array, network: number = networks.main): NULS1Account {
    return new NULS1Account(privateKey(key, secp256k1.utils.isValidSecretKey), network);
  }

  static generate(): NULS1Account {
    return new NULS1Account(secp256k1.utils.randomSecretKey(), networks.main);
  }

  async sign(payload: Uint8Array): Promise<string> {
    const der = secp256k1.Signature.fromBytes(signDigest(digest(payload), this.#key).rs).toBytes("der");
    return bytesToHex(concatBytes(Uint8Array.of(keyLength), this.#public, Uint8Array.of(0, der.length), der));
  }
}
