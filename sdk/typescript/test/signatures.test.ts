import assert from "node:assert/strict";
import { test } from "node:test";
import { bytesToHex } from "@noble/hashes/utils.js";
import { AlephError, type Envelope, Unsigned, type Signer, type Verifier } from "@aleph-im/sdk";
import * as avalanche from "@aleph-im/sdk/avalanche";
import * as cosmos from "@aleph-im/sdk/cosmos";
import * as eth from "@aleph-im/sdk/eth";
import { generatePhrase, keyOfPhrase } from "@aleph-im/sdk/mnemonic";
import * as nuls1 from "@aleph-im/sdk/nuls1";
import * as nuls2 from "@aleph-im/sdk/nuls2";
import * as sol from "@aleph-im/sdk/sol";
import * as substrate from "@aleph-im/sdk/substrate";
import * as tezos from "@aleph-im/sdk/tezos";
import { vectors } from "./node.js";

interface Vector {
  id: string;
  message: Envelope;
  expected: string;
}

const families: Record<string, Verifier> = {
  evm: eth.verifier,
  sol: sol.verifier,
  es: sol.verifier,
  tezos: tezos.verifier,
  dot: substrate.verifier,
  csdk: cosmos.verifier,
  nuls2: nuls2.verifier,
  nuls: nuls1.verifier,
  avax: avalanche.verifier,
};

for (const [family, verifier] of Object.entries(families)) {
  test(`signatures of ${family} are judged as the network's nodes judge them`, async () => {
    const { fixtures, own } = await vectors<{ fixtures: Vector[]; own: Vector[] }>(`signatures_${family}.json`);
    let checked = 0;
    for (const { id, message, expected } of [...fixtures, ...own]) {
      if (!verifier.chains.includes(message.chain)) continue;
      const signature = message.signature as unknown;
      // A signature that is no text never reaches a verifier: envelopes have none such.
      const valid = typeof signature === "string" && verifier.verify(message);
      assert.equal(valid, expected === "valid", `${id}: want ${expected}`);
      checked++;
    }
    assert.ok(checked > 5, `only ${checked} vectors`);
  });
}

/** Accounts whose addresses and signatures were computed by the published packages: every key is the byte 1, 32 times. */
const known: [Signer, string, string, string][] = [
  [
    eth.EthereumAccount.fromPrivateKey("01".repeat(32)),
    "0x1a642f0E3c3aF545E7AcBD38b07251B3990914F1",
    "d6105d3d2703bdaab87cf60f6a593aa410b78a74d985c1d5fe4cfda45729f5a1",
    "0x233e50c2865e3d862f81bc37e979778acfff53c8864236da5047810d1d5b6a394a389c6dce719eee42ddde4bd30277c4bbeb3bd5b52643a6f6b20302fcc29d371b",
  ],
  [
    sol.SolanaAccount.fromPrivateKey(new Uint8Array(32).fill(1)),
    "AKnL4NNf3DGWZJS6cPknBuEGnVsV4A4m5tgebLHaRSZ9",
    "4139dad0aedac47df601af7455dad4e2ea0dcaf491c2945263f6a69a5fa91f58",
    '{"signature":"3ai2pnA6sBgFkSoMRnV3zogvTy4w8FCYB6ZSxCUuzaow7DLbz4UHWaN3fqhC5RJZY2KbX7hhRHTFaFXZn19tabnz","publicKey":"AKnL4NNf3DGWZJS6cPknBuEGnVsV4A4m5tgebLHaRSZ9"}',
  ],
  [
    cosmos.CosmosAccount.fromPrivateKey("0x" + "01".repeat(32)),
    "cosmos10xcqpzrky6eff2g52qdye53xkk9jxkvrpq6uqr",
    "609e94b1f91653333f8ab9ae64d909fdb42cdccd8ff4efadf50f0306b0e8ae79",
    '{"pub_key":{"type":"tendermint/PubKeySecp256k1","value":"AxuExVZ7EmRAmV0+1aq6BWXXHhg0YEgZ/5wX9enV3QeP"},"signature":"4wdmwQHZMRd2GuOyd74yBgGZEHUgwdYU6nylKoNR51Jw4YdeJeDR6v1wTjXbkECJCJW935WCO4XpxwffoLXUEg=="}',
  ],
  [
    nuls2.NULS2Account.fromPrivateKey("01".repeat(32)),
    "NULSd6HgbMLwvJ6hrNbp9g2Wf91LqtmXC3XKt",
    "bbf3a747f4f7495d0b40f63121e75d14d5df4ee55021d35d4a7561135fd93d4a",
    "G7FhqXXJQhozKZslpG4vgOecD4It9rCfXQ6GgcEfqaHiGN9mbWDoezSzmEw9fLG29WwQu7uDIwGIFiJtqR2PcGw=",
  ],
];

for (const [account, address, hash, signature] of known) {
  test(`what ${account.chain} signs is what the published packages sign`, async () => {
    assert.equal(account.address, address);
    const content = `{"type":"t","address":"${address}","content":{"a":1},"time":1700000000}`;
    const unsigned = Unsigned.build({ chain: account.chain, sender: address, type: "POST", content, time: 1_700_000_000 });
    assert.equal(unsigned.itemHash, hash);
    assert.equal(unsigned.verificationText, `${account.chain}\n${address}\nPOST\n${hash}`);
    assert.equal((await unsigned.sign(account)).message.signature, signature);
  });
}

test("keys give the addresses that other wallets give them", async () => {
  const { accounts } = await vectors<{ accounts: { chain: string; address: string; detail: Partial<Record<string, string>> }[] }>("accounts.json");
  let checked = 0;
  for (const { chain, address, detail } of accounts) {
    const account = open(chain, detail);
    if (!account) continue;
    assert.equal(account.address, address);
    checked++;
  }
  assert.ok(checked >= 25, `only ${checked} accounts`);
});

function open(chain: string, d: Partial<Record<string, string>>): Signer | undefined {
  const key = d["private_key_hex"];
  // What a phrase leads to is also there as a key; DOT has the seed under its own name.
  if (d["mnemonic"]) assert.equal(bytesToHex(keyOfPhrase(` ${d["mnemonic"].toUpperCase()}\n`, chain, d["passphrase"])), key ?? d["mini_secret_hex"]);
  switch (chain) {
    case "ETH":
      return eth.EthereumAccount.fromPrivateKey(key!);
    case "SOL":
      assert.deepEqual(sol.SolanaAccount.fromPrivateKey(d["secret_key_64_base58"]!).address, sol.SolanaAccount.fromPrivateKey(d["seed_hex"]!).address);
      return sol.SolanaAccount.fromPrivateKey(d["seed_hex"]!);
    case "TEZOS":
      return tezos.TezosAccount.fromPrivateKey(d["secret_hex"]!, d["curve"] as tezos.Curve);
    case "DOT":
      return substrate.SubstrateAccount.fromSeed(d["mini_secret_hex"]!);
    case "CSDK":
      return cosmos.CosmosAccount.fromPrivateKey(key!, d["hrp"]);
    case "NULS2":
      return nuls2.NULS2Account.fromPrivateKey(key!, Number(d["chain_id"] ?? 1) as 1 | 2);
    case "NULS":
      return nuls1.NULS1Account.fromPrivateKey(key!, Number(d["chain_id"]));
    case "AVAX":
      assert.equal(avalanche.AvalancheAccount.fromPrivateKey(key!).address, avalanche.AvalancheAccount.fromPrivateKey(d["private_key_cb58"]!).address);
      return avalanche.AvalancheAccount.fromPrivateKey(key!);
  }
  return undefined;
}

test("every kind of account signs what its verifier accepts", async () => {
  const accounts = [
    eth.EthereumAccount.generate(),
    sol.SolanaAccount.generate(),
    tezos.TezosAccount.generate("ed25519"),
    tezos.TezosAccount.generate("secp256k1"),
    tezos.TezosAccount.generate("p256"),
    substrate.SubstrateAccount.generate(),
    cosmos.CosmosAccount.generate(),
    nuls2.NULS2Account.generate(),
    nuls1.NULS1Account.generate(),
    avalanche.AvalancheAccount.generate("P"),
  ];
  for (const account of accounts) {
    const unsigned = Unsigned.build({ chain: account.chain, sender: account.address, type: "POST", content: { a: account.address } });
    const { message } = await unsigned.sign(account);
    assert.ok(account.verifier.verify(message), account.address);
    assert.ok(!account.verifier.verify({ ...message, type: "FORGET" }), account.address);
    assert.ok(!account.verifier.verify({ ...message, signature: "{}" }), account.address);
  }
});

test("a phrase leads to the keys of ed25519 that wallets show for it", () => {
  const phrase = "abandon ".repeat(11) + "about";
  assert.equal(sol.SolanaAccount.fromPrivateKey(keyOfPhrase(phrase, "SOL")).address, "HAgk14JpMQLgt6rVgv7cBQFJWFto5Dqxi472uT3DKpqk");
  assert.notDeepEqual(keyOfPhrase(phrase, "TEZOS"), keyOfPhrase(phrase, "SOL"));
});

test("phrases are made, and refused without being shown", () => {
  for (const words of [12, 24] as const) {
    const phrase = generatePhrase(words);
    assert.equal(phrase.split(" ").length, words);
    assert.equal(keyOfPhrase(phrase).length, 32);
    assert.notDeepEqual(keyOfPhrase(phrase), keyOfPhrase(phrase, "ETH", "a passphrase"));
  }
  const wrong = "zebra ".repeat(12);
  assert.throws(() => keyOfPhrase(wrong), (e: Error) => e instanceof AlephError && !e.message.includes("zebra"));
  assert.throws(() => keyOfPhrase(generatePhrase(), "NULS"), /no phrases/);
});

test("what is no private key is refused without showing it", () => {
  const secret = "c0ffee".repeat(10);
  for (const from of [eth.EthereumAccount.fromPrivateKey, sol.SolanaAccount.fromPrivateKey, tezos.TezosAccount.fromPrivateKey, cosmos.CosmosAccount.fromPrivateKey, nuls2.NULS2Account.fromPrivateKey, nuls1.NULS1Account.fromPrivateKey, avalanche.AvalancheAccount.fromPrivateKey]) {
    assert.throws(() => from(secret), (e: Error) => !e.message.includes("c0ffee"));
  }
  assert.throws(() => eth.EthereumAccount.fromPrivateKey("00".repeat(32)));
});
