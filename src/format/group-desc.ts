/**
 * The block group descriptor: 32 bytes, or 64 and more with the 64bit feature, where upper halves follow. Free blocks are counted in clusters.
 * Source: struct ext4_group_desc (fs/ext4/ext4.h).
 */
import { fromHalves } from "../lib/numbers.js";
import { hole, layout, le16, le32 } from "./layout.js";

/** bg_flags; they count only with descriptor checksums. */
export const EXT4_BG_INODE_UNINIT = 1; // the inode bitmap was never written
export const EXT4_BG_BLOCK_UNINIT = 2; // nor the block bitmap
export const EXT4_BG_INODE_ZEROED = 4; // the inode table is zeroed

export const ext4_group_desc = layout("ext4_group_desc", 64, {
  bg_block_bitmap_lo:      le32(0x00),
  bg_inode_bitmap_lo:      le32(0x04),
  bg_inode_table_lo:       le32(0x08),
  bg_free_blocks_count_lo: le16(0x0c),
  bg_free_inodes_count_lo: le16(0x0e),
  bg_used_dirs_count_lo:   le16(0x10),
  bg_flags:                le16(0x12),
  bg_exclude_bitmap_lo:    le32(0x14),
  bg_block_bitmap_csum_lo: le16(0x18),
  bg_inode_bitmap_csum_lo: le16(0x1a),
  bg_itable_unused_lo:     le16(0x1c), // inodes at the table's end that were never used
  bg_checksum:             le16(0x1e),
  bg_block_bitmap_hi:      le32(0x20),
  bg_inode_bitmap_hi:      le32(0x24),
  bg_inode_table_hi:       le32(0x28),
  bg_free_blocks_count_hi: le16(0x2c),
  bg_free_inodes_count_hi: le16(0x2e),
  bg_used_dirs_count_hi:   le16(0x30),
  bg_itable_unused_hi:     le16(0x32),
  bg_exclude_bitmap_hi:    le32(0x34),
  bg_block_bitmap_csum_hi: le16(0x38),
  bg_inode_bitmap_csum_hi: le16(0x3a),
  bg_reserved:             hole(0x3c, 4),
});

const D = ext4_group_desc;

/** Fields of two halves. A descriptor of 32 bytes has only the lower ones. */
const HALVES = {
  bg_block_bitmap:      { lo: D.bg_block_bitmap_lo, hi: D.bg_block_bitmap_hi },
  bg_inode_bitmap:      { lo: D.bg_inode_bitmap_lo, hi: D.bg_inode_bitmap_hi },
  bg_inode_table:       { lo: D.bg_inode_table_lo, hi: D.bg_inode_table_hi },
  bg_free_blocks_count: { lo: D.bg_free_blocks_count_lo, hi: D.bg_free_blocks_count_hi },
  bg_free_inodes_count: { lo: D.bg_free_inodes_count_lo, hi: D.bg_free_inodes_count_hi },
  bg_used_dirs_count:   { lo: D.bg_used_dirs_count_lo, hi: D.bg_used_dirs_count_hi },
  bg_itable_unused:     { lo: D.bg_itable_unused_lo, hi: D.bg_itable_unused_hi },
  bg_block_bitmap_csum: { lo: D.bg_block_bitmap_csum_lo, hi: D.bg_block_bitmap_csum_hi },
  bg_inode_bitmap_csum: { lo: D.bg_inode_bitmap_csum_lo, hi: D.bg_inode_bitmap_csum_hi },
} as const;

export type GroupDescFieldName = keyof typeof HALVES;

/** Composes a field from its halves. */
export function groupDescField(name: GroupDescFieldName, view: DataView, at: number, descBytes: number): number {
  const { lo, hi } = HALVES[name];
  if (hi.at + hi.size > descBytes) return lo.get(view, at);
  return lo.size === 4 ? fromHalves(hi.get(view, at), lo.get(view, at)) : hi.get(view, at) * 0x1_0000 + lo.get(view, at);
}

export function setGroupDescField(name: GroupDescFieldName, view: DataView, at: number, descBytes: number, value: number): void {
  const { lo, hi } = HALVES[name];
  const span = 2 ** (lo.size * 8);
  lo.set(view, at, value % span);
  if (hi.at + hi.size <= descBytes) hi.set(view, at, Math.floor(value / span));
}
