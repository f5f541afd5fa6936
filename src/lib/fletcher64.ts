/** The checksum of nvdimm's info blocks, as in nd_fletcher64 (drivers/nvdimm/core.c): over little-endian words of 32 bits. The halves are apart, since together they pass 2^53. */
import { viewOf } from "./view.js";

export interface Fletcher64 {
  readonly lo: number;
  readonly hi: number;
}

/** Of a whole number of words. */
export function fletcher64(bytes: Uint8Array): Fletcher64 {
  const view = viewOf(bytes);
  let lo = 0;
  let hi = 0;
  for (let at = 0; at + 4 <= bytes.length; at += 4) {
    lo = (lo + view.getUint32(at, true)) >>> 0;
    hi = (hi + lo) >>> 0;
  }
  return { lo, hi };
}
