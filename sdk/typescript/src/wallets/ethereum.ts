/** Ethereum wallets as signers: EIP-1193 providers of browsers, viem, ethers. @module */
import { bytesToHex } from "@noble/hashes/utils.js";
import { checksum } from "../checksum.ts";
import { AlephError } from "../errors.ts";
import { type Provider, ask } from "../provider.ts";
import type { Signer } from "../signer.ts";

export { type Provider, WalletError } from "../provider.ts";

/** Asks the wallet for its accounts, once, and signs as the first, or as the one that is named. */
export async function fromProvider(provider: Provider, named?: string): Promise<Signer> {
  const accounts = (await ask(provider, "eth_requestAccounts")) as string[];
  const address = named ?? accounts[0];
  if (!address || !accounts.some((a) => a.toLowerCase() === address.toLowerCase())) {
    throw new AlephError(named ? `the wallet does not share the account ${named}` : "the wallet shares no account", { code: "wallet" });
  }
  return signer(address, async (payload) => (await ask(provider, "personal_sign", "0x" + bytesToHex(payload), address)) as string);
}

/** A `WalletClient` of viem. */
export interface ViemWallet {
  account?: { address: `0x${string}` } | undefined;
  // A property, not a method: viem's own has more optional arguments than this needs.
  signMessage: (call: { account: never; message: { raw: Uint8Array } }) => Promise<string>;
}

/** Signs with a wallet client of viem, which must have an account. */
export function fromViem(wallet: ViemWallet): Signer {
  const account = wallet.account;
  if (!account) throw new AlephError("give the wallet client an account", { code: "argument" });
  return signer(account.address, (raw) => wallet.signMessage({ account: account as never, message: { raw } }));
}

/** A signer of ethers, of version 5 or 6. */
export interface EthersSigner {
  getAddress(): Promise<string>;
  signMessage(message: Uint8Array): Promise<string>;
}

export async function fromEthers(wallet: EthersSigner): Promise<Signer> {
  return signer(await wallet.getAddress(), (payload) => wallet.signMessage(payload));
}

/** Users of every chain of this family sign as `ETH`. */
function signer(address: string, sign: (payload: Uint8Array) => Promise<string>): Signer {
  return { chain: "ETH", address: checksum(address), sign: (payload) => sign(payload) };
}
