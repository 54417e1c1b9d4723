/** Solana wallets as signers: those of the wallet standard, and those that put themselves into the page. @module */
import { AlephError } from "../errors.ts";
import type { Signer } from "../signer.ts";
import { encodeSignature } from "../sol.ts";

/** A wallet of the wallet standard, with the features that are used here. */
export interface StandardWallet {
  accounts: readonly StandardAccount[];
  features: Readonly<Record<string, unknown>>;
}

export interface StandardAccount {
  address: string;
}

interface Connect {
  connect(): Promise<{ accounts: readonly StandardAccount[] }>;
}

interface SignMessage {
  signMessage(...calls: { account: StandardAccount; message: Uint8Array }[]): Promise<readonly { signature: Uint8Array }[]>;
}

/** Connects to a wallet, once, and signs as its first account, or as the one that is named. */
export async function fromStandardWallet(wallet: StandardWallet, named?: string): Promise<Signer> {
  const signing = wallet.features["solana:signMessage"] as SignMessage | undefined;
  if (!signing) throw new AlephError("this wallet does not sign messages of Solana", { code: "wallet" });
  const connecting = wallet.features["standard:connect"] as Connect | undefined;
  const accounts = wallet.accounts.length > 0 || !connecting ? wallet.accounts : (await connecting.connect()).accounts;
  const account = named === undefined ? accounts[0] : accounts.find((a) => a.address === named);
  if (!account) throw new AlephError(named ? `the wallet does not share the account ${named}` : "the wallet shares no account", { code: "wallet" });
  return signer(account.address, async (message) => (await signing.signMessage({ account, message }))[0]!.signature);
}

/** A wallet such as `window.phantom.solana`. */
export interface InjectedWallet {
  publicKey: { toString(): string } | null;
  connect(): Promise<{ publicKey: { toString(): string } }>;
  signMessage(message: Uint8Array, display?: string): Promise<{ signature: Uint8Array }>;
}

export async function fromInjected(wallet: InjectedWallet): Promise<Signer> {
  const { publicKey } = wallet.publicKey ? { publicKey: wallet.publicKey } : await wallet.connect();
  return signer(publicKey.toString(), async (message) => (await wallet.signMessage(message, "utf8")).signature);
}

function signer(address: string, sign: (message: Uint8Array) => Promise<Uint8Array>): Signer {
  return { chain: "SOL", address, sign: async (payload) => encodeSignature(await sign(payload), address) };
}
