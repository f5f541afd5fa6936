/**
 * Fast commits: a stream of tag-length-value records behind the journal's log, little-endian, none across a block's end. Source: fs/ext4/fast_commit.h.
 */
import { layout, le16, le32 } from "./layout.js";

export const EXT4_FC_TAG_ADD_RANGE = 1;
export const EXT4_FC_TAG_DEL_RANGE = 2;
export const EXT4_FC_TAG_CREAT = 3;
export const EXT4_FC_TAG_LINK = 4;
export const EXT4_FC_TAG_UNLINK = 5;
export const EXT4_FC_TAG_INODE = 6;
export const EXT4_FC_TAG_PAD = 7;
export const EXT4_FC_TAG_TAIL = 8;
export const EXT4_FC_TAG_HEAD = 9;

export const ext4_fc_tl = layout("ext4_fc_tl", 4, { fc_tag: le16(0), fc_len: le16(2) });
export const ext4_fc_head = layout("ext4_fc_head", 8, { fc_features: le32(0), fc_tid: le32(4) });
/** fc_ex is an ext4_extent behind it. */
export const ext4_fc_add_range = layout("ext4_fc_add_range", 4, { fc_ino: le32(0) });
export const ext4_fc_del_range = layout("ext4_fc_del_range", 12, { fc_ino: le32(0), fc_lblk: le32(4), fc_len: le32(8) });
/** The name follows. */
export const ext4_fc_dentry_info = layout("ext4_fc_dentry_info", 8, { fc_parent_ino: le32(0), fc_ino: le32(4) });
/** The raw inode follows. */
export const ext4_fc_inode = layout("ext4_fc_inode", 4, { fc_ino: le32(0) });
export const ext4_fc_tail = layout("ext4_fc_tail", 8, { fc_tid: le32(0), fc_crc: le32(4) });
