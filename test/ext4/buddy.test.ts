/** The buddy index against the bitmap itself: random takes and gives, and after each every answer is what a look at each bit says. */
import { describe, expect, test } from "vitest";
import { Buddy, ceilLog2, floorLog2 } from "../../src/ext4/buddy.js";
import { fillBits, setBit, testBit } from "../../src/lib/bitmap.js";
import { Prng } from "../../src/lib/prng.js";

type Random = (below: number) => number;

function randomOf(seed: number): Random {
  const prng = new Prng(seed);
  return (below) => prng.below(below);
}

/** Which clusters are free, as plain as can be. */
class Naive {
  constructor(readonly free: boolean[]) {}

  countChunks(order: number): number {
    let count = 0;
    for (let start = 0; start + 2 ** order <= this.free.length; start += 2 ** order) if (this.runLength(start) >= 2 ** order) count++;
    return count;
  }

  runLength(start: number): number {
    let end = start;
    while (this.free[end] === true) end++;
    return end - start;
  }

  /** The first start at or after `from`, else the first before it. */
  find(from: number, fits: (start: number) => boolean): number {
    for (let start = from; start < this.free.length; start++) if (fits(start)) return start;
    for (let start = 0; start < from; start++) if (fits(start)) return start;
    return -1;
  }
}

function expectSame(buddy: Buddy, naive: Naive, random: Random): void {
  const size = naive.free.length;
  for (let order = 0; order <= buddy.orderMax; order++) expect(buddy.counts[order], `chunks of order ${order}`).toBe(naive.countChunks(order));
  expect(buddy.largestOrder).toBe(naive.free.some(Boolean) ? Math.max(...Array.from({ length: buddy.orderMax + 1 }, (_, order) => (naive.countChunks(order) > 0 ? order : 0))) : -1);
  const from = random(size);
  const wanted = 1 + random(2 ** random(floorLog2(size) + 1));
  expect(buddy.runLength(from, wanted)).toBe(Math.min(naive.runLength(from), wanted));
  expect(buddy.findRun(from, wanted), `run of ${wanted} from ${from}`).toBe(naive.find(from, (start) => naive.runLength(start) >= wanted));
  const order = random(buddy.orderMax + 1);
  expect(buddy.findChunk(order, from)).toBe(naive.find(from, (start) => start % 2 ** order === 0 && naive.runLength(start) >= 2 ** order));
  const align = 1 + random(40);
  const phase = random(align);
  expect(buddy.findAligned(from, wanted, align, phase)).toBe(naive.find(from, (start) => start % align === phase && naive.runLength(start) >= wanted));
}

/** A bitmap that is used in runs of all lengths, to about `usedShare`. Bits past the end are set, as on disk, or not. */
function randomBitmap(size: number, usedShare: number, random: Random): Uint8Array {
  const bitmap = new Uint8Array(Math.ceil(size / 256) * 32);
  const isPadded = random(2) === 0;
  for (let at = 0; at < size;) {
    const length = Math.min(size - at, 1 + random(2 ** random(9)));
    if (random(100) < usedShare) fillBits(bitmap, at, length, true);
    at += length;
  }
  if (isPadded) for (let bit = size; bit < bitmap.length * 8; bit++) setBit(bitmap, bit);
  return bitmap;
}

describe("the buddy index", () => {
  for (const size of [1, 2, 31, 32, 33, 64, 100, 511, 512, 1000, 1024, 2047]) {
    test(`of ${size} clusters`, () => {
      const random = randomOf(size);
      for (const usedShare of [0, 30, 70, 95, 100]) {
        const bitmap = randomBitmap(size, usedShare, random);
        const naive = new Naive(Array.from({ length: size }, (_, bit) => !testBit(bitmap, bit)));
        const buddy = new Buddy(bitmap, size);
        for (let step = 0; step < 60; step++) {
          expectSame(buddy, naive, random);
          const start = random(size);
          const isFree = naive.free[start]!;
          let end = start + 1;
          while (end < size && naive.free[end] === isFree && random(20) > 0) end++;
          if (isFree) buddy.take(start, end - start);
          else buddy.give(start, end - start);
          naive.free.fill(!isFree, start, end);
        }
        expectSame(buddy, naive, random);
      }
    });
  }

  test("refuses what is not so", () => {
    const buddy = new Buddy(new Uint8Array(128), 1000);
    buddy.take(100, 50);
    expect(() => buddy.take(149, 1)).toThrow("not free");
    expect(() => buddy.take(990, 11)).toThrow("not free");
    expect(() => buddy.give(149, 2)).toThrow("free already");
    expect(() => buddy.give(99, 1)).toThrow("free already");
    buddy.give(100, 50);
    expect(buddy.freeCount).toBe(1000);
  });
});

test("orders of sizes", () => {
  expect([1, 2, 3, 4, 5, 1023, 1024, 1025].map(floorLog2)).toEqual([0, 1, 1, 2, 2, 9, 10, 10]);
  expect([1, 2, 3, 4, 5, 1023, 1024, 1025].map(ceilLog2)).toEqual([0, 1, 2, 2, 3, 10, 10, 11]);
});

test("runs of bits in a bitmap", () => {
  const random = randomOf(7);
  for (let round = 0; round < 500; round++) {
    const size = 64;
    const bitmap = Uint8Array.from({ length: size / 8 }, () => random(256));
    const expected = Array.from({ length: size }, (_, bit) => testBit(bitmap, bit));
    const from = random(size);
    const count = random(size - from + 1);
    const isSet = random(2) === 0;
    fillBits(bitmap, from, count, isSet);
    expected.fill(isSet, from, from + count);
    expect(Array.from({ length: size }, (_, bit) => testBit(bitmap, bit))).toEqual(expected);
  }
});
