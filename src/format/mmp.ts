/** The block of multi-mount protection: who uses the filesystem writes a new number into it every few seconds. Source: struct mmp_struct (fs/ext4/ext4.h). */
import { crc32c } from "../lib/crc32c.js";
import { bytes, hole, layout, le16, le32, le64, viewOf } from "./layout.js";

export const EXT4_MMP_MAGIC = 0x004d4d50;
/** mmp_seq of a filesystem that nobody uses. */
export const EXT4_MMP_SEQ_CLEAN = 0xff4d4d50;
/** mmp_seq while a program outside a kernel has it. */
export const EXT4_MMP_SEQ_FSCK = 0xe24d4d50;

export const mmp_struct = layout("mmp_struct", 1024, {
  mmp_magic:          le32(0),
  mmp_seq:            le32(4),
  mmp_time:           le64(8), // of the last update; for people
  mmp_nodename:       bytes(16, 64), // who made it; for people
  mmp_bdevname:       bytes(80, 32),
  mmp_check_interval: le16(112), // seconds
  mmp_pad1:           le16(114),
  mmp_pad2:           hole(116, 904),
  mmp_checksum:       le32(1020), // with metadata_csum
});

/** Sets the checksum of all before it. */
export function sealMmp(block: Uint8Array, csumSeed: number): void {
  mmp_struct.mmp_checksum.set(viewOf(block), 0, crc32c(csumSeed, block, 0, mmp_struct.mmp_checksum.at));
}
