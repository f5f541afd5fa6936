/**
 * Removal of extents, from the end to the beginning, a part of a leaf at a time: first the tree lets go of the blocks, then they are freed, so that a failure in between leaks blocks and never
 * frees any that are still mapped. After each part the file is whole, and the handle may go on in the next transaction.
 *
 * With bigalloc blocks are freed by the cluster, and a cluster that is removed in part goes with the last of its blocks: whether another one of the file still lies in it is looked up in the tree.
 * Locks: i_data_sem(w), let go between parts where the transaction is full. Source: ext4_ext_remove_space, ext4_remove_blocks (fs/ext4/extents.c).
 */
import { CorruptionError } from "../format/corruption.js";
import type { Extent } from "../format/extent.js";
import type { Handle } from "../jbd2/handle.js";
import type { Lblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { findPath, spliceLeaf, type PathLevel } from "./extents-edit.js";
import { mapExtent, readExtent } from "./extents.js";
import { extentEnd, leafOf, partOf } from "./extents-write.js";
import type { Ext4Inode } from "./inode.js";
import { FreeingCredits, freesAsMetadata, makeRoom, mapCredits, PART_FREEING_CREDITS } from "./map-credits.js";
import type { Ext4 } from "./super.js";

/** What is taken out of one leaf at a time. */
interface Part {
  readonly path: readonly PathLevel[];
  /** The first entry that changes, and how many do. */
  readonly slot: number;
  readonly removed: number;
  /** What stays of them. */
  readonly kept: readonly Extent[];
  /** What goes, descending. */
  readonly runs: readonly Extent[];
  readonly credits: number;
}

/** @throws FsError ENOSPC a hole in an extent needs a node that cannot be had. What lies behind it is removed by then. */
export function* removeExtents(handle: Handle, fs: Ext4, inode: Ext4Inode, from: Lblk, to: Lblk): Task<void> {
  for (let end = to; end > from;) {
    let part = yield* findPart(fs, inode, from, end, PART_FREEING_CREDITS);
    if (part === undefined) return;
    const { credits } = part;
    if (yield* makeRoom(handle, inode, mapCredits(fs, inode) + credits)) part = yield* findPart(fs, inode, from, end, credits);
    if (part === undefined) return;
    yield* inode.markDirty(handle);
    yield* spliceLeaf(handle, fs, inode, part.path, { slot: part.slot, removed: part.removed, entries: part.kept });
    yield* freeRuns(handle, fs, inode, part.runs);
    end = part.runs[part.runs.length - 1]!.lblk;
  }
}

/** The last extents in from .. to - 1 that stand in one leaf, as many as may be freed for the credits, one at least; undefined: there are none. */
function* findPart(fs: Ext4, inode: Ext4Inode, from: Lblk, to: Lblk, creditsMax: number): Task<Part | undefined> {
  const path = yield* findPath(fs, inode, to - 1);
  const { node, slot: last } = leafOf(path);
  const kept: Extent[] = [];
  const runs: Extent[] = [];
  const freeing = new FreeingCredits(fs, inode);
  let credits = 0;
  let slot = last;
  for (; slot >= 0; slot--) {
    const extent = readExtent(node, slot);
    if (extentEnd(extent) <= from) break;
    const runEnd = Math.min(to, extentEnd(extent));
    const run = partOf(extent, Math.max(from, extent.lblk, runEnd - freeing.runMax), runEnd, extent.unwritten);
    freeing.add(run.pblk, run.count);
    if (freeing.count > creditsMax && runs.length > 0) break;
    checkAlignment(fs, inode, extent);
    credits = freeing.count;
    // Only the first of them may reach out of the range to the left, only the last to the right.
    if (extentEnd(run) < extentEnd(extent)) kept.push(partOf(extent, extentEnd(run), extentEnd(extent), extent.unwritten));
    if (extent.lblk < run.lblk) kept.unshift(partOf(extent, extent.lblk, run.lblk, extent.unwritten));
    runs.push(run);
    if (run.lblk > Math.max(from, extent.lblk)) {
      slot--;
      break;
    }
  }
  return runs.length === 0 ? undefined : { path, slot: slot + 1, removed: last - slot, kept, runs, credits };
}

/** In a cluster a block has the place on disk that it has in the file: else what is freed with it could be anybody's. */
function checkAlignment(fs: Ext4, inode: Ext4Inode, { lblk, pblk }: Extent): void {
  if ((lblk - pblk) % fs.sb.clusterBlocks !== 0) throw new CorruptionError("extent-range", { ino: inode.i_ino, block: pblk, found: `block ${lblk} of the file at ${pblk}` });
}

/** Frees the blocks of runs that the tree has let go: whole clusters, without those in which the file has other blocks. */
function* freeRuns(handle: Handle, fs: Ext4, inode: Ext4Inode, runs: readonly Extent[]): Task<void> {
  const { clusterBlocks } = fs.sb;
  const isMetadata = freesAsMetadata(fs, inode);
  let freedFrom = Infinity; // two runs may end in one cluster, which is freed once
  for (const run of runs) {
    let from = run.lblk - (run.lblk % clusterBlocks);
    let to = Math.ceil(extentEnd(run) / clusterBlocks) * clusterBlocks;
    if (from < run.lblk && (yield* hasBlocks(fs, inode, from, run.lblk))) from += clusterBlocks;
    if (extentEnd(run) < to && (yield* hasBlocks(fs, inode, extentEnd(run), to))) to -= clusterBlocks;
    to = Math.min(to, freedFrom);
    if (from >= to) continue;
    freedFrom = from;
    yield* fs.allocator.free(handle, inode, run.pblk + (from - run.lblk), to - from, isMetadata);
  }
}

function* hasBlocks(fs: Ext4, inode: Ext4Inode, from: Lblk, to: Lblk): Task<boolean> {
  for (let at = from; at < to;) {
    const { state, count } = yield* mapExtent(fs, inode, at, to - at);
    if (state !== "hole") return true;
    at += count;
  }
  return false;
}
