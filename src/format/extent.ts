/**
 * The extent tree on disk: header, leaf entry, index entry; little-endian, 12 bytes each. The root stands in the inode's i_block, other nodes fill
 * a block, with a checksum after the last possible entry. Source: fs/ext4/ext4_extents.h.
 */
import { fromHalves, TWO_32, type Lblk, type Pblk } from "../lib/numbers.js";
import { layout, le16, le32 } from "./layout.js";

export const EXT4_EXT_MAGIC = 0xf30a;
/** Deepest tree that Linux accepts. */
export const EXT4_MAX_EXTENT_DEPTH = 5;
/** Longest written extent; a longer ee_len means unwritten, of ee_len minus this. */
export const EXT_INIT_MAX_LEN = 32768;
export const EXT_UNWRITTEN_MAX_LEN = EXT_INIT_MAX_LEN - 1;

export const ext4_extent_header = layout("ext4_extent_header", 12, {
  eh_magic:      le16(0),
  eh_entries:    le16(2), // entries in use
  eh_max:        le16(4), // entries that fit
  eh_depth:      le16(6), // 0: the entries are leaves
  eh_generation: le32(8),
});

export const ext4_extent = layout("ext4_extent", 12, {
  ee_block:    le32(0), // first logical block covered
  ee_len:      le16(4), // above EXT_INIT_MAX_LEN: unwritten, of length ee_len - EXT_INIT_MAX_LEN
  ee_start_hi: le16(6),
  ee_start_lo: le32(8),
});

export const ext4_extent_idx = layout("ext4_extent_idx", 12, {
  ei_block:   le32(0), // first logical block below
  ei_leaf_lo: le32(4),
  ei_leaf_hi: le16(8),
  ei_unused:  le16(10),
});

/** Header, leaf and index entries are all of this size, so that a node is a row of them. */
export const EXT_ENTRY_BYTES = ext4_extent.$.size;

/** Entries that fit a node of so many bytes, behind its header. What the division leaves over holds the checksum. */
export function nodeCapacity(nodeBytes: number): number {
  return Math.floor(nodeBytes / EXT_ENTRY_BYTES) - 1;
}

/** At 12 + 12 * eh_max in a tree block. */
export const ext4_extent_tail = layout("ext4_extent_tail", 4, { et_checksum: le32(0) });

/** First physical block. 48 bits: exact in a number, but not under bit operators, which stop at 32. */
export function extentPblock(view: DataView, at: number): Pblk {
  return fromHalves(ext4_extent.ee_start_hi.get(view, at), ext4_extent.ee_start_lo.get(view, at));
}

export function indexPblock(view: DataView, at: number): Pblk {
  return fromHalves(ext4_extent_idx.ei_leaf_hi.get(view, at), ext4_extent_idx.ei_leaf_lo.get(view, at));
}

/** Blocks covered, written or not. */
export function extentLength(eeLen: number): number {
  return eeLen <= EXT_INIT_MAX_LEN ? eeLen : eeLen - EXT_INIT_MAX_LEN;
}

export function extentIsUnwritten(eeLen: number): boolean {
  return eeLen > EXT_INIT_MAX_LEN;
}

export function extentLengthMax(unwritten: boolean): number {
  return unwritten ? EXT_UNWRITTEN_MAX_LEN : EXT_INIT_MAX_LEN;
}

/** A leaf entry decoded. */
export interface Extent {
  readonly lblk: Lblk;
  readonly pblk: Pblk;
  readonly count: number;
  readonly unwritten: boolean;
}

/** Encodes a leaf entry, not longer than one may be. */
export function setExtent(view: DataView, at: number, { lblk, pblk, count, unwritten }: Extent): void {
  ext4_extent.ee_block.set(view, at, lblk);
  ext4_extent.ee_len.set(view, at, unwritten ? count + EXT_INIT_MAX_LEN : count);
  ext4_extent.ee_start_hi.set(view, at, Math.floor(pblk / TWO_32));
  ext4_extent.ee_start_lo.set(view, at, pblk % TWO_32);
}

export function setIndex(view: DataView, at: number, lblk: Lblk, pblk: Pblk): void {
  ext4_extent_idx.ei_block.set(view, at, lblk);
  ext4_extent_idx.ei_leaf_lo.set(view, at, pblk % TWO_32);
  ext4_extent_idx.ei_leaf_hi.set(view, at, Math.floor(pblk / TWO_32));
  ext4_extent_idx.ei_unused.set(view, at, 0);
}

/** Makes a node of zeroes, or an inode's i_block, a node without entries. */
export function initNode(view: DataView, at: number, max: number, depth: number): void {
  ext4_extent_header.eh_magic.set(view, at, EXT4_EXT_MAGIC);
  ext4_extent_header.eh_entries.set(view, at, 0);
  ext4_extent_header.eh_max.set(view, at, max);
  ext4_extent_header.eh_depth.set(view, at, depth);
}
