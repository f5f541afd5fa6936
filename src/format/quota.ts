/**
 * Quota files, version 1 of the second format ("vfsv1"): blocks of 1 KiB whatever the filesystem's are. Block 0 has the header; from block 1 on, a tree of block numbers
 * leads by the bytes of an id, highest first, to blocks of entries. Source: fs/quota/quotaio_v2.h, quota_tree.h.
 */
import { layout, le16, le32, le64 } from "./layout.js";

export const QUOTA_BLOCK_BYTES = 1024;
export const QUOTA_TREE_DEPTH = 4;
/** Block of the tree's root. */
export const QUOTA_TREE_AT = 1;
export const QUOTA_VERSION = 1;
/** Of files for users, groups and projects. */
export const QUOTA_MAGICS = { usrquota: 0xd9c01f11, grpquota: 0xd9c01927, prjquota: 0xd9c03f14 } as const;

export const v2_disk_dqheader = layout("v2_disk_dqheader", 8, { dqh_magic: le32(0), dqh_version: le32(4) });

/** Behind the header. */
export const v2_disk_dqinfo = layout("v2_disk_dqinfo", 24, {
  dqi_bgrace:     le32(0), // seconds
  dqi_igrace:     le32(4),
  dqi_flags:      le32(8),
  dqi_blocks:     le32(12), // of the file
  dqi_free_blk:   le32(16), // head of the list of free blocks, or 0
  dqi_free_entry: le32(20), // head of the list of blocks with free entries, or 0
});

/** At the start of a block of entries. */
export const qt_disk_dqdbheader = layout("qt_disk_dqdbheader", 16, {
  dqdh_next_free: le32(0),
  dqdh_prev_free: le32(4),
  dqdh_entries:   le16(8),
  dqdh_pad1:      le16(10),
  dqdh_pad2:      le32(12),
});

export const v2r1_disk_dqblk = layout("v2r1_disk_dqblk", 72, {
  dqb_id:         le32(0),
  dqb_pad:        le32(4),
  dqb_ihardlimit: le64(8),
  dqb_isoftlimit: le64(16),
  dqb_curinodes:  le64(24),
  dqb_bhardlimit: le64(32), // KiB
  dqb_bsoftlimit: le64(40),
  dqb_curspace:   le64(48), // bytes
  dqb_btime:      le64(56),
  dqb_itime:      le64(64),
});
