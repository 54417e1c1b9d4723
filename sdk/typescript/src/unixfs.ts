import { concatBytes, utf8ToBytes } from "@noble/hashes/utils.js";
import { base32, base58 } from "@scure/base";
import { newSha256 } from "./sha256.ts";
import type { Hash } from "./wire.ts";

/** Bytes of a chunk, and links of a node, in the layout that the network checks files by (messages §2.1). */
const chunkSize = 262_144;
const width = 174;

/** A block of IPFS and its name in bytes. */
export interface Block {
  cid: Uint8Array;
  bytes: Uint8Array;
}

/** What a block says of one below it. */
export interface Link {
  cid: Uint8Array;
  /** Bytes of all blocks below it. */
  treeSize: number;
}

/** A link to a part of a file. */
interface Part extends Link {
  /** Bytes of the file below it. */
  fileSize: number;
}

/** Computes the CID under which IPFS stores a file, from chunks as they come and in little memory. */
export class FileCID {
  readonly #blocks: FileBlocks;

  constructor(version: 0 | 1 = 0) {
    this.#blocks = new FileBlocks(version);
  }

  update(data: Uint8Array): this {
    this.#blocks.update(data);
    return this;
  }

  /** The CID. A file of one chunk has none of version 1 that the network accepts, as its `bafk…` is no hash there. */
  digest(): Hash {
    return cidText(this.#blocks.end().cid);
  }
}

/** Cuts a file into blocks, and tells of each. */
export class FileBlocks {
  readonly #version: 0 | 1;
  readonly #made: (block: Block) => void;
  readonly #levels: Part[][] = [[]];
  #chunk = new Uint8Array(0);
  #filled = 0;
  #chunks = 0;

  constructor(version: 0 | 1, made: (block: Block) => void = () => {}) {
    this.#version = version;
    this.#made = made;
  }

  update(data: Uint8Array): void {
    while (data.length > 0) {
      if (this.#filled === chunkSize) this.#leaf();
      const part = data.subarray(0, chunkSize - this.#filled);
      this.#room(this.#filled + part.length);
      this.#chunk.set(part, this.#filled);
      this.#filled += part.length;
      data = data.subarray(part.length);
    }
  }

  /** Makes the chunk large enough: that of a small file stays small. */
  #room(size: number): void {
    if (size <= this.#chunk.length) return;
    const larger = new Uint8Array(Math.min(chunkSize, 2 * size));
    larger.set(this.#chunk.subarray(0, this.#filled));
    this.#chunk = larger;
  }

  /** Makes the last blocks, and returns the one that all others hang on. */
  end(): Link {
    if (this.#filled > 0 || this.#chunks === 0) this.#leaf();
    for (let i = 0; ; i++) {
      const level = this.#levels[i]!;
      if (i === this.#levels.length - 1 && level.length === 1) return level[0]!;
      if (level.length > 0) this.#add(i + 1, this.#node(level.splice(0)));
    }
  }

  #leaf(): void {
    const data = this.#chunk.subarray(0, this.#filled);
    if (this.#version === 1) {
      this.#add(0, { cid: this.#block(rawCodec, data.slice()), fileSize: data.length, treeSize: data.length });
    } else {
      const block = field(1, concatBytes(varintField(1, 2), data.length > 0 ? field(2, data) : data, varintField(3, data.length)));
      this.#add(0, { cid: this.#block(nodeCodec, block), fileSize: data.length, treeSize: block.length });
    }
    this.#filled = 0;
    this.#chunks++;
  }

  #block(codec: number, bytes: Uint8Array): Uint8Array {
    const cid = cidOf(this.#version, codec, bytes);
    this.#made({ cid, bytes });
    return cid;
  }

  #add(i: number, link: Part): void {
    const level = (this.#levels[i] ??= []);
    if (level.length === width) this.#add(i + 1, this.#node(level.splice(0)));
    level.push(link);
  }

  #node(links: Part[]): Part {
    const sum = (of: (l: Part) => number) => links.reduce((total, l) => total + of(l), 0);
    const fileSize = sum((l) => l.fileSize);
    const block = concatBytes(
      ...links.map((l) => linkField("", l)),
      field(1, concatBytes(varintField(1, 2), varintField(3, fileSize), ...links.map((l) => varintField(4, l.fileSize)))),
    );
    return { cid: this.#block(nodeCodec, block), fileSize, treeSize: block.length + sum((l) => l.treeSize) };
  }
}

/** What is in a block: bytes as they are, or a node of a tree. */
const rawCodec = 0x55;
export const nodeCodec = 0x70;

export function cidOf(version: 0 | 1, codec: number, block: Uint8Array): Uint8Array {
  const sum = newSha256();
  sum.update(block);
  const multihash = concatBytes(Uint8Array.of(0x12, 0x20), new Uint8Array(sum.digest()));
  return version === 0 ? multihash : concatBytes(Uint8Array.of(1, codec), multihash);
}

/** A CID as text: base58 for version 0, base32 for version 1. */
export function cidText(cid: Uint8Array): Hash {
  return cid[0] === 1 ? "b" + base32.encode(cid).toLowerCase().replace(/=+$/, "") : base58.encode(cid);
}

/** A link in a node of a tree. */
export function linkField(name: string, link: Link): Uint8Array {
  return field(2, concatBytes(field(1, link.cid), field(2, utf8ToBytes(name)), varintField(3, link.treeSize)));
}

/** A field of protocol buffers that holds bytes. */
export function field(number: number, bytes: Uint8Array): Uint8Array {
  return concatBytes(varint((number << 3) | 2), varint(bytes.length), bytes);
}

export function varintField(number: number, value: number): Uint8Array {
  return concatBytes(varint(number << 3), varint(value));
}

/** A number in groups of seven bits, the lowest first. */
export function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Uint8Array.from([...bytes, value]);
}
