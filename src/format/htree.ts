/**
 * The hash tree of a directory. Block 0 is the root: ".", a ".." that spans the block, and behind its name the tree's description and entries. Other nodes
 * begin with one unused entry that spans the block. Entry 0 has limit and count where others have their hash. Source: fs/ext4/namei.c.
 */
import { layout, le16, le32, u8 } from "./layout.js";

/** Offsets in a root and in a node. */
export const DX_ROOT_INFO_AT = 0x18;
export const DX_ROOT_ENTRIES_AT = 0x20;
export const DX_NODE_ENTRIES_AT = 8;
export const DX_ENTRY_BYTES = 8;
/** An index entry names one of so many blocks of its directory. */
export const DX_BLOCKS_MAX = 2 ** 28;

export const dx_root_info = layout("dx_root_info", 8, {
  reserved_zero:   le32(0),
  hash_version:    u8(4), // 0 legacy, 1 half-MD4, 2 TEA, 6 SipHash; signedness stands in the superblock
  info_length:     u8(5), // 8
  indirect_levels: u8(6),
  unused_flags:    u8(7), // bit 0 must be 0
});

export const dx_countlimit = layout("dx_countlimit", 4, { limit: le16(0), count: le16(2) });

export const dx_entry = layout("dx_entry", 8, {
  hash:  le32(0), // bit 0: names with this hash also end the leaf before
  block: le32(4), // in the directory; 28 bits count
});

/** Behind the last possible entry, with checksums. */
export const dx_tail = layout("dx_tail", 8, { dt_reserved: le32(0), dt_checksum: le32(4) });

/** Entries that fit; what is stored must be exactly this. */
export function dxRootLimit(blockBytes: number, hasChecksum: boolean): number {
  return Math.floor((blockBytes - DX_ROOT_ENTRIES_AT - (hasChecksum ? dx_tail.$.size : 0)) / DX_ENTRY_BYTES);
}

export function dxNodeLimit(blockBytes: number, hasChecksum: boolean): number {
  return Math.floor((blockBytes - DX_NODE_ENTRIES_AT - (hasChecksum ? dx_tail.$.size : 0)) / DX_ENTRY_BYTES);
}
