import { concatBytes } from "@noble/hashes/utils.js";
import { base32, base58 } from "@scure/base";
import { newSha256 } from "./sha256.ts";
import type { Hash } from "./wire.ts";

/** Bytes of a chunk, and links of a node, in the layout that the network checks files by (messages §2.1). */
const chunkSize = 262_144;
const width = 174;

interface Link {
  cid: Uint8Array;
  /** Bytes of the file below it. */
  fileSize: number;
  /** Bytes of all blocks below it. */
  treeSize: number;
}

/** Computes the CID under which IPFS stores a file, from chunks as they come and in little memory. */
export class FileCID {
  readonly #version: 0 | 1;
  readonly #levels: Link[][] = [[]];
  #chunk = new Uint8Array(chunkSize);
  #filled = 0;
  #chunks = 0;

  constructor(version: 0 | 1 = 0) {
    this.#version = version;
  }

  update(data: Uint8Array): this {
    while (data.length > 0) {
      if (this.#filled === chunkSize) this.#leaf();
      const part = data.subarray(0, chunkSize - this.#filled);
      this.#chunk.set(part, this.#filled);
      this.#filled += part.length;
      data = data.subarray(part.length);
    }
    return this;
  }

  /** The CID. A file of one chunk has none of version 1 that the network accepts, as its `bafk…` is no hash there. */
  digest(): Hash {
    if (this.#filled > 0 || this.#chunks === 0) this.#leaf();
    for (let i = 0; ; i++) {
      const level = this.#levels[i]!;
      if (i === this.#levels.length - 1 && level.length === 1) {
        const { cid } = level[0]!;
        return this.#version === 0 ? base58.encode(cid) : "b" + base32.encode(cid).toLowerCase().replace(/=+$/, "");
      }
      if (level.length > 0) this.#add(i + 1, this.#node(level.splice(0)));
    }
  }

  #leaf(): void {
    const data = this.#chunk.subarray(0, this.#filled);
    if (this.#version === 1) {
      this.#add(0, { cid: cidOf(1, 0x55, data), fileSize: data.length, treeSize: data.length });
    } else {
      const block = field(1, concatBytes(varintField(1, 2), data.length > 0 ? field(2, data) : data, varintField(3, data.length)));
      this.#add(0, { cid: cidOf(0, 0x70, block), fileSize: data.length, treeSize: block.length });
    }
    this.#filled = 0;
    this.#chunks++;
  }

  #add(i: number, link: Link): void {
    const level = (this.#levels[i] ??= []);
    if (level.length === width) this.#add(i + 1, this.#node(level.splice(0)));
    level.push(link);
  }

  #node(links: Link[]): Link {
    const sum = (of: (l: Link) => number) => links.reduce((total, l) => total + of(l), 0);
    const fileSize = sum((l) => l.fileSize);
    const block = concatBytes(
      ...links.map((l) => field(2, concatBytes(field(1, l.cid), field(2, new Uint8Array()), varintField(3, l.treeSize)))),
      field(1, concatBytes(varintField(1, 2), varintField(3, fileSize), ...links.map((l) => varintField(4, l.fileSize)))),
    );
    return { cid: cidOf(this.#version, 0x70, block), fileSize, treeSize: block.length + sum((l) => l.treeSize) };
  }
}

function cidOf(version: 0 | 1, codec: number, block: Uint8Array): Uint8Array {
  const sum = newSha256();
  sum.update(block);
  const multihash = concatBytes(Uint8Array.of(0x12, 0x20), new Uint8Array(sum.digest()));
  return version === 0 ? multihash : concatBytes(Uint8Array.of(1, codec), multihash);
}

/** A field of protocol buffers that holds bytes. */
function field(number: number, bytes: Uint8Array): Uint8Array {
  return concatBytes(varint((number << 3) | 2), varint(bytes.length), bytes);
}

function varintField(number: number, value: number): Uint8Array {
  return concatBytes(varint(number << 3), varint(value));
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Uint8Array.from([...bytes, value]);
}
