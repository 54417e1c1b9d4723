/** Accounts and signatures of Ethereum and the chains that sign as it does (messages §4.1). @module */
import { secp256k1 } from "@noble/curves/secp256k1.js";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { bytesToHex, concatBytes, hexToBytes, randomBytes, utf8ToBytes } from "@noble/hashes/utils.js";
import { type Envelope, verificationText } from "./envelope.ts";
import { AlephError } from "./errors.ts";
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
    const bytes = typeof key === "string" ? hexKey(key) : key.slice();
    if (!secp256k1.utils.isValidSecretKey(bytes)) {
      throw new AlephError("this is not an Ethereum private key: give 32 bytes, or 64 hex digits", { code: "argument" });
    }
    return new EthereumAccount(bytes, chain);
  }

  static generate(): EthereumAccount {
    return new EthereumAccount(secp256k1.utils.randomSecretKey(randomBytes(48)), "ETH");
  }

  async sign(payload: Uint8Array): Promise<string> {
    const sig = secp256k1.sign(digest(payload), this.#key, { prehash: false, format: "recovered" });
    return "0x" + bytesToHex(concatBytes(sig.subarray(1), Uint8Array.of(27 + (sig[0] as number))));
  }
}

function hexKey(text: string): Uint8Array {
  const hex = text.trim().replace(/^0x/i, "");
  return /^[0-9a-fA-F]{64}$/.test(hex) ? hexToBytes(hex) : new Uint8Array();
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
    const recovered = concatBytes(Uint8Array.of(parity), raw.subarray(0, 64));
    const key = secp256k1.recoverPublicKey(recovered, digest(payload), { prehash: false });
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

/** Writes 40 lower-case hex digits as an address, in the mixed case of EIP-55. */
export function checksum(hex: string): string {
  const sum = bytesToHex(keccak_256(utf8ToBytes(hex)));
  return "0x" + hex.replace(/[a-f]/g, (digit, at: number) => (parseInt(sum[at] as string, 16) > 7 ? digit.toUpperCase() : digit));
}

export type { Envelope, Signer, Verifier };
