/**
 * Writing a file that is stored in its inode: it stays there as long as it fits, and else grows out to a block, data and map in one transaction. Source: fs/ext4/inline.c.
 */
import { writeBytes } from "../block/device.js";
import { INCOMPAT } from "../format/features.js";
import { EXT4_EXTENTS_FL, EXT4_INLINE_DATA_FL, I_BLOCK_AT, I_BLOCK_BYTES } from "../format/inode.js";
import type { Handle } from "../jbd2/handle.js";
import type { Task } from "../sched/task.js";
import { INODE_CREDITS } from "./file-write.js";
import { readInlineData } from "./inline.js";
import type { Ext4Inode } from "./inode.js";
import { journalsData } from "./journaled-data.js";
import { initMap, insertMapping, mapCredits } from "./map-write.js";
import { withSpaceRetry } from "./space.js";
import type { Ext4 } from "./super.js";
import { inlineCapacityBytes, setInlineValue, xattrCredits } from "./xattr-write.js";

/** Writes inline if the file then still fits its inode. Returns false after it has grown out: then the caller writes as to any file. Requires: i_rwsem(w). */
export function* writeInline(fs: Ext4, inode: Ext4Inode, offsetBytes: number, data: Uint8Array): Task<boolean> {
  const end = offsetBytes + data.length;
  if (journalsData(fs, inode) || end > I_BLOCK_BYTES + inlineCapacityBytes(fs, inode)) {
    yield* growOut(fs, inode);
    return false;
  }
  return yield* storeInline(fs, inode, Math.max(end, inode.i_size), (bytes) => bytes.set(data, offsetBytes));
}

/** Cuts or extends inline data. Returns false after the file has grown out. */
export function* resizeInline(fs: Ext4, inode: Ext4Inode, sizeBytes: number): Task<boolean> {
  if (sizeBytes > I_BLOCK_BYTES + inlineCapacityBytes(fs, inode)) {
    yield* growOut(fs, inode);
    return false;
  }
  return yield* storeInline(fs, inode, sizeBytes, () => {});
}

/** A fault may make the file grow out while another task writes it: one at a time. Takes: i_writeback. */
function* oneAtATime<T>(inode: Ext4Inode, work: () => Task<T>): Task<T> {
  if (!inode.i_writeback.tryLock()) yield* inode.i_writeback.lock();
  try {
    return yield* work();
  } finally {
    inode.i_writeback.unlock();
  }
}

/** Returns false: the file has grown out meanwhile. */
function* storeInline(fs: Ext4, inode: Ext4Inode, sizeBytes: number, change: (bytes: Uint8Array) => void): Task<boolean> {
  return yield* oneAtATime(inode, function* () {
    if ((inode.i_flags & EXT4_INLINE_DATA_FL) === 0) return false;
    yield* storeInlineLocked(fs, inode, sizeBytes, change);
    return true;
  });
}

function* storeInlineLocked(fs: Ext4, inode: Ext4Inode, sizeBytes: number, change: (bytes: Uint8Array) => void): Task<void> {
  yield* fs.change(INODE_CREDITS + xattrCredits(fs, sizeBytes), function* (handle) {
    const bytes = new Uint8Array(Math.max(sizeBytes, I_BLOCK_BYTES));
    bytes.set((yield* readInlineData(fs, inode)).subarray(0, Math.min(inode.i_size, sizeBytes)));
    change(bytes);
    yield* setInlineValue(handle, fs, inode, bytes.slice(I_BLOCK_BYTES));
    inode.raw.set(bytes.subarray(0, I_BLOCK_BYTES), I_BLOCK_AT);
    const folio = inode.hasPages ? inode.i_mapping.find(0) : undefined; // somebody maps it
    folio?.data.fill(0).set(bytes.subarray(0, sizeBytes));
    inode.i_size = inode.i_disksize = sizeBytes;
    inode.i_mtime = inode.i_ctime = fs.now();
    inode.i_datasync_tid = handle.transaction.t_tid;
    yield* inode.markDirty(handle);
  });
}

/** Moves the data to a block of its own: written first, then made the file's. */
export function* growOut(fs: Ext4, inode: Ext4Inode): Task<void> {
  yield* withSpaceRetry(fs, () => oneAtATime(inode, function* () {
    if ((inode.i_flags & EXT4_INLINE_DATA_FL) === 0) return;
    const data = (yield* readInlineData(fs, inode)).slice(0, inode.i_size);
    const claimed = data.length === 0 ? undefined : yield* fs.allocator.claim({ goal: fs.allocator.goalFor(inode), count: fs.sb.clusterBlocks });
    let isTaken = false;
    try {
      if (claimed !== undefined) {
        const block = new Uint8Array(fs.blockBytes);
        block.set(data);
        yield* writeBytes(fs.device, claimed.pblk * fs.blockBytes, block);
      }
      yield* fs.change(INODE_CREDITS + xattrCredits(fs, 0) + mapCredits(fs, inode), function* (handle) {
        if (!inode.i_data_sem.tryWrite()) yield* inode.i_data_sem.write();
        try {
          // A fault that looks meanwhile finds the data in one place or the other.
          beginMap(fs, inode);
          fs.strategy.leftInode(fs, inode);
          isTaken = claimed !== undefined;
          if (claimed !== undefined) yield* insertMapping(handle, fs, inode, { lblk: 0, pblk: claimed.pblk, count: 1, unwritten: false });
        } finally {
          inode.i_data_sem.unlockWrite();
        }
        if (claimed !== undefined) yield* fs.allocator.mark(handle, inode, claimed);
        yield* setInlineValue(handle, fs, inode, undefined);
        inode.i_datasync_tid = handle.transaction.t_tid;
        yield* inode.markDirty(handle);
      });
    } catch (error) {
      if (claimed !== undefined && !isTaken) fs.allocator.release(claimed);
      throw error;
    }
  }));
}

/** The inode becomes one with a map, an empty one. */
export function* leaveInode(handle: Handle, fs: Ext4, inode: Ext4Inode): Task<void> {
  yield* setInlineValue(handle, fs, inode, undefined);
  beginMap(fs, inode);
}

function beginMap(fs: Ext4, inode: Ext4Inode): void {
  inode.i_flags &= ~EXT4_INLINE_DATA_FL;
  if (fs.sb.has(INCOMPAT.extent, "incompat")) inode.i_flags |= EXT4_EXTENTS_FL;
  initMap(inode);
}
