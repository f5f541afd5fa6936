/**
 * The inode allocator. A file goes to its directory's flex group, so that who lists a directory finds its inodes side by side. Directories are spread as Orlov does it: those below the root
 * far apart, to emptier places, others near their parent unless that is fuller than most. Within a flex group the lowest free inode is taken, so the used part of a table stays short.
 *
 * Inodes at a table's end that were never used (bg_itable_unused) have blocks with anything in them: the first use of such a block makes it anew, all zeroes, and nothing is read.
 * Locks: none; see group-state.ts. Source: fs/ext4/ialloc.c (__ext4_new_inode, find_group_orlov, find_group_other, ext4_free_inode).
 */
import { CorruptionError } from "../format/corruption.js";
import { EXT4_ROOT_INO, EXT4_TOPDIR_FL } from "../format/inode.js";
import type { Handle } from "../jbd2/handle.js";
import { clearBit, findClearBit, setBit, testBit } from "../lib/bitmap.js";
import { FsError } from "../lib/errno.js";
import type { GroupNo, Ino } from "../lib/numbers.js";
import { footprint } from "../sched/footprint.js";
import type { Task } from "../sched/task.js";
import { S_IFDIR, S_IFMT } from "../vfs/inode.js";
import type { GroupState } from "./group-state.js";
import type { Groups } from "./group-table.js";
import type { Ext4Inode } from "./inode.js";
import { chooseFlexForDirectory, chooseFlexForFile } from "./orlov.js";
import type { Ext4 } from "./super.js";

/** Blocks that one allocate changes: both bitmaps, descriptor, superblock, and a block of the inode table. */
export const INODE_CREDITS = 5;
/** Without a journal the blocks that name a deleted inode may reach the disk late; its number rests so long before another file gets it. */
const REST_SEC = 60;

export class InodeAllocator {
  private readonly fs: Ext4;
  /** Inodes freed of late, and when; only without a journal. In the order of freeing. */
  private readonly resting = new Map<Ino, number>();

  constructor(private readonly groups: Groups) {
    this.fs = groups.fs;
  }

  get freeInodes(): number {
    footprint(this, false);
    return this.groups.freeInodes;
  }

  /**
   * Takes an inode: bitmap, counts, and if need be a block of the table. What the inode holds is the caller's to write.
   * @param parent the directory, or whose near the inode is wanted. @param goal the inode itself, or one behind it in its group, before all others. @throws FsError ENOSPC.
   */
  *allocate(handle: Handle, parent: Ext4Inode | undefined, mode: number, goal?: Ino): Task<Ino> {
    footprint(this);
    const { sb } = this.fs;
    const { flex } = this.groups;
    const isDirectory = (mode & S_IFMT) === S_IFDIR;
    if (goal !== undefined && goal >= 1 && goal <= sb.inodesCount) {
      const index = (goal - 1) % sb.inodesPerGroup;
      const ino = yield* this.takeIn(handle, (goal - 1 - index) / sb.inodesPerGroup, index, isDirectory);
      if (ino !== undefined) return ino;
    }
    if (this.groups.freeInodes === 0) throw new FsError("ENOSPC");
    const first = this.chooseFlex(parent, isDirectory);
    for (let step = 0; step < flex.count; step++) {
      const chosen = (first + step) % flex.count;
      if (flex.freeInodes[chosen] === 0) continue;
      const end = Math.min((chosen + 1) * flex.size, sb.groupsCount);
      for (let group = chosen * flex.size; group < end; group++) {
        const ino = yield* this.takeIn(handle, group, 0, isDirectory);
        if (ino !== undefined) return ino;
      }
    }
    throw new FsError("ENOSPC");
  }

  private chooseFlex(parent: Ext4Inode | undefined, isDirectory: boolean): number {
    const { sb } = this.fs;
    const { flex } = this.groups;
    const home = parent === undefined ? 0 : flex.of(Math.floor((parent.i_ino - 1) / sb.inodesPerGroup));
    if (!isDirectory) return chooseFlexForFile(this.groups, home);
    const isTop = parent === undefined || parent.i_ino === EXT4_ROOT_INO || (parent.i_flags & EXT4_TOPDIR_FL) !== 0;
    return chooseFlexForDirectory(this.groups, { start: isTop ? this.fs.random() % flex.count : home, isTop });
  }

  /** Takes the first free inode of the group at or behind `from`, if there is one. */
  private *takeIn(handle: Handle, group: GroupNo, from: number, isDirectory: boolean): Task<Ino | undefined> {
    const state = this.groups.peek(group) ?? (yield* this.groups.get(group));
    if (state.desc.freeInodes === 0) return undefined;
    const bits = state.knownInodeBits(handle) ?? (yield* state.inodeBits(handle));
    const index = this.findFree(state, bits, from);
    if (index < 0) return undefined;
    setBit(bits, index);
    this.useTableBlock(handle, state, index);
    this.groups.countInodes(state.desc, -1, isDirectory ? 1 : 0);
    return group * this.fs.sb.inodesPerGroup + index + 1;
  }

  /** The index of a free inode, by preference one that does not rest. -1: there is none. */
  private findFree(state: GroupState, bits: Uint8Array, from: number): number {
    const { firstIno, inodesPerGroup } = this.fs.sb;
    // Reserved inodes stay reserved, whatever a damaged bitmap says.
    const first = Math.max(from, state.inodeHint, state.group === 0 ? firstIno - 1 : 0);
    const lowest = findClearBit(bits, first, inodesPerGroup);
    if (lowest < 0) return -1;
    if (from <= state.inodeHint) state.inodeHint = lowest;
    if (this.resting.size === 0) return lowest;
    const nowSec = this.fs.now().sec;
    for (let index = lowest; index >= 0; index = findClearBit(bits, index + 1, inodesPerGroup)) {
      const freedSec = this.resting.get(state.group * inodesPerGroup + index + 1);
      if (freedSec === undefined || freedSec + REST_SEC <= nowSec) return index;
    }
    return lowest;
  }

  /** Lowers the count of never used inodes; a block of the table that held only such is made anew. */
  private useTableBlock(handle: Handle, { desc }: GroupState, index: number): void {
    const { sb } = this.fs;
    const usedEnd = sb.inodesPerGroup - desc.itableUnused;
    if (index < usedEnd) return;
    const perBlock = sb.blockBytes / sb.inodeBytes;
    const block = Math.floor(index / perBlock);
    if (block * perBlock >= usedEnd) handle.dirty(handle.getCreateAccess(desc.inodeTable + block));
    desc.itableUnused = sb.inodesPerGroup - index - 1;
  }

  /** Gives an inode back: what it held is gone already. @throws CorruptionError inode-number: it is reserved; inode-bitmap: it is free already. */
  *free(handle: Handle, ino: Ino, isDirectory: boolean): Task<void> {
    footprint(this);
    const { sb } = this.fs;
    if (ino < sb.firstIno || ino > sb.inodesCount) throw new CorruptionError("inode-number", { ino, expected: `${sb.firstIno}..${sb.inodesCount}` });
    const index = (ino - 1) % sb.inodesPerGroup;
    const group = (ino - 1 - index) / sb.inodesPerGroup;
    const state = this.groups.peek(group) ?? (yield* this.groups.get(group));
    const bits = state.knownInodeBits(handle) ?? (yield* state.inodeBits(handle));
    if (!testBit(bits, index)) throw new CorruptionError("inode-bitmap", { ino, group, found: "free already" });
    clearBit(bits, index);
    state.inodeHint = Math.min(state.inodeHint, index);
    this.groups.countInodes(state.desc, 1, isDirectory && state.desc.usedDirs > 0 ? -1 : 0);
    if (!sb.hasJournal) this.letRest(ino);
  }

  private letRest(ino: Ino): void {
    const nowSec = this.fs.now().sec;
    for (const [rested, freedSec] of this.resting) {
      if (freedSec + REST_SEC > nowSec) break;
      this.resting.delete(rested);
    }
    this.resting.delete(ino);
    this.resting.set(ino, nowSec);
  }
}
