/**
 * The inode: 128 bytes of ext2, then as many more as i_extra_isize says, then extended attributes up to s_inode_size.
 * A field behind byte 128 exists if it ends within 128 + i_extra_isize. Source: struct ext4_inode (fs/ext4/ext4.h).
 */
import { TWO_32 } from "../lib/numbers.js";
import { bytes, hole, layout, le16, le32, le32s } from "./layout.js";

export const EXT4_BAD_INO = 1;
export const EXT4_ROOT_INO = 2;
export const EXT4_USR_QUOTA_INO = 3;
export const EXT4_GRP_QUOTA_INO = 4;
export const EXT4_BOOT_LOADER_INO = 5;
export const EXT4_RESIZE_INO = 7;
export const EXT4_JOURNAL_INO = 8;

/** Direct pointers in i_block of an inode without extents; then come one, two and three levels. */
export const EXT4_NDIR_BLOCKS = 12;

/** i_flags. */
export const EXT4_SECRM_FL = 0x1;
export const EXT4_UNRM_FL = 0x2;
export const EXT4_COMPR_FL = 0x4;
export const EXT4_SYNC_FL = 0x8;
export const EXT4_IMMUTABLE_FL = 0x10;
export const EXT4_APPEND_FL = 0x20;
export const EXT4_NODUMP_FL = 0x40;
export const EXT4_NOATIME_FL = 0x80;
export const EXT4_DIRTY_FL = 0x100;
export const EXT4_COMPRBLK_FL = 0x200;
export const EXT4_NOCOMPR_FL = 0x400;
export const EXT4_ENCRYPT_FL = 0x800;
export const EXT4_INDEX_FL = 0x1000;
export const EXT4_IMAGIC_FL = 0x2000;
export const EXT4_JOURNAL_DATA_FL = 0x4000;
export const EXT4_NOTAIL_FL = 0x8000;
export const EXT4_DIRSYNC_FL = 0x10000;
export const EXT4_TOPDIR_FL = 0x20000;
export const EXT4_HUGE_FILE_FL = 0x40000;
export const EXT4_EXTENTS_FL = 0x80000;
export const EXT4_VERITY_FL = 0x100000;
export const EXT4_EA_INODE_FL = 0x200000;
export const EXT4_DAX_FL = 0x2000000;
export const EXT4_INLINE_DATA_FL = 0x10000000;
export const EXT4_PROJINHERIT_FL = 0x20000000;
export const EXT4_CASEFOLD_FL = 0x40000000;

/** i_flags as lsattr shows them: bit, letter, name; in lsattr's order. */
export const INODE_FLAG_LETTERS: readonly (readonly [number, string, string])[] = [
  [EXT4_SECRM_FL, "s", "Secure_Deletion"], [EXT4_UNRM_FL, "u", "Undelete"], [EXT4_SYNC_FL, "S", "Synchronous_Updates"],
  [EXT4_DIRSYNC_FL, "D", "Synchronous_Directory_Updates"], [EXT4_IMMUTABLE_FL, "i", "Immutable"], [EXT4_APPEND_FL, "a", "Append_Only"],
  [EXT4_NODUMP_FL, "d", "No_Dump"], [EXT4_NOATIME_FL, "A", "No_Atime"], [EXT4_COMPR_FL, "c", "Compression_Requested"],
  [EXT4_ENCRYPT_FL, "E", "Encrypted"], [EXT4_JOURNAL_DATA_FL, "j", "Journaled_Data"], [EXT4_INDEX_FL, "I", "Indexed_directory"],
  [EXT4_NOTAIL_FL, "t", "No_Tailmerging"], [EXT4_TOPDIR_FL, "T", "Top_of_Directory_Hierarchies"], [EXT4_EXTENTS_FL, "e", "Extents"],
  [0x800000, "C", "No_COW"], [EXT4_DAX_FL, "x", "DAX"], [EXT4_CASEFOLD_FL, "F", "Casefold"], [EXT4_INLINE_DATA_FL, "N", "Inline_Data"],
  [EXT4_PROJINHERIT_FL, "P", "Project_Hierarchy"], [EXT4_VERITY_FL, "V", "Verity"], [EXT4_NOCOMPR_FL, "m", "Dont_Compress"],
];

export const ext4_inode = layout("ext4_inode", 160, {
  i_mode:          le16(0x00),
  i_uid:           le16(0x02), // lower 16 bits
  i_size_lo:       le32(0x04),
  i_atime:         le32s(0x08),
  i_ctime:         le32s(0x0c),
  i_mtime:         le32s(0x10),
  i_dtime:         le32(0x14), // deletion time, or the next inode on the orphan list
  i_gid:           le16(0x18),
  i_links_count:   le16(0x1a),
  i_blocks_lo:     le32(0x1c),
  i_flags:         le32(0x20),
  i_version:       le32(0x24),
  i_block:         bytes(0x28, 60),
  i_generation:    le32(0x64),
  i_file_acl_lo:   le32(0x68),
  i_size_high:     le32(0x6c),
  i_obso_faddr:    hole(0x70, 4),
  i_blocks_high:   le16(0x74),
  i_file_acl_high: le16(0x76),
  i_uid_high:      le16(0x78),
  i_gid_high:      le16(0x7a),
  i_checksum_lo:   le16(0x7c),
  i_reserved:      hole(0x7e, 2),
  i_extra_isize:   le16(0x80),
  i_checksum_hi:   le16(0x82),
  i_ctime_extra:   le32(0x84),
  i_mtime_extra:   le32(0x88),
  i_atime_extra:   le32(0x8c),
  i_crtime:        le32s(0x90),
  i_crtime_extra:  le32(0x94),
  i_version_hi:    le32(0x98),
  i_projid:        le32(0x9c),
});

/** The inode of ext2 and ext3; what is behind it counts as far as i_extra_isize says. */
export const EXT4_GOOD_OLD_INODE_BYTES = 128;
/** Where i_block stands in the inode, and how long it is: 15 pointers, an extent tree's root, a short symlink or inline data. */
export const I_BLOCK_AT = ext4_inode.i_block.at;
export const I_BLOCK_BYTES = ext4_inode.i_block.size;

const I = ext4_inode;

export function inodeUid(view: DataView, at: number): number {
  return I.i_uid_high.get(view, at) * 0x1_0000 + I.i_uid.get(view, at);
}

export function inodeGid(view: DataView, at: number): number {
  return I.i_gid_high.get(view, at) * 0x1_0000 + I.i_gid.get(view, at);
}

/** Bytes. The upper half belongs to regular files, and to directories where large ones are allowed. */
export function inodeSize(view: DataView, at: number, withHigh: boolean): number {
  return (withHigh ? I.i_size_high.get(view, at) * TWO_32 : 0) + I.i_size_lo.get(view, at);
}

/** Units of 512 bytes, or of filesystem blocks with EXT4_HUGE_FILE_FL. */
export function inodeBlocks(view: DataView, at: number, hasHugeFile: boolean): number {
  return (hasHugeFile ? I.i_blocks_high.get(view, at) * TWO_32 : 0) + I.i_blocks_lo.get(view, at);
}

/** The block of extended attributes, or 0. */
export function inodeFileAcl(view: DataView, at: number, has64bit: boolean): number {
  return (has64bit ? I.i_file_acl_high.get(view, at) * TWO_32 : 0) + I.i_file_acl_lo.get(view, at);
}

/** Signed 32 bits of seconds, two more bits of them in the lowest bits of the extra word, nanoseconds above. */
export function decodeTime(seconds: number, extra: number): { sec: number; nsec: number } {
  return { sec: seconds + (extra & 3) * TWO_32, nsec: extra >>> 2 };
}

export function encodeTime(time: { readonly sec: number; readonly nsec: number }): { seconds: number; extra: number } {
  const seconds = time.sec | 0;
  return { seconds, extra: ((time.nsec << 2) | (((time.sec - seconds) / TWO_32) & 3)) >>> 0 };
}

/** The device number of a special file: 8 and 8 bits in the first word of i_block, or 12 and 20 in the second. */
export function decodeDevice(view: DataView, at: number): { major: number; minor: number } {
  const old = view.getUint32(at + I.i_block.at, true);
  if (old !== 0) return { major: (old >>> 8) & 0xff, minor: old & 0xff };
  const word = view.getUint32(at + I.i_block.at + 4, true);
  return { major: (word & 0xfff00) >>> 8, minor: ((word & 0xff) | ((word >>> 12) & 0xfff00)) >>> 0 };
}

/** The form that Linux writes: short where both numbers fit 8 bits. */
export function encodeDevice(view: DataView, at: number, { major, minor }: { readonly major: number; readonly minor: number }): void {
  const isShort = major < 256 && minor < 256;
  view.setUint32(at + I.i_block.at, isShort ? (major << 8) | minor : 0, true);
  view.setUint32(at + I.i_block.at + 4, isShort ? 0 : ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0, true);
}
