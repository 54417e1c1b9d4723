/** Polkadot wallets as signers, as extensions of browsers offer them. @module */
import { bytesToHex } from "@noble/hashes/utils.js";
import { AlephError } from "../errors.ts";
import type { Signer } from "../signer.ts";
import { encodeSignature } from "../substrate.ts";

/** An account of an extension, as `web3Accounts` lists it, or `accounts.get` of the extension. */
export interface InjectedAccount {
  address: string;
  type?: string | undefined;
}

/** The signer of an extension, as `web3FromAddress(address).signer`. */
export interface InjectedSigner {
  signRaw?: ((call: { address: string; data: string; type: "bytes" }) => Promise<{ signature: string }>) | undefined;
}

/** Signs as an account of an extension. The network takes only keys of sr25519. */
export function fromExtension(account: InjectedAccount, extension: InjectedSigner): Signer {
  const { address, type } = account;
  const { signRaw } = extension;
  if (!signRaw) throw new AlephError("this extension does not sign messages", { code: "wallet" });
  if (type !== undefined && type !== "sr25519") throw new AlephError(`the network does not take signatures of ${type}, only of sr25519`, { code: "wallet" });
  return {
    chain: "DOT",
    address,
    async sign(payload) {
      const { signature } = await signRaw({ address, data: "0x" + bytesToHex(payload), type: "bytes" });
      // Some put the number of the curve before it.
      return encodeSignature(signature.length === 132 ? "0x" + signature.slice(4) : signature);
    },
  };
}
