/** Accounts and signatures of Tezos on its three curves (messages §4.3). @module */
import { ed25519 } from "@noble/curves/ed25519.js";
import { p256 } from "@noble/curves/nist.js";
import { secp256k1 } from "@noble/curves/secp256k1.js";
import { blake2b } from "@noble/hashes/blake2.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { concatBytes, hexToBytes, utf8ToBytes } from "@noble/hashes/utils.js";
import { createBase58check } from "@scure/base";
import { verificationText } from "./envelope.ts";
import { AlephError } from "./errors.ts";
import { holds, privateKey } from "./key.ts";
import type { Signer, Verifier } from "./signer.ts";
import type { Envelope } from "./wire.ts";

export type Curve = "ed25519" | "secp256k1" | "p256";

/** Prefixes of base58 texts, and what each curve does. ECDSA signs the digest as it is; keys of Tezos have low s only on secp256k1. */
const curves = {
  ed25519: {
    key: "0d0f25d9",
    signature: "09f5cd8612",
    address: "06a19f",
    public: (k: Uint8Array) => ed25519.getPublicKey(k),
    sign: (d: Uint8Array, k: Uint8Array) => ed25519.sign(d, k),
    verify: (s: Uint8Array, d: Uint8Array, p: Uint8Array) => ed25519.verify(s, d, p, { zip215: false }),
    secret: () => ed25519.utils.randomSecretKey(),
    valid: () => true,
  },
  secp256k1: {
    key: "03fee256",
    signature: "0d7365133f",
    address: "06a1a1",
    public: (k: Uint8Array) => secp256k1.getPublicKey(k),
    sign: (d: Uint8Array, k: Uint8Array) => secp256k1.sign(d, k, { prehash: false }),
    verify: (s: Uint8Array, d: Uint8Array, p: Uint8Array) => secp256k1.verify(s, d, p, { prehash: false, lowS: true }),
    secret: () => secp256k1.utils.randomSecretKey(),
    valid: (k: Uint8Array) => secp256k1.utils.isValidSecretKey(k),
  },
  p256: {
    key: "03b28b7f",
    signature: "36f02c34",
    address: "06a1a4",
    public: (k: Uint8Array) => p256.getPublicKey(k),
    sign: (d: Uint8Array, k: Uint8Array) => p256.sign(d, k, { prehash: false }),
    verify: (s: Uint8Array, d: Uint8Array, p: Uint8Array) => p256.verify(s, d, p, { prehash: false, lowS: false }),
    secret: () => p256.utils.randomSecretKey(),
    valid: (k: Uint8Array) => p256.utils.isValidSecretKey(k),
  },
} as const;

const anySignature = "04822b";
const base58check = /* @__PURE__ */ createBase58check(sha256);

export const verifier: Verifier = {
  chains: ["TEZOS"],
  verify: (m) =>
    holds(() => {
      const s = JSON.parse(m.signature!) as { publicKey: string; signature: string; signingType?: string; dAppUrl?: string };
      const { curve, bytes } = publicKey(s.publicKey);
      if (addressOf(curve, bytes) !== m.sender) return false;
      const digest = blake2b(signedBytes(m, s.signingType ?? "raw", s.dAppUrl ?? "aleph.im"), { dkLen: 32 });
      const made = strip(s.signature, curves[curve].signature, 64) ?? strip(s.signature, anySignature, 64);
      return made !== undefined && curves[curve].verify(made, digest, bytes);
    }),
};

/** The bytes that a wallet signs: the payload, or the text around it that wallets show. */
function signedBytes(m: Envelope, signingType: string, dAppUrl: string): Uint8Array {
  const payload = utf8ToBytes(verificationText(m));
  if (signingType === "raw") return payload;
  if (signingType !== "micheline") throw new Error("unknown signing type");
  return micheline(payload, m.time, dAppUrl);
}

/** The payload as wallets sign it. The length is the number of hex digits, in decimal: an old oddity that all nodes share. */
export function micheline(payload: Uint8Array, time: number, dAppUrl: string): Uint8Array {
  const at = new Date(Math.floor(Math.round(time * 1e6) / 1e3)).toISOString();
  const text = concatBytes(utf8ToBytes(`Tezos Signed Message: ${dAppUrl} ${at} `), payload);
  return concatBytes(hexToBytes("050100"), utf8ToBytes(String(2 * text.length)), text);
}

function publicKey(text: string): { curve: Curve; bytes: Uint8Array } {
  for (const curve of Object.keys(curves) as Curve[]) {
    const bytes = strip(text, curves[curve].key, curve === "ed25519" ? 32 : 33);
    if (bytes) return { curve, bytes };
  }
  throw new AlephError("this is not a public key of Tezos", { code: "argument" });
}

/** The bytes behind a prefix, or undefined when the text has another one. */
function strip(text: string, prefix: string, length: number): Uint8Array | undefined {
  const raw = base58check.decode(text);
  const head = hexToBytes(prefix);
  return raw.length === head.length + length && head.every((b, i) => raw[i] === b) ? raw.subarray(head.length) : undefined;
}

function encode(prefix: string, bytes: Uint8Array): string {
  return base58check.encode(concatBytes(hexToBytes(prefix), bytes));
}

function addressOf(curve: Curve, key: Uint8Array): string {
  return encode(curves[curve].address, blake2b(key, { dkLen: 20 }));
}

/** The address of a public key: `edpk…`, `sppk…` or `p2pk…`. */
export function addressOfKey(key: string): string {
  const { curve, bytes } = publicKey(key);
  return addressOf(curve, bytes);
}

/** A private key in memory. */
export class TezosAccount implements Signer {
  readonly chain = "TEZOS";
  readonly address: string;
  readonly publicKey: string;
  readonly verifier = verifier;
  readonly #key: Uint8Array;
  readonly #curve: Curve;

  private constructor(key: Uint8Array, curve: Curve) {
    this.#key = key;
    this.#curve = curve;
    const bytes = curves[curve].public(key);
    this.publicKey = encode(curves[curve].key, bytes);
    this.address = addressOf(curve, bytes);
  }

  /** Takes 32 bytes, their hex, or the text of a secret key, `edsk…`, `spsk…` or `p2sk…`, which tells its curve. */
  static fromPrivateKey(key: string | Uint8Array, curve: Curve = "ed25519"): TezosAccount {
    if (typeof key === "string" && !/^(0x)?[0-9a-fA-F]{64}$/.test(key.trim())) return TezosAccount.#fromText(key.trim());
    return new TezosAccount(privateKey(key, curves[curve].valid), curve);
  }

  static #fromText(text: string): TezosAccount {
    const forms: [string, number, Curve][] = [
      ["0d0f3a07", 32, "ed25519"],
      ["2bf64e07", 64, "ed25519"],
      ["11a2e0c9", 32, "secp256k1"],
      ["1051eebd", 32, "p256"],
    ];
    for (const [prefix, length, curve] of forms) {
      let bytes: Uint8Array | undefined;
      if (holds(() => (bytes = strip(text, prefix, length)) !== undefined)) return new TezosAccount(privateKey(bytes!.slice(0, 32), curves[curve].valid), curve);
    }
    throw new AlephError("this is not a Tezos secret key: it begins with edsk, spsk or p2sk", { code: "argument" });
  }

  static generate(curve: Curve = "ed25519"): TezosAccount {
    return new TezosAccount(curves[curve].secret(), curve);
  }

  async sign(payload: Uint8Array): Promise<string> {
    const { sign, signature } = curves[this.#curve];
    return JSON.stringify({ signature: encode(signature, sign(blake2b(payload, { dkLen: 32 }), this.#key)), publicKey: this.publicKey });
  }
}
