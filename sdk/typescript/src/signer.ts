import type { Envelope } from "./wire.ts";

/** What a signature says besides the bytes under it. Some wallets show it or need it. */
export interface Occasion {
  /** Time of the envelope, Unix seconds. Tezos wallets sign it. */
  time: number;
}

/** Signs on behalf of one address: a key in memory, a wallet in the browser, a device, a remote service. */
export interface Signer {
  /** Code of the chain, such as `ETH` or `SOL`. */
  readonly chain: string;
  readonly address: string;
  /** Signs the bytes and returns the signature as it travels in an envelope of this chain (messages §4). */
  sign(payload: Uint8Array, occasion?: Occasion): Promise<string>;
  /** Checks signatures of this signer's chain. A client uses it for every message that it reads. */
  readonly verifier?: Verifier;
}

/** Checks the signatures of one family of chains. */
export interface Verifier {
  readonly chains: readonly string[];
  /** Whether the signature is the sender's, of this message. Malformed signatures are false too. */
  verify(envelope: Envelope): boolean;
}
