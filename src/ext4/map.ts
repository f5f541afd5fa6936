/**
 * From a file's logical blocks to the device's: one question, two answers on disk (extent tree, indirect map), per inode.
 * Locks: the caller holds what protects the map (i_data_sem); a read-only volume never changes it.
 * Source: ext4_map_blocks (fs/ext4/inode.c).
 */
import { CorruptionError } from "../format/corruption.js";
import { EXT4_EXTENTS_FL } from "../format/inode.js";
import type { Lblk, Pblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import type { FileExtent } from "../vfs/inode.js";
import { mapExtent } from "./extents.js";
import { mapIndirect } from "./indirect.js";
import type { Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";

/** A run of blocks that share one state. A hole's length is a lower bound: what follows may be hole as well. */
export interface Mapping {
  readonly state: "hole" | "written" | "unwritten";
  /** First block on the device; 0 in a hole. */
  readonly pblk: Pblk;
  /** Blocks, 1 or more. */
  readonly count: number;
}

/** What stands at `lblk` and how far it goes, `countMax` blocks at most. */
export function* mapBlocks(fs: Ext4, inode: Ext4Inode, lblk: Lblk, countMax: number): Task<Mapping> {
  return (inode.i_flags & EXT4_EXTENTS_FL) !== 0
    ? yield* mapExtent(fs, inode, lblk, countMax)
    : yield* mapIndirect(fs, inode, lblk, countMax);
}

/** The same for who holds nothing of the file: a fault, or a reader beside writeback. Takes: i_data_sem(r). */
export function* lookUpBlocks(fs: Ext4, inode: Ext4Inode, lblk: Lblk, countMax: number): Task<Mapping> {
  if (!inode.i_data_sem.tryRead()) yield* inode.i_data_sem.read();
  try {
    return yield* mapBlocks(fs, inode, lblk, countMax);
  } finally {
    inode.i_data_sem.unlockRead();
  }
}

/** Each block of a file ends one hole at most, and so do each block of its map and the place behind it. */
const STEPS_PER_BLOCK_MAX = 4;

/**
 * All that is mapped in lblk .. lblk + count - 1, ascending, neighbours joined.
 * @throws CorruptionError map-overrun: the file claims more blocks than the filesystem has, as a damaged map that repeats itself does; the walk is so bounded.
 */
export function* listExtents(fs: Ext4, inode: Ext4Inode, lblk: Lblk, count: number, limit = Infinity): Task<FileExtent[]> {
  const extents: FileExtent[] = [];
  const end = Math.min(lblk + count, fs.mapEnd(inode));
  let mapped = 0;
  let stepCount = 0;
  for (let at = lblk; at < end;) {
    const mapping = yield* mapBlocks(fs, inode, at, end - at);
    // A step maps a block, or passes a hole that ends at a block of the map's own: a map that is mostly holes repeats itself, too.
    if (++stepCount > STEPS_PER_BLOCK_MAX * fs.sb.blocksCount) throw new CorruptionError("map-overrun", { ino: inode.i_ino, found: "more holes than the filesystem has blocks" });
    if (mapping.state !== "hole") {
      mapped += mapping.count;
      if (mapped > fs.sb.blocksCount) throw new CorruptionError("map-overrun", { ino: inode.i_ino, found: "more blocks than the filesystem has" });
      const last = extents.at(-1);
      const unwritten = mapping.state === "unwritten";
      const joins = last !== undefined && last.unwritten === unwritten &&
        last.lblk + last.count === at && last.pblk + last.count === mapping.pblk;
      if (joins) {
        extents[extents.length - 1] = { ...last, count: last.count + mapping.count };
      } else {
        if (extents.length === limit) break;
        extents.push({ lblk: at, pblk: mapping.pblk, count: mapping.count, unwritten });
      }
    }
    at += mapping.count;
  }
  return extents;
}
