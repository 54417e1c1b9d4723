/** Archives of code, which are small: they are made in memory. */
import { deflateRawSync } from "node:zlib";

export interface Entry {
  /** Path with slashes. */
  name: string;
  bytes: Uint8Array;
  /** Whether it can be run. */
  runs: boolean;
}

const unix = 3;
const deflated = 8;
const utf8 = 1 << 11;
/** The first of January 1980, which is the zero of the format. */
const date = 0x21;

/** Packs files (APPNOTE.TXT of PKWARE, without what archives above 4 GiB take). */
export function zip(entries: readonly Entry[]): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  for (const entry of entries) {
    const name = new TextEncoder().encode(entry.name);
    const data = deflateRawSync(entry.bytes);
    const about = (record: DataView, from: number) => {
      record.setUint16(from, 20, true); // the version that is needed to read it
      record.setUint16(from + 2, utf8, true);
      record.setUint16(from + 4, deflated, true);
      record.setUint16(from + 8, date, true);
      record.setUint32(from + 10, crc32(entry.bytes), true);
      record.setUint32(from + 14, data.length, true);
      record.setUint32(from + 18, entry.bytes.length, true);
      record.setUint16(from + 22, name.length, true);
    };
    const [local, head] = record(30, 0x04034b50);
    about(local, 4);
    const [central, line] = record(46, 0x02014b50);
    central.setUint16(4, (unix << 8) | 20, true);
    about(central, 6);
    central.setUint32(38, ((entry.runs ? 0o100755 : 0o100644) << 16) >>> 0, true);
    central.setUint32(42, at, true);
    parts.push(head, name, data);
    directory.push(line, name);
    at += head.length + name.length + data.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const [end, tail] = record(22, 0x06054b50);
  end.setUint16(8, entries.length, true);
  end.setUint16(10, entries.length, true);
  end.setUint32(12, size, true);
  end.setUint32(16, at, true);
  return new Uint8Array(Buffer.concat([...parts, ...directory, tail]));
}

function record(length: number, signature: number): [DataView, Uint8Array] {
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, signature, true);
  return [view, bytes];
}

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc32(bytes: Uint8Array): number {
  let sum = ~0;
  for (const byte of bytes) sum = table[(sum ^ byte) & 0xff]! ^ (sum >>> 8);
  return ~sum >>> 0;
}
