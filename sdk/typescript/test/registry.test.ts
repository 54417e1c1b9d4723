import assert from "node:assert/strict";
import { test } from "node:test";
import { AlephError, TimeoutError } from "@aleph-im/sdk";
import { Registry } from "@aleph-im/sdk/registry";
import { TestNode } from "./node.js";

const node = TestNode.forFile();

test("operations on nodes are posted as the registry reads them", async () => {
  const aleph = await node.client();
  const registry = new Registry(aleph, { tag: "devnet" });
  const core = await registry.createCore({ name: "core", multiaddress: "/ip4/127.0.0.1/tcp/4025/p2p/Qm" });
  const compute = await registry.createCompute({ name: "compute", address: "https://crn.example" });
  await registry.amendCompute(compute.hash, { description: "in a cellar", locked: true });
  await registry.link(compute.hash);
  await registry.unlink(compute.hash);
  await registry.stake(core.hash);
  await registry.unstake(core.hash);
  await registry.drop(compute.hash);
  await assert.rejects(async () => registry.amendCore(core.hash, {}), AlephError);

  const posted = [];
  for await (const m of aleph.messages.iterate({ addresses: [aleph.signer.address], channels: ["FOUNDATION"], oldestFirst: true })) {
    if (m.type === "POST") posted.push([m.content.type, m.content.ref, m.content.content]);
  }
  const did = (action: string, ref: string, details?: object) => [details ? "amend" : "corechan-operation", ref, { action, tags: [action, "devnet"], ...(details && { details }) }];
  assert.deepEqual(posted, [
    ["corechan-operation", undefined, { action: "create-node", tags: ["create-node", "devnet"], details: { name: "core", multiaddress: "/ip4/127.0.0.1/tcp/4025/p2p/Qm" } }],
    ["corechan-operation", undefined, { action: "create-resource-node", tags: ["create-resource-node", "devnet"], details: { name: "compute", address: "https://crn.example", type: "compute" } }],
    did("create-resource-node", compute.hash, { description: "in a cellar", locked: true }),
    did("link", compute.hash),
    did("unlink", compute.hash),
    did("stake-split", core.hash),
    did("unstake", core.hash),
    did("drop-node", compute.hash),
  ]);
});

test("the registry is read, and waited for", async () => {
  const aleph = await node.client();
  const registry = new Registry(aleph, { owner: aleph.signer.address });
  assert.deepEqual(await registry.list(), { nodes: [], resource_nodes: [] });
  await assert.rejects(registry.until((all) => all.nodes.length > 0, { deadline: 1 }), TimeoutError);
  const waiting = registry.until((all) => all.nodes.some((n) => n.status === "active"));
  await aleph.aggregates.merge("corechannel", { nodes: [{ hash: "ab".repeat(32), name: "core", status: "active" }], resource_nodes: [] });
  assert.equal((await waiting).nodes[0]?.name, "core");
});
