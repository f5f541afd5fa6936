/**
 * The map of ext2 and ext3, and of ext4's files without extents: 12 direct pointers, then trees of one, two and three levels. A pointer of 0 is a hole as wide as what it would lead to.
 * Blocks of pointers carry no checksum, so each pointer is checked as it is used. Source: fs/ext4/indirect.c.
 */
import type { BufferHead } from "../block/buffer-cache.js";
import { CorruptionError } from "../format/corruption.js";
import { EXT4_NDIR_BLOCKS, I_BLOCK_AT } from "../format/inode.js";
import type { Lblk, Pblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import type { Ext4Inode } from "./inode.js";
import type { Mapping } from "./map.js";
import type { Ext4 } from "./super.js";

export const POINTER_BYTES = 4;

/** A row of pointers: a part of the inode's i_block, or a whole block. */
export interface PointerRow {
  readonly view: DataView;
  /** Where the first pointer stands. */
  readonly at: number;
  readonly slots: number;
  /** The block of the file that the first pointer leads to. */
  readonly first: Lblk;
  /** Blocks of the file behind each pointer: with 1 it points to data, with more to a block of pointers. */
  readonly span: number;
  /** The block that holds the row; undefined: the inode. */
  readonly block: Pblk | undefined;
}

export const rowEnd = ({ first, slots, span }: PointerRow): Lblk => first + slots * span;
export const slotOf = (row: PointerRow, lblk: Lblk): number => Math.floor((lblk - row.first) / row.span);
export const slotStart = (row: PointerRow, slot: number): Lblk => row.first + slot * row.span;

/** Rows in the inode: the direct pointers, and one pointer each to a tree of one, two and three levels. */
export const INODE_ROWS = 4;

/** Row 0 .. 3 of the inode. */
export function inodeRow(fs: Ext4, inode: Ext4Inode, index: number): PointerRow {
  const perBlock = fs.blockBytes / POINTER_BYTES;
  if (index === 0) return { view: inode.rawView, at: I_BLOCK_AT, slots: EXT4_NDIR_BLOCKS, first: 0, span: 1, block: undefined };
  let first = EXT4_NDIR_BLOCKS;
  let span = perBlock;
  for (let level = 1; level < index; level++) {
    first += span;
    span *= perBlock;
  }
  return { view: inode.rawView, at: I_BLOCK_AT + (EXT4_NDIR_BLOCKS + index - 1) * POINTER_BYTES, slots: 1, first, span, block: undefined };
}

/** The row in the block that pointer `slot` of `row` leads to. */
export function rowBelow(row: PointerRow, slot: number, { view, b_blocknr: block }: BufferHead): PointerRow {
  const slots = view.byteLength / POINTER_BYTES;
  return { view, at: 0, slots, first: slotStart(row, slot), span: row.span / slots, block };
}

/** The first block that the map has no pointer for. */
export function indirectMapEnd(pointersPerBlock: number): Lblk {
  return EXT4_NDIR_BLOCKS + pointersPerBlock + pointersPerBlock ** 2 + pointersPerBlock ** 3;
}

export function* mapIndirect(fs: Ext4, inode: Ext4Inode, lblk: Lblk, countMax: number): Task<Mapping> {
  let index = 0;
  let row = inodeRow(fs, inode, index);
  while (lblk >= rowEnd(row)) {
    // Nothing is mapped past the end of the triple tree.
    if (++index === INODE_ROWS) return { state: "hole", pblk: 0, count: countMax };
    row = inodeRow(fs, inode, index);
  }
  while (row.span > 1) {
    const slot = slotOf(row, lblk);
    const pointer = pointerAt(fs, inode, row, slot);
    if (pointer === 0) return { state: "hole", pblk: 0, count: Math.min(slotStart(row, emptySlotsEnd(row, slot)) - lblk, countMax) };
    row = rowBelow(row, slot, fs.cache.peek(pointer) ?? (yield* fs.cache.read(pointer)));
  }
  return run(fs, inode, row, slotOf(row, lblk), countMax);
}

/** The first slot behind `slot`, which is a hole, that is none. */
function emptySlotsEnd(row: PointerRow, slot: number): number {
  let end = slot + 1;
  while (end < row.slots && rawPointerAt(row, end) === 0) end++;
  return end;
}

/** From pointer `slot` on: how many point to neighbouring blocks, or how many are holes. */
function run(fs: Ext4, inode: Ext4Inode, row: PointerRow, slot: number, countMax: number): Mapping {
  const first = pointerAt(fs, inode, row, slot);
  const step = first === 0 ? 0 : 1;
  const limit = Math.min(row.slots - slot, countMax);
  let count = 1;
  while (count < limit && rawPointerAt(row, slot + count) === first + count * step) count++;
  if (first !== 0) checkPointer(fs, inode, first + count - 1, row);
  return { state: first === 0 ? "hole" : "written", pblk: first, count };
}

/** @throws CorruptionError indirect-range. */
export function pointerAt(fs: Ext4, inode: Ext4Inode, row: PointerRow, slot: number): Pblk {
  return checkPointer(fs, inode, rawPointerAt(row, slot), row);
}

const rawPointerAt = ({ view, at }: PointerRow, slot: number): Pblk => view.getUint32(at + slot * POINTER_BYTES, true);

export function setPointer({ view, at }: PointerRow, slot: number, pblk: Pblk): void {
  view.setUint32(at + slot * POINTER_BYTES, pblk, true);
}

function checkPointer(fs: Ext4, inode: Ext4Inode, pointer: Pblk, { block }: PointerRow): Pblk {
  if (pointer !== 0 && !fs.sb.containsBlocks(pointer, 1)) {
    throw new CorruptionError("indirect-range", { ino: inode.i_ino, block, found: pointer });
  }
  return pointer;
}
