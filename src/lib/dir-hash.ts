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

/** What a name is mixed into; module-level, since a directory that grows is hashed over and over. */
const state = new Int32Array(4);

/** @param version a DX_HASH_* below DX_HASH_SIPHASH. @param seed four words; all zero means the default. */
export function dirHash(version: number, name: Uint8Array, seed: ArrayLike<number>): DirHash {
  const isUnsigned = version >= DX_HASH_LEGACY_UNSIGNED;
  const start = seed[0] || seed[1] || seed[2] || seed[3] ? seed : DEFAULT_SEED;
  for (let index = 0; index < 4; index++) state[index] = start[index]!;
  let hash: number;
  let minor = 0;
  switch (isUnsigned ? version - DX_HASH_LEGACY_UNSIGNED : version) {
    case DX_HASH_LEGACY:
      hash = legacy(name, isUnsigned);
      break;
    case DX_HASH_HALF_MD4:
      for (let at = 0; at < name.length; at += 32) halfMd4(packWords(name, at, 8, isUnsigned));
      hash = state[1]! >>> 0;
      minor = state[2]! >>> 0;
      break;
    default:
      for (let at = 0; at < name.length; at += 16) tea(packWords(name, at, 4, isUnsigned));
      hash = state[0]! >>> 0;
      minor = state[1]! >>> 0;
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
const f = (x: number, y: number, z: number): number => z ^ (x & (y ^ z));
const g = (x: number, y: number, z: number): number => (x & y) + ((x ^ y) & z);
const h = (x: number, y: number, z: number): number => x ^ y ^ z;

/** In which order the second and third round take the words. */
const ORDER_G = [1, 3, 5, 7, 0, 2, 4, 6];
const ORDER_H = [3, 7, 2, 6, 1, 5, 0, 4];
const CONSTANT_G = 0x5a827999;
const CONSTANT_H = 0x6ed9eba1;

/** Written out four steps at a time: a loop over a table of rounds takes three times as long. */
function halfMd4(input: Int32Array): void {
  let a = state[0]!;
  let b = state[1]!;
  let c = state[2]!;
  let d = state[3]!;
  for (let step = 0; step < 8; step += 4) {
    a = rotate(a + f(b, c, d) + input[step]!, 3);
    d = rotate(d + f(a, b, c) + input[step + 1]!, 7);
    c = rotate(c + f(d, a, b) + input[step + 2]!, 11);
    b = rotate(b + f(c, d, a) + input[step + 3]!, 19);
  }
  for (let step = 0; step < 8; step += 4) {
    a = rotate(a + g(b, c, d) + input[ORDER_G[step]!]! + CONSTANT_G, 3);
    d = rotate(d + g(a, b, c) + input[ORDER_G[step + 1]!]! + CONSTANT_G, 5);
    c = rotate(c + g(d, a, b) + input[ORDER_G[step + 2]!]! + CONSTANT_G, 9);
    b = rotate(b + g(c, d, a) + input[ORDER_G[step + 3]!]! + CONSTANT_G, 13);
  }
  for (let step = 0; step < 8; step += 4) {
    a = rotate(a + h(b, c, d) + input[ORDER_H[step]!]! + CONSTANT_H, 3);
    d = rotate(d + h(a, b, c) + input[ORDER_H[step + 1]!]! + CONSTANT_H, 9);
    c = rotate(c + h(d, a, b) + input[ORDER_H[step + 2]!]! + CONSTANT_H, 11);
    b = rotate(b + h(c, d, a) + input[ORDER_H[step + 3]!]! + CONSTANT_H, 15);
  }
  state[0] = state[0]! + a;
  state[1] = state[1]! + b;
  state[2] = state[2]! + c;
  state[3] = state[3]! + d;
}

function tea(input: Int32Array): void {
  const a = input[0]!;
  const b = input[1]!;
  const c = input[2]!;
  const d = input[3]!;
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
