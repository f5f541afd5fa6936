/**
 * Writing all of a new file straight from the caller's memory, for who writes whole files once, as a copy does: its blocks are claimed and written at once, and one handle makes them the file's,
 * with its size and times. Data is on its way before the handle begins, as in writeback. Nothing stays in the page cache. Source of the idea: ext4_dio_write_iter (fs/ext4/file.c).
 */
import type { Bio } from "../block/device.js";
import { FsError } from "../lib/errno.js";
import { assertHeld } from "../sched/lockdep.js";
import type { Task } from "../sched/task.js";
import type { FileTimes } from "../vfs/inode.js";
import { INODE_CREDITS, LARGE_FILE_BYTES, sizeBytesMax, writeData } from "./file-write.js";
import type { Ext4Inode } from "./inode.js";
import { journalsData } from "./journaled-data.js";
import type { Ext4 } from "./super.js";
import { withSpaceRetry } from "./space.js";
import { applyPieces, releaseClaims, type Piece } from "./writeback.js";

/**
 * @param data the file's bytes and, up to the end of its last block, zeroes. @param sizeBytes of the file.
 * Requires: inode.i_rwsem(w); the file has neither bytes nor blocks. Takes: jbd2_handle, i_data_sem.
 * @throws FsError ENOSPC, EFBIG: the file is as empty as it was.
 */
export function* writeNewFile(fs: Ext4, inode: Ext4Inode, data: Uint8Array, sizeBytes: number, times: FileTimes | undefined): Task<void> {
  assertHeld(inode.i_rwsem, "write");
  if (sizeBytes > sizeBytesMax(fs, inode)) throw new FsError("EFBIG");
  const isPlain = !fs.sb.hasInlineData && !journalsData(fs, inode) && sizeBytes <= LARGE_FILE_BYTES;
  if (isPlain) return yield* withSpaceRetry(fs, () => writeClaimed(fs, inode, data, sizeBytes, times));
  yield* writeData(fs, inode, 0, data.subarray(0, sizeBytes));
  if (times !== undefined) yield* fs.change(INODE_CREDITS, function* (handle) {
    setTimes(fs, inode, times);
    yield* inode.markDirty(handle);
  });
}

function* writeClaimed(fs: Ext4, inode: Ext4Inode, data: Uint8Array, sizeBytes: number, times: FileTimes | undefined): Task<void> {
  const { blockBytes } = fs;
  const count = Math.ceil(sizeBytes / blockBytes);
  const pieces: Piece[] = [];
  const bios: Bio[] = [];
  try {
    let goal = fs.allocator.goalFor(inode);
    for (let lblk = 0; lblk < count;) {
      const claimed = yield* fs.allocator.claim({ goal, count: count - lblk, lblk });
      const piece: Piece = { lblk, pblk: claimed.pblk, count: Math.min(claimed.count, count - lblk), kind: "insert", claimed };
      pieces.push(piece);
      bios.push({ op: "write", offsetBytes: piece.pblk * blockBytes, data: data.subarray(lblk * blockBytes, (lblk + piece.count) * blockBytes) });
      lblk += piece.count;
      goal = claimed.pblk + claimed.count;
    }
    yield* fs.device.submit(bios);
    inode.i_size = sizeBytes;
    setTimes(fs, inode, times ?? { atime: inode.i_atime, mtime: fs.now() });
    yield* applyPieces(fs, inode, pieces, sizeBytes);
  } catch (error) {
    inode.i_size = inode.i_disksize;
    releaseClaims(fs, pieces);
    throw error;
  }
}

function setTimes(fs: Ext4, inode: Ext4Inode, { atime, mtime }: FileTimes): void {
  inode.i_atime = atime;
  inode.i_mtime = mtime;
  inode.i_ctime = fs.now();
}
