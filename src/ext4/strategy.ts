/**
 * Decisions of the engine that the lab may take otherwise: as an older kernel took them, or wrongly on purpose. What ships is DEFAULT_STRATEGY, which is what Linux does since 5.8; the others live in
 * sim/strategies.ts and sim/bugs, and docs/strategies.md and docs/lab.md tell what becomes of them.
 */
import { flush } from "../block/device.js";
import { INCOMPAT } from "../format/features.js";
import type { Handle } from "../jbd2/handle.js";
import { LogJournal } from "../jbd2/log-journal.js";
import { FsError } from "../lib/errno.js";
import type { Folio } from "../mm/address-space.js";
import type { Fault } from "../mm/vma.js";
import type { Task } from "../sched/task.js";
import type { Ext4Inode } from "./inode.js";
import { changeJournalMode } from "./journal-mode.js";
import type { Ext4 } from "./super.js";
import { writeOut, type WritePlan } from "./writeback.js";

/** Why the device is flushed: at the end of fsync and its like; before a recovery that wrote home gives the log up. */
export type FlushReason = "fsync" | "recovery";

export interface Strategy {
  /** An inode came into core, read or new: from now on it is the one object of its file. Its methods, and those of its mapping, locks and DAX entries, are the ways of the engine. */
  inodeInCore(fs: Ext4, inode: Ext4Inode): void;
  /**
   * Whether a fault of a DAX file will change the file: then it takes freeze protection, needs a journal, and stamps the file's times. Linux up to 4.13 looked at FAULT_FLAG_WRITE alone,
   * and so killed every program that it executed from a read-only mount (commit fd96b8da68d3).
   */
  isFileWrite(fault: Fault): boolean;
  /** Refuses dax=always where files may be stored in their inodes. @throws FsError EINVAL. */
  checkInlineData(fs: Ext4): void;
  /** A file has left its inode, and has blocks from now on. Called inside a handle. */
  leftInode(fs: Ext4, inode: Ext4Inode): void;
  /**
   * Switches whether a file's data is journaled, after the other flags of the call have been set. Requires: inode.i_rwsem(w), no handle.
   * @throws FsError EBUSY not on this file, or not now; EROFS, EIO, ENOSPC.
   */
  changeJournalMode(fs: Ext4, inode: Ext4Inode, isJournaled: boolean): Task<void>;
  /** Changes EXT4_DAX_FL of a regular file, which `commit` does, with the other flags, in a handle. Requires: inode.i_rwsem(w), no handle. @throws FsError EBUSY, EOPNOTSUPP, EIO. */
  changeDaxFlag(fs: Ext4, inode: Ext4Inode, isOn: boolean, commit: () => Task<void>): Task<void>;
  /** A fault of a DAX file finds a page of the page cache where its entry is to stand: somebody changed S_DAX and left it there. @throws FsError EIO. */
  pageUnderDaxEntry(fs: Ext4, inode: Ext4Inode, folio: Folio): void;
  /** The journal of a filesystem that has a log: its steps can be overridden. */
  readonly LogJournal: typeof LogJournal;
  /** Brings the data of some folios to the device, and makes its blocks the file's. Requires: i_writeback. @throws FsError EIO, ENOSPC: pieces that are left did not become the file's. */
  writeOut(fs: Ext4, inode: Ext4Inode, plan: WritePlan): Task<void>;
  /** An inode is about to lose its name, or blocks in more than one transaction: it goes among the orphans, if it is not there. */
  addOrphan(handle: Handle, inode: Ext4Inode): Task<void>;
  /** Makes durable what was written past the journal. @throws FsError EIO. */
  flushDevice(fs: Ext4, reason: FlushReason): Task<void>;
}

export const DEFAULT_STRATEGY: Strategy = {
  inodeInCore: () => {},
  isFileWrite: (fault) => fault.isFileWrite,
  checkInlineData(fs) {
    if (fs.sb.has(INCOMPAT.inline_data, "incompat")) throw new FsError("EINVAL", "Cannot use DAX on a filesystem that may contain inline data");
  },
  // S_DAX stays as it is until the inode is read anew.
  leftInode: () => {},
  *changeJournalMode(fs, inode, isJournaled) {
    if (inode.isDax) throw new FsError("EBUSY", "the data of a file that is mapped without a page cache cannot be journaled");
    yield* changeJournalMode(fs, inode, isJournaled);
  },
  *changeDaxFlag(fs, inode, _isOn, commit) {
    if (fs.options.dax !== "always" && fs.options.dax !== "never") inode.isDontCache = true;
    yield* commit();
  },
  pageUnderDaxEntry(_fs, inode, { index }) {
    throw new FsError("EIO", `folio ${index} of inode ${inode.i_ino} is in the page cache of a file that has none`);
  },
  LogJournal,
  writeOut,
  addOrphan: (handle, inode) => inode.i_sb.orphans.add(handle, inode),
  flushDevice: (fs) => flush(fs.device),
};

