/**
 * Changing a file's size, and deleting inodes. What is cut off is cut off in restartable pieces; meanwhile the inode is on the orphan list, so that the next mount finishes what a crash interrupts.
 * Source: ext4_setattr, ext4_truncate, ext4_evict_inode (fs/ext4/inode.c).
 */
import { EXT4_INLINE_DATA_FL } from "../format/inode.js";
import type { Handle } from "../jbd2/handle.js";
import { FsError } from "../lib/errno.js";
import { breakLayouts, removeEntries } from "../dax/writeback.js";
import type { AddressSpace } from "../mm/address-space.js";
import { PAGE_BYTES } from "../mm/memory.js";
import { assertHeld } from "../sched/lockdep.js";
import type { Task } from "../sched/task.js";
import { zeroDax } from "./dax.js";
import { checkData, readFolio } from "./file.js";
import { INODE_CREDITS, sizeBytesMax, stampWrite, zeroTail } from "./file-write.js";
import { resizeInline } from "./inline-write.js";
import { hasMap, type Ext4Inode } from "./inode.js";
import { journalsData, zeroJournaledTail } from "./journaled-data.js";
import { mapBlocks } from "./map.js";
import { mapCredits, removeMappings } from "./map-write.js";
import { orphanAdd, orphanDel } from "./orphan.js";
import type { Ext4 } from "./super.js";
import { deleteXattrs, xattrCredits } from "./xattr-write.js";

/** Credits of the orphan list's blocks: the superblock, or a slot of the orphan file, and a neighbour's inode. */
export const ORPHAN_CREDITS = 3;
/** Blocks of bitmaps and group descriptors that freeing a piece of a file touches. */
export const FREE_CREDITS = 16;

/**
 * Sets a regular file's size. Requires: inode.i_rwsem(w). Takes: invalidate_lock(w), i_writeback, jbd2_handle, i_data_sem.
 * @throws FsError EFBIG, EINVAL, ENOSPC (inline data that must grow out), EIO; ENOKEY, EPERM its data is not to be changed.
 */
export function* setSize(fs: Ext4, inode: Ext4Inode, sizeBytes: number): Task<void> {
  assertHeld(inode.i_rwsem, "write");
  checkData(inode, true);
  if (sizeBytes > sizeBytesMax(fs, inode)) throw new FsError("EFBIG");
  if ((inode.i_flags & EXT4_INLINE_DATA_FL) !== 0 && (yield* resizeInline(fs, inode, sizeBytes))) {
    inode.i_mapping.unmapPages(Math.ceil(sizeBytes / PAGE_BYTES), Infinity, true);
    return;
  }
  const isLonger = sizeBytes > inode.i_size;
  // Of a DAX file nobody may store into the last block while its rest is zeroed.
  if (isLonger && !inode.isDax) return yield* grow(fs, inode, sizeBytes);
  const { invalidate_lock: lock } = inode.i_mapping;
  if (!lock.tryWrite()) yield* lock.write();
  try {
    if (isLonger) {
      yield* breakLayouts(inode, lock, inode.i_size, inode.i_size + 1);
      return yield* grow(fs, inode, sizeBytes);
    }
    yield* unmapRange(inode, sizeBytes, Infinity, true);
    if (!inode.i_writeback.tryLock()) yield* inode.i_writeback.lock();
    try {
      yield* shrink(fs, inode, sizeBytes);
    } finally {
      inode.i_writeback.unlock();
    }
  } finally {
    lock.unlockWrite();
  }
}

function* grow(fs: Ext4, inode: Ext4Inode, sizeBytes: number): Task<void> {
  if (!journalsData(fs, inode)) yield* zeroTail(fs, inode, inode.i_size);
  else yield* zeroJournaledTail(fs, inode, inode.i_size);
  yield* stampWrite(fs, inode, sizeBytes, sizeBytes);
}

function* shrink(fs: Ext4, inode: Ext4Inode, sizeBytes: number): Task<void> {
  if (journalsData(fs, inode)) yield* zeroJournaledTail(fs, inode, sizeBytes);
  else yield* zeroTail(fs, inode, sizeBytes);
  // Who replaces a file's content so, and closes it, expects the new one or the old after a crash, not none (auto_da_alloc).
  if (sizeBytes === 0 && inode.i_size > 0) inode.isFlushedOnClose = true;
  yield* fs.change(INODE_CREDITS + ORPHAN_CREDITS + FREE_CREDITS + mapCredits(fs, inode), function* (handle) {
    yield* orphanAdd(handle, inode);
    inode.i_size = inode.i_disksize = sizeBytes;
    inode.i_mtime = inode.i_ctime = fs.now();
    inode.i_datasync_tid = handle.transaction.t_tid;
    yield* inode.markDirty(handle);
    // Only when a commit has the new size: who syncs the file must find the old data, or that it is gone for good.
    dropPages(fs, inode, sizeBytes, Infinity);
    // Once more: until the size was set, pages that were in memory could be mapped, and copied, again.
    inode.i_mapping.unmapPages(Math.ceil(sizeBytes / PAGE_BYTES), Infinity, true);
    yield* freeFrom(handle, fs, inode, Math.ceil(sizeBytes / fs.blockBytes));
    yield* inode.markDirty(handle);
    inode.i_datasync_tid = handle.transaction.t_tid;
    if (inode.i_nlink > 0) yield* orphanDel(handle, inode);
  });
}

/** Takes all blocks from `lblk` on away. */
function* freeFrom(handle: Handle, fs: Ext4, inode: Ext4Inode, lblk: number): Task<void> {
  if (!inode.i_data_sem.tryWrite()) yield* inode.i_data_sem.write();
  try {
    yield* removeMappings(handle, fs, inode, lblk, fs.mapEnd(inode));
  } finally {
    inode.i_data_sem.unlockWrite();
  }
}

/**
 * Before blocks or bytes of a range go: no process has the pages mapped, and a fault waits for invalidate_lock, which the caller has for writing. `evenCows`: private copies go, too.
 * Of a DAX file all mappings go, as in Linux, and the entries of the range.
 */
export function* unmapRange(inode: Ext4Inode, fromBytes: number, endBytes: number, evenCows: boolean): Task<void> {
  const { i_mapping: mapping } = inode;
  if (inode.isDax) {
    yield* breakLayouts(inode, mapping.invalidate_lock, fromBytes, endBytes);
    yield* removeEntries(inode, fromBytes, endBytes);
  }
  mapping.unmapPages((evenCows ? Math.ceil : Math.floor)(fromBytes / PAGE_BYTES), Math.ceil(endBytes / PAGE_BYTES), evenCows);
}

/** Drops what memory has of a range of bytes: whole blocks only, edges are the caller's. Promises of space for them are taken back. */
export function dropPages(fs: Ext4, inode: Ext4Inode, fromBytes: number, endBytes: number): void {
  const { i_mapping: mapping } = inode;
  const { folioBytes, blocksPerFolio } = mapping;
  const first = Math.ceil(fromBytes / fs.blockBytes);
  const end = Math.floor(endBytes / fs.blockBytes);
  for (const folio of mapping.within(fromBytes, endBytes)) mapping.remove(folio);
  // A folio that is cut in its midst stays; its blocks behind the cut are no longer to be written.
  for (const edge of [Math.floor(fromBytes / folioBytes), Math.floor(endBytes / folioBytes)]) {
    const folio = Number.isFinite(edge) ? mapping.find(edge) : undefined;
    if (folio === undefined) continue;
    const from = Math.max(0, first - edge * blocksPerFolio);
    const to = Math.min(blocksPerFolio, end - edge * blocksPerFolio);
    if (from >= to) continue;
    folio.data.fill(0, from * fs.blockBytes, to * fs.blockBytes);
    mapping.forgetBlocks(folio, mapping.blockBits(from, to - from));
  }
  const ratio = fs.sb.clusterBlocks;
  for (const cluster of inode.delayedClusters) {
    if ((cluster + 1) * ratio <= first || cluster * ratio >= end) continue;
    const isWithin = cluster * ratio >= first && (cluster + 1) * ratio <= end;
    if (!isWithin && hasDirtyBlock(mapping, cluster * ratio, (cluster + 1) * ratio)) continue;
    inode.delayedClusters.delete(cluster);
    fs.allocator.unreserve(1);
  }
}

function hasDirtyBlock(mapping: AddressSpace, first: number, end: number): boolean {
  const { blocksPerFolio } = mapping;
  for (const { index, dirtyBlocks } of mapping.dirtyFolios) {
    for (let block = 0; block < blocksPerFolio; block++) {
      const lblk = index * blocksPerFolio + block;
      if (lblk >= first && lblk < end && (dirtyBlocks & (1 << block)) !== 0) return true;
    }
  }
  return false;
}

/** Zeroes part of a block that a file keeps, in memory; it is written back as any change. */
export function* zeroPart(fs: Ext4, inode: Ext4Inode, fromBytes: number, endBytes: number): Task<void> {
  if (fromBytes >= endBytes) return;
  if (inode.isDax) return yield* zeroDax(fs, inode, fromBytes, endBytes);
  const { i_mapping: mapping } = inode;
  const lblk = Math.floor(fromBytes / fs.blockBytes);
  const index = Math.floor(fromBytes / mapping.folioBytes);
  const isWritten = (yield* mapBlocks(fs, inode, lblk, 1)).state === "written";
  if (!isWritten && mapping.find(index) === undefined) return;
  const folio = yield* readFolio(fs, inode, index);
  const start = index * mapping.folioBytes;
  folio.data.fill(0, fromBytes - start, endBytes - start);
  const inFolio = lblk % mapping.blocksPerFolio;
  if (isWritten) mapping.markDirty(folio, mapping.blockBits(inFolio, 1));
}

/**
 * Deletes an inode that has no name and no holder. It is on the orphan list already, so a crash in the midst is finished by the next mount.
 * Takes: invalidate_lock(w) of a DAX file, i_writeback, jbd2_handle, i_data_sem, xattr_sem.
 */
export function* deleteInode(fs: Ext4, inode: Ext4Inode): Task<void> {
  // Somebody may write its pages back, or hold some of a device's own, still.
  if (inode.hasDaxEntries) yield* letGoOfPages(inode);
  if (!inode.i_writeback.tryLock()) yield* inode.i_writeback.lock();
  try {
    yield* deleteLocked(fs, inode);
  } finally {
    inode.i_writeback.unlock();
  }
}

/** @kernel dax_break_layout_final */
function* letGoOfPages(inode: Ext4Inode): Task<void> {
  const { invalidate_lock: lock } = inode.i_mapping;
  if (!lock.tryWrite()) yield* lock.write();
  try {
    yield* breakLayouts(inode, lock, 0, Infinity);
    yield* removeEntries(inode, 0, Infinity);
  } finally {
    lock.unlockWrite();
  }
}

function* deleteLocked(fs: Ext4, inode: Ext4Inode): Task<void> {
  dropPages(fs, inode, 0, Infinity);
  inode.i_mapping.drop();
  yield* fs.change(INODE_CREDITS * 2 + ORPHAN_CREDITS + FREE_CREDITS + mapCredits(fs, inode) + xattrCredits(fs, 0), function* (handle) {
    if (hasMap(fs, inode)) {
      inode.i_size = inode.i_disksize = 0;
      yield* inode.markDirty(handle);
      yield* freeFrom(handle, fs, inode, 0);
    }
    yield* deleteXattrs(handle, fs, inode);
    yield* orphanDel(handle, inode);
    inode.i_dtime = fs.now().sec >>> 0;
    inode.i_size = inode.i_disksize = 0;
    yield* inode.markDirty(handle);
    yield* fs.inodeAllocator.free(handle, inode.i_ino, inode.isDirectory());
  });
  fs.forgetInode(inode);
}
