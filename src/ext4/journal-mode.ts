/**
 * Switching whether a live file's data goes through the journal. What makes it safe is the order: nobody reads or writes the file, no fault brings a page in, what is dirty is on disk, no page is left,
 * nobody writes pages back, no handle runs, and the log holds none of the file's data, where a replay could bring it back over somebody else's. Then the flag changes, and with it every way that
 * data takes; on disk it follows in a handle of its own. A crash before that finds the old mode with all data, and a log that knows nothing of the file.
 *
 * Locks, outer first: i_rwsem(w), invalidate_lock(w), s_writepages_rwsem(w), j_barrier. Source: ext4_change_inode_journal_flag (fs/ext4/inode.c, 7.1); dax-and-faults.md section 10.
 */
import { EXT4_JOURNAL_DATA_FL } from "../format/inode.js";
import { LogJournal } from "../jbd2/log-journal.js";
import { assertHeld } from "../sched/lockdep.js";
import type { Task } from "../sched/task.js";
import { INODE_CREDITS } from "./file-write.js";
import type { Ext4Inode } from "./inode.js";
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
  const { i_mapping: mapping } = inode;
  // Before a handle or the barrier: a fault starts its handle under this lock.
  if (!mapping.invalidate_lock.tryWrite()) yield* mapping.invalidate_lock.write();
  try {
    // Before the next lock, which who writes back takes for reading.
    yield* writebackInode(fs, inode);
    yield* unmapRange(fs, inode, 0, Infinity, false);
    mapping.drop();
    yield* flip(fs, inode, isJournaled);
  } finally {
    mapping.invalidate_lock.unlockWrite();
  }
  yield* fs.change(INODE_CREDITS, (handle) => inode.markDirty(handle), "INODE");
}

function* flip(fs: Ext4, inode: Ext4Inode, isJournaled: boolean): Task<void> {
  const { s_writepages_rwsem: writepages, journal } = fs;
  if (!writepages.tryWrite()) yield* writepages.write();
  try {
    yield* journal.lockUpdates();
    try {
      if (!isJournaled) {
        yield* journal.commitAll();
        if (journal instanceof LogJournal) yield* journal.flush();
      }
      inode.i_flags = (isJournaled ? inode.i_flags | EXT4_JOURNAL_DATA_FL : inode.i_flags & ~EXT4_JOURNAL_DATA_FL) >>> 0;
    } finally {
      journal.unlockUpdates();
    }
  } finally {
    writepages.unlockWrite();
  }
}
