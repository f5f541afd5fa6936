/**
 * Switching whether a live file's data goes through the journal. What makes it safe is the order: nobody reads or writes the file, no fault brings a page in, what is dirty is on disk, no page is left,
 * nobody writes pages back, no handle runs, and the log holds none of the file's data, where a replay could bring it back over somebody else's. Then the flag changes, and with it every way that
 * data takes; on disk it follows in a handle of its own. A crash before that finds the old mode with all data, and a log that knows nothing of the file.
 *
 * Locks, outer first: i_rwsem(w), invalidate_lock(w), s_writepages_rwsem(w), j_barrier. Source: ext4_change_inode_journal_flag (fs/ext4/inode.c, 7.1); dax-and-faults.md section 10.
 * The steps stand apart, for the lab's strategies to be put together from them in other ways.
 */
import { EXT4_JOURNAL_DATA_FL } from "../format/inode.js";
import { breakLayouts } from "../dax/writeback.js";
import { LogJournal } from "../jbd2/log-journal.js";
import { assertHeld } from "../sched/lockdep.js";
import type { Task } from "../sched/task.js";
import { INODE_CREDITS } from "./file-write.js";
import { hasMap, type Ext4Inode } from "./inode.js";
import { listExtents } from "./map.js";
import type { Ext4 } from "./super.js";
import { unmapRange } from "./truncate.js";
import { writebackInode } from "./writeback.js";

/**
 * Requires: inode.i_rwsem(w), no handle. Without a journal nothing happens, as in Linux.
 * @throws FsError EROFS the journal is aborted; EIO, ENOSPC: data could not be written, and the mode is as before.
 */
export function* changeJournalMode(fs: Ext4, inode: Ext4Inode, isJournaled: boolean): Task<void> {
  assertHeld(inode.i_rwsem, "write");
  if (!fs.journal.hasLog) return;
  fs.journal.checkUsable();
  // Before a handle or the barrier: a fault starts its handle under this lock.
  yield* withFaultsLockedOut(inode, function* () {
    yield* settleFile(fs, inode);
    yield* underBarrier(fs, !isJournaled, () => setJournalFlag(inode, isJournaled));
    if (!isJournaled) yield* forgetBuffers(fs, inode);
  });
  yield* recordFlags(fs, inode);
}

/** Holds invalidate_lock(w) of a file around some work. */
export function* withFaultsLockedOut<T>(inode: Ext4Inode, work: () => Task<T>): Task<T> {
  const { invalidate_lock: lock } = inode.i_mapping;
  if (!lock.tryWrite()) yield* lock.write();
  try {
    return yield* work();
  } finally {
    lock.unlockWrite();
  }
}

/**
 * All of the file is on its device, and nothing of it in memory or in page tables, but for private copies. Requires: i_rwsem(w), invalidate_lock(w), which is let go as long as somebody holds pages
 * of persistent memory. Before s_writepages_rwsem, which who writes back takes for reading. @throws FsError EIO, ENOSPC.
 */
export function* settleFile(fs: Ext4, inode: Ext4Inode): Task<void> {
  const { i_mapping: mapping } = inode;
  // First who holds pages, as nothing may become dirty after it was written back.
  if (inode.isDax) yield* breakLayouts(inode, mapping.invalidate_lock, 0, Infinity);
  yield* writebackInode(fs, inode);
  yield* unmapRange(inode, 0, Infinity, false);
  mapping.drop();
}

/**
 * Calls `flip` while nobody writes pages back and no handle runs. `emptiesLog`: the log holds nothing by then, of this file or any other. Requires: invalidate_lock(w).
 * @throws FsError EIO: `flip` was not called.
 */
export function* underBarrier(fs: Ext4, emptiesLog: boolean, flip: () => void): Task<void> {
  const { s_writepages_rwsem: writepages, journal } = fs;
  if (!writepages.tryWrite()) yield* writepages.write();
  try {
    yield* journal.lockUpdates();
    try {
      if (emptiesLog) {
        yield* journal.commitAll();
        if (journal instanceof LogJournal) yield* journal.flush();
      }
      flip();
    } finally {
      journal.unlockUpdates();
    }
  } finally {
    writepages.unlockWrite();
  }
}

/** From now on the file's data goes past the buffer cache: what that has of it would be out of date when it is journaled again. */
export function* forgetBuffers(fs: Ext4, inode: Ext4Inode): Task<void> {
  if (!hasMap(fs, inode)) return;
  for (const { pblk, count } of yield* listExtents(fs, inode, 0, fs.mapEnd(inode))) fs.cache.invalidateRange(pblk, count);
}

export function setJournalFlag(inode: Ext4Inode, isJournaled: boolean): void {
  inode.i_flags = (isJournaled ? inode.i_flags | EXT4_JOURNAL_DATA_FL : inode.i_flags & ~EXT4_JOURNAL_DATA_FL) >>> 0;
}

/** On disk the mode changes here. */
export function* recordFlags(fs: Ext4, inode: Ext4Inode): Task<void> {
  yield* fs.change(INODE_CREDITS, (handle) => inode.markDirty(handle), "INODE");
}
