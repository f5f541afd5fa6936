/**
 * The hashes by which directories file their names: legacy, half-MD4 and TEA, each over signed or unsigned characters, as the machine that
 * made the filesystem had them. (SipHash, for names that are encrypted and casefolded, needs a key.) Source: fs/ext4/hash.c.
 */

export const DX_HASH_LEGACY = 0;
export const DX_HASH_HALF_MD4 = 1;
export const DX_HASH_TEA = 2;
export const DX_HASH_LEGACY_UNSIGNED = 3;
export const DX_HASH_HALF_MD4_UNSIGNED = 4;
export const DX_HASH_TEA_UNSIGNED = 5;
export const DX_HASH_SIPHASH = 6;
/** The last version that needs no key. */
export const DX_HASH_LAST_PLAIN = DX_HASH_TEA_UNSIGNED;

const DEFAULT_SEED = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];
/** A hash of this value would read as the end of the directory in a position. */
const HASH_EOF = 0xffff_fffe;

export interface DirHash {
  /** What the tree is ordered by; bit 0 is clear. */
  readonly hash: number;
  /** Further bits, for positions in the directory. */
  readonly minor: number;
}

/** @param version a DX_HASH_* below DX_HASH_SIPHASH. @param seed four words; all zero means the default. */
export function dirHash(version: number, name: Uint8Array, seed: ArrayLike<number>): DirHash {
  const isUnsigned = version >= DX_HASH_LEGACY_UNSIGNED;
  const state = Int32Array.from(seed[0] || seed[1] || seed[2] || seed[3] ? seed : DEFAULT_SEED);
  let hash: number;
  let minor = 0;
  switch (isUnsigned ? version - DX_HASH_LEGACY_UNSIGNED : version) {
    case DX_HASH_LEGACY:
      hash = legacy(name, isUnsigned);
      break;
    case DX_HASH_HALF_MD4:
      for (let at = 0; at < name.length; at += 32) halfMd4(state, packWords(name, at, 8, isUnsigned));
      [hash, minor] = [state[1]! >>> 0, state[2]! >>> 0];
      break;
    default:
      for (let at = 0; at < name.length; at += 16) tea(state, packWords(name, at, 4, isUnsigned));
      [hash, minor] = [state[0]! >>> 0, state[1]! >>> 0];
  }
  hash = (hash & ~1) >>> 0;
  return { hash: hash === HASH_EOF ? HASH_EOF - 2 : hash, minor };
}

const charAt = (name: Uint8Array, at: number, isUnsigned: boolean): number => (isUnsigned ? name[at]! : (name[at]! << 24) >> 24);

function legacy(name: Uint8Array, isUnsigned: boolean): number {
  let hash0 = 0x12a3fe2d;
  let hash1 = 0x37abe8f9;
  for (let at = 0; at < name.length; at++) {
    let hash = (hash1 + (hash0 ^ Math.imul(charAt(name, at, isUnsigned), 7152373))) >>> 0;
    if (hash >= 0x8000_0000) hash -= 0x7fff_ffff;
    hash1 = hash0;
    hash0 = hash;
  }
  return (hash0 << 1) >>> 0;
}

const words = new Int32Array(8);

/** The next `count` words of the name, big end first; what the name does not fill holds its remaining length in every byte. */
function packWords(name: Uint8Array, from: number, count: number, isUnsigned: boolean): Int32Array {
  const left = name.length - from;
  let pad = left | (left << 8);
  pad |= pad << 16;
  const length = Math.min(left, count * 4);
  let word = pad;
  let filled = 0;
  for (let index = 0; index < length; index++) {
    word = charAt(name, from + index, isUnsigned) + (word << 8);
    if (index % 4 === 3) {
      words[filled++] = word;
      word = pad;
    }
  }
  if (filled < count) words[filled++] = word;
  while (filled < count) words[filled++] = pad;
  return words;
}

const rotate = (word: number, bits: number): number => (word << bits) | (word >>> (32 - bits));

/** Per round: the constant, the order of the words, the rotations. */
const MD4_ROUNDS = [
  { constant: 0, order: [0, 1, 2, 3, 4, 5, 6, 7], shifts: [3, 7, 11, 19], mix: (x: number, y: number, z: number): number => z ^ (x & (y ^ z)) },
  { constant: 0x5a827999, order: [1, 3, 5, 7, 0, 2, 4, 6], shifts: [3, 5, 9, 13], mix: (x: number, y: number, z: number): number => (x & y) + ((x ^ y) & z) },
  { constant: 0x6ed9eba1, order: [3, 7, 2, 6, 1, 5, 0, 4], shifts: [3, 9, 11, 15], mix: (x: number, y: number, z: number): number => x ^ y ^ z },
];

function halfMd4(state: Int32Array, input: Int32Array): void {
  let [a, b, c, d] = state as unknown as [number, number, number, number];
  for (const { constant, order, shifts, mix } of MD4_ROUNDS) {
    for (let step = 0; step < 8; step++) {
      const next = rotate((a + mix(b, c, d) + input[order[step]!]! + constant) | 0, shifts[step % 4]!);
      [a, b, c, d] = [d, next, b, c];
    }
  }
  [a, b, c, d].forEach((word, index) => { state[index] = state[index]! + word; });
}

function tea(state: Int32Array, input: Int32Array): void {
  const [a, b, c, d] = input as unknown as [number, number, number, number];
  let x = state[0]!;
  let y = state[1]!;
  for (let round = 0, sum = 0; round < 16; round++) {
    sum = (sum + 0x9e3779b9) | 0;
    x = (x + (((y << 4) + a) ^ (y + sum) ^ ((y >>> 5) + b))) | 0;
    y = (y + (((x << 4) + c) ^ (x + sum) ^ ((x >>> 5) + d))) | 0;
  }
  state[0] = state[0]! + x;
  state[1] = state[1]! + y;
}
