/**
 * A buddy index of one group's free clusters. Level `order` has a bit for each aligned chunk of 2^order clusters, which is set if all of the chunk is free, that is, if both bits below it are.
 * So a change of a run touches one short range per level and stops at the first level where nothing changes, and a free chunk of a wanted size is found without a look
 * at the clusters. Plain code throughout; positions and counts are clusters of the group. Source of the idea: fs/ext4/mballoc.c (which keeps only maximal chunks).
 */
import { AssertionError } from "../lib/errno.js";

export class Buddy {
  /** The highest order of which the group holds a chunk. */
  readonly orderMax: number;
  /** Wholly free chunks by order; at 0: free clusters. */
  readonly counts: Int32Array;
  private readonly levels: readonly Int32Array[];

  /** @param bitmap the group's bitmap: a set bit is a cluster in use. Only its first `size` bits count. */
  constructor(bitmap: Uint8Array, readonly size: number) {
    this.orderMax = floorLog2(size);
    this.counts = new Int32Array(this.orderMax + 1);
    // One word more than needed, so that the neighbour of the last chunk can be asked for.
    this.levels = Array.from({ length: this.orderMax + 1 }, (_, order) => new Int32Array(((size >>> order) >>> 5) + 1));
    this.load(bitmap);
    for (let order = 1; order <= this.orderMax; order++) this.loadLevel(order);
  }

  private load(bitmap: Uint8Array): void {
    const words = this.levels[0]!;
    const whole = this.size >>> 5;
    let free = 0;
    for (let index = 0, at = 0; index < whole; index++, at += 4) {
      const word = ~(bitmap[at]! | (bitmap[at + 1]! << 8) | (bitmap[at + 2]! << 16) | (bitmap[at + 3]! << 24));
      words[index] = word;
      if (word !== 0) free += popCount(word);
    }
    for (let bit = whole << 5; bit < this.size; bit++) {
      if (((bitmap[bit >>> 3]! >>> (bit & 7)) & 1) !== 0) continue;
      words[whole] = words[whole]! | (1 << (bit & 31));
      free++;
    }
    this.counts[0] = free;
  }

  /** Each word is made of the two below it. */
  private loadLevel(order: number): void {
    if (this.counts[order - 1]! < 2) return;
    const below = this.levels[order - 1]!;
    const words = this.levels[order]!;
    let free = 0;
    for (let index = 0; index < words.length; index++) {
      const low = below[2 * index]!;
      const high = 2 * index + 1 < below.length ? below[2 * index + 1]! : 0;
      if ((low | high) === 0) continue;
      const word = (low & high) === -1 ? -1 : pairs(low) | (pairs(high) << 16);
      words[index] = word;
      free += popCount(word);
    }
    this.counts[order] = free;
  }

  get freeCount(): number {
    return this.counts[0]!;
  }

  /** The order of the largest free chunk, -1 if nothing is free. */
  get largestOrder(): number {
    let order = this.orderMax;
    while (order >= 0 && this.counts[order] === 0) order--;
    return order;
  }

  isFree(start: number, count: number): boolean {
    return this.runLength(start, count) === count;
  }

  /** Whether no cluster of the run is free. */
  isTaken(start: number, count: number): boolean {
    return !hasSet(this.levels[0]!, start, start + count - 1);
  }

  /** Takes a run that is wholly free. */
  take(start: number, count: number): void {
    if (count < 1 || !this.isFree(start, count)) throw new AssertionError(`${count} clusters from ${start} on are taken, and are not free`);
    let from = start;
    let last = start + count - 1;
    for (let order = 0; order <= this.orderMax; order++) {
      const changed = clearRange(this.levels[order]!, from, last);
      if (changed === 0) return;
      this.counts[order]! -= changed;
      from >>>= 1;
      last >>>= 1;
    }
  }

  /** Gives back a run of which nothing is free. */
  give(start: number, count: number): void {
    if (count < 1 || start + count > this.size || !this.isTaken(start, count)) {
      throw new AssertionError(`${count} clusters from ${start} on are given back, and are free already`);
    }
    let from = start;
    let last = start + count - 1;
    for (let order = 0; ; order++) {
      setRange(this.levels[order]!, from, last);
      this.counts[order]! += last - from + 1;
      if (order === this.orderMax) return;
      // Chunks between are whole by themselves; at both ends the neighbour decides.
      const words = this.levels[order]!;
      from = (from & 1) === 0 || testBit(words, from - 1) ? from >>> 1 : (from >>> 1) + 1;
      last = (last & 1) === 1 || testBit(words, last + 1) ? last >>> 1 : (last >>> 1) - 1;
      if (from > last) return;
    }
  }

  /** Free clusters in a row from `start` on, `limit` at most. */
  runLength(start: number, limit: number): number {
    const words = this.levels[0]!;
    const end = Math.min(start + limit, this.size);
    for (let at = start; at < end; at = (at | 31) + 1) {
      const taken = ~words[at >>> 5]! >>> (at & 31);
      if (taken !== 0) {
        const first = at + lowestBit(taken);
        // The word was shifted right with zeroes coming in, so a bit found is a cluster in use.
        return Math.min(first, end) - start;
      }
    }
    return end - start;
  }

  /** Where the run that holds free cluster `at` begins, looked for back to `from`. */
  private runStart(at: number, from: number): number {
    const words = this.levels[0]!;
    for (let last = at; last >= from; last = (last & ~31) - 1) {
      const taken = ~words[last >>> 5]! << (31 - (last & 31));
      if (taken !== 0) return Math.max(last - Math.clz32(taken) + 1, from);
    }
    return from;
  }

  /**
   * Where `wanted` free clusters in a row begin: the first such place at or after `from`, else the first before. -1: there is none.
   * A run of at least 2^(order + 1) - 1 clusters holds an aligned chunk of 2^order, so only runs around such chunks are looked at.
   */
  findRun(from: number, wanted: number): number {
    const order = floorLog2((wanted + 1) >>> 1);
    if (order > this.orderMax || this.counts[order] === 0) return -1;
    const behind = this.findRunIn(order, from, wanted, this.size);
    return behind >= 0 || from === 0 ? behind : this.findRunIn(order, 0, wanted, from);
  }

  private findRunIn(order: number, from: number, wanted: number, startEnd: number): number {
    const words = this.levels[order]!;
    for (let at = from; at < startEnd;) {
      const chunk = nextSet(words, (at + (1 << order) - 1) >>> order) << order;
      if (chunk >= this.size) return -1;
      const start = this.runStart(chunk, at);
      if (start >= startEnd) return -1;
      const length = this.runLength(start, wanted);
      if (length >= wanted) return start;
      at = start + length;
    }
    return -1;
  }

  /** Where a wholly free aligned chunk of 2^order begins: the first at or after `from`, else the first before; -1: there is none. */
  findChunk(order: number, from: number): number {
    if (order > this.orderMax || this.counts[order] === 0) return -1;
    const words = this.levels[order]!;
    const behind = nextSet(words, (from + (1 << order) - 1) >>> order) << order;
    return behind < this.size ? behind : nextSet(words, 0) << order;
  }

  /** As findRun, but only at places whose remainder by `align` is `phase`. */
  findAligned(from: number, wanted: number, align: number, phase: number): number {
    if (this.counts[0]! < wanted) return -1;
    const first = from + ((phase - from) % align + align) % align;
    for (let start = first; start + wanted <= this.size; start += align) if (this.isFree(start, wanted)) return start;
    for (let start = phase; start < first && start + wanted <= this.size; start += align) if (this.isFree(start, wanted)) return start;
    return -1;
  }
}

/** Of a positive number below 2^31. */
export function floorLog2(value: number): number {
  return 31 - Math.clz32(value);
}

/** The order of the smallest chunk that holds `count`. */
export function ceilLog2(count: number): number {
  return count <= 1 ? 0 : 32 - Math.clz32(count - 1);
}

function testBit(words: Int32Array, bit: number): boolean {
  return bit >= 0 && ((words[bit >>> 5]! >>> (bit & 31)) & 1) !== 0;
}

/** Of a word that is not 0. */
function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}

function popCount(word: number): number {
  if (word === -1) return 32;
  let bits = word - ((word >>> 1) & 0x5555_5555);
  bits = (bits & 0x3333_3333) + ((bits >>> 2) & 0x3333_3333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}

/** The 16 bits that say of each pair of bits whether both are set. */
function pairs(word: number): number {
  let bits = word & (word >>> 1) & 0x5555_5555;
  bits = (bits | (bits >>> 1)) & 0x3333_3333;
  bits = (bits | (bits >>> 2)) & 0x0f0f_0f0f;
  bits = (bits | (bits >>> 4)) & 0x00ff_00ff;
  return (bits | (bits >>> 8)) & 0xffff;
}

/** The first set bit at or after `from`; past the last word if there is none. */
function nextSet(words: Int32Array, from: number): number {
  let index = from >>> 5;
  if (index >= words.length) return words.length << 5;
  let word = words[index]! & (-1 << (from & 31));
  while (word === 0) {
    if (++index === words.length) return index << 5;
    word = words[index]!;
  }
  return (index << 5) + lowestBit(word);
}

/** The bits of word `index` that lie in from .. last. */
function maskOf(index: number, from: number, last: number): number {
  return (index === from >>> 5 ? -1 << (from & 31) : -1) & (index === last >>> 5 ? -1 >>> (31 - (last & 31)) : -1);
}

function hasSet(words: Int32Array, from: number, last: number): boolean {
  for (let index = from >>> 5; index <= last >>> 5; index++) if ((words[index]! & maskOf(index, from, last)) !== 0) return true;
  return false;
}

/** Returns how many bits it changed. */
function clearRange(words: Int32Array, from: number, last: number): number {
  let changed = 0;
  for (let index = from >>> 5; index <= last >>> 5; index++) {
    const word = words[index]!;
    if (word === 0) continue;
    const mask = maskOf(index, from, last);
    changed += popCount(word & mask);
    words[index] = word & ~mask;
  }
  return changed;
}

function setRange(words: Int32Array, from: number, last: number): void {
  for (let index = from >>> 5; index <= last >>> 5; index++) words[index]! |= maskOf(index, from, last);
}
