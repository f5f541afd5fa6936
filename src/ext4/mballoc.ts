/**
 * The block allocator. Space is taken in two steps: `claim` takes a run out of the free space in memory, data is written to it, and `mark` sets its bits in the handle that makes it the file's;
 * so a transaction never holds blocks whose data is not on disk. What is freed comes back when the transaction that freed it is on disk.
 *
 * Who may take what: a delayed write is promised clusters (`reserve`) long before it claims them, and a promise is kept whatever others do. Ordinary claims leave untouched what is promised, a
 * small pool for metadata (a write that was promised its data may yet need a block of its map) and, but for root, the superblock's reserved blocks.
 * Locks: none. A task that waits looks again; taking and marking are plain steps. Source: fs/ext4/mballoc.c, fs/ext4/balloc.c (ext4_has_free_clusters).
 */
import { CorruptionError } from "../format/corruption.js";
import { INCOMPAT } from "../format/features.js";
import type { Handle } from "../jbd2/handle.js";
import type { Transaction } from "../jbd2/transaction.js";
import { fillBits, findClearBit, findSetBit } from "../lib/bitmap.js";
import { FsError } from "../lib/errno.js";
import type { GroupNo, Lblk, Pblk } from "../lib/numbers.js";
import { footprint } from "../sched/footprint.js";
import type { Task } from "../sched/task.js";
import { describeSearch, searchAtGoal, searchOfOrder, type Search } from "./block-search.js";
import { ceilLog2 } from "./buddy.js";
import type { ClusterRun, GroupState } from "./group-state.js";
import type { Groups } from "./group-table.js";
import { groupOfBlock } from "./groups.js";
import type { Ext4Inode } from "./inode.js";
import type { Superblock } from "./superblock.js";

/** Whole clusters, within one group. `count` is in blocks. `isReserved`: they were claimed under a promise. */
export interface BlockRun { readonly pblk: Pblk; readonly count: number; readonly isReserved?: boolean }

export interface ClaimRequest {
  /** Where the run would best stand: behind what the file has, or what goalFor says. */
  readonly goal: Pblk;
  /** Blocks, 1 or more; with bigalloc rounded up to clusters. */
  readonly count: number;
  /** The block of the file that the run begins with; 0: the file begins. Left out: the run is no file's data. */
  readonly lblk?: Lblk;
  /** These clusters were promised by `reserve`. The promise lasts until the caller's `unreserve`, right after the mark. */
  readonly isReserved?: boolean;
}

type Entitlement = "promised" | "data" | "metadata";

/** Blocks that one mark, or a free per group, changes: bitmap, descriptor, superblock. */
export const ALLOCATION_CREDITS = 3;
/** Bitmaps that are read for a long run before a shorter one is taken. */
const LOADS_MAX = 16;
/** From so many groups in a flex group on, its first is left to directories. */
const FLEX_SIZE_DIR_ALLOC = 4;
const METADATA_POOL_SHARE = 50;
const METADATA_POOL_CLUSTERS_MAX = 4096;

/** Clusters kept back for metadata: a fiftieth, at most so many. Maps without extents need none, as they are made before the data is written. */
export function metadataPoolClusters(sb: Superblock): number {
  if (!sb.has(INCOMPAT.extent, "incompat")) return 0;
  return Math.min(Math.floor(Math.floor(sb.blocksCount / sb.clusterBlocks) / METADATA_POOL_SHARE), METADATA_POOL_CLUSTERS_MAX);
}

export class BlockAllocator {
  /** Whether the superblock's reserved blocks may be used: root's privilege. */
  usesReservedBlocks = true;
  /** Promised to delayed writes. */
  reservedClusters = 0;
  /** Of these, claimed already: no longer to be kept free for them. */
  private keptClusters = 0;
  private readonly sb: Superblock;
  private readonly poolClusters: number;
  /** What the running transaction frees. */
  private freeing: { readonly transaction: Transaction; readonly runs: { state: GroupState; run: ClusterRun }[] } | undefined;

  constructor(private readonly groups: Groups) {
    this.sb = groups.fs.sb;
    this.poolClusters = metadataPoolClusters(this.sb);
  }

  /** Clear bits of all bitmaps: what the superblock says once the running transaction is on disk. */
  get freeClusters(): number {
    footprint(this, false);
    return this.groups.freeClusters;
  }

  /** Freed in transactions that are not on disk yet: a commit makes them allocatable. */
  get pendingFreeClusters(): number {
    footprint(this, false);
    return this.groups.pendingClusters;
  }

  /** Free and promised to nobody: what statfs shows. */
  get unpromisedClusters(): number {
    return Math.max(0, this.allowance("metadata"));
  }

  /** Promises clusters to a delayed write; false: ENOSPC. */
  reserve(clusters: number): boolean {
    footprint(this);
    if (this.allowance("data") < clusters) return false;
    this.reservedClusters += clusters;
    return true;
  }

  unreserve(clusters: number): void {
    footprint(this);
    this.reservedClusters -= clusters;
  }

  /** How many clusters may be taken in all, wherever they are, pending ones included. */
  private allowance(entitlement: Entitlement): number {
    footprint(this, false);
    const free = this.groups.freeClusters - this.groups.claimedClusters;
    if (entitlement === "promised") return free;
    const unpromised = free - (this.reservedClusters - this.keptClusters);
    if (entitlement === "metadata") return unpromised;
    const rootClusters = this.usesReservedBlocks ? 0 : Math.floor(this.sb.reservedBlocks() / this.sb.clusterBlocks);
    return unpromised - this.poolClusters - rootClusters;
  }

  /**
   * Takes a run of at most `count` blocks near `goal` out of the free space in memory; no bit changes yet. `mark` makes it a file's, `release` gives it back.
   * @throws FsError ENOSPC: nothing is left for this caller; if pendingFreeClusters is not 0, a commit may help. CorruptionError block-bitmap, bitmap-checksum.
   */
  *claim(request: ClaimRequest): Task<BlockRun> {
    return yield* this.claimAs(request, request.isReserved === true ? "promised" : "data");
  }

  private *claimAs({ goal, count, lblk }: ClaimRequest, entitlement: Entitlement): Task<BlockRun> {
    footprint(this);
    const wanted = Math.min(Math.ceil(count / this.sb.clusterBlocks), this.allowance(entitlement));
    if (wanted < 1) throw new FsError("ENOSPC");
    const search = describeSearch(this.sb, goal, wanted, lblk);
    const found = (yield* this.findAtGoal(search)) ?? (yield* this.findElsewhere(search));
    // Others may have claimed while bitmaps were read.
    const length = found === undefined ? 0 : Math.min(found.state.buddy!.runLength(found.start, wanted), this.allowance(entitlement));
    if (length < 1) throw new FsError("ENOSPC");
    const { state, start } = found!;
    state.claim(start, length);
    if (search.isPacked) state.cursor = start + length;
    const isReserved = entitlement === "promised";
    if (isReserved) this.keptClusters += length;
    return { pblk: this.sb.firstBlockOf(state.group) + start * this.sb.clusterBlocks, count: length * this.sb.clusterBlocks, isReserved };
  }

  private *findAtGoal(search: Search): Task<{ state: GroupState; start: number } | undefined> {
    if (this.groups.index.availableIn(search.group) === 0) return undefined;
    const state = this.groups.peek(search.group) ?? (yield* this.groups.get(search.group));
    if (state.buddy === undefined) yield* state.loadBuddy();
    const start = searchAtGoal(this.sb, state, search);
    return start < 0 ? undefined : { state, start };
  }

  /** Groups that have a long enough chunk come first, then ever shorter ones. */
  private *findElsewhere(search: Search): Task<{ state: GroupState; start: number } | undefined> {
    const { index } = this.groups;
    const home = yield* this.groups.get(search.group);
    for (let order = Math.min(ceilLog2(search.enough), index.highestOrder); order >= 0; order = Math.min(order - 1, index.highestOrder)) {
      const found = yield* this.findOfOrder(search, order, home.spill ?? search.group);
      if (found === undefined) continue;
      if (found.state !== home) home.spill = found.state.group;
      return found;
    }
    return undefined;
  }

  /** Goes round all groups from `first` on. */
  private *findOfOrder(search: Search, order: number, first: GroupNo): Task<{ state: GroupState; start: number } | undefined> {
    const { index } = this.groups;
    let loads = order === 0 ? Infinity : LOADS_MAX;
    for (const [from, end] of [[first, this.sb.groupsCount], [0, first]] as const) {
      for (let group = index.next(order, from, end); group >= 0; group = index.next(order, group + 1, end)) {
        const state = this.groups.peek(group) ?? (yield* this.groups.get(group));
        if (state.buddy === undefined) {
          if (loads-- <= 0) continue;
          yield* state.loadBuddy();
        }
        const start = searchOfOrder(this.sb, state, search, order);
        if (start >= 0) return { state, start };
      }
    }
    return undefined;
  }

  /** Sets the bits of a claimed run in the handle and adds to inode.i_blocks; the caller calls inode.markDirty. If it throws, the run is claimed still. */
  *mark(handle: Handle, inode: Ext4Inode, run: BlockRun): Task<void> {
    footprint(this);
    const group = groupOfBlock(this.sb, run.pblk);
    const state = this.groups.peek(group) ?? (yield* this.groups.get(group));
    const { start, count } = this.clustersOf(group, run.pblk, run.count);
    const bits = state.knownBlockBits(handle) ?? (yield* state.blockBits(handle));
    if (findSetBit(bits, start, start + count) < start + count) throw this.damaged(inode, run, "in use already");
    fillBits(bits, start, count, true);
    this.groups.countClusters(state.desc, -count);
    this.settle(state, run, start, count, true);
    inode.i_blocks += count * (this.sb.clusterBytes / 512);
  }

  /** Gives back a claimed run. */
  release(run: BlockRun): void {
    footprint(this);
    const state = this.groups.peek(groupOfBlock(this.sb, run.pblk))!;
    const { start, count } = this.clustersOf(state.group, run.pblk, run.count);
    this.settle(state, run, start, count, false);
  }

  private settle(state: GroupState, { isReserved }: BlockRun, start: number, count: number, isUsed: boolean): void {
    state.settleClaim(start, count, isUsed);
    if (isReserved === true) this.keptClusters -= count;
  }

  /** Claims and marks one cluster for a block of metadata, from the pool if need be. Returns its first block; the caller gets create access to it. @throws FsError ENOSPC. */
  *allocateMetadata(handle: Handle, inode: Ext4Inode, goal: Pblk): Task<Pblk> {
    const run = yield* this.claimAs({ goal, count: 1 }, "metadata");
    let isMarked = false;
    try {
      yield* this.mark(handle, inode, run);
      isMarked = true;
    } finally {
      if (!isMarked) this.release(run);
    }
    return run.pblk;
  }

  /**
   * Frees whole clusters anywhere in the filesystem. Their bits change in the handle; they can be claimed again after its commit. Subtracts from inode.i_blocks. isMetadata: the blocks are
   * dropped from the transaction and revoked.
   * @throws CorruptionError block-bitmap: some are free already; system-zone, extent-range: they cannot be a file's. Nothing is changed in that group.
   */
  *free(handle: Handle, inode: Ext4Inode | undefined, pblk: Pblk, count: number, isMetadata: boolean): Task<void> {
    const { sb } = this;
    const place = { ino: inode?.i_ino, block: pblk, found: `${count} blocks` };
    if (!sb.containsBlocks(pblk, count)) throw new CorruptionError("extent-range", place);
    if (this.groups.zones.overlaps(pblk, count)) throw new CorruptionError("system-zone", place);
    for (let at = pblk; at < pblk + count;) {
      const group = groupOfBlock(sb, at);
      const end = Math.min(pblk + count, sb.firstBlockOf(group) + sb.blocksIn(group));
      yield* this.freeInGroup(handle, inode, group, { pblk: at, count: end - at });
      at = end;
    }
    if (isMetadata) for (let block = pblk; block < pblk + count; block++) handle.forget(block);
  }

  private *freeInGroup(handle: Handle, inode: Ext4Inode | undefined, group: GroupNo, run: BlockRun): Task<void> {
    footprint(this);
    const state = this.groups.peek(group) ?? (yield* this.groups.get(group));
    const freed = this.clustersOf(group, run.pblk, run.count);
    const { start, count } = freed;
    const bits = state.knownBlockBits(handle) ?? (yield* state.blockBits(handle));
    if (findClearBit(bits, start, start + count) >= 0) throw this.damaged(inode, run, "free already");
    fillBits(bits, start, count, false);
    this.groups.countClusters(state.desc, count);
    state.addPending(freed);
    this.freedBy(handle.transaction).push({ state, run: freed });
    if (inode !== undefined) inode.i_blocks -= count * (this.sb.clusterBytes / 512);
  }

  /** The list of what a transaction frees, which its commit gives back. */
  private freedBy(transaction: Transaction): { state: GroupState; run: ClusterRun }[] {
    if (this.freeing?.transaction !== transaction) {
      const runs: { state: GroupState; run: ClusterRun }[] = [];
      this.freeing = { transaction, runs };
      transaction.onCommit(() => {
        footprint(this);
        for (const { state, run } of runs) state.settlePending(run);
      });
    }
    return this.freeing.runs;
  }

  /** Where a file without blocks should begin: in its inode's group; where groups stand together, directories have the first to themselves. */
  goalFor(inode: Ext4Inode): Pblk {
    const { flex } = this.groups;
    let group = Math.floor((inode.i_ino - 1) / this.sb.inodesPerGroup);
    if (flex.size >= FLEX_SIZE_DIR_ALLOC) {
      group -= group % flex.size;
      if (inode.isRegular()) group = Math.min(group + 1, this.sb.groupsCount - 1);
    }
    return this.sb.firstBlockOf(group);
  }

  /** Whether the blocks hold the filesystem's own structures, so that no map may name them. */
  isSystemZone(pblk: Pblk, count: number): boolean {
    return this.groups.zones.overlaps(pblk, count);
  }

  private clustersOf(group: GroupNo, pblk: Pblk, count: number): ClusterRun {
    const { clusterBlocks } = this.sb;
    const offset = pblk - this.sb.firstBlockOf(group);
    const start = Math.floor(offset / clusterBlocks);
    return { start, count: Math.ceil((offset + count) / clusterBlocks) - start };
  }

  private damaged(inode: Ext4Inode | undefined, { pblk, count }: BlockRun, found: string): CorruptionError {
    return new CorruptionError("block-bitmap", { ino: inode?.i_ino, group: groupOfBlock(this.sb, pblk), block: pblk, found: `${count} blocks, some ${found}` });
  }
}
