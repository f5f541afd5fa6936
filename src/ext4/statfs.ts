/**
 * How full the filesystem is, in Linux's words: what the structures take is not counted as the filesystem's size, and some free blocks are kept back.
 * Source: ext4_statfs, ext4_calculate_overhead, ext4_calculate_resv_clusters (fs/ext4/super.c).
 */
import { COMPAT, INCOMPAT } from "../format/features.js";
import { EXT4_SUPER_MAGIC, ext4_super_block as S } from "../format/superblock.js";
import type { Task } from "../sched/task.js";
import type { StatFs } from "../vfs/inode.js";
import { descBlocksIn, hasSuper } from "./groups.js";
import type { Ext4 } from "./super.js";

/** Clusters kept back for delayed metadata: a fiftieth, at most so many. */
const RESERVED_CLUSTERS_MAX = 4096;

export function* statfs(fs: Ext4): Task<StatFs> {
  const { sb } = fs;
  let freeClusters = 0;
  let ffree = 0;
  for (let group = 0; group < sb.groupsCount; group++) {
    const desc = yield* fs.groupDesc(group);
    freeClusters += desc.freeClusters;
    ffree += desc.freeInodes;
  }
  const bfree = freeClusters * sb.clusterBlocks;
  const keptBack = sb.has(INCOMPAT.extent, "incompat")
    ? Math.min(Math.floor(Math.floor(sb.blocksCount / sb.clusterBlocks) / 50), RESERVED_CLUSTERS_MAX) * sb.clusterBlocks : 0;
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

/** Clusters that hold the filesystem's own structures. */
function* overheadClusters(fs: Ext4): Task<number> {
  const { sb } = fs;
  const stored = S.s_overhead_clusters.get(sb.view, 0);
  if (stored !== 0 && stored < sb.blocksCount / sb.clusterBlocks) return stored;
  const tableBlocks = Math.ceil((sb.inodesPerGroup * sb.inodeBytes) / sb.blockBytes);
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
