/**
 * What changes of a file's map cost in the journal: credits are blocks that a handle may newly put into the transaction. Estimates are upper bounds of what one step does; a change of any
 * size is made in steps, and between two steps the handle grows, or goes on in the next transaction.
 * Source: ext4_meta_trans_blocks, ext4_ext_index_trans_blocks (fs/ext4), ext4_datasem_ensure_credits.
 */
import { EXT4_EA_INODE_FL, EXT4_EXTENTS_FL, EXT4_JOURNAL_DATA_FL } from "../format/inode.js";
import type { Handle } from "../jbd2/handle.js";
import type { Pblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { nodeDepth, rootNode } from "./extents.js";
import { descBlocks } from "./groups.js";
import type { Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";

/** The inode's block, and the superblock. */
const FIXED_CREDITS = 2;
/** Blocks of pointers that a run as long as a group takes, which has 8 times as many blocks as a block has bytes, and the two levels above on both sides of a boundary. */
const GROUP_POINTER_BLOCKS = 32 + 1 + 4;

/** Credits to insert or convert so many pieces, each a run of blocks within one group. The allocation of the blocks is included. */
export function mapCredits(fs: Ext4, inode: Ext4Inode, pieces = 1): number {
  if ((inode.i_flags & EXT4_EXTENTS_FL) === 0) return FIXED_CREDITS + pieces * GROUP_POINTER_BLOCKS + bitmapCredits(fs, pieces * GROUP_POINTER_BLOCKS);
  // Each level may divide, and the tree may become a level higher; a converted piece may be one of three.
  const nodes = (pieces === 1 ? 2 : 3) * (nodeDepth(rootNode(inode)) + 1);
  return FIXED_CREDITS + nodes + bitmapCredits(fs, nodes + pieces);
}

/** Bitmaps and group descriptors, when so many runs are allocated or freed that may each lie in a group of its own. */
export function bitmapCredits(fs: Ext4, runs: number): number {
  return Math.min(runs, fs.sb.groupsCount) + Math.min(runs, descBlocks(fs.sb));
}

/** Bitmaps, descriptors and revoke records that one part of a removal may take: small beside the least transaction there is. */
export const PART_FREEING_CREDITS = 64;
/** A revoked block takes at most so many bytes of the log; the smallest log block holds a hundred. */
const REVOKES_PER_BLOCK = 100;
/** Blocks that are freed at a time where each is revoked. */
const REVOKED_RUN_MAX = PART_FREEING_CREDITS * REVOKES_PER_BLOCK / 2;

/** Whether older copies of the file's blocks may stand in the log, as of metadata: they must not be replayed over what comes there next. */
export function freesAsMetadata(fs: Ext4, inode: Ext4Inode): boolean {
  return !inode.isRegular() || (inode.i_flags & (EXT4_EA_INODE_FL | EXT4_JOURNAL_DATA_FL)) !== 0 || fs.dataMode === "journal";
}

/** Counts what freeing runs of blocks costs: a bitmap and a descriptor for each group, where runs that follow one another in a group count once, and revoke records. */
export class FreeingCredits {
  private groupCredits = 0;
  private revokes = 0;
  /** Blocks that a run may have. */
  readonly runMax: number;
  private readonly isRevoked: boolean;
  private group = -1;

  constructor(private readonly fs: Ext4, inode: Ext4Inode) {
    this.isRevoked = freesAsMetadata(fs, inode);
    this.runMax = this.isRevoked ? REVOKED_RUN_MAX : Infinity;
  }

  get count(): number {
    return this.groupCredits + Math.ceil(this.revokes / REVOKES_PER_BLOCK);
  }

  add(pblk: Pblk, blocks: number): void {
    const { firstDataBlock, blocksPerGroup } = this.fs.sb;
    const first = Math.floor((pblk - firstDataBlock) / blocksPerGroup);
    const last = Math.floor((pblk + blocks - 1 - firstDataBlock) / blocksPerGroup);
    this.groupCredits += 2 * (last - first + (this.group === first || this.group === last ? 0 : 1));
    if (this.isRevoked) this.revokes += blocks;
    this.group = first;
  }
}

/**
 * Sees to it that the handle has room for `credits` more blocks. Where the transaction has not, the handle goes on in the next one: what was changed so far must be whole by itself, and
 * i_data_sem is let go meanwhile, as those who have it to get may stand in the way of the commit.
 * Requires: i_data_sem(w). @returns whether that happened: nothing that was seen of the map before still holds.
 */
export function* makeRoom(handle: Handle, inode: Ext4Inode, credits: number): Task<boolean> {
  if (handle.tryExtend(credits)) return false;
  yield* inode.markDirty(handle);
  inode.i_data_sem.unlockWrite();
  try {
    yield* handle.restart(credits);
  } finally {
    if (!inode.i_data_sem.tryWrite()) yield* inode.i_data_sem.write();
  }
  return true;
}
