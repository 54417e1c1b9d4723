/** Folders as IPFS has them: their CIDs, and the archives in which they travel. @module */
import { concatBytes, utf8ToBytes } from "@noble/hashes/utils.js";
import { AlephError } from "./errors.ts";
import type { PackedFolder } from "./files.ts";
import { murmur3 } from "./murmur3.ts";
import { type Source, openSource } from "./source.ts";
import { type Block, FileBlocks, type Link, cidOf, cidText, field, linkField, nodeCodec, varint, varintField } from "./unixfs.ts";

/** A file of a folder. It is read twice: for the CID, and when it is sent. */
export type FolderFile = Uint8Array | ArrayBuffer | string | Blob;

/** Files by their paths, such as `img/logo.png`. A path that ends with a slash is an empty folder. */
export type FolderFiles = Record<string, FolderFile> | Iterable<readonly [path: string, file: FolderFile]>;

type Tree = Map<string, Tree | Source>;

/** Files of folders have the layout of CIDs of version 1. */
const version = 1;

/** Numbers of UnixFS. */
const folderType = 1;
const shardType = 5;
const hashOfNames = 0x22;

/** Folders whose names and CIDs take more bytes are spread over many blocks. */
const largestBlock = 256 << 10;
const fanout = 256;

/** Reads a folder, and computes the CID under which IPFS will have it. */
export async function readFolder(files: FolderFiles, o: { signal?: AbortSignal } = {}): Promise<PackedFolder> {
  const tree = grow(Symbol.iterator in files ? (files as Iterable<readonly [string, FolderFile]>) : Object.entries(files));
  let size = 0;
  const blocks = folderBlocks(tree);
  let next = await blocks.next();
  for (const once = new Set<string>(); !next.done; next = await blocks.next()) {
    o.signal?.throwIfAborted();
    if (isNew(next.value, once)) size += section(next.value).length + next.value.bytes.length;
  }
  const root = next.value.cid;
  return { hash: cidText(root), size: size + header(root).length, archive: () => archive(tree, root) };
}

/** A CAR, version 1: a header, and each block once. A file that changed meanwhile makes it another one, which no node takes for this. */
async function* archive(tree: Tree, root: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield header(root);
  const once = new Set<string>();
  for await (const block of folderBlocks(tree)) {
    if (!isNew(block, once)) continue;
    yield section(block);
    yield block.bytes;
  }
}

function isNew(block: Block, once: Set<string>): boolean {
  const before = once.size;
  return once.add(cidText(block.cid)).size > before;
}

/** The length of what follows and, in DAG-CBOR, `{"roots": [root], "version": 1}`. */
function header(root: Uint8Array): Uint8Array {
  const roots = [Uint8Array.of(0xa2, 0x65), utf8ToBytes("roots"), Uint8Array.of(0x81, 0xd8, 0x2a, 0x58, root.length + 1, 0), root];
  const body = concatBytes(...roots, Uint8Array.of(0x67), utf8ToBytes("version"), Uint8Array.of(1));
  return concatBytes(varint(body.length), body);
}

/** What stands before a block. */
function section(block: Block): Uint8Array {
  return concatBytes(varint(block.cid.length + block.bytes.length), block.cid);
}

function grow(files: Iterable<readonly [string, FolderFile]>): Tree {
  const root: Tree = new Map();
  for (const [path, file] of files) {
    const names = path.split("/");
    const name = names.pop()!;
    const wrong = () => new AlephError(`${path} cannot be the path of a file in this folder`, { code: "argument" });
    let folder = root;
    for (const step of names) {
      if (["", ".", ".."].includes(step)) throw wrong();
      const below = folder.get(step) ?? new Map();
      if (!(below instanceof Map)) throw wrong();
      folder.set(step, below);
      folder = below;
    }
    if (name === "" && names.length > 0) continue; // an empty folder
    if (["", ".", ".."].includes(name) || folder.has(name)) throw wrong();
    folder.set(name, openSource(file));
  }
  return root;
}

/** Makes the blocks of a folder, those below first, and returns the link to it. */
async function* folderBlocks(tree: Tree): AsyncGenerator<Block, Link, undefined> {
  const entries: [string, Link][] = [];
  for (const [name, entry] of tree) {
    entries.push([name, yield* entry instanceof Map ? folderBlocks(entry) : fileBlocks(entry)]);
  }
  const bytes = entries.reduce((sum, [name, link]) => sum + utf8ToBytes(name).length + link.cid.length, 0);
  if (bytes > largestBlock) return yield* shardBlocks(entries.map(([name, link]) => ({ name, link, hash: murmur3(utf8ToBytes(name)) })), 0);
  return yield* node(entries, varintField(1, folderType));
}

async function* fileBlocks(file: Source): AsyncGenerator<Block, Link, undefined> {
  const made: Block[] = [];
  const blocks = new FileBlocks(version, (block) => made.push(block));
  for await (const chunk of file.open()) {
    blocks.update(chunk);
    yield* made.splice(0);
  }
  const link = blocks.end();
  yield* made;
  return link;
}

interface Entry {
  name: string;
  link: Link;
  hash: Uint8Array;
}

/** Makes a block for each byte of the names' hashes that tells some of them apart. */
async function* shardBlocks(entries: Entry[], depth: number): AsyncGenerator<Block, Link, undefined> {
  const slots = new Map<number, Entry[]>();
  for (const entry of entries) {
    const slot = entry.hash[depth];
    if (slot === undefined) throw new AlephError(`the folder has too many names like ${entry.name}`, { code: "argument" });
    const there = slots.get(slot);
    if (there) there.push(entry);
    else slots.set(slot, [entry]);
  }
  const links: [string, Link][] = [];
  const used = new Uint8Array(fanout / 8); // a bit for each slot, the lowest last
  for (const [slot, [entry, ...more]] of slots) {
    used[used.length - 1 - (slot >> 3)]! |= 1 << (slot & 7);
    const prefix = slot.toString(16).toUpperCase().padStart(2, "0");
    if (more.length > 0) links.push([prefix, yield* shardBlocks([entry!, ...more], depth + 1)]);
    else links.push([prefix + entry!.name, entry!.link]);
  }
  const bits = used.subarray(used.findIndex((byte) => byte !== 0));
  return yield* node(links, concatBytes(varintField(1, shardType), field(2, bits), varintField(5, hashOfNames), varintField(6, fanout)));
}

/** Makes the block that holds links by their names, in the order of the names' bytes. */
async function* node(entries: [string, Link][], data: Uint8Array): AsyncGenerator<Block, Link, undefined> {
  const sorted = entries.map(([name, link]) => ({ name: utf8ToBytes(name), field: linkField(name, link), size: link.treeSize }));
  sorted.sort((a, b) => compare(a.name, b.name));
  const bytes = concatBytes(...sorted.map((l) => l.field), field(1, data));
  const cid = cidOf(version, nodeCodec, bytes);
  yield { cid, bytes };
  return { cid, treeSize: bytes.length + sorted.reduce((sum, l) => sum + l.size, 0) };
}

function compare(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return a.length - b.length;
}
