/**
 * Extended attributes: a header in the inode (4 bytes) or in a block (32), then entries, names padded to 4, up to a zero word; values stand at the other end.
 * Source: fs/ext4/xattr.h.
 */
import { hole, layout, le16, le32, u8 } from "./layout.js";

export const EXT4_XATTR_MAGIC = 0xea020000;

export const ext4_xattr_ibody_header = layout("ext4_xattr_ibody_header", 4, { h_magic: le32(0) });

export const ext4_xattr_header = layout("ext4_xattr_header", 32, {
  h_magic:    le32(0),
  h_refcount: le32(4), // inodes that share the block
  h_blocks:   le32(8), // 1
  h_hash:     le32(12), // over the entries' hashes; 0: not to be shared
  h_checksum: le32(16),
  h_reserved: hole(20, 12),
});

export const ext4_xattr_entry = layout("ext4_xattr_entry", 16, {
  e_name_len:   u8(0),
  e_name_index: u8(1),
  e_value_offs: le16(2), // from the first entry in an inode, from the start of a block
  e_value_inum: le32(4), // the inode that holds the value, or 0
  e_value_size: le32(8),
  e_hash:       le32(12),
});

/** Inodes that one block may serve. */
export const EXT4_XATTR_REFCOUNT_MAX = 1024;
/** Linux's limits for a full name and for a value; a value on disk may be longer. */
export const XATTR_NAME_MAX = 255;
export const XATTR_SIZE_MAX = 65536;

/** Names and values are padded to 4 bytes. */
const padded = (sizeBytes: number): number => (sizeBytes + 3) & ~3;

/** What an entry takes, its name included, and what a value takes. */
export const xattrEntryBytes = (nameLength: number): number => padded(ext4_xattr_entry.$.size + nameLength);
export const xattrValueBytes = padded;

/** e_hash: the bytes of the name, then the words of the value. For a value in an inode of its own, the one word is that value's checksum. */
export function xattrEntryHash(name: Uint8Array, value: Uint8Array): number {
  let hash = 0;
  for (const byte of name) hash = (hash << 5) ^ (hash >>> 27) ^ byte;
  // Bytes past the end are undefined, which the operators take for 0, as is the padding.
  for (let at = 0; at < value.length; at += 4) {
    hash = (hash << 16) ^ (hash >>> 16) ^ (value[at]! | (value[at + 1]! << 8) | (value[at + 2]! << 16) | (value[at + 3]! << 24));
  }
  return hash >>> 0;
}

/** h_hash, of the entries' hashes in order; 0, which is never shared, if one of them is 0. */
export function xattrBlockHash(entryHashes: readonly number[]): number {
  if (entryHashes.includes(0)) return 0;
  return entryHashes.reduce((hash, entryHash) => (hash << 16) ^ (hash >>> 16) ^ entryHash, 0) >>> 0;
}

export const EXT4_XATTR_INDEX_USER = 1;
export const EXT4_XATTR_INDEX_POSIX_ACL_ACCESS = 2;
export const EXT4_XATTR_INDEX_POSIX_ACL_DEFAULT = 3;
export const EXT4_XATTR_INDEX_SYSTEM = 7;
export const EXT4_XATTR_INDEX_ENCRYPTION = 9;

/** What a name index stands for; of the two ACLs it is the whole name. */
export const XATTR_PREFIXES: Readonly<Record<number, string>> = {
  1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default", 4: "trusted.", 6: "security.", 7: "system.", 8: "system.richacl", 9: "encryption.", 10: "gnu.",
};
