/** Accounts and signatures of chains of the Cosmos SDK (messages §4.5). @module */
import { secp256k1 } from "@noble/curves/secp256k1.js";
import { utf8ToBytes } from "@noble/hashes/utils.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { base64, bech32 } from "@scure/base";
import { verificationText } from "./envelope.ts";
import { holds, privateKey } from "./key.ts";
import { hash160, signDigest } from "./recover.ts";
import type { Signer, Verifier } from "./signer.ts";

const keyType = "tendermint/PubKeySecp256k1";

export const verifier: Verifier = {
  chains: ["CSDK"],
  verify: (m) =>
    holds(() => {
      const { signature, pub_key } = JSON.parse(m.signature!) as { signature: string; pub_key: { type: string; value: string } };
      const key = base64.decode(pub_key.value);
      const prefix = m.sender.slice(0, m.sender.indexOf("1"));
      if (pub_key.type !== keyType || key.length !== 33 || addressOf(key, prefix) !== m.sender) return false;
      return secp256k1.verify(base64.decode(signature), document(verificationText(m), m.sender), key, { prehash: false, lowS: false });
    }),
};

/** The digest of the document that is signed: an amino JSON whose only message is the text. */
function document(text: string, signer: string): Uint8Array {
  const doc = {
    account_number: "0",
    chain_id: "signed-message-v1",
    fee: { amount: [], gas: "0" },
    memo: "",
    msgs: [{ type: "signutil/MsgSignText", value: { message: text, signer } }],
    sequence: "0",
  };
  const ascii = JSON.stringify(doc).replace(/[\u007f-\uffff]/g, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
  return sha256(utf8ToBytes(ascii));
}

function addressOf(key: Uint8Array, prefix: string): string {
  return bech32.encodeFromBytes(prefix, hash160(key));
}

/** A private key in memory. */
export class CosmosAccount implements Signer {
  readonly chain = "CSDK";
  readonly address: string;
  readonly verifier = verifier;
  readonly #key: Uint8Array;
  readonly #public: Uint8Array;

  private constructor(key: Uint8Array, prefix: string) {
    this.#key = key;
    this.#public = secp256k1.getPublicKey(key);
    this.address = addressOf(this.#public, prefix);
  }

  /** Takes 32 bytes, or their hex, and the first word of the chain's addresses. */
  static fromPrivateKey(key: string | Uint8Array, prefix = "cosmos"): CosmosAccount {
    return new CosmosAccount(privateKey(key, secp256k1.utils.isValidSecretKey), prefix);
  }

  static generate(): CosmosAccount {
    return new CosmosAccount(secp256k1.utils.randomSecretKey(), "cosmos");
  }

  async sign(payload: Uint8Array): Promise<string> {
    const { rs } = signDigest(document(new TextDecoder().decode(payload), this.address), this.#key);
    return JSON.stringify({ pub_key: { type: keyType, value: base64.encode(this.#public) }, signature: base64.encode(rs) });
  }
}
