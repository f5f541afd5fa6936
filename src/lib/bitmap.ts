/** Bitmaps as ext4 has them: bit n is bit n % 8, lowest first, of byte n / 8. */

export function testBit(bitmap: Uint8Array, bit: number): boolean {
  return ((bitmap[bit >>> 3]! >>> (bit & 7)) & 1) !== 0;
}

export function setBit(bitmap: Uint8Array, bit: number): void {
  bitmap[bit >>> 3] = bitmap[bit >>> 3]! | (1 << (bit & 7));
}

export function clearBit(bitmap: Uint8Array, bit: number): void {
  bitmap[bit >>> 3] = bitmap[bit >>> 3]! & ~(1 << (bit & 7));
}

/** Makes `count` bits from `from` on set, or clear. */
export function fillBits(bitmap: Uint8Array, from: number, count: number, isSet: boolean): void {
  const change = isSet ? setBit : clearBit;
  const end = from + count;
  let bit = from;
  while (bit < end && (bit & 7) !== 0) change(bitmap, bit++);
  if (end - bit >= 8) {
    bitmap.fill(isSet ? 0xff : 0, bit >>> 3, end >>> 3);
    bit = end & ~7;
  }
  while (bit < end) change(bitmap, bit++);
}

/** The first clear bit in from .. end - 1, or -1. Whole bytes of ones are passed at once. */
export function findClearBit(bitmap: Uint8Array, from: number, end: number): number {
  for (let bit = from; bit < end;) {
    if ((bit & 7) === 0 && bitmap[bit >>> 3] === 0xff) bit += 8;
    else if (testBit(bitmap, bit)) bit++;
    else return bit;
  }
  return -1;
}

/** The first set bit in from .. end - 1, or `end`. */
export function findSetBit(bitmap: Uint8Array, from: number, end: number): number {
  for (let bit = from; bit < end;) {
    if ((bit & 7) === 0 && bitmap[bit >>> 3] === 0) bit += 8;
    else if (!testBit(bitmap, bit)) bit++;
    else return bit;
  }
  return end;
}

/** Runs of clear bits among the first `count`: first bit and length. */
export function* clearRuns(bitmap: Uint8Array, count: number): Generator<readonly [number, number], void> {
  for (let bit = findClearBit(bitmap, 0, count); bit >= 0;) {
    const end = findSetBit(bitmap, bit, count);
    yield [bit, end - bit] as const;
    bit = findClearBit(bitmap, end, count);
  }
}
