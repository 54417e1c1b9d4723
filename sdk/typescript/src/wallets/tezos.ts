/** Tezos wallets as signers, over Beacon. @module */
import { bytesToHex } from "@noble/hashes/utils.js";
import { AlephError } from "../errors.ts";
import type { Signer } from "../signer.ts";
import { micheline } from "../tezos.ts";

/** A `DAppClient` of Beacon, with what is used here. */
export interface BeaconClient {
  getActiveAccount(): Promise<{ address: string; publicKey?: string | undefined } | undefined>;
  requestSignPayload(call: { signingType: never; payload: string; sourceAddress: string }): Promise<{ signature: string }>;
}

/** Signs as the active account. Wallets show what is signed, and the address of the application in it. */
export async function fromBeacon(client: BeaconClient, dAppUrl: string): Promise<Signer> {
  const account = await client.getActiveAccount();
  if (!account?.publicKey) throw new AlephError("the wallet shares no account: ask it for permissions first", { code: "wallet" });
  const { address, publicKey } = account;
  return {
    chain: "TEZOS",
    address,
    async sign(payload, occasion) {
      if (!occasion) throw new AlephError("wallets of Tezos sign the time of the message with it: give it", { code: "argument" });
      const call = { signingType: "micheline" as never, payload: bytesToHex(micheline(payload, occasion.time, dAppUrl)), sourceAddress: address };
      const { signature } = await client.requestSignPayload(call);
      return JSON.stringify({ signature, publicKey, signingType: "micheline", dAppUrl });
    },
  };
}
