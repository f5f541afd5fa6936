/**
 * Changes of a file's map, for both kinds of map. Blocks come in when they are allocated (or claimed, and then marked in the same handle), and go back to the allocator when they are removed.
 * Each function needs a started handle and the inode's i_data_sem(w). Insertion and conversion are made in the handle that is given; removal and shift restart it between parts, and let
 * i_data_sem go for that: what they do is whole after each part, and the caller's i_rwsem and invalidate_lock keep others out of the range.
 * Source: fs/ext4/inode.c (ext4_map_blocks), fs/ext4/extents.c, fs/ext4/indirect.c.
 */
import { CorruptionError } from "../format/corruption.js";
import { initNode, nodeCapacity, type Extent } from "../format/extent.js";
import { EXT4_EXTENTS_FL, I_BLOCK_AT, I_BLOCK_BYTES } from "../format/inode.js";
import type { Handle } from "../jbd2/handle.js";
import { FsError } from "../lib/errno.js";
import { TWO_32, type Lblk, type Pblk } from "../lib/numbers.js";
import { assertHeld } from "../sched/lockdep.js";
import type { Task } from "../sched/task.js";
import { removeExtents } from "./extents-remove.js";
import { shiftExtents } from "./extents-shift.js";
import { convertExtents, extentEnd, insertExtent, lastExtentUpTo } from "./extents-write.js";
import { insertIndirect, lastIndirectUpTo, removeIndirect } from "./indirect-write.js";
import type { Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";

export { mapCredits } from "./map-credits.js";

const hasExtents = (inode: Ext4Inode): boolean => (inode.i_flags & EXT4_EXTENTS_FL) !== 0;

/** What every change begins with. fdatasync must wait for it, too: without the map the data cannot be found. */
function beginChange(handle: Handle, inode: Ext4Inode): void {
  assertHeld(inode.i_data_sem, "write");
  inode.i_datasync_tid = handle.transaction.t_tid;
}

/** Makes the inode's map an empty one, of the kind that i_flags says. The caller marks the inode dirty. */
export function initMap(inode: Ext4Inode): void {
  inode.raw.fill(0, I_BLOCK_AT, I_BLOCK_AT + I_BLOCK_BYTES);
  if (hasExtents(inode)) initNode(inode.rawView, I_BLOCK_AT, nodeCapacity(I_BLOCK_BYTES), 0);
}

/**
 * Maps blocks where the file has a hole. Neighbours that follow on both sides are joined.
 * @throws FsError ENOSPC the map needs blocks of its own that cannot be had; EFBIG it cannot hold more, or not point so far; EOPNOTSUPP an unwritten run in a map without extents. Nothing was changed.
 */
export function* insertMapping(handle: Handle, fs: Ext4, inode: Ext4Inode, run: Extent): Task<void> {
  beginChange(handle, inode);
  if (hasExtents(inode)) {
    yield* insertExtent(handle, fs, inode, run);
  } else {
    if (run.unwritten) throw new FsError("EOPNOTSUPP", "the file has no extents");
    yield* insertIndirect(handle, fs, inode, run);
  }
}

/** Before data is written where a map says: a damaged one may point into the filesystem's own structures. @throws CorruptionError system-zone. @kernel check_block_validity */
export function checkDataBlocks(fs: Ext4, inode: Ext4Inode, pblk: Pblk, count: number): void {
  if (fs.allocator.isSystemZone(pblk, count)) throw new CorruptionError("system-zone", { ino: inode.i_ino, block: pblk, found: `${count} blocks` });
}

/** Data stands in all of an unwritten range: it is to be read from now on. @throws FsError ENOSPC the range is converted in part: what is missing can be tried again. */
export function* convertToWritten(handle: Handle, fs: Ext4, inode: Ext4Inode, lblk: Lblk, count: number): Task<void> {
  beginChange(handle, inode);
  if (hasExtents(inode)) yield* convertExtents(handle, fs, inode, { lblk, count, unwritten: false });
}

/** A range, which has no hole, is to read as zeroes and to keep its blocks. @throws FsError EOPNOTSUPP; ENOSPC as above. */
export function* convertToUnwritten(handle: Handle, fs: Ext4, inode: Ext4Inode, lblk: Lblk, count: number): Task<void> {
  beginChange(handle, inode);
  if (!hasExtents(inode)) throw new FsError("EOPNOTSUPP", "the file has no extents");
  yield* convertExtents(handle, fs, inode, { lblk, count, unwritten: true });
}

/**
 * Frees all that is mapped in from .. to - 1, from the end, in as many transactions as it takes. Marks the inode dirty.
 * @throws FsError ENOSPC the range leaves both ends of an extent, and the tree has no room for two: what was behind it is removed.
 */
export function* removeMappings(handle: Handle, fs: Ext4, inode: Ext4Inode, from: Lblk, to: Lblk): Task<void> {
  beginChange(handle, inode);
  if (hasExtents(inode)) yield* removeExtents(handle, fs, inode, from, to);
  else yield* removeIndirect(handle, fs, inode, from, to);
  inode.i_datasync_tid = handle.transaction.t_tid;
}

/**
 * Moves all that is mapped from `from` on by `delta` blocks: to the front, where nothing may be mapped in the -delta blocks before, or to the back. Marks the inode dirty.
 * @throws FsError EOPNOTSUPP the file has no extents; EFBIG it would reach too far; ENOSPC. Nothing was changed.
 */
export function* shiftMappings(handle: Handle, fs: Ext4, inode: Ext4Inode, from: Lblk, delta: number): Task<void> {
  beginChange(handle, inode);
  if (!hasExtents(inode)) throw new FsError("EOPNOTSUPP", "the file has no extents");
  yield* shiftExtents(handle, fs, inode, from, delta);
  inode.i_datasync_tid = handle.transaction.t_tid;
}

/** The last block at or before `lblk` that is mapped, written or not; by default the file's last. Near it new blocks are best. */
export function* lastMappedLblk(fs: Ext4, inode: Ext4Inode, lblk: Lblk = TWO_32 - 1): Task<{ lblk: Lblk; pblk: Pblk } | undefined> {
  if (!hasExtents(inode)) return yield* lastIndirectUpTo(fs, inode, lblk);
  const extent = yield* lastExtentUpTo(fs, inode, lblk);
  if (extent === undefined) return undefined;
  const last = Math.min(lblk, extentEnd(extent) - 1);
  return { lblk: last, pblk: extent.pblk + last - extent.lblk };
}
