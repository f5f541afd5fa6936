/**
 * fallocate: blocks are reserved, taken away, zeroed without being written, or moved. Source: ext4_fallocate, ext4_punch_hole, ext4_zero_range, ext4_collapse_range, ext4_insert_range (fs/ext4).
 */
import { EXT4_EXTENTS_FL, EXT4_INLINE_DATA_FL } from "../format/inode.js";
import { FsError } from "../lib/errno.js";
import type { Lblk } from "../lib/numbers.js";
import { breakLayouts, writebackDax } from "../dax/writeback.js";
import { PAGE_BYTES } from "../mm/memory.js";
import { assertHeld } from "../sched/lockdep.js";
import type { Task } from "../sched/task.js";
import { FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE } from "../vfs/inode.js";
import { checkData } from "./file.js";
import { INODE_CREDITS, reserveBlocks, sizeBytesMax, stampWrite, zeroTail } from "./file-write.js";
import { growOut } from "./inline-write.js";
import type { Ext4Inode } from "./inode.js";
import { journalsData, writeJournaledLocked } from "./journaled-data.js";
import { mapBlocks } from "./map.js";
import { convertToUnwritten, insertMapping, mapCredits, removeMappings, shiftMappings } from "./map-write.js";
import { withSpaceRetry } from "./space.js";
import type { Ext4 } from "./super.js";
import { dropPages, FREE_CREDITS, unmapRange, zeroPart } from "./truncate.js";
import { claimPiece, keepPromise, writebackLocked } from "./writeback.js";

const KNOWN = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_INSERT_RANGE;

interface ByteRange { readonly from: number; readonly end: number }

/**
 * Requires: inode.i_rwsem(w). Takes: invalidate_lock(w), i_writeback, jbd2_handle, i_data_sem.
 * @throws FsError EINVAL, EFBIG; EOPNOTSUPP the file has no extents, or modes are mixed; ENOSPC nothing was changed; ENOKEY, EPERM its data is not to be changed.
 */
export function* fallocate(fs: Ext4, inode: Ext4Inode, mode: number, offsetBytes: number, lengthBytes: number): Task<void> {
  assertHeld(inode.i_rwsem, "write");
  checkRequest(fs, inode, mode, offsetBytes, lengthBytes);
  // Behind its end a file is all hole; blocks that it keeps there stay.
  if ((mode & FALLOC_FL_PUNCH_HOLE) !== 0 && offsetBytes >= inode.i_size) return;
  const range = { from: offsetBytes, end: offsetBytes + lengthBytes };
  if ((inode.i_flags & EXT4_INLINE_DATA_FL) !== 0) yield* growOut(fs, inode);
  if ((inode.i_flags & EXT4_EXTENTS_FL) === 0 && (mode & FALLOC_FL_PUNCH_HOLE) === 0) throw new FsError("EOPNOTSUPP", "the file has no extents");
  const { invalidate_lock: lock } = inode.i_mapping;
  if (!lock.tryWrite()) yield* lock.write();
  try {
    const isShift = (mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) !== 0;
    if (isShift) yield* unmapShifted(fs, inode, Math.floor(offsetBytes / PAGE_BYTES) * PAGE_BYTES);
    else if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) !== 0) yield* unmapRange(inode, offsetBytes, range.end, false);
    if (!inode.i_writeback.tryLock()) yield* inode.i_writeback.lock();
    try {
      // The page that would take the size to the disk is about to go. @kernel ext4_update_disksize_before_punch
      if (range.end >= inode.i_size && inode.i_size > inode.i_disksize && !journalsData(fs, inode)) yield* writebackLocked(fs, inode, inode.i_disksize);
      if ((mode & FALLOC_FL_PUNCH_HOLE) !== 0) yield* punchHole(fs, inode, range);
      else if ((mode & FALLOC_FL_COLLAPSE_RANGE) !== 0) yield* collapseRange(fs, inode, range);
      else if ((mode & FALLOC_FL_INSERT_RANGE) !== 0) yield* insertRange(fs, inode, range);
      else if ((mode & FALLOC_FL_ZERO_RANGE) !== 0) yield* zeroRange(fs, inode, range, mode);
      else {
        yield* allocateRange(fs, inode, range);
        yield* extendTo(fs, inode, range.end, mode);
      }
    } finally {
      inode.i_writeback.unlock();
    }
  } finally {
    lock.unlockWrite();
  }
}

/** What is behind a place of the file gets another one. It stays in the file: so what was stored through mappings of a device's own pages is written back before its entries go. */
function* unmapShifted(fs: Ext4, inode: Ext4Inode, fromBytes: number): Task<void> {
  if (inode.isDax) {
    yield* breakLayouts(inode, inode.i_mapping.invalidate_lock, fromBytes, Infinity);
    yield* writebackDax(inode, fromBytes, Infinity, fs.events);
  }
  yield* unmapRange(inode, fromBytes, Infinity, true);
}

function checkRequest(fs: Ext4, inode: Ext4Inode, mode: number, offsetBytes: number, lengthBytes: number): void {
  if (!(offsetBytes >= 0 && lengthBytes > 0)) throw new FsError("EINVAL");
  const special = mode & ~FALLOC_FL_KEEP_SIZE;
  if ((mode & ~KNOWN) !== 0 || (special & (special - 1)) !== 0) throw new FsError("EOPNOTSUPP");
  const keepsSize = (mode & FALLOC_FL_KEEP_SIZE) !== 0;
  if ((mode & FALLOC_FL_PUNCH_HOLE) !== 0 && !keepsSize) throw new FsError("EOPNOTSUPP");
  const isShift = (mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) !== 0;
  if (isShift && keepsSize) throw new FsError("EOPNOTSUPP");
  if (!inode.isRegular()) throw new FsError(inode.isDirectory() ? "EISDIR" : "ENODEV");
  checkData(inode, true);
  if ((mode & FALLOC_FL_PUNCH_HOLE) === 0 && offsetBytes + lengthBytes > sizeBytesMax(fs, inode)) throw new FsError("EFBIG");
  if (!isShift) return;
  if (offsetBytes % fs.sb.clusterBytes !== 0 || lengthBytes % fs.sb.clusterBytes !== 0) throw new FsError("EINVAL");
  const pastEnd = (mode & FALLOC_FL_COLLAPSE_RANGE) !== 0 ? offsetBytes + lengthBytes >= inode.i_size : offsetBytes >= inode.i_size;
  if (pastEnd) throw new FsError("EINVAL");
  if ((mode & FALLOC_FL_INSERT_RANGE) !== 0 && inode.i_size + lengthBytes > sizeBytesMax(fs, inode)) throw new FsError("EFBIG");
}

/** Gives all holes of the range blocks that read as zeroes. All that is needed is promised first, so that there is enough or nothing is taken. */
function* allocateRange(fs: Ext4, inode: Ext4Inode, { from, end }: ByteRange): Task<void> {
  const promised = yield* withSpaceRetry(fs, () => reserveBlocks(fs, inode, from, end));
  const endBlock = Math.ceil(end / fs.blockBytes);
  try {
    for (let lblk: Lblk = Math.floor(from / fs.blockBytes); lblk < endBlock;) {
      const { state, count } = yield* mapBlocks(fs, inode, lblk, endBlock - lblk);
      lblk += state === "hole" ? yield* withSpaceRetry(fs, () => allocatePiece(fs, inode, lblk, count)) : count;
    }
  } catch (error) {
    // No page needs them.
    for (const cluster of promised) if (inode.delayedClusters.delete(cluster)) fs.allocator.unreserve(1);
    throw error;
  }
}

function* allocatePiece(fs: Ext4, inode: Ext4Inode, lblk: Lblk, count: number): Task<number> {
  const piece = yield* claimPiece(fs, inode, lblk, count, []);
  try {
    yield* fs.change(mapCredits(fs, inode) + INODE_CREDITS, function* (handle) {
      if (!inode.i_data_sem.tryWrite()) yield* inode.i_data_sem.write();
      try {
        yield* insertMapping(handle, fs, inode, { lblk: piece.lblk, pblk: piece.pblk, count: piece.count, unwritten: true });
        if (piece.claimed !== undefined) yield* fs.allocator.mark(handle, inode, piece.claimed);
      } finally {
        inode.i_data_sem.unlockWrite();
      }
      inode.i_datasync_tid = handle.transaction.t_tid;
      yield* inode.markDirty(handle);
    });
  } catch (error) {
    if (piece.claimed !== undefined && fs.journal.abortError === undefined) fs.allocator.release(piece.claimed);
    throw error;
  }
  keepPromise(fs, inode, piece.lblk, piece.count);
  return piece.count;
}

/** The file ends behind the range, unless its size is to stay. */
function* extendTo(fs: Ext4, inode: Ext4Inode, end: number, mode: number): Task<void> {
  const isLonger = (mode & FALLOC_FL_KEEP_SIZE) === 0 && end > inode.i_size;
  if (isLonger) yield* zeroTail(fs, inode, inode.i_size);
  yield* stampWrite(fs, inode, isLonger ? end : inode.i_size, isLonger ? end : 0);
}

/** Blocks that lie in the range whole; the bytes at its edges are zeroed. */
function* zeroEdges(fs: Ext4, inode: Ext4Inode, { from, end }: ByteRange): Task<{ first: Lblk; stop: Lblk }> {
  const { blockBytes } = fs;
  const first = Math.ceil(from / blockBytes);
  const stop = Math.floor(end / blockBytes);
  const zero = function* (start: number, limit: number): Task<void> {
    if (start >= limit) return;
    if (!journalsData(fs, inode)) return yield* zeroPart(fs, inode, start, limit);
    const { state } = yield* mapBlocks(fs, inode, Math.floor(start / blockBytes), 1);
    const inFile = Math.min(limit, inode.i_size);
    if (state === "written" && start < inFile) yield* writeJournaledLocked(fs, inode, start, new Uint8Array(inFile - start));
  };
  yield* zero(from, Math.min(first * blockBytes, end));
  if (stop >= first) yield* zero(Math.max(stop * blockBytes, from), end);
  return { first, stop };
}

function* punchHole(fs: Ext4, inode: Ext4Inode, range: ByteRange): Task<void> {
  const { first, stop } = yield* zeroEdges(fs, inode, range);
  if (stop > first) {
    dropPages(fs, inode, first * fs.blockBytes, stop * fs.blockBytes);
    yield* removeBlocks(fs, inode, first, Math.min(stop, fs.mapEnd(inode)));
  }
  yield* stampWrite(fs, inode, inode.i_size);
}

function* removeBlocks(fs: Ext4, inode: Ext4Inode, first: Lblk, stop: Lblk): Task<void> {
  yield* fs.change(mapCredits(fs, inode) + FREE_CREDITS + INODE_CREDITS, function* (handle) {
    if (!inode.i_data_sem.tryWrite()) yield* inode.i_data_sem.write();
    try {
      yield* removeMappings(handle, fs, inode, first, stop);
    } finally {
      inode.i_data_sem.unlockWrite();
    }
    inode.i_datasync_tid = handle.transaction.t_tid;
    yield* inode.markDirty(handle);
  });
}

function* zeroRange(fs: Ext4, inode: Ext4Inode, range: ByteRange, mode: number): Task<void> {
  yield* allocateRange(fs, inode, range);
  const { first, stop } = yield* zeroEdges(fs, inode, range);
  if (stop > first) {
    dropPages(fs, inode, first * fs.blockBytes, stop * fs.blockBytes);
    for (let lblk = first; lblk < stop;) {
      const { state, count } = yield* mapBlocks(fs, inode, lblk, stop - lblk);
      if (state === "written") yield* makeUnwritten(fs, inode, lblk, count);
      lblk += count;
    }
  }
  yield* extendTo(fs, inode, range.end, mode);
}

function* makeUnwritten(fs: Ext4, inode: Ext4Inode, lblk: Lblk, count: number): Task<void> {
  yield* fs.change(mapCredits(fs, inode) + INODE_CREDITS, function* (handle) {
    if (!inode.i_data_sem.tryWrite()) yield* inode.i_data_sem.write();
    try {
      yield* convertToUnwritten(handle, fs, inode, lblk, count);
    } finally {
      inode.i_data_sem.unlockWrite();
    }
    inode.i_datasync_tid = handle.transaction.t_tid;
    yield* inode.markDirty(handle);
  });
}

/** Pages name their blocks by place in the file, so all behind the range must be on disk and out of memory before the map moves. */
function* settlePages(fs: Ext4, inode: Ext4Inode, fromBytes: number): Task<void> {
  yield* writebackLocked(fs, inode);
  const { i_mapping: mapping } = inode;
  dropPages(fs, inode, Math.floor(fromBytes / mapping.folioBytes) * mapping.folioBytes, Infinity);
}

function* collapseRange(fs: Ext4, inode: Ext4Inode, { from, end }: ByteRange): Task<void> {
  yield* settlePages(fs, inode, from);
  yield* removeBlocks(fs, inode, from / fs.blockBytes, end / fs.blockBytes);
  yield* shift(fs, inode, end / fs.blockBytes, (from - end) / fs.blockBytes, inode.i_size - (end - from));
}

function* insertRange(fs: Ext4, inode: Ext4Inode, { from, end }: ByteRange): Task<void> {
  yield* settlePages(fs, inode, from);
  yield* shift(fs, inode, from / fs.blockBytes, (end - from) / fs.blockBytes, inode.i_size + (end - from));
}

function* shift(fs: Ext4, inode: Ext4Inode, first: Lblk, delta: number, sizeBytes: number): Task<void> {
  yield* fs.change(mapCredits(fs, inode) + INODE_CREDITS, function* (handle) {
    // A longer file first: its map must not reach behind its end.
    if (sizeBytes > inode.i_size) inode.i_size = inode.i_disksize = sizeBytes;
    if (!inode.i_data_sem.tryWrite()) yield* inode.i_data_sem.write();
    try {
      yield* shiftMappings(handle, fs, inode, first, delta);
    } finally {
      inode.i_data_sem.unlockWrite();
    }
    inode.i_size = inode.i_disksize = sizeBytes;
    inode.i_mtime = inode.i_ctime = fs.now();
    inode.i_datasync_tid = handle.transaction.t_tid;
    yield* inode.markDirty(handle);
  });
}
