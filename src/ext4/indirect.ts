/**
 * The map of ext2 and ext3, and of ext4's files without extents: 12 direct pointers, then trees of one, two and three levels. A pointer of 0 is a hole as wide as what it would lead to.
 * Blocks of pointers carry no checksum, so each pointer is checked as it is used. Source: fs/ext4/indirect.c.
 */
import { CorruptionError } from "../format/corruption.js";
import { EXT4_NDIR_BLOCKS } from "../format/inode.js";
import type { Lblk, Pblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { I_BLOCK_AT, type Ext4Inode } from "./inode.js";
import type { Mapping } from "./map.js";
import type { Ext4 } from "./super.js";

const POINTER_BYTES = 4;

/** The first block that the map has no pointer for. */
export function indirectMapEnd(pointersPerBlock: number): Lblk {
  return EXT4_NDIR_BLOCKS + pointersPerBlock + pointersPerBlock ** 2 + pointersPerBlock ** 3;
}

export function* mapIndirect(fs: Ext4, inode: Ext4Inode, lblk: Lblk, countMax: number): Task<Mapping> {
  const perBlock = fs.blockBytes / POINTER_BYTES;
  if (lblk < EXT4_NDIR_BLOCKS) {
    return run(fs, inode, inode.rawView, I_BLOCK_AT, undefined, lblk, EXT4_NDIR_BLOCKS, countMax);
  }
  let within = lblk - EXT4_NDIR_BLOCKS; // the block's index in the tree that holds it
  let span = perBlock; // blocks that the tree covers
  let levels = 1;
  while (within >= span) {
    within -= span;
    span *= perBlock;
    // Nothing is mapped past the end of the triple tree.
    if (++levels > 3) return { state: "hole", pblk: 0, count: countMax };
  }
  let pointer = checkPointer(fs, inode, inode.rawView.getUint32(I_BLOCK_AT + POINTER_BYTES * (EXT4_NDIR_BLOCKS + levels - 1), true), undefined);
  for (;;) {
    if (pointer === 0) return { state: "hole", pblk: 0, count: Math.min(span - within, countMax) };
    const buffer = fs.cache.peek(pointer) ?? (yield* fs.cache.read(pointer));
    span /= perBlock;
    const slot = Math.floor(within / span);
    if (span === 1) return run(fs, inode, buffer.view, 0, pointer, slot, perBlock, countMax);
    within -= slot * span;
    pointer = checkPointer(fs, inode, buffer.view.getUint32(slot * POINTER_BYTES, true), pointer);
  }
}

/** From pointer `slot` on: how many point to neighbouring blocks, or how many are holes. */
function run(
  fs: Ext4, inode: Ext4Inode, view: DataView, base: number, block: Pblk | undefined, slot: number, slots: number, countMax: number,
): Mapping {
  const pointerAt = (index: number): number => view.getUint32(base + index * POINTER_BYTES, true);
  const first = checkPointer(fs, inode, pointerAt(slot), block);
  const step = first === 0 ? 0 : 1;
  const limit = Math.min(slots - slot, countMax);
  let count = 1;
  while (count < limit && pointerAt(slot + count) === first + count * step) count++;
  if (first !== 0) checkPointer(fs, inode, first + count - 1, block);
  return { state: first === 0 ? "hole" : "written", pblk: first, count };
}

function checkPointer(fs: Ext4, inode: Ext4Inode, pointer: Pblk, block: Pblk | undefined): Pblk {
  if (pointer !== 0 && !fs.sb.containsBlocks(pointer, 1)) {
    throw new CorruptionError("indirect-range", { ino: inode.i_ino, block, found: pointer });
  }
  return pointer;
}
