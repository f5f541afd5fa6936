/**
 * A filesystem in the making: what is taken so far, its inodes, and the blocks to be written. Nothing here touches a device, so a filesystem that turns out not to fit
 * leaves none half written.
 */
import type { Superblock } from "../ext4/superblock.js";
import { ext4_super_block as S } from "../format/superblock.js";
import type { Ino, Pblk } from "../lib/numbers.js";
import type { BlockSpace, Run } from "./block-space.js";
import { FIRST_INO, type Geometry } from "./geometry.js";
import { InodeTables } from "./inode-tables.js";
import { tooSmall } from "./options.js";
import type { MkfsParameters } from "./parameters.js";
import { needBitmaps, type Groups } from "./placement.js";

/** Bytes for one block or several in a row. */
export interface Content {
  readonly block: Pblk;
  readonly data: Uint8Array;
}

export class Draft {
  readonly inodes: InodeTables;
  readonly contents: Content[] = [];
  /** Runs that must read as zeroes, but for what `contents` puts there. */
  readonly zeroes: Run[] = [];
  readonly directories: Ino[] = [];
  /** How many values of an inode's attributes stand in inodes of their own. */
  readonly heldInodes = new Map<Ino, number>();
  journalBlocks = 0;
  /** All inodes up to this one are in use: nobody else gets those that the format reserves. */
  lastIno = FIRST_INO - 1;

  constructor(
    readonly parameters: MkfsParameters, readonly geometry: Geometry, readonly sb: Superblock, readonly groups: Groups, readonly space: BlockSpace,
  ) {
    this.inodes = new InodeTables(sb.inodesPerGroup, sb.inodeBytes);
  }

  /** Whether descriptors say that inode tables are zero throughout. */
  get saysTablesAreZero(): boolean {
    const { lazyItableInit = true, deviceIsZero = false } = this.parameters.options;
    return deviceIsZero || !lazyItableInit;
  }

  /** Inode tables keep what is on the device, and the kernel zeroes them when it has time; descriptors with checksums say how far that matters. */
  get leavesTablesToKernel(): boolean {
    return this.sb.hasGroupChecksums && !this.saysTablesAreZero;
  }

  /** Takes free blocks in a row, `countMax` at most, at or after `goal` if there are any. @throws FsError ENOSPC. */
  take(goal: Pblk, countMax: number, forWhat: string): Run {
    const run = this.space.take(goal, countMax);
    if (run === undefined) throw tooSmall(forWhat);
    needBitmaps(this.sb, this.groups, run.first, run.count);
    return run;
  }

  /** Where the blocks of an inode are looked for: from the start of its group on, or of the groups that share its tables' place. */
  goalFor(ino: Ino): Pblk {
    const group = Math.floor((ino - 1) / this.sb.inodesPerGroup);
    const flexGroups = 2 ** S.s_log_groups_per_flex.get(this.sb.view, 0);
    return this.sb.firstBlockOf(group - (group % flexGroups));
  }

  freeBlocks(): number {
    return this.sb.blocksCount - this.sb.firstDataBlock - this.space.usedBlocks();
  }

  /** @throws FsError ENOSPC. */
  nextIno(): Ino {
    if (this.lastIno >= this.sb.inodesCount) throw tooSmall(`inode ${this.lastIno + 1}, as it has only ${this.sb.inodesCount}`);
    return ++this.lastIno;
  }

  /** @param record the inode as on disk, but for its checksum. */
  addInode(ino: Ino, record: Uint8Array, isDirectory = false): void {
    if (ino > this.sb.inodesCount) throw tooSmall(`inode ${ino}, as it has only ${this.sb.inodesCount}`);
    this.useInode(ino, isDirectory);
    this.inodes.record(ino).set(record);
  }

  /** For who writes the record where it stands. */
  useInode(ino: Ino, isDirectory: boolean): void {
    this.groups.hasBitmap[Math.floor((ino - 1) / this.sb.inodesPerGroup)] = 1;
    if (isDirectory) this.directories.push(ino);
  }

  addContent(block: Pblk, data: Uint8Array): void {
    this.contents.push({ block, data });
  }
}
