/**
 * How full the filesystem is, in Linux's words: what the structures take is not counted as the filesystem's size, and some free blocks are kept back.
 * Source: ext4_statfs, ext4_calculate_overhead, ext4_calculate_resv_clusters (fs/ext4/super.c).
 */
import { COMPAT } from "../format/features.js";
import { EXT4_SUPER_MAGIC, ext4_super_block as S } from "../format/superblock.js";
import type { Task } from "../sched/task.js";
import type { StatFs } from "../vfs/inode.js";
import { descBlocksIn, hasSuper, inodeTableBlocks } from "./groups.js";
import { metadataPoolClusters } from "./mballoc.js";
import type { Ext4 } from "./super.js";

export function* statfs(fs: Ext4): Task<StatFs> {
  const { sb } = fs;
  const { freeClusters, freeInodes: ffree } = yield* freeCounts(fs);
  const bfree = freeClusters * sb.clusterBlocks;
  const keptBack = metadataPoolClusters(sb) * sb.clusterBlocks;
  return {
    type: EXT4_SUPER_MAGIC,
    bsize: sb.blockBytes,
    blocks: sb.blocksCount - (yield* overheadClusters(fs)) * sb.clusterBlocks,
    bfree,
    bavail: Math.max(0, bfree - sb.reservedBlocks() - keptBack),
    files: sb.inodesCount,
    ffree,
  };
}

/** A writable filesystem keeps its totals, and does not count as free what is promised to delayed writes. */
function* freeCounts(fs: Ext4): Task<{ freeClusters: number; freeInodes: number }> {
  if (fs.writable !== undefined) return { freeClusters: fs.allocator.unpromisedClusters, freeInodes: fs.inodeAllocator.freeInodes };
  let freeClusters = 0;
  let freeInodes = 0;
  for (let group = 0; group < fs.sb.groupsCount; group++) {
    const desc = yield* fs.groupDesc(group);
    freeClusters += desc.freeClusters;
    freeInodes += desc.freeInodes;
  }
  return { freeClusters, freeInodes };
}

/** Clusters that hold the filesystem's own structures. */
function* overheadClusters(fs: Ext4): Task<number> {
  const { sb } = fs;
  const stored = S.s_overhead_clusters.get(sb.view, 0);
  if (stored !== 0 && stored < sb.blocksCount / sb.clusterBlocks) return stored;
  const tableBlocks = inodeTableBlocks(sb);
  let blocks = sb.firstDataBlock;
  for (let group = 0; group < sb.groupsCount; group++) {
    const { count, reserved } = descBlocksIn(sb, group);
    blocks += (hasSuper(sb, group) ? 1 : 0) + count + reserved + 2 + tableBlocks;
  }
  const journalIno = S.s_journal_inum.get(sb.view, 0);
  if (sb.has(COMPAT.has_journal, "compat") && journalIno !== 0) {
    blocks += Math.ceil((yield* fs.igetSpecial(journalIno)).i_size / sb.blockBytes);
  }
  return Math.ceil(blocks / sb.clusterBlocks);
}
