import assert from "node:assert/strict";
import { test } from "node:test";
import { type Address, decodeFunctionData, encodeFunctionResult, parseAbi } from "viem";
import { AlephError, TimeoutError } from "@aleph-im/sdk";
import { Plan, Streams, UnsettledError, WalletError, avalanche, shares } from "@aleph-im/sdk/payg";
import { DevelopmentChain } from "./node.js";

const abi = parseAbi([
  "function getFlow(address token, address sender, address receiver) view returns (uint256 timestamp, int96 flowRate, uint256 deposit, uint256 owedDeposit)",
  "function setFlowrate(address token, address receiver, int96 flowrate) returns (bool)",
  "function balanceOf(address account) view returns (uint256)",
]);
const [sender, receiver, other] = ["0x1a642f0E3c3aF545E7AcBD38b07251B3990914F1", "0x85E1365dE7394f86d71d9F2e707Fbce2B5383770", "0x5B38Da6a701c568545dCfcB03FcB875f56beddC4"] as const;

/** A wallet whose chain keeps the rates of streams. */
function wallet(o: { chainId?: number; status?: string; gas?: bigint; tokens?: bigint; pending?: number; behind?: number; fails?: string[]; code?: number } = {}) {
  const { chainId = avalanche.chainId, status = "0x1", gas = 10n ** 18n, tokens = 10n ** 18n, fails = [], code = -32000 } = o;
  const rates = new Map<string, bigint>();
  let mined = false;
  let pending = o.pending ?? 0; // questions until nothing is on its way
  let behind = o.behind ?? 0; // reads that still show what was before the last transaction
  let before: [Address, bigint] | undefined;
  const sent: string[] = [];
  return {
    rates,
    sent,
    async request({ method, params = [] }: { method: string; params?: unknown[] }): Promise<unknown> {
      if (fails[0] === method) throw { code, message: fails.shift() + " is too busy" };
      const tx = params[0] as { to: string; data: `0x${string}`; from?: string };
      switch (method) {
        case "eth_chainId":
          return "0x" + chainId.toString(16);
        case "eth_getBalance":
          return "0x" + gas.toString(16);
        case "eth_call": {
          const { functionName, args } = decodeFunctionData({ abi, data: tx.data }) as { functionName: string; args: readonly Address[] };
          if (functionName === "balanceOf") return encodeFunctionResult({ abi, functionName, result: tokens });
          assert.deepEqual(args.slice(0, 2), [avalanche.token, sender]);
          const late = before && before[0] === args[2] && behind-- > 0;
          assert.equal(tx.to, avalanche.agreement);
          return encodeFunctionResult({ abi, functionName: "getFlow", result: [0n, late ? before![1] : (rates.get(args[2]!) ?? 0n), 0n, 0n] });
        }
        case "eth_sendTransaction": {
          const { args } = decodeFunctionData({ abi, data: tx.data }) as { args: readonly [Address, Address, bigint] };
          assert.deepEqual([tx.to, tx.from, args[0]], [avalanche.forwarder, sender, avalanche.token]);
          before = [args[1], rates.get(args[1]) ?? 0n];
          if (status === "0x1") rates.set(args[1], args[2]);
          mined = false;
          sent.push(args[1]);
          return "0xab";
        }
        case "eth_estimateGas":
          return "0x5208";
        case "eth_getTransactionCount":
          assert.equal(params[0], sender);
          return params[1] === "pending" && pending-- > 0 ? "0x8" : "0x7";
        case "eth_getTransactionReceipt":
          // In a block only when it is asked for the second time.
          return mined ? { status } : ((mined = true), null);
      }
      throw new Error(`unexpected ${method}`);
    },
  };
}

test("streams are begun, added to and ended", async () => {
  const chain = wallet();
  const streams = new Streams(chain, sender, avalanche);
  assert.equal(await streams.rate(receiver), 0n);
  const begun = await streams.increase([{ receiver, rate: 1_000n }]);
  assert.deepEqual(begun.steps, [{ receiver, from: 0n, to: 1_000n }]);
  await streams.check(begun);
  await streams.apply(begun);
  await streams.apply(begun); // does nothing
  assert.ok(await streams.done(begun));
  await streams.apply(await streams.increase([{ receiver, rate: 500n }]));
  assert.equal(await streams.rate(receiver), 1_500n);
  await streams.apply(await streams.reduce([{ receiver, rate: 1_450n }]));
  assert.equal(chain.rates.get(receiver), 0n, "what rounding leaves is ended");
  await streams.apply(await streams.change([{ receiver, rate: 7_000n }]));
  assert.equal(chain.rates.get(receiver), 7_000n);
  assert.equal(chain.sent.length, 4);
});

test("what goes to one receiver is one stream", async () => {
  const chain = wallet();
  const streams = new Streams(chain, sender, avalanche);
  const plan = await streams.increase([{ receiver, rate: 800n }, { receiver: receiver.toLowerCase(), rate: 200n }]);
  await streams.apply(plan);
  assert.deepEqual([...chain.rates.values()], [1_000n]);
});

test("what broke off is carried on, or undone", async () => {
  const chain = wallet({ fails: ["eth_sendTransaction"], code: 4001 });
  const streams = new Streams(chain, sender, avalanche);
  const plan = await streams.increase([{ receiver, rate: 800n }, { receiver: other, rate: 200n }]);
  await assert.rejects(streams.apply(plan), (e: unknown) => e instanceof WalletError && e.code === "refused" && e.settled);
  const kept = Plan.fromJSON(JSON.parse(JSON.stringify(plan)));
  assert.deepEqual(kept, plan);
  await streams.apply(kept);
  assert.equal(chain.rates.get(other), 200n);
  await streams.apply(kept.reverse());
  assert.deepEqual([...chain.rates.values()], [0n, 0n]);
  await assert.rejects(streams.apply(new Plan("AVAX", sender, [{ receiver, from: 5n, to: 6n }])), (e: AlephError) => e.code === "stream");
  for (const step of [{ receiver, from: 0, to: 2 ** 60 }, { receiver, from: "-1", to: "1" }, null]) {
    assert.throws(() => Plan.fromJSON({ chain: "AVAX", sender, steps: [step] }), /no plan of streams/);
  }
  for (const other of [null, "plan", { chain: "AVAX", sender }]) assert.throws(() => Plan.fromJSON(other), AlephError);
  await assert.rejects(new Streams(chain, other, avalanche).apply(plan), /the plan is of/);
});

test("only its user's refusal is told as one, and what a wallet may have sent can be carried on", async () => {
  for (const [code, told] of [[4100, /has not allowed/], [-32601, /does not know/], [-32003, /the chain's node refused/]] as const) {
    const streams = new Streams(wallet({ fails: ["eth_sendTransaction"], code }), sender, avalanche);
    const plan = await streams.increase([{ receiver, rate: 1_000n }]);
    await assert.rejects(streams.apply(plan), (e: unknown) => e instanceof WalletError && e.code === "wallet" && told.test(e.message));
  }
  for (const code of [-32000, -32603, 4900, undefined]) {
    const chain = wallet({ fails: ["eth_sendTransaction"], ...(code && { code }) });
    const streams = new Streams(chain, sender, avalanche);
    const plan = await streams.increase([{ receiver, rate: 1_000n }]);
    await assert.rejects(streams.apply(plan), (e: unknown) => e instanceof UnsettledError && e.hash === undefined && e.retryable);
    await streams.quiet();
    await streams.apply(plan);
    assert.equal(chain.rates.get(receiver), 1_000n);
  }
});

test("streams of a development chain are begun, added to, undone and ended", async (t) => {
  const development = await DevelopmentChain.start();
  t.after(() => development.stop());
  const { wallet, streams: where } = development;
  const streams = new Streams(wallet, wallet.address, where);
  const rates = async () => [await streams.rate(receiver), await streams.rate(other)];

  const plan = await streams.increase(shares("0.00001", receiver, other));
  await streams.check(plan);
  wallet.silent = 1;
  await assert.rejects(streams.apply(plan), UnsettledError);
  await streams.quiet();
  assert.deepEqual(await rates(), [8_000_000_000_000n, 0n]);
  const kept = Plan.fromJSON(JSON.parse(JSON.stringify(plan)));
  assert.equal(await streams.done(kept), false);
  await streams.apply(kept);
  assert.ok(await streams.done(kept));
  assert.deepEqual(await rates(), [8_000_000_000_000n, 2_000_000_000_000n]);
  const second = await streams.increase(shares("0.00001", receiver, other));
  await streams.apply(second);
  await assert.rejects(streams.apply(plan), /plan anew/);
  await streams.apply(second.reverse());
  await streams.apply(await streams.ensure(shares("0.000005", receiver, other)));
  assert.deepEqual(await rates(), [8_000_000_000_000n, 2_000_000_000_000n]);
  await streams.apply(await streams.reduce(shares("0.00001", receiver, other)));
  assert.deepEqual(await rates(), [0n, 0n]);
});

test("streams are ensured once", async () => {
  const chain = wallet();
  const streams = new Streams(chain, sender, avalanche);
  chain.rates.set(receiver, 700n);
  const plan = await streams.ensure([{ receiver, rate: 600n }, { receiver: other, rate: 200n }]);
  await streams.apply(plan);
  assert.deepEqual([await streams.rate(receiver), await streams.rate(other), chain.sent.length], [700n, 200n, 1]);
});

test("streams are read when no transaction is on its way", async () => {
  await new Streams(wallet(), sender, avalanche).quiet();
  await new Streams(wallet({ pending: 1 }), sender, avalanche).quiet();
  const busy = new Streams(wallet({ pending: 1_000 }), sender, avalanche);
  await assert.rejects(busy.quiet({ deadline: 50 }), (e: unknown) => e instanceof TimeoutError && /try again later/.test(e.message));
});

test("a node that fails or is a block behind is asked again", async () => {
  const chain = wallet({ behind: 1, fails: ["eth_getTransactionReceipt"] });
  const streams = new Streams(chain, sender, avalanche);
  await streams.apply(await streams.increase([{ receiver, rate: 1_000n }]));
  assert.equal(chain.sent.length, 1);
});

test("what became of a transaction may not be known", async () => {
  const streams = new Streams(wallet({ behind: 1_000 }), sender, avalanche);
  const plan = await streams.increase([{ receiver, rate: 1_000n }]);
  await assert.rejects(streams.apply(plan, { deadline: 300 }), (e: unknown) => e instanceof UnsettledError && e.hash === "0xab");
  const stopped = AbortSignal.abort(new Error("stopped"));
  const another = new Streams(wallet(), sender, avalanche);
  await assert.rejects(another.apply(plan, { signal: stopped }), (e: unknown) => e instanceof UnsettledError && /stopped/.test(e.message));
});

test("wrong chains, failed transactions and too little money are told", async () => {
  await assert.rejects(new Streams(wallet({ chainId: 1 }), sender, avalanche).increase([{ receiver, rate: 1n }]), /switch it to 43114/);
  const failing = new Streams(wallet({ status: "0x0" }), sender, avalanche);
  await assert.rejects(failing.increase([{ receiver, rate: 1n }]).then((plan) => failing.apply(plan)), /failed/);
  for (const [poor, unit] of [[wallet({ gas: 1n }), /coin/], [wallet({ tokens: 14_399n }), /ALEPH/]] as const) {
    const streams = new Streams(poor, sender, avalanche);
    await assert.rejects(streams.increase([{ receiver, rate: 1n }]).then((plan) => streams.check(plan)), unit);
  }
  await assert.rejects(failing.increase([{ receiver: "nobody", rate: 1n }]), /no address/);
  await assert.rejects(failing.increase([{ receiver, rate: -1n }]), /backwards/);
});

test("a price is split so that nobody gets too little", () => {
  const rates = (price: string) => shares(price, receiver, other).map((flow) => flow.rate);
  assert.deepEqual(rates("0.000030555555555555"), [24_444_444_444_444n, 6_111_111_111_111n]);
  assert.deepEqual(rates("0.000000000000000001"), [1n, 1n]);
  assert.deepEqual(rates("0.0000000000000000000001"), [1n, 1n]);
  assert.deepEqual(shares("1", receiver, receiver.toLowerCase()), [{ receiver, rate: 10n ** 18n }]);
  for (const price of ["0", "-1", "1e3", ""]) assert.throws(() => shares(price, receiver), /no amount/);
});
