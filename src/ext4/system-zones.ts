/**
 * Blocks that never belong to a file that can be named: superblocks, descriptors and what is reserved for more of them, bitmaps, inode tables, the journal. A map that names
 * one is damaged, and whoever frees or claims one would destroy the filesystem. Source: fs/ext4/block_validity.c.
 */
import { INCOMPAT } from "../format/features.js";
import { ext4_super_block as S } from "../format/superblock.js";
import type { Pblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { descBlocksIn, hasSuper, inodeTableBlocks, superblockOf, type GroupDesc } from "./groups.js";
import { listExtents } from "./map.js";
import type { Ext4 } from "./super.js";
import type { Superblock } from "./superblock.js";

interface Range { readonly start: Pblk; end: Pblk }

/** Gathers ranges. Those of one kind ascend from group to group and often stand side by side, so kinds are kept apart until all are known. */
export class SystemZonesBuilder {
  private readonly supers: Range[] = [];
  private readonly blockBitmaps: Range[] = [];
  private readonly inodeBitmaps: Range[] = [];
  private readonly inodeTables: Range[] = [];
  private readonly others: Range[] = [];

  constructor(private readonly sb: Superblock) {
    if (sb.has(INCOMPAT.mmp, "incompat")) add(this.others, S.s_mmp_block.get(sb.view, 0), 1);
  }

  addGroup({ group, blockBitmap, inodeBitmap, inodeTable }: GroupDesc): void {
    const { sb } = this;
    const { count, reserved } = descBlocksIn(sb, group);
    const first = sb.firstBlockOf(group);
    const superCount = hasSuper(sb, group) ? superblockOf(sb, group) - first + 1 : 0;
    add(this.supers, first, superCount + count + reserved);
    add(this.blockBitmaps, blockBitmap, 1);
    add(this.inodeBitmaps, inodeBitmap, 1);
    add(this.inodeTables, inodeTable, inodeTableBlocks(sb));
  }

  *addJournal(fs: Ext4): Task<void> {
    const ino = S.s_journal_inum.get(this.sb.view, 0);
    if (!this.sb.hasJournal || ino === 0) return;
    const journal = yield* fs.igetSpecial(ino);
    for (const { pblk, count } of yield* listExtents(fs, journal, 0, Math.ceil(journal.i_size / fs.blockBytes))) add(this.others, pblk, count);
  }

  finish(): SystemZones {
    const sorted = [this.supers, this.blockBitmaps, this.inodeBitmaps, this.inodeTables, this.others].flat().sort((a, b) => a.start - b.start);
    const joined: Range[] = [];
    for (const range of sorted) {
      const last = joined.at(-1);
      if (last !== undefined && range.start <= last.end) last.end = Math.max(last.end, range.end);
      else joined.push(range);
    }
    return new SystemZones(joined);
  }
}

function add(ranges: Range[], start: Pblk, count: number): void {
  if (count === 0) return;
  const last = ranges.at(-1);
  if (last?.end === start) last.end = start + count;
  else ranges.push({ start, end: start + count });
}

export class SystemZones {
  private readonly starts: Float64Array;
  private readonly ends: Float64Array;

  /** @param ranges ascending, apart from each other. */
  constructor(ranges: readonly Range[]) {
    this.starts = Float64Array.from(ranges, ({ start }) => start);
    this.ends = Float64Array.from(ranges, ({ end }) => end);
  }

  /** Whether any of the blocks belongs to the filesystem itself. */
  overlaps(block: Pblk, count: number): boolean {
    const index = this.firstEndingAfter(block);
    return index < this.starts.length && this.starts[index]! < block + count;
  }

  /** Calls `visit` with each part of the zones that lies in the given blocks. */
  forEachIn(block: Pblk, count: number, visit: (start: Pblk, count: number) => void): void {
    for (let index = this.firstEndingAfter(block); index < this.starts.length && this.starts[index]! < block + count; index++) {
      const start = Math.max(this.starts[index]!, block);
      visit(start, Math.min(this.ends[index]!, block + count) - start);
    }
  }

  private firstEndingAfter(block: Pblk): number {
    let low = 0;
    let high = this.ends.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.ends[middle]! <= block) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
