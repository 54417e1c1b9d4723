import assert from "node:assert/strict";
import { test } from "node:test";
import { ed25519 } from "@noble/curves/ed25519.js";
import { base58 } from "@scure/base";
import { secretFromSeed, sign } from "@scure/sr25519";
import { Wallet } from "ethers";
import { createWalletClient, custom } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { mainnet } from "viem/chains";
import { Unsigned, type Signer, type Verifier } from "@aleph-im/sdk";
import * as eth from "@aleph-im/sdk/eth";
import * as sol from "@aleph-im/sdk/sol";
import * as substrate from "@aleph-im/sdk/substrate";
import * as tezos from "@aleph-im/sdk/tezos";
import { fromEthers, fromProvider, fromViem } from "@aleph-im/sdk/wallets/ethereum";
import { fromInjected, fromStandardWallet } from "@aleph-im/sdk/wallets/solana";
import { fromExtension } from "@aleph-im/sdk/wallets/substrate";
import { fromBeacon } from "@aleph-im/sdk/wallets/tezos";

const key = new Uint8Array(32).fill(7);
const hex = "0x" + "07".repeat(32) as `0x${string}`;

/** Signs a message with a wallet and holds it to the network's rule. */
async function signs(wallet: Signer, verifier: Verifier, address: string): Promise<void> {
  assert.equal(wallet.address, address);
  const unsigned = Unsigned.build({ chain: wallet.chain, sender: wallet.address, type: "POST", content: { type: "t" }, time: 1_700_000_000.123 });
  assert.ok(verifier.verify((await unsigned.sign(wallet)).message));
}

test("a provider of EIP-1193 is asked for its accounts once, and signs", async () => {
  const account = eth.EthereumAccount.fromPrivateKey(key);
  const asked: string[] = [];
  const provider = {
    async request({ method, params = [] }: { method: string; params?: unknown[] }) {
      asked.push(method);
      // Wallets answer in lower case.
      if (method === "eth_requestAccounts") return [account.address.toLowerCase()];
      assert.equal((params[1] as string).toLowerCase(), account.address.toLowerCase());
      return account.sign(Buffer.from((params[0] as string).slice(2), "hex"));
    },
  };
  const wallet = await fromProvider(provider);
  await signs(wallet, eth.verifier, account.address);
  await signs(wallet, eth.verifier, account.address);
  assert.deepEqual(asked, ["eth_requestAccounts", "personal_sign", "personal_sign"]);
  await assert.rejects(fromProvider(provider, eth.EthereumAccount.generate().address), /does not share/);
});

test("wallets of viem and of ethers sign", async () => {
  const { address } = eth.EthereumAccount.fromPrivateKey(key);
  const client = createWalletClient({ account: privateKeyToAccount(hex), chain: mainnet, transport: custom({ request: async () => assert.fail("asked the chain") }) });
  await signs(fromViem(client), eth.verifier, address);
  await signs(await fromEthers(new Wallet(hex)), eth.verifier, address);
});

test("wallets of Solana sign, of the standard and in the page", async () => {
  const address = base58.encode(ed25519.getPublicKey(key));
  const account = { address, publicKey: ed25519.getPublicKey(key), chains: ["solana:mainnet"], features: [] } as const;
  let connected = 0;
  const standard = {
    accounts: [],
    features: {
      "standard:connect": { version: "1.0.0", connect: async () => (connected++, { accounts: [account] }) },
      "solana:signMessage": {
        version: "1.0.0",
        signMessage: async (...calls: { account: unknown; message: Uint8Array }[]) =>
          calls.map((call) => {
            assert.equal(call.account, account);
            return { signedMessage: call.message, signature: ed25519.sign(call.message, key) };
          }),
      },
    },
  };
  await signs(await fromStandardWallet(standard), sol.verifier, address);
  assert.equal(connected, 1);
  await assert.rejects(fromStandardWallet({ accounts: [account], features: {} }), /does not sign/);

  const publicKey = { toString: () => address };
  const page = { publicKey: null, connect: async () => ({ publicKey }), signMessage: async (m: Uint8Array) => ({ publicKey, signature: ed25519.sign(m, key) }) };
  await signs(await fromInjected(page), sol.verifier, address);
});

test("a wallet of Tezos signs over Beacon what it shows, with the true time", async () => {
  const account = tezos.TezosAccount.fromPrivateKey(key);
  const beacon = {
    getActiveAccount: async () => ({ address: account.address, publicKey: account.publicKey }),
    async requestSignPayload({ payload, sourceAddress }: { payload: string; sourceAddress: string }) {
      assert.equal(sourceAddress, account.address);
      const bytes = Buffer.from(payload, "hex");
      assert.match(bytes.toString(), /Tezos Signed Message: https:\/\/app\.example 2023-11-14T22:13:20\.123Z TEZOS\n/);
      return JSON.parse(await account.sign(bytes)) as { signature: string };
    },
  };
  await signs(await fromBeacon(beacon, "https://app.example"), tezos.verifier, account.address);
  assert.equal(tezos.addressOfKey(account.publicKey), account.address);
  await assert.rejects(fromBeacon({ ...beacon, getActiveAccount: async () => undefined }, ""), /shares no account/);
});

test("an extension of Polkadot signs what it wraps", async () => {
  const account = substrate.SubstrateAccount.fromSeed(key);
  const secret = secretFromSeed(key);
  for (const prefix of ["", "01"]) {
    const signRaw = async ({ address, data, type }: { address: string; data: string; type: string }) => {
      assert.deepEqual([address, type], [account.address, "bytes"]);
      const wrapped = Buffer.concat([Buffer.from("<Bytes>"), Buffer.from(data.slice(2), "hex"), Buffer.from("</Bytes>")]);
      return { id: 1, signature: "0x" + prefix + Buffer.from(sign(secret, wrapped)).toString("hex") };
    };
    await signs(fromExtension({ address: account.address, type: "sr25519" }, { signRaw }), substrate.verifier, account.address);
    assert.throws(() => fromExtension({ address: account.address, type: "ed25519" }, { signRaw }), /only of sr25519/);
  }
});
