import assert from "node:assert/strict";
import { test } from "node:test";
import { type Address, decodeFunctionData, encodeFunctionResult, parseAbi } from "viem";
import { Streams, avalanche, split } from "@aleph-im/sdk/payg";

const abi = parseAbi(["function getFlowrate(address token, address sender, address receiver) view returns (int96)", "function setFlowrate(address token, address receiver, int96 flowrate) returns (bool)"]);
const [sender, receiver] = ["0x1a642f0E3c3aF545E7AcBD38b07251B3990914F1", "0x85E1365dE7394f86d71d9F2e707Fbce2B5383770"] as const;

/** A wallet whose chain keeps the rates of streams. */
function wallet(chainId = avalanche.chainId, status = "0x1") {
  const rates = new Map<string, bigint>();
  let mined = false;
  return {
    rates,
    async request({ method, params = [] }: { method: string; params?: unknown[] }): Promise<unknown> {
      const tx = params[0] as { to: string; data: `0x${string}`; from?: string };
      switch (method) {
        case "eth_chainId":
          return "0x" + chainId.toString(16);
        case "eth_call": {
          const { args } = decodeFunctionData({ abi, data: tx.data }) as { args: readonly Address[] };
          assert.deepEqual(args.slice(0, 2), [avalanche.token, sender]);
          return encodeFunctionResult({ abi, functionName: "getFlowrate", result: rates.get(args[2]!) ?? 0n });
        }
        case "eth_sendTransaction": {
          const { args } = decodeFunctionData({ abi, data: tx.data }) as { args: readonly [Address, Address, bigint] };
          assert.deepEqual([tx.to, tx.from, args[0]], [avalanche.forwarder, sender, avalanche.token]);
          rates.set(args[1], args[2]);
          mined = false;
          return "0xab";
        }
        case "eth_getTransactionReceipt":
          // In a block only when it is asked for the second time.
          return mined ? { status } : ((mined = true), null);
      }
      throw new Error(`unexpected ${method}`);
    },
  };
}

test("a stream is begun, added to and ended", async () => {
  const chain = wallet();
  const streams = new Streams(chain, sender, avalanche);
  assert.equal(await streams.rate(receiver), 0n);
  assert.equal(await streams.setRate(receiver, 1_000n), "0xab");
  await streams.change(receiver, 500n);
  assert.equal(await streams.rate(receiver), 1_500n);
  await streams.change(receiver, -2_000n);
  assert.equal(chain.rates.get(receiver), 0n);
});

test("a wallet on another chain and a transaction that fails are told", async () => {
  await assert.rejects(new Streams(wallet(1), sender, avalanche).setRate(receiver, 1n), /switch it to 43114/);
  await assert.rejects(new Streams(wallet(avalanche.chainId, "0x0"), sender, avalanche).setRate(receiver, 1n), /failed/);
});

test("a cost is split so that neither side gets too little", () => {
  assert.deepEqual(split("0.000030555555555555"), { node: 24_444_444_444_444n, community: 6_111_111_111_111n });
  assert.deepEqual(split("0.000000000000000001"), { node: 1n, community: 1n });
});
