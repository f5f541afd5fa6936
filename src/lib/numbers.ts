/**
 * Numbers that index different things have different types, so that a file block is not passed where a disk block is meant.
 * The mark is optional: a plain number (a literal, the result of arithmetic) fits any of them; one kind does not fit another.
 */
type Kind<Name extends string> = number & { readonly __kind?: Name };

/** Inode number, 1-based as on disk. */
export type Ino = Kind<"ino">;
/** Logical block: the index of a block in a file. */
export type Lblk = Kind<"lblk">;
/** Physical block: the index of a block on the device. Below 2^48, so exact in a number, but not under 32-bit operators. */
export type Pblk = Kind<"pblk">;
/** Block group number. */
export type GroupNo = Kind<"group">;
/** Transaction id of jbd2, 32 bits, compared modulo 2^32. */
export type Tid = Kind<"tid">;
/** Index of a block in the journal's log. */
export type LogBlk = Kind<"logblk">;

export const TWO_32 = 0x1_0000_0000;

/** Composes a 64-bit value from its halves. Exact up to 2^53; above, rounded, which every range check still refuses. */
export function fromHalves(hi: number, lo: number): number {
  return hi * TWO_32 + lo;
}
