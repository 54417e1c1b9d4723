/** Accounts and signatures of Ethereum and the chains that sign as it does (messages §4.1). @module */
import { secp256k1 } from "@noble/curves/secp256k1.js";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { bytesToHex, concatBytes, hexToBytes, utf8ToBytes } from "@noble/hashes/utils.js";
import { checksum } from "./checksum.ts";
import { verificationText } from "./envelope.ts";
import { privateKey } from "./key.ts";
import { recoverKey, signDigest } from "./recover.ts";
import type { Signer, Verifier } from "./signer.ts";

/** Codes of the chains whose signatures are Ethereum's. */
export const chains: readonly string[] = (
  "ETH ARB BASE BLAST BOB BSC CYBER ETHERLINK FRAX HYPE INK LENS LINEA LISK METIS MODE NEO OP POL SONIC UNICHAIN WLD ZORA"
).split(" ");

/** Checks signatures of all of {@link chains}. */
export const verifier: Verifier = {
  chains,
  verify(m) {
    return m.signature !== null && recover(utf8ToBytes(verificationText(m)), m.signature)?.toLowerCase() === m.sender.toLowerCase();
  },
};

/** A private key in memory. */
export class EthereumAccount implements Signer {
  readonly chain: string;
  readonly address: string;
  readonly verifier = verifier;
  readonly #key: Uint8Array;

  private constructor(key: Uint8Array, chain: string) {
    this.#key = key;
    this.chain = chain;
    this.address = addressOf(secp256k1.getPublicKey(key, false));
  }

  /** Takes 32 bytes, or their hex. Users of every chain of this family sign as `ETH`, unless they have a reason not to. */
  static fromPrivateKey(key: string | Uint8Array, chain = "ETH"): EthereumAccount {
    return new EthereumAccount(privateKey(key, secp256k1.utils.isValidSecretKey), chain);
  }

  static generate(): EthereumAccount {
    return new EthereumAccount(secp256k1.utils.randomSecretKey(), "ETH");
  }

  async sign(payload: Uint8Array): Promise<string> {
    const { rs, recovery } = signDigest(digest(payload), this.#key);
    return "0x" + bytesToHex(rs) + (27 + recovery).toString(16);
  }
}

/** What personal_sign of EIP-191 hashes. */
function digest(payload: Uint8Array): Uint8Array {
  return keccak_256(concatBytes(utf8ToBytes(`\x19Ethereum Signed Message:\n${payload.length}`), payload));
}

/** The address that signed the payload, with its checksum, or undefined for what is no signature. */
export function recover(payload: Uint8Array, signature: string): string | undefined {
  const hex = signature.replace(/^0x/, "");
  if (!/^[0-9a-fA-F]{129,130}$/.test(hex)) return undefined;
  const raw = hexToBytes(hex.padStart(130, "0"));
  const parity = parityOf(raw[64] as number);
  if (parity === undefined) return undefined;
  try {
    const key = recoverKey(digest(payload), raw.subarray(0, 64), parity);
    return addressOf(secp256k1.Point.fromBytes(key).toBytes(false));
  } catch {
    return undefined;
  }
}

function parityOf(v: number): number | undefined {
  if (v === 0 || v === 1) return v;
  if (v === 27 || v === 28) return v - 27;
  return v >= 35 ? (v - 35) % 2 : undefined;
}

/** The address of an uncompressed public key. */
function addressOf(key: Uint8Array): string {
  return checksum(bytesToHex(keccak_256(key.subarray(1)).subarray(12)));
}
