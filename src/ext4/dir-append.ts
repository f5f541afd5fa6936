/**
 * Giving a directory another block at its end. The block comes out of the free space before anything is changed and goes back if the map has no room for it, so ENOSPC leaves
 * the directory as it was. Requires: i_rwsem(w), or that nobody else knows the directory yet. Takes: i_data_sem(w). Source: ext4_append (fs/ext4/namei.c).
 */
import type { BufferHead } from "../block/buffer-cache.js";
import type { Handle } from "../jbd2/handle.js";
import { FsError } from "../lib/errno.js";
import { TWO_32, type Lblk, type Pblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { DX_BLOCKS_MAX } from "../format/htree.js";
import { blocksOf } from "./dir.js";
import type { Ext4Inode } from "./inode.js";
import type { BlockRun } from "./mballoc.js";
import { insertMapping } from "./map-write.js";
import { mapBlocks } from "./map.js";
import type { Ext4 } from "./super.js";

export interface NewDirBlock {
  readonly lblk: Lblk;
  /** All zeroes, already dirty: the caller fills it before its next wait. */
  readonly buffer: BufferHead;
}

/** @param run a block that was claimed for it before. @throws FsError ENOSPC no free block, or the directory is as large as directories get. */
export function* appendBlock(handle: Handle, fs: Ext4, dir: Ext4Inode, run?: BlockRun): Task<NewDirBlock> {
  const lblk = blocksOf(fs, dir);
  if (lblk >= blocksMax(fs, dir)) throw new FsError("ENOSPC", `directory ${dir.i_ino} has reached the size limit of directories`);
  const pblk = yield* allocateBlock(handle, fs, dir, lblk, run);
  dir.i_size = dir.i_disksize = (lblk + 1) * fs.blockBytes;
  yield* dir.markDirty(handle);
  const buffer = handle.getCreateAccess(pblk);
  buffer.verifiedAs = dir.verifiedToken("directory");
  handle.dirty(buffer);
  return { lblk, buffer };
}

/** Only large directories have sizes of more than 32 bits, and an index entry can name so many blocks. */
function blocksMax(fs: Ext4, dir: Ext4Inode): number {
  const sizeMax = fs.sb.hasLargeDir ? Infinity : Math.floor((TWO_32 - 1) / fs.blockBytes);
  return Math.min(sizeMax, fs.sb.hasDirIndex ? DX_BLOCKS_MAX : Infinity, fs.mapEnd(dir));
}

/** Takes room for block `lblk` out of the free space, at `goal` if possible. It is to be given to appendBlock, or back. @throws FsError ENOSPC. */
export function* claimBlock(fs: Ext4, dir: Ext4Inode, lblk: Lblk, goal = fs.allocator.goalFor(dir)): Task<BlockRun> {
  return yield* fs.allocator.claim({ goal, count: fs.sb.clusterBlocks, lblk });
}

function* allocateBlock(handle: Handle, fs: Ext4, dir: Ext4Inode, lblk: Lblk, claimed: BlockRun | undefined): Task<Pblk> {
  const previous = lblk === 0 ? undefined : yield* mapBlocks(fs, dir, lblk - 1, 1);
  const next = previous?.state === "written" ? previous.pblk + 1 : undefined;
  // The rest of the last block's cluster is the directory's already.
  if (next !== undefined && next % fs.sb.clusterBlocks !== 0) {
    yield* map(handle, fs, dir, lblk, next);
    return next;
  }
  const run = claimed ?? (yield* claimBlock(fs, dir, lblk, next));
  let isMarked = false;
  try {
    yield* fs.allocator.mark(handle, dir, run);
    isMarked = true;
    yield* map(handle, fs, dir, lblk, run.pblk);
  } catch (error) {
    if (isMarked) yield* fs.allocator.free(handle, dir, run.pblk, run.count, false);
    else fs.allocator.release(run);
    throw error;
  }
  return run.pblk;
}

function* map(handle: Handle, fs: Ext4, dir: Ext4Inode, lblk: Lblk, pblk: Pblk): Task<void> {
  if (!dir.i_data_sem.tryWrite()) yield* dir.i_data_sem.write();
  try {
    yield* insertMapping(handle, fs, dir, { lblk, pblk, count: 1, unwritten: false });
  } finally {
    dir.i_data_sem.unlockWrite();
  }
}
