/**
 * One group in core, for those who change it. Its bitmaps are changed in place in their buffers, its counts in its descriptor in core; checksums, counts and flags are written when the
 * transaction is sealed, however often they changed.
 *
 * Three sets of clusters differ: bits clear in the bitmap (desc.freeClusters); of these, some are claimed, their bits to be set soon, and some are pending, freed by a transaction that is
 * not on disk yet, so that nobody may write to them. What is left is in the buddy index.
 * Locks: none. What may wait comes first; every change is one plain step. Source: struct ext4_group_info (fs/ext4/ext4.h).
 */
import type { BufferHead } from "../block/buffer-cache.js";
import { CorruptionError } from "../format/corruption.js";
import { EXT4_BG_BLOCK_UNINIT, EXT4_BG_INODE_UNINIT } from "../format/group-desc.js";
import type { Handle } from "../jbd2/handle.js";
import type { Sealable, Transaction } from "../jbd2/transaction.js";
import { clearRuns } from "../lib/bitmap.js";
import type { GroupNo } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { bitmapSum, blockBitmap, checkBitmap, fillInitialBlockBitmap, fillInitialInodeBitmap, trustBitmap } from "./bitmaps.js";
import { Buddy } from "./buddy.js";
import { clustersIn, descLocation, encodeGroupDesc, type GroupDesc } from "./groups.js";
import type { Groups } from "./group-table.js";

/** Clusters of a group. */
export interface ClusterRun { readonly start: number; readonly count: number }

export class GroupState implements Sealable {
  /** The clusters that can be claimed; undefined: the group was not searched yet. */
  buddy: Buddy | undefined;
  claimedCount = 0;
  pendingCount = 0;
  private readonly pending = new Set<ClusterRun>();
  /** Where the last small file that began here ended: the next one goes behind it. */
  cursor = 0;
  /** Where the last claim went that did not fit here. */
  spill: GroupNo | undefined;
  /** No inode with a lower index is free. */
  inodeHint = 0;
  /** Its bitmap is not to be trusted: nothing more is claimed here. */
  isDamaged = false;
  /** Whose buffers the following are; undefined: nothing changed since the last seal. */
  private transaction: Transaction | undefined;
  private descBuffer: BufferHead | undefined;
  private blockBuffer: BufferHead | undefined;
  private inodeBuffer: BufferHead | undefined;

  constructor(private readonly groups: Groups, readonly desc: GroupDesc) {}

  get group(): GroupNo {
    return this.desc.group;
  }

  /** The block bitmap, if this handle's transaction has it already. */
  knownBlockBits(handle: Handle): Uint8Array | undefined {
    return this.transaction === handle.transaction ? this.blockBuffer?.data : undefined;
  }

  /** The block bitmap, to be changed in this handle. */
  *blockBits(handle: Handle): Task<Uint8Array> {
    const { fs } = this.groups;
    const { blockBitmap: block } = this.desc;
    yield* this.join(handle);
    let buffer = this.blockBuffer;
    if (buffer === undefined) {
      buffer = this.has(EXT4_BG_BLOCK_UNINIT) ? this.createBlockBitmap(handle) : handle.tryWriteAccess(block) ?? (yield* handle.getWriteAccess(block));
      checkBitmap(fs, this.desc, "block", buffer);
      handle.dirty(buffer);
      this.blockBuffer = buffer;
    }
    return buffer.data;
  }

  private createBlockBitmap(handle: Handle): BufferHead {
    const { sb } = this.groups.fs;
    const buffer = handle.getCreateAccess(this.desc.blockBitmap);
    fillInitialBlockBitmap(sb, this.desc, buffer.data);
    trustBitmap(this.group, "block", buffer);
    this.desc.flags &= ~EXT4_BG_BLOCK_UNINIT;
    let free = 0;
    for (const [, length] of clearRuns(buffer.data, clustersIn(sb, this.group))) free += length;
    this.groups.countClusters(this.desc, free - this.desc.freeClusters);
    return buffer;
  }

  /** The inode bitmap, to be changed in this handle. As Linux does, the block bitmap is made as well if there is none yet: only a group without any use has neither. */
  *inodeBits(handle: Handle): Task<Uint8Array> {
    const { fs } = this.groups;
    const { inodeBitmap: block } = this.desc;
    yield* this.join(handle);
    if (this.has(EXT4_BG_BLOCK_UNINIT)) yield* this.blockBits(handle);
    let buffer = this.inodeBuffer;
    if (buffer === undefined) {
      buffer = this.has(EXT4_BG_INODE_UNINIT) ? this.createInodeBitmap(handle) : handle.tryWriteAccess(block) ?? (yield* handle.getWriteAccess(block));
      checkBitmap(fs, this.desc, "inode", buffer);
      handle.dirty(buffer);
      this.inodeBuffer = buffer;
    }
    return buffer.data;
  }

  knownInodeBits(handle: Handle): Uint8Array | undefined {
    return this.transaction === handle.transaction ? this.inodeBuffer?.data : undefined;
  }

  private createInodeBitmap(handle: Handle): BufferHead {
    const { sb } = this.groups.fs;
    const buffer = handle.getCreateAccess(this.desc.inodeBitmap);
    fillInitialInodeBitmap(sb, buffer.data);
    trustBitmap(this.group, "inode", buffer);
    this.desc.flags &= ~EXT4_BG_INODE_UNINIT;
    this.desc.itableUnused = sb.inodesPerGroup;
    return buffer;
  }

  private has(flag: number): boolean {
    return (this.desc.flags & flag) !== 0;
  }

  /** Brings the descriptor's block into the handle's transaction. The superblock comes along, for its counts. */
  private *join(handle: Handle): Task<void> {
    if (this.transaction === handle.transaction) return;
    const { fs } = this.groups;
    const { block } = descLocation(fs.sb, this.group);
    const buffer = handle.tryWriteAccess(block) ?? (yield* handle.getWriteAccess(block));
    yield* fs.markSuperDirty(handle);
    handle.dirty(buffer);
    handle.sealLater(this);
    this.descBuffer = buffer;
    this.transaction = handle.transaction;
  }

  seal(): void {
    const { sb } = this.groups.fs;
    const { desc, blockBuffer, inodeBuffer } = this;
    if (sb.hasMetadataCsum) {
      if (blockBuffer !== undefined) desc.blockBitmapChecksum = bitmapSum(sb, "block", blockBuffer.data);
      if (inodeBuffer !== undefined) desc.inodeBitmapChecksum = bitmapSum(sb, "inode", inodeBuffer.data);
    }
    encodeGroupDesc(sb, desc, this.descBuffer!, descLocation(sb, this.group).at);
    this.transaction = this.descBuffer = this.blockBuffer = this.inodeBuffer = undefined;
  }

  /** Takes clusters that are free out of the buddy index. Requires: `buddy`. */
  claim(start: number, count: number): void {
    this.buddy!.take(start, count);
    this.claimedCount += count;
    this.groups.claimedClusters += count;
    this.groups.updateIndex(this);
  }

  /** Claimed clusters that now are in use, or go back into the buddy index. */
  settleClaim(start: number, count: number, isUsed: boolean): void {
    this.claimedCount -= count;
    this.groups.claimedClusters -= count;
    if (isUsed) return;
    this.buddy!.give(start, count);
    this.groups.updateIndex(this);
  }

  /** Notes clusters whose bits are now clear, but that cannot be claimed yet. */
  addPending(run: ClusterRun): void {
    this.pending.add(run);
    this.pendingCount += run.count;
    this.groups.pendingClusters += run.count;
  }

  /** The transaction that freed them is on disk. */
  settlePending(run: ClusterRun): void {
    this.pending.delete(run);
    this.pendingCount -= run.count;
    this.groups.pendingClusters -= run.count;
    this.buddy?.give(run.start, run.count);
    this.groups.updateIndex(this);
  }

  /** Builds the buddy index. @throws CorruptionError the bitmap contradicts what is known: nothing more is claimed in this group. */
  *loadBuddy(): Task<Buddy> {
    try {
      const bitmap = yield* blockBitmap(this.groups.fs, this.group);
      if (this.buddy !== undefined) return this.buddy;
      const buddy = new Buddy(bitmap, clustersIn(this.groups.fs.sb, this.group));
      this.check(buddy);
      for (const { start, count } of this.pending) buddy.take(start, count);
      this.buddy = buddy;
      this.groups.keepBuddy(this);
      return buddy;
    } catch (error) {
      if (error instanceof CorruptionError) this.isDamaged = true;
      throw error;
    } finally {
      this.groups.updateIndex(this);
    }
  }

  private check(buddy: Buddy): void {
    const { fs: { sb }, zones } = this.groups;
    const { group, desc } = this;
    if (!this.has(EXT4_BG_BLOCK_UNINIT) && buddy.freeCount !== desc.freeClusters) {
      throw new CorruptionError("block-bitmap", { group, block: desc.blockBitmap, field: "bg_free_blocks_count", found: desc.freeClusters, expected: buddy.freeCount });
    }
    const first = sb.firstBlockOf(group);
    zones.forEachIn(first, sb.blocksIn(group), (start, count) => {
      const from = Math.floor((start - first) / sb.clusterBlocks);
      const to = Math.ceil((start + count - first) / sb.clusterBlocks);
      if (!buddy.isTaken(from, to - from)) throw new CorruptionError("block-bitmap", { group, block: start, found: "free", expected: "in use by the filesystem itself" });
    });
  }
}
