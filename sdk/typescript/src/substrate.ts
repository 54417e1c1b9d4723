/** Accounts and signatures of Polkadot and the chains of its family (messages §4.4). @module */
import { equalBytes } from "@noble/curves/utils.js";
import { blake2b } from "@noble/hashes/blake2.js";
import { bytesToHex, concatBytes, hexToBytes, utf8ToBytes } from "@noble/hashes/utils.js";
import { base58 } from "@scure/base";
import { getPublicKey, secretFromSeed, sign, verify } from "@scure/sr25519";
import { verificationText } from "./envelope.ts";
import { holds, privateKey } from "./key.ts";
import type { Signer, Verifier } from "./signer.ts";

export const verifier: Verifier = {
  chains: ["DOT"],
  verify: (m) =>
    holds(() => {
      const { data, curve } = JSON.parse(m.signature!) as { data: string; curve?: string };
      if ((curve ?? "sr25519") !== "sr25519" || !/^0x[0-9a-fA-F]{128}$/.test(data)) return false;
      const payload = utf8ToBytes(verificationText(m));
      const [signature, key] = [hexToBytes(data.slice(2)), publicKey(m.sender)];
      // Extensions wrap what they sign, so that it cannot be a transaction.
      return verify(payload, signature, key) || verify(concatBytes(utf8ToBytes("<Bytes>"), payload, utf8ToBytes("</Bytes>")), signature, key);
    }),
};

/** Puts a signature in the form that travels in an envelope. */
export function encodeSignature(hex: string): string {
  return JSON.stringify({ curve: "sr25519", data: hex.startsWith("0x") ? hex : "0x" + hex });
}

/** The public key in an address: SS58 of any network, or 0x and hex. */
function publicKey(address: string): Uint8Array {
  if (/^0x[0-9a-fA-F]{64}$/.test(address)) return hexToBytes(address.slice(2));
  const raw = base58.decode(address);
  const prefix = raw[0]! < 64 ? 1 : 2;
  const body = raw.subarray(0, prefix + 32);
  if (raw[0]! >= 128 || raw.length !== prefix + 34 || !equalBytes(checksum(body), raw.subarray(prefix + 32))) throw new Error("not an SS58 address");
  return body.subarray(prefix);
}

function checksum(body: Uint8Array): Uint8Array {
  return blake2b(concatBytes(utf8ToBytes("SS58PRE"), body)).subarray(0, 2);
}

function addressOf(key: Uint8Array, network: number): string {
  const prefix = network < 64 ? Uint8Array.of(network) : Uint8Array.of(0x40 | ((network >> 2) & 0x3f), (network >> 8) | ((network & 3) << 6));
  const body = concatBytes(prefix, key);
  return base58.encode(concatBytes(body, checksum(body)));
}

/** A private key in memory. The network accepts only sr25519. */
export class SubstrateAccount implements Signer {
  readonly chain = "DOT";
  readonly address: string;
  readonly verifier = verifier;
  readonly #secret: Uint8Array;

  private constructor(seed: Uint8Array, network: number) {
    this.#secret = secretFromSeed(seed);
    this.address = addressOf(getPublicKey(this.#secret), network);
  }

  /** Takes a seed of 32 bytes, or its hex, and the SS58 number of the network whose form of address to use. */
  static fromSeed(seed: string | Uint8Array, network = 42): SubstrateAccount {
    return new SubstrateAccount(privateKey(seed), network);
  }

  static generate(): SubstrateAccount {
    return new SubstrateAccount(crypto.getRandomValues(new Uint8Array(32)), 42);
  }

  async sign(payload: Uint8Array): Promise<string> {
    return encodeSignature(bytesToHex(sign(this.#secret, payload)));
  }
}
