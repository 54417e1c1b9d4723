const first = 0x87c37b91114253d5n;
const second = 0x4cf5ad432745937fn;
const mask = (1n << 64n) - 1n;

/** The first half of the 128 bits of MurmurHash3 for machines of 64 bits, by which IPFS spreads names over blocks. */
export function murmur3(data: Uint8Array): Uint8Array {
  let [a, b] = [0n, 0n];
  const whole = data.length - (data.length % 16);
  for (let at = 0; at < whole; at += 16) {
    a ^= mix(number(data.subarray(at, at + 8)), first, 31n, second);
    a = (((rotate(a, 27n) + b) & mask) * 5n + 0x52dce729n) & mask;
    b ^= mix(number(data.subarray(at + 8, at + 16)), second, 33n, first);
    b = (((rotate(b, 31n) + a) & mask) * 5n + 0x38495ab5n) & mask;
  }
  b ^= mix(number(data.subarray(Math.min(whole + 8, data.length))), second, 33n, first);
  a ^= mix(number(data.subarray(whole, whole + 8)), first, 31n, second);

  const length = BigInt(data.length);
  [a, b] = [a ^ length, b ^ length];
  a = (a + b) & mask;
  b = (b + a) & mask;
  const hash = (finish(a) + finish(b)) & mask;
  return Uint8Array.from({ length: 8 }, (_, i) => Number((hash >> BigInt(56 - 8 * i)) & 255n));
}

/** A number of up to eight bytes, the lowest first. */
function number(bytes: Uint8Array): bigint {
  return bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}

function mix(k: bigint, by: bigint, turn: bigint, again: bigint): bigint {
  return (rotate((k * by) & mask, turn) * again) & mask;
}

function rotate(x: bigint, by: bigint): bigint {
  return ((x << by) | (x >> (64n - by))) & mask;
}

function finish(k: bigint): bigint {
  k = ((k ^ (k >> 33n)) * 0xff51afd7ed558ccdn) & mask;
  k = ((k ^ (k >> 33n)) * 0xc4ceb9fe1a85ec53n) & mask;
  return k ^ (k >> 33n);
}
