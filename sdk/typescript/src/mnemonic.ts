/** Recovery phrases: 12 to 24 English words (BIP-39), and the keys that wallets make of them. @module */
import { hmac } from "@noble/hashes/hmac.js";
import { pbkdf2 } from "@noble/hashes/pbkdf2.js";
import { sha512 } from "@noble/hashes/sha2.js";
import { concatBytes, utf8ToBytes } from "@noble/hashes/utils.js";
import { HDKey } from "@scure/bip32";
import { generateMnemonic, mnemonicToEntropy, mnemonicToSeedSync } from "@scure/bip39";
import { wordlist } from "@scure/bip39/wordlists/english.js";
import { AlephError } from "./errors.ts";
import { chains as ethereumChains } from "./eth.ts";

/** Paths along which wallets find their first key. */
const secp256k1Paths: Record<string, string> = { CSDK: "m/44'/118'/0'/0/0", NULS2: "m" };
const ed25519Paths: Record<string, number[]> = { SOL: [44, 501, 0, 0], ES: [44, 501, 0, 0], TEZOS: [44, 1729, 0, 0] };

/** Makes a phrase. 12 words are 128 bits, 24 are 256. */
export function generatePhrase(words: 12 | 15 | 18 | 21 | 24 = 12): string {
  return generateMnemonic(wordlist, (words / 3) * 32);
}

/**
 * The private key of the first account of a phrase, 32 bytes, which the accounts of the chain's family take:
 * `EthereumAccount.fromPrivateKey(keyOfPhrase(phrase))`, `SubstrateAccount.fromSeed(keyOfPhrase(phrase, "DOT"))`. Ethereum and
 * the chains that sign as it does, Cosmos, NULS2, Solana, Eclipse, Tezos and Polkadot have phrases.
 */
export function keyOfPhrase(phrase: string, chain = "ETH", passphrase = ""): Uint8Array {
  const words = phrase.trim().toLowerCase().split(/\s+/).join(" ");
  let entropy: Uint8Array;
  try {
    entropy = mnemonicToEntropy(words, wordlist);
  } catch {
    throw new AlephError("the phrase is not 12 to 24 English words with a right checksum", { code: "argument" }); // it shows none of them
  }
  // Wallets of Polkadot stretch what the words stand for, all others the words.
  if (chain === "DOT") return pbkdf2(sha512, entropy, utf8ToBytes("mnemonic" + passphrase.normalize("NFKD")), { c: 2048, dkLen: 32 });
  const seed = mnemonicToSeedSync(words, passphrase);
  if (ed25519Paths[chain]) return hardened(seed, ed25519Paths[chain]);
  const path = ethereumChains.includes(chain) ? "m/44'/60'/0'/0/0" : secp256k1Paths[chain];
  if (path === undefined) throw new AlephError(`accounts of ${chain} have no phrases: export the private key from its wallet`, { code: "argument" });
  return HDKey.fromMasterSeed(seed).derive(path).privateKey!;
}

/** Follows a path to a key of ed25519, where all steps are hardened (SLIP-10). */
function hardened(seed: Uint8Array, path: number[]): Uint8Array {
  let node = hmac(sha512, utf8ToBytes("ed25519 seed"), seed);
  for (const step of path) {
    const index = Uint8Array.of(0x80 | (step >>> 24), (step >> 16) & 255, (step >> 8) & 255, step & 255);
    node = hmac(sha512, node.subarray(32), concatBytes(Uint8Array.of(0), node.subarray(0, 32), index));
  }
  return node.slice(0, 32);
}
