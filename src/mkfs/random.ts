/** Numbers that look like chance and follow from the seeds. */
import { crc32c } from "../lib/crc32c.js";

/** Numbers of 32 bits: Weyl's sequence, mixed as in splitmix32. */
export function numbersFrom(...seeds: readonly Uint8Array[]): () => number {
  let state = seeds.reduce((sum, seed) => crc32c(sum, seed), 0xffff_ffff);
  return () => {
    state = (state + 0x9e37_79b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0_aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a_2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  };
}
