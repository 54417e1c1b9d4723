import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { AlephError, HttpError, NotFoundError, type Signer, VerificationError } from "@aleph-im/sdk";
import { ComputeNode, DelegatedKey } from "@aleph-im/sdk/crn";
import { EthereumAccount } from "@aleph-im/sdk/eth";
import { SolanaAccount } from "@aleph-im/sdk/sol";
import { TezosAccount } from "@aleph-im/sdk/tezos";
import { FakeComputeNode } from "./compute.js";

const program = "ab".repeat(32);
let fake: FakeComputeNode;
before(async () => void (fake = await FakeComputeNode.start()));
after(() => fake.close());

test("a program is called as it wants to be called", async () => {
  const node = new ComputeNode(fake.url + "/");
  assert.equal(node.programURL(program), `${fake.url}/vm/${program}/`);
  assert.equal(await (await node.call(program)).text(), "GET / ");
  assert.equal(await (await node.call(program, "/a/b", { method: "POST", body: "x" })).text(), "POST /a/b x");
});

for (const account of [EthereumAccount.generate(), SolanaAccount.generate()]) {
  test(`an owner on ${account.chain} operates a workload, and the wallet is asked once`, async () => {
    let asked = 0;
    const signer: Signer = { chain: account.chain, address: account.address, sign: (payload) => (asked++, account.sign(payload)) };
    fake.owner = account.address;
    fake.operated.length = 0;
    const node = new ComputeNode(fake.url, { signer });
    const answers = await Promise.all([node.operate(program, "stop"), node.operate(program, "reinstall", { eraseVolumes: false }), node.logs(program)]);
    assert.equal(answers[0], "Done: stop");
    assert.equal(answers[2][0]?.MESSAGE, "first line");
    assert.deepEqual(fake.operated.sort(), ["logs", "reinstall?erase_volumes=false", "stop"]);
    const lines = [];
    for await (const line of node.streamLogs(program)) lines.push(line);
    assert.deepEqual(lines, [{ type: "stdout", message: "first line" }, { type: "stderr", message: "second line" }]);
    assert.equal(asked, 1);
  });
}

test("others may not", async () => {
  fake.owner = EthereumAccount.generate().address;
  const node = new ComputeNode(fake.url, { signer: EthereumAccount.generate() });
  await assert.rejects(node.operate(program, "erase"), (e) => e instanceof HttpError && e.status === 403);
  await assert.rejects(node.streamLogs(program).next(), (e) => e instanceof AlephError && e.code === "not_allowed");
  await assert.rejects(new ComputeNode(fake.url).logs(program), /give the compute node a signer/);
  await assert.rejects(DelegatedKey.create(TezosAccount.generate()), /not on TEZOS/);
});

test("a key that has been delegated to serves several nodes, and is made anew when it expires", async () => {
  fake.owner = undefined;
  const account = EthereumAccount.generate();
  const key = await DelegatedKey.create(account, 5);
  assert.match(await new ComputeNode(fake.url, { key }).operate(program, "reboot"), /Done/);
  const old = await DelegatedKey.create(account, 0.5);
  assert.match(await new ComputeNode(fake.url, { key: old, signer: account }).operate(program, "reboot"), /Done/);
});

test("an instance is copied, the copy fetched and checked, and a file put in its place", async () => {
  const account = EthereumAccount.generate();
  fake.owner = account.address;
  fake.operated.length = 0;
  const node = new ComputeNode(fake.url, { signer: account });
  await assert.rejects(node.getBackup(program), NotFoundError);
  assert.equal(await node.startBackup(program, { includeVolumes: true }), undefined);
  const backup = await node.awaitBackup(program);
  const told: number[] = [];
  const read = async () => new Response((await node.downloadBackup(backup, { progress: (n) => told.push(n) })).stream).text();
  assert.equal(await read(), "the archive");
  assert.deepEqual(told, [11]);
  fake.archive = "another one";
  await assert.rejects(read(), VerificationError);
  await assert.rejects(node.deleteBackup(program, "../x"), AlephError);
  await node.deleteBackup(program, backup.backup_id);
  await node.restore(program, "cd".repeat(32));
  assert.deepEqual(fake.operated, ["backup", "backup?include_volumes=true", "backup", "backup", "backup", `restore {"volume_ref":"${"cd".repeat(32)}"}`]);
});
