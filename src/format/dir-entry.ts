/**
 * Directory entries: a head of 8 bytes and the name, padded to 4, chained by rec_len up to the end of the block. With checksums a block ends in a tail that looks like
 * an unused entry. Source: struct ext4_dir_entry_2, ext4_dir_entry_tail (fs/ext4/ext4.h).
 */
import { layout, le16, le32, u8 } from "./layout.js";

export const ext4_dir_entry_2 = layout("ext4_dir_entry_2", 8, {
  inode:     le32(0), // 0: unused
  rec_len:   le16(4),
  name_len:  u8(6),
  file_type: u8(7), // without the filetype feature: the upper half of name_len
});

export const ext4_dir_entry_tail = layout("ext4_dir_entry_tail", 12, {
  det_reserved_zero1: le32(0),
  det_rec_len:        le16(4), // 12
  det_reserved_zero2: u8(6),
  det_reserved_ft:    u8(7), // 0xDE
  det_checksum:       le32(8),
});

/** file_type: 0 unknown, 1 regular, 2 directory, 3 character, 4 block device, 5 FIFO, 6 socket, 7 symbolic link. */
export const EXT4_FT_DIR_CSUM = 0xde;

const BLOCK_BYTES_MAX = 65536;

/** rec_len has 16 bits: a whole block of 64 KiB is written as 0xFFFF or 0, and its lowest two bits are bits 16 and 17. */
export function recLenFromDisk(stored: number, blockBytes: number): number {
  if (blockBytes < BLOCK_BYTES_MAX) return stored;
  return stored === 0xffff || stored === 0 ? blockBytes : (stored & 0xfffc) | ((stored & 3) << 16);
}

export function recLenToDisk(recLen: number, blockBytes: number): number {
  if (blockBytes < BLOCK_BYTES_MAX) return recLen;
  return recLen === blockBytes ? 0xffff : (recLen & 0xfffc) | ((recLen >>> 16) & 3);
}

/** What stands before the name, and the padding behind it. */
export const HEAD_BYTES = ext4_dir_entry_2.$.size;
export const roundUp4 = (bytes: number): number => (bytes + 3) & ~3;
