// What a runtime has to be able to do for this SDK. It runs in Node, Deno, Bun and pages alike, and so takes nothing but the
// package and what the web has.
import { Client } from "@aleph-im/sdk";
import { AvalancheAccount } from "@aleph-im/sdk/avalanche";
import { CosmosAccount } from "@aleph-im/sdk/cosmos";
import { DelegatedKey } from "@aleph-im/sdk/crn";
import { EthereumAccount } from "@aleph-im/sdk/eth";
import { readFolder } from "@aleph-im/sdk/folder";
import { generatePhrase, keyOfPhrase } from "@aleph-im/sdk/mnemonic";
import { NULS1Account } from "@aleph-im/sdk/nuls1";
import { NULS2Account } from "@aleph-im/sdk/nuls2";
import { SolanaAccount } from "@aleph-im/sdk/sol";
import { SubstrateAccount } from "@aleph-im/sdk/substrate";
import { TezosAccount } from "@aleph-im/sdk/tezos";

/** Does everything with a node, and returns what was done. Pages send no streams over HTTP/1. */
export async function everything(node: string, streams: boolean): Promise<string[]> {
  const done: string[] = [];
  const families = [EthereumAccount, SolanaAccount, TezosAccount, SubstrateAccount, CosmosAccount, AvalancheAccount, NULS1Account, NULS2Account];
  for (const family of families) {
    const signer = family.generate();
    const post = await new Client({ nodes: node, signer }).posts.create({ type: "note", content: signer.address });
    const info = await new Client({ nodes: node, verifiers: [signer.verifier] }).messages.get(post.hash);
    expect(info.status === "processed" && info.message.sender === signer.address, `a post of ${signer.chain}`);
    done.push(`post ${signer.chain}`);
  }

  const signer = EthereumAccount.fromPrivateKey(keyOfPhrase(generatePhrase()));
  const aleph = new Client({ nodes: node, signer, channel: "RUNTIME" });
  const bytes = crypto.getRandomValues(new Uint8Array(60_000));
  const file = await aleph.files.upload(new Blob([bytes]));
  const got = await aleph.files.bytes(file.fileHash);
  expect(got.length === bytes.length && got.every((b, i) => b === bytes[i]), "the bytes of a file");
  done.push("file");
  if (streams) {
    const up = await aleph.files.upload(new Blob([bytes, bytes]).stream());
    expect(up.size === 2 * bytes.length, "the size of a stream");
    done.push("stream");
  }
  const folder = await aleph.websites.deploy("site", await readFolder({ "index.html": "hello", "data/bytes": new Blob([bytes]) }));
  expect((await aleph.files.of(folder.hash)).file_hash === folder.fileHash, "the CID of a folder");
  done.push("website");

  for await (const message of aleph.messages.watch({ addresses: [signer.address], types: ["AGGREGATE"] }, { history: 1 })) {
    expect(message.type === "AGGREGATE" && message.content.key === "websites", "a message of a socket");
    break;
  }
  done.push("watch");
  const key = await DelegatedKey.create(signer);
  expect((await key.headers("GET", node))["X-SignedOperation"].signature.length === 128, "a signature of a delegated key");
  done.push("delegate");
  return done;
}

function expect(right: boolean, what: string): void {
  if (!right) throw new Error(`${what} is not what it should be`);
}
