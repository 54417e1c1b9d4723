import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, InsufficientFundsError, NotFoundError, RejectedError, Unsigned } from "@aleph-im/sdk";
import { CosmosAccount } from "@aleph-im/sdk/cosmos";
import { EthereumAccount } from "@aleph-im/sdk/eth";
import { NULS2Account } from "@aleph-im/sdk/nuls2";
import { SolanaAccount } from "@aleph-im/sdk/sol";
import { SubstrateAccount } from "@aleph-im/sdk/substrate";
import { TezosAccount } from "@aleph-im/sdk/tezos";
import { TestNode } from "./node.js";

const node = TestNode.forFile();

test("a post that was published can be read back", async () => {
  const aleph = await node.client();
  const sent = await aleph.posts.create({ type: "note", content: { text: "hello" } });
  assert.equal(sent.status, "processed");

  const info = await aleph.messages.get(sent.hash);
  assert.equal(info.status, "processed");
  assert.ok(info.status === "processed" && info.message.type === "POST");
  assert.equal(info.message.sender, aleph.signer.address);
  assert.deepEqual(info.message.content.content, { text: "hello" });
  assert.deepEqual((await aleph.posts.get(sent.hash)).content, { text: "hello" });
});

const accounts = [
  EthereumAccount.fromPrivateKey("06".repeat(32), "BASE"),
  SolanaAccount.generate(),
  TezosAccount.generate("ed25519"),
  TezosAccount.generate("secp256k1"),
  TezosAccount.generate("p256"),
  SubstrateAccount.generate(),
  CosmosAccount.generate(),
  NULS2Account.generate(),
];
for (const signer of accounts) {
  test(`a node takes what an account on ${signer.chain} signs`, async () => {
    const aleph = new Client({ nodes: node.url, signer });
    const { hash, status } = await aleph.posts.create({ type: "note", content: signer.chain });
    assert.equal(status, "processed");
    assert.equal((await aleph.messages.get(hash)).status, "processed");
  });
}

test("a content that is too long for its message is stored apart", async () => {
  const aleph = await node.client();
  const text = "ü".repeat(40_000);
  const { hash, message } = await aleph.posts.create({ type: "note", content: { text } });
  assert.equal(message.item_type, "storage");
  assert.deepEqual((await aleph.messages.content(hash) as { content: unknown }).content, { text });
});

test("an amend changes what a post says, and forgetting takes both away", async () => {
  const aleph = await node.client();
  const { hash } = await aleph.posts.create({ type: "note", content: { v: 1 }, ref: "subject" });
  const amend = await aleph.posts.amend(hash, { v: 2 });
  const post = await aleph.posts.get<{ v: number }>(hash);
  assert.deepEqual([post.content.v, post.item_hash, post.original_item_hash, post.ref], [2, amend.hash, hash, "subject"]);
  assert.equal((await aleph.posts.pageV0({ hashes: [hash] })).items[0]?.original_type, "note");

  const forget = await aleph.forget([hash], { reason: "test" });
  const info = await aleph.messages.get(hash);
  assert.ok(info.status === "forgotten");
  assert.deepEqual(info.forgotten_by, [forget.hash]);
  await assert.rejects(aleph.posts.get(hash), NotFoundError);
});

test("lists are walked over their pages", async () => {
  const aleph = await node.client();
  const hashes: string[] = [];
  for (let i = 0; i < 5; i++) hashes.push((await aleph.posts.create({ type: "many", content: i, time: 1_700_000_000 + i })).hash);
  const filter = { addresses: [aleph.signer.address], pageSize: 2 };
  const walked: string[] = [];
  for await (const m of aleph.messages.iterate({ ...filter, oldestFirst: true })) walked.push(m.item_hash);
  assert.deepEqual(walked, hashes);
  const page = await aleph.messages.page(filter, 2);
  assert.deepEqual([page.total, page.items.map((m) => m.item_hash)], [5, [hashes[2], hashes[1]]]);
  const posts: unknown[] = [];
  for await (const p of aleph.posts.iterate(filter)) posts.push(p.content);
  assert.deepEqual(posts, [4, 3, 2, 1, 0]);
  assert.equal((await aleph.messages.page({ ...filter, since: 1_700_000_003, until: new Date(1_700_000_004_000) })).total, 1);
});

test("members of aggregates are merged, set and deleted", async () => {
  const aleph = await node.client();
  const me = aleph.signer.address;
  await aleph.aggregates.merge("profile", { name: "bob", age: 3 });
  await aleph.aggregates.merge("profile", { age: 4 });
  assert.deepEqual(await aleph.aggregates.get(me, "profile"), { name: "bob", age: 4 });
  await aleph.aggregates.deleteMembers("profile", ["age"]);
  assert.equal((await aleph.aggregates.get(me, "profile"))["age"] ?? null, null);
  await aleph.aggregates.set("profile", { city: "Paris" });
  const { city, name } = await aleph.aggregates.get(me, "profile");
  assert.deepEqual([city, name ?? null], ["Paris", null]);
  assert.equal(await aleph.aggregates.find(me, "missing"), undefined);
  await assert.rejects(aleph.aggregates.get(me, "missing"), NotFoundError);
});

test("an authorization lets another account write, until it is taken back", async () => {
  const owner = await node.client();
  const friend = await node.client();
  const asOwner = { type: "note", content: "hi", owner: owner.signer.address };
  await assert.rejects(friend.posts.create(asOwner), (e) => e instanceof RejectedError && e.code === 2);
  await owner.authorizations.grant({ address: friend.signer.address, types: ["POST"] });
  assert.deepEqual(Object.keys(await friend.authorizations.received(friend.signer.address)), [owner.signer.address]);
  assert.equal((await friend.posts.create(asOwner)).status, "processed");
  await owner.authorizations.revoke(friend.signer.address);
  await assert.rejects(friend.posts.create(asOwner), RejectedError);
});

test("a message can be built here, signed there and published elsewhere", async () => {
  const aleph = await node.client();
  const text = JSON.stringify(aleph.build("POST", { type: "note", content: "from far" }));
  const signed = JSON.stringify(await Unsigned.fromJSON(JSON.parse(text)).sign(aleph.signer));
  const { hash } = await new Client({ nodes: node.url }).broadcast(JSON.parse(signed));
  assert.equal((await aleph.messages.wait(hash)).status, "processed");
});

test("who cannot pay is told what is missing", async () => {
  const aleph = await node.client();
  const file = await aleph.files.upload("root");
  const instance = { image: file.hash, diskMiB: 4096, payment: { type: "credit" as const, chain: "ETH" } };
  await assert.rejects(aleph.workloads.createInstance(instance), (e) => {
    assert.ok(e instanceof InsufficientFundsError);
    assert.deepEqual([e.kind, e.code, e.available], ["CREDIT", 6, "0"]);
    assert.ok(Number(e.required) > 0);
    return true;
  });
  assert.ok(Number((await aleph.workloads.previewInstance(instance)).credit.perHour) > 0);
  await node.fund(aleph.signer.address);
  const { hash } = await aleph.workloads.createInstance(instance);
  assert.ok(Number((await aleph.prices.get(hash)).cost) > 0);
});
