/** Transaction ids have 32 bits and compare modulo 2^32. Source: include/linux/jbd2.h (tid_geq). */
import type { Tid } from "../lib/numbers.js";

export function tidAtLeast(a: Tid, b: Tid): boolean {
  return ((a - b) | 0) >= 0;
}

export const nextTid = (tid: Tid): Tid => (tid + 1) >>> 0;
