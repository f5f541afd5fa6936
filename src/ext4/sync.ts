/**
 * What makes things durable: fsync of a file, sync of the whole filesystem. The contract is written down in docs/durability.md. Source: ext4_sync_file (fs/ext4/fsync.c), ext4_sync_fs.
 */
import { flush } from "../block/device.js";
import type { Task } from "../sched/task.js";
import type { Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";
import { writebackInode } from "./writeback.js";

/**
 * Returns when the file's data and what is needed to find it are on stable storage; without `dataOnly` also its times and attributes, and the name of a new file.
 * Takes: i_writeback, jbd2_handle.
 */
export function* syncFile(fs: Ext4, inode: Ext4Inode, dataOnly: boolean, fromBytes = 0, endBytes = Infinity): Task<void> {
  fs.checkNotShutdown();
  if (fs.writable === undefined) return;
  yield* writebackInode(fs, inode, fromBytes, endBytes);
  const tid = dataOnly ? inode.i_datasync_tid : inode.i_sync_tid;
  if (tid !== undefined) yield* fs.journal.commit(tid);
  // Data that was written over needs no commit, and a commit that came before it did not flush it.
  yield* fs.strategy.flushDevice(fs, "fsync");
}

/** Everything that was done so far becomes durable. */
export function* syncFilesystem(fs: Ext4): Task<void> {
  if (fs.writable === undefined) return;
  for (const inode of fs.dirtyInodes()) yield* writebackInode(fs, inode);
  yield* fs.journal.commitAll();
  yield* flush(fs.device);
}

/** What a timer asks for every few seconds, so that a program that never syncs loses little: pages are written, and an old transaction is committed. */
export function* writebackAged(fs: Ext4): Task<void> {
  if (fs.writable === undefined || fs.journal.abortError !== undefined) return;
  for (const inode of fs.dirtyInodes()) yield* writebackInode(fs, inode);
  yield* fs.journal.commitAged();
}
