/**
 * The superblock: 1024 bytes at byte 1024 of the device, whatever the block size, with copies at the start of backup groups. Counts that outgrew 32 bits
 * have their upper halves elsewhere, valid with the 64bit feature. Source: struct ext4_super_block (fs/ext4/ext4.h).
 */
import { fromHalves, TWO_32 } from "../lib/numbers.js";
import { array, bytes, layout, le16, le16s, le32, le64, u8, hole } from "./layout.js";

export const EXT4_SUPER_MAGIC = 0xef53;

/** s_state */
/** Bits of s_default_mount_opts that say how file data is journaled. */
export const EXT4_DEFM_JMODE = 0x60;
export const EXT4_DEFM_JMODE_DATA = 0x20;
export const EXT4_DEFM_JMODE_WBACK = 0x60;

export const EXT4_VALID_FS = 1;
export const EXT4_ERROR_FS = 2;
export const EXT4_ORPHAN_FS = 4;

/** s_flags */
export const EXT2_FLAGS_SIGNED_HASH = 1;
export const EXT2_FLAGS_UNSIGNED_HASH = 2;
export const EXT2_FLAGS_TEST_FILESYS = 4;

export const ext4_super_block = layout("ext4_super_block", 1024, {
  s_inodes_count:          le32(0x00),
  s_blocks_count_lo:       le32(0x04),
  s_r_blocks_count_lo:     le32(0x08), // kept for s_def_resuid, s_def_resgid and root
  s_free_blocks_count_lo:  le32(0x0c), // advisory, in blocks
  s_free_inodes_count:     le32(0x10), // advisory
  s_first_data_block:      le32(0x14),
  s_log_block_size:        le32(0x18), // 1024 << n
  s_log_cluster_size:      le32(0x1c), // 1024 << n
  s_blocks_per_group:      le32(0x20),
  s_clusters_per_group:    le32(0x24),
  s_inodes_per_group:      le32(0x28),
  s_mtime:                 le32(0x2c),
  s_wtime:                 le32(0x30),
  s_mnt_count:             le16(0x34),
  s_max_mnt_count:         le16s(0x36), // -1: no check by count
  s_magic:                 le16(0x38),
  s_state:                 le16(0x3a),
  s_errors:                le16(0x3c), // 1 continue, 2 remount read-only, 3 panic
  s_minor_rev_level:       le16(0x3e),
  s_lastcheck:             le32(0x40),
  s_checkinterval:         le32(0x44), // seconds
  s_creator_os:            le32(0x48),
  s_rev_level:             le32(0x4c),
  s_def_resuid:            le16(0x50),
  s_def_resgid:            le16(0x52),
  s_first_ino:             le32(0x54),
  s_inode_size:            le16(0x58),
  s_block_group_nr:        le16(0x5a), // the group that this copy stands in
  s_feature_compat:        le32(0x5c),
  s_feature_incompat:      le32(0x60),
  s_feature_ro_compat:     le32(0x64),
  s_uuid:                  bytes(0x68, 16),
  s_volume_name:           bytes(0x78, 16),
  s_last_mounted:          bytes(0x88, 64),
  s_algorithm_usage_bitmap: le32(0xc8),
  s_prealloc_blocks:       u8(0xcc),
  s_prealloc_dir_blocks:   u8(0xcd),
  s_reserved_gdt_blocks:   le16(0xce), // per group, for growth
  s_journal_uuid:          bytes(0xd0, 16),
  s_journal_inum:          le32(0xe0),
  s_journal_dev:           le32(0xe4),
  s_last_orphan:           le32(0xe8), // head of the orphan list
  s_hash_seed:             array(le32, 0xec, 4),
  s_def_hash_version:      u8(0xfc),
  s_jnl_backup_type:       u8(0xfd),
  s_desc_size:             le16(0xfe), // counts with 64bit only
  s_default_mount_opts:    le32(0x100),
  s_first_meta_bg:         le32(0x104),
  s_mkfs_time:             le32(0x108),
  s_jnl_blocks:            array(le32, 0x10c, 17), // the journal inode's i_block, i_size_high, i_size
  s_blocks_count_hi:       le32(0x150),
  s_r_blocks_count_hi:     le32(0x154),
  s_free_blocks_count_hi:  le32(0x158),
  s_min_extra_isize:       le16(0x15c),
  s_want_extra_isize:      le16(0x15e),
  s_flags:                 le32(0x160),
  s_raid_stride:           le16(0x164),
  s_mmp_update_interval:   le16(0x166),
  s_mmp_block:             le64(0x168),
  s_raid_stripe_width:     le32(0x170),
  s_log_groups_per_flex:   u8(0x174),
  s_checksum_type:         u8(0x175), // 1: crc32c
  s_encryption_level:      u8(0x176),
  s_reserved_pad:          u8(0x177),
  s_kbytes_written:        le64(0x178),
  s_snapshot_inum:         le32(0x180),
  s_snapshot_id:           le32(0x184),
  s_snapshot_r_blocks_count: le64(0x188),
  s_snapshot_list:         le32(0x190),
  s_error_count:           le32(0x194), // from here to s_mount_opts: what survives the journal's replay
  s_first_error_time:      le32(0x198),
  s_first_error_ino:       le32(0x19c),
  s_first_error_block:     le64(0x1a0),
  s_first_error_func:      bytes(0x1a8, 32),
  s_first_error_line:      le32(0x1c8),
  s_last_error_time:       le32(0x1cc),
  s_last_error_ino:        le32(0x1d0),
  s_last_error_line:       le32(0x1d4),
  s_last_error_block:      le64(0x1d8),
  s_last_error_func:       bytes(0x1e0, 32),
  s_mount_opts:            bytes(0x200, 64),
  s_usr_quota_inum:        le32(0x240),
  s_grp_quota_inum:        le32(0x244),
  s_overhead_clusters:     le32(0x248),
  s_backup_bgs:            array(le32, 0x24c, 2), // with sparse_super2
  s_encrypt_algos:         bytes(0x254, 4),
  s_encrypt_pw_salt:       bytes(0x258, 16),
  s_lpf_ino:               le32(0x268),
  s_prj_quota_inum:        le32(0x26c),
  s_checksum_seed:         le32(0x270), // with metadata_csum_seed
  s_wtime_hi:              u8(0x274),
  s_mtime_hi:              u8(0x275),
  s_mkfs_time_hi:          u8(0x276),
  s_lastcheck_hi:          u8(0x277),
  s_first_error_time_hi:   u8(0x278),
  s_last_error_time_hi:    u8(0x279),
  s_first_error_errcode:   u8(0x27a),
  s_last_error_errcode:    u8(0x27b),
  s_encoding:              le16(0x27c), // 1: UTF-8 12.1
  s_encoding_flags:        le16(0x27e),
  s_orphan_file_inum:      le32(0x280),
  s_def_resuid_hi:         le16(0x284),
  s_def_resgid_hi:         le16(0x286),
  s_reserved:              hole(0x288, 0x174),
  s_checksum:              le32(0x3fc),
});

const S = ext4_super_block;

export function blocksCount(view: DataView, at: number, has64bit: boolean): number {
  return fromHalves(has64bit ? S.s_blocks_count_hi.get(view, at) : 0, S.s_blocks_count_lo.get(view, at));
}

export function freeBlocksCount(view: DataView, at: number, has64bit: boolean): number {
  return fromHalves(has64bit ? S.s_free_blocks_count_hi.get(view, at) : 0, S.s_free_blocks_count_lo.get(view, at));
}

export function setFreeBlocksCount(view: DataView, at: number, has64bit: boolean, count: number): void {
  S.s_free_blocks_count_lo.set(view, at, count % TWO_32);
  if (has64bit) S.s_free_blocks_count_hi.set(view, at, Math.floor(count / TWO_32));
}

export function reservedBlocksCount(view: DataView, at: number, has64bit: boolean): number {
  return fromHalves(has64bit ? S.s_r_blocks_count_hi.get(view, at) : 0, S.s_r_blocks_count_lo.get(view, at));
}

type SuperblockTime = "s_wtime" | "s_mtime" | "s_mkfs_time" | "s_lastcheck" | "s_first_error_time" | "s_last_error_time";

/** Seconds since 1970 of a superblock time, whose bits above 32 stand in a byte of their own. */
export function superblockTime(name: SuperblockTime, view: DataView, at: number): number {
  return fromHalves(S[`${name}_hi`].get(view, at), S[name].get(view, at));
}

export function setSuperblockTime(name: SuperblockTime, view: DataView, at: number, seconds: number): void {
  S[name].set(view, at, seconds % TWO_32);
  S[`${name}_hi`].set(view, at, Math.floor(seconds / TWO_32));
}
