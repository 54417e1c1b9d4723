import { keccak_256 } from "@noble/hashes/sha3.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";

/** Writes the hex digits of an address of Ethereum in the mixed case of EIP-55. The network tells owners apart by that text. */
export function checksum(address: string): string {
  const hex = address.replace(/^0x/, "").toLowerCase();
  const sum = bytesToHex(keccak_256(utf8ToBytes(hex)));
  return "0x" + hex.replace(/[a-f]/g, (digit, at: number) => (parseInt(sum[at]!, 16) > 7 ? digit.toUpperCase() : digit));
}
