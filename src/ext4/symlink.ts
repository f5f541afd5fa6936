/**
 * Symbolic links: fast (in i_block), slow (in one block), inline, or encrypted (a length and ciphertext, shown encoded).
 * Source: fs/ext4/symlink.c, ext4_inode_is_fast_symlink (fs/ext4/inode.c).
 */
import { CorruptionError } from "../format/corruption.js";
import { EXT4_ENCRYPT_FL, EXT4_INLINE_DATA_FL } from "../format/inode.js";
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";
import { noKeyName } from "./crypto.js";
import { readBlocks } from "./file.js";
import { I_BLOCK_AT, I_BLOCK_BYTES, type Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";

const SECTOR_BYTES = 512;
const ENCRYPTED_HEAD_BYTES = 2;

/** Whether the target stands in i_block: then the link owns no block but perhaps one of attributes. */
export function isFastSymlink(fs: Ext4, inode: Ext4Inode): boolean {
  if ((inode.i_flags & EXT4_INLINE_DATA_FL) !== 0) return false;
  if (fs.sb.hasEaInode) return inode.i_size > 0 && inode.i_size < I_BLOCK_BYTES;
  const attributeBlocks = inode.i_file_acl === 0 ? 0 : fs.sb.clusterBytes / SECTOR_BYTES;
  return inode.i_blocks - attributeBlocks === 0;
}

export function* readTarget(fs: Ext4, inode: Ext4Inode): Task<Uint8Array> {
  if (!inode.isSymlink()) throw new FsError("EINVAL");
  const target = yield* readStored(fs, inode);
  if ((inode.i_flags & EXT4_ENCRYPT_FL) !== 0) return encryptedTarget(inode, target);
  if (target.includes(0)) throw new CorruptionError("symlink", { ino: inode.i_ino, found: "a NUL byte" });
  return target;
}

function* readStored(fs: Ext4, inode: Ext4Inode): Task<Uint8Array> {
  const length = inode.i_size;
  if (isFastSymlink(fs, inode)) {
    if (length === 0 || length >= I_BLOCK_BYTES) throw new CorruptionError("symlink", { ino: inode.i_ino, field: "i_size", found: length });
    return inode.raw.slice(I_BLOCK_AT, I_BLOCK_AT + length);
  }
  if (length === 0 || length >= fs.blockBytes) throw new CorruptionError("symlink", { ino: inode.i_ino, field: "i_size", found: length });
  const target = new Uint8Array(length);
  yield* readBlocks(fs, inode, 0, target);
  return target;
}

function encryptedTarget(inode: Ext4Inode, stored: Uint8Array): Uint8Array {
  const length = stored.length < ENCRYPTED_HEAD_BYTES ? 0 : stored[0]! + stored[1]! * 256;
  if (length === 0 || length + ENCRYPTED_HEAD_BYTES > stored.length) {
    throw new CorruptionError("symlink", { ino: inode.i_ino, field: "len", found: length, expected: stored.length });
  }
  return noKeyName(stored.subarray(ENCRYPTED_HEAD_BYTES, ENCRYPTED_HEAD_BYTES + length), 0, 0);
}
