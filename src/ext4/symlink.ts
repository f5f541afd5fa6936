/**
 * Symbolic links: fast (in i_block), slow (in one block), inline, or encrypted (a length and ciphertext, shown encoded).
 * Source: fs/ext4/symlink.c, ext4_inode_is_fast_symlink (fs/ext4/inode.c).
 */
import { CorruptionError } from "../format/corruption.js";
import { INCOMPAT } from "../format/features.js";
import { EXT4_ENCRYPT_FL, EXT4_EXTENTS_FL, EXT4_INLINE_DATA_FL, I_BLOCK_AT, I_BLOCK_BYTES } from "../format/inode.js";
import type { Handle } from "../jbd2/handle.js";
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";
import { CIPHERTEXT_BYTES_MIN, noKeyName } from "./crypto.js";
import { readBlocks } from "./file.js";
import type { Ext4Inode } from "./inode.js";
import { initMap, insertMapping } from "./map-write.js";
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
  if (length < CIPHERTEXT_BYTES_MIN || length + ENCRYPTED_HEAD_BYTES > stored.length) {
    throw new CorruptionError("symlink", { ino: inode.i_ino, field: "len", found: length, expected: stored.length });
  }
  return noKeyName(stored.subarray(ENCRYPTED_HEAD_BYTES, ENCRYPTED_HEAD_BYTES + length), 0, 0);
}

/** Gives a new link its target: in the inode if it fits, else in a block, which is journaled with the rest. @throws FsError ENAMETOOLONG, ENOSPC. */
export function* writeTarget(handle: Handle, fs: Ext4, inode: Ext4Inode, target: Uint8Array): Task<void> {
  if (target.length === 0) throw new FsError("ENOENT");
  if (target.length >= fs.blockBytes) throw new FsError("ENAMETOOLONG");
  if (target.length < I_BLOCK_BYTES) {
    inode.raw.fill(0, I_BLOCK_AT, I_BLOCK_AT + I_BLOCK_BYTES);
    inode.raw.set(target, I_BLOCK_AT);
  } else {
    if (fs.sb.has(INCOMPAT.extent, "incompat")) inode.i_flags |= EXT4_EXTENTS_FL;
    initMap(inode);
    if (!inode.i_data_sem.tryWrite()) yield* inode.i_data_sem.write();
    try {
      const pblk = yield* fs.allocator.allocateMetadata(handle, inode, fs.allocator.goalFor(inode));
      yield* insertMapping(handle, fs, inode, { lblk: 0, pblk, count: 1, unwritten: false });
      const buffer = handle.getCreateAccess(pblk);
      buffer.data.set(target);
      handle.dirty(buffer);
    } finally {
      inode.i_data_sem.unlockWrite();
    }
  }
  inode.i_size = target.length;
}
