/**
 * Where in a group a run of clusters should begin: plain functions over the group's buddy index. What follows a file's last block stands right behind it. A piece that cannot, because somebody
 * else is there, begins a wholly free chunk as large as the file will be then, so that what is appended next finds room behind it (Linux: normalised requests). Small files that begin
 * stand side by side. Long runs begin where huge pages can map them: the places of file block and disk block within 2 MiB agree. Source of the ideas: fs/ext4/mballoc.c.
 */
import type { GroupNo, Lblk, Pblk } from "../lib/numbers.js";
import { ceilLog2, floorLog2 } from "./buddy.js";
import type { GroupState } from "./group-state.js";
import { groupOfBlock } from "./groups.js";
import type { Superblock } from "./superblock.js";

/** The size of a huge page (PMD). */
const HUGE_BYTES = 2 * 2 ** 20;
/** A run this long is as good as any longer one. */
const LONG_BYTES = 8 * 2 ** 20;

/** What is looked for, in clusters. */
export interface Search {
  readonly group: GroupNo;
  /** In the group. */
  readonly goal: number;
  /** As many as possible, up to this. */
  readonly wanted: number;
  /** Fewer are taken only if no group has so many in a row. */
  readonly enough: number;
  /** A file begins here, with a short run: it goes behind the last one that did. */
  readonly isPacked: boolean;
  /** Whether the goal is right behind what the file has. */
  readonly continues: boolean;
  /** The first cluster of the file that the run is for. */
  readonly fileCluster: number;
  /** Clusters in a huge page, 0: the run is too short for one. */
  readonly align: number;
}

export function describeSearch(sb: Superblock, goal: Pblk, wanted: number, lblk: Lblk | undefined): Search {
  const isInside = goal >= sb.firstDataBlock && goal < sb.blocksCount;
  const group = isInside ? groupOfBlock(sb, goal) : 0;
  const hugeClusters = HUGE_BYTES / sb.clusterBytes;
  const align = hugeClusters > 1 && wanted >= hugeClusters ? hugeClusters : 0;
  return {
    group,
    goal: isInside ? Math.floor((goal - sb.firstBlockOf(group)) / sb.clusterBlocks) : 0,
    wanted,
    enough: Math.min(wanted, longClusters(sb)),
    isPacked: lblk === 0 && align === 0,
    continues: lblk !== 0,
    fileCluster: lblk === undefined ? 0 : Math.floor(lblk / sb.clusterBlocks),
    align,
  };
}

function longClusters(sb: Superblock): number {
  return Math.max(1, LONG_BYTES / sb.clusterBytes);
}

/** In the goal's own group. -1: better look elsewhere first. */
export function searchAtGoal(sb: Superblock, state: GroupState, search: Search): number {
  const buddy = state.buddy!;
  const { goal, enough } = search;
  if (search.continues && buddy.runLength(goal, enough) === enough) return goal;
  if (search.align > 0) return searchAligned(sb, state, search, goal, enough);
  if (search.isPacked) return buddy.findRun(state.cursor, enough);
  const order = Math.min(ceilLog2(search.fileCluster + search.wanted), floorLog2(longClusters(sb)));
  const chunk = buddy.findChunk(order, goal);
  return chunk >= 0 ? chunk : buddy.findRun(goal, enough);
}

/** In any group, for a run of at least 2^order clusters, or what is enough. -1: there is none. */
export function searchOfOrder(sb: Superblock, state: GroupState, search: Search, order: number): number {
  const buddy = state.buddy!;
  if (buddy.largestOrder < order) return -1;
  const enough = Math.min(search.enough, 2 ** order);
  if (search.align > 0 && enough >= search.align) {
    const long = searchAligned(sb, state, search, 0, enough);
    const start = long >= 0 ? long : searchAligned(sb, state, search, 0, search.align);
    if (start >= 0) return start;
  }
  return buddy.findRun(search.isPacked ? state.cursor : 0, enough);
}

function searchAligned(sb: Superblock, state: GroupState, { align, fileCluster }: Search, from: number, count: number): number {
  const firstCluster = Math.floor(sb.firstBlockOf(state.group) / sb.clusterBlocks);
  const phase = (((fileCluster - firstCluster) % align) + align) % align;
  return state.buddy!.findAligned(from, count, align, phase);
}
