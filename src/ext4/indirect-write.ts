/**
 * Changing an indirect map. Insertion first finds out which blocks of pointers are missing, allocates them all and gets write access to those that change; then it fills pointers in plain code,
 * so whoever fails leaves the map as it was. Removal goes from the end to the beginning, a part of a row at a time: pointers first, then the blocks, and a block of pointers that is empty then.
 * Locks: i_data_sem(w), let go between parts of a removal where the transaction is full. Source: fs/ext4/indirect.c (ext4_alloc_branch, ext4_ind_truncate, ext4_ind_remove_space).
 */
import type { BufferHead } from "../block/buffer-cache.js";
import type { Handle } from "../jbd2/handle.js";
import { isAllZero } from "../lib/bytes.js";
import { assert, FsError } from "../lib/errno.js";
import { TWO_32, type Lblk, type Pblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { INODE_ROWS, inodeRow, pointerAt, rowBelow, rowEnd, setPointer, slotOf, slotStart, type PointerRow } from "./indirect.js";
import type { Ext4Inode } from "./inode.js";
import { FreeingCredits, freesAsMetadata, makeRoom, PART_FREEING_CREDITS } from "./map-credits.js";
import type { Ext4 } from "./super.js";

/** Credits to clear the pointer to a block of pointers and to free that: the row, a bitmap, a descriptor; and the inode. */
const FREE_ROW_CREDITS = 4;

/** A run of blocks that comes into the map. */
interface Run { readonly lblk: Lblk; readonly pblk: Pblk; readonly count: number }

const clip = (row: PointerRow, from: Lblk, to: Lblk): { from: Lblk; to: Lblk } => ({ from: Math.max(from, row.first), to: Math.min(to, rowEnd(row)) });

/** What an insertion gathers before it changes anything. */
interface Preparation {
  /** Blocks of pointers on the way, by number: those that will change are in the handle's transaction. */
  readonly buffers: Map<Pblk, BufferHead>;
  missing: number;
}

/** Fills a hole. @throws FsError ENOSPC, EFBIG: the map is as it was. */
export function* insertIndirect(handle: Handle, fs: Ext4, inode: Ext4Inode, run: Run): Task<void> {
  const end = run.lblk + run.count;
  // A pointer has 32 bits.
  if (run.pblk + run.count > TWO_32) throw new FsError("EFBIG", "a block map cannot point so far");
  const preparation: Preparation = { buffers: new Map(), missing: 0 };
  for (let index = 0; index < INODE_ROWS; index++) yield* prepareRow(handle, fs, inode, inodeRow(fs, inode, index), run.lblk, end, preparation);
  const blocks = yield* allocateRows(handle, fs, inode, preparation.missing);
  for (const block of blocks) preparation.buffers.set(block, handle.getCreateAccess(block));
  blocks.reverse();
  for (let index = 0; index < INODE_ROWS; index++) fillRow(handle, fs, inode, inodeRow(fs, inode, index), run, preparation.buffers, blocks);
}

/** Walks the blocks of pointers that lead to from .. to - 1, counts those that are missing, and gets write access to those in which pointers will be set. */
function* prepareRow(handle: Handle, fs: Ext4, inode: Ext4Inode, row: PointerRow, lblk: Lblk, end: Lblk, preparation: Preparation): Task<void> {
  const { from, to } = clip(row, lblk, end);
  let changes = row.span === 1 && from < to;
  for (let slot = slotOf(row, from); row.span > 1 && slotStart(row, slot) < to; slot++) {
    const pointer = pointerAt(fs, inode, row, slot);
    if (pointer === 0) {
      changes = true;
      preparation.missing += rowsNeeded(fs, row, slot, from, to);
    } else {
      const buffer = fs.cache.peek(pointer) ?? (yield* fs.cache.read(pointer));
      preparation.buffers.set(pointer, buffer);
      yield* prepareRow(handle, fs, inode, rowBelow(row, slot, buffer), from, to, preparation);
    }
  }
  if (changes && row.block !== undefined) preparation.buffers.set(row.block, handle.tryWriteAccess(row.block) ?? (yield* handle.getWriteAccess(row.block)));
}

/** Blocks of pointers to be made behind an empty pointer, for what of from .. to - 1 lies there: at each level as many as the range touches. */
function rowsNeeded(fs: Ext4, row: PointerRow, slot: number, from: Lblk, to: Lblk): number {
  const start = slotStart(row, slot);
  const first = Math.max(from - start, 0);
  const last = Math.min(to - start, row.span) - 1;
  let count = 0;
  for (let span = row.span; span > 1; span /= fs.blockBytes / 4) count += Math.floor(last / span) - Math.floor(first / span) + 1;
  return count;
}

function* allocateRows(handle: Handle, fs: Ext4, inode: Ext4Inode, count: number): Task<Pblk[]> {
  const blocks: Pblk[] = [];
  try {
    for (let goal = count > 0 ? fs.allocator.goalFor(inode) : 0; blocks.length < count; goal = blocks[blocks.length - 1]! + 1) {
      const block = yield* fs.allocator.allocateMetadata(handle, inode, goal);
      blocks.push(block);
      if (block >= TWO_32) throw new FsError("ENOSPC", "the free blocks are too far for a block map");
    }
    // The inode joins here, as nothing may fail from here on.
    yield* inode.markDirty(handle);
  } catch (error) {
    for (const block of blocks) yield* fs.allocator.free(handle, inode, block, 1, false);
    throw error;
  }
  return blocks;
}

/** Sets the pointers of a run, and those to the blocks of pointers that it needs, taken from the end of `blocks`. */
function fillRow(handle: Handle, fs: Ext4, inode: Ext4Inode, row: PointerRow, run: Run, buffers: ReadonlyMap<Pblk, BufferHead>, blocks: Pblk[]): void {
  const { from, to } = clip(row, run.lblk, run.lblk + run.count);
  let hasChanged = false;
  for (let slot = slotOf(row, from); slotStart(row, slot) < to; slot++) {
    let pointer = pointerAt(fs, inode, row, slot);
    if (row.span === 1) {
      assert(pointer === 0, `inode ${inode.i_ino}: block ${slotStart(row, slot)} is mapped already`);
      setPointer(row, slot, run.pblk + slotStart(row, slot) - run.lblk);
      hasChanged = true;
      continue;
    }
    if (pointer === 0) {
      pointer = blocks.pop()!;
      setPointer(row, slot, pointer);
      hasChanged = true;
    }
    fillRow(handle, fs, inode, rowBelow(row, slot, buffers.get(pointer)!), run, buffers, blocks);
  }
  if (hasChanged && row.block !== undefined) handle.dirty(buffers.get(row.block)!);
}

/** Frees what is mapped in from .. to - 1. */
export function* removeIndirect(handle: Handle, fs: Ext4, inode: Ext4Inode, from: Lblk, to: Lblk): Task<void> {
  for (let index = INODE_ROWS - 1; index >= 0; index--) yield* clearRow(handle, fs, inode, inodeRow(fs, inode, index), from, to);
}

/** As a part may let the lock go, a row is looked at anew after each: its place in the tree is sure as long as the range is the caller's. */
function* clearRow(handle: Handle, fs: Ext4, inode: Ext4Inode, row: PointerRow, lblk: Lblk, end: Lblk): Task<void> {
  const { from, to } = clip(row, lblk, end);
  if (from >= to) return;
  if (row.span === 1) return yield* clearPointers(handle, fs, inode, row, slotOf(row, from), slotOf(row, to - 1));
  for (let slot = slotOf(row, to - 1); slot >= slotOf(row, from); slot--) {
    const pointer = pointerAt(fs, inode, yield* readRow(fs, row), slot);
    if (pointer === 0) continue;
    yield* clearRow(handle, fs, inode, rowBelow(row, slot, fs.cache.peek(pointer) ?? (yield* fs.cache.read(pointer))), from, to);
    yield* freeEmptyRow(handle, fs, inode, row, slot, pointer);
  }
}

/** Frees the data behind pointers first .. last, from the end. */
function* clearPointers(handle: Handle, fs: Ext4, inode: Ext4Inode, row: PointerRow, first: number, last: number): Task<void> {
  for (let slot = last; slot >= first;) {
    if (pointerAt(fs, inode, yield* readRow(fs, row), slot) === 0) {
      slot--;
      continue;
    }
    yield* makeRoom(handle, inode, PART_FREEING_CREDITS + FREE_ROW_CREDITS);
    const writable = yield* writeRow(handle, inode, row);
    const freeing = new FreeingCredits(fs, inode);
    const runs: { pblk: Pblk; count: number }[] = [];
    for (; slot >= first; slot--) {
      const pblk = pointerAt(fs, inode, writable, slot);
      if (pblk === 0) continue;
      const before = runs[runs.length - 1];
      const joins = before !== undefined && before.pblk === pblk + 1;
      freeing.add(pblk, 1);
      if (freeing.count > PART_FREEING_CREDITS) break;
      setPointer(writable, slot, 0);
      if (joins) runs[runs.length - 1] = { pblk, count: before.count + 1 };
      else runs.push({ pblk, count: 1 });
    }
    const isMetadata = freesAsMetadata(fs, inode);
    for (const { pblk, count } of runs) yield* fs.allocator.free(handle, inode, pblk, count, isMetadata);
  }
}

function* freeEmptyRow(handle: Handle, fs: Ext4, inode: Ext4Inode, row: PointerRow, slot: number, block: Pblk): Task<void> {
  const isEmpty = function* (): Task<boolean> {
    return isAllZero((fs.cache.peek(block) ?? (yield* fs.cache.read(block))).data);
  };
  if (!(yield* isEmpty())) return;
  // Where the lock was let go meanwhile, other blocks of the file may have come in.
  if ((yield* makeRoom(handle, inode, FREE_ROW_CREDITS)) && !(yield* isEmpty())) return;
  setPointer(yield* writeRow(handle, inode, row), slot, 0);
  yield* fs.allocator.free(handle, inode, block, 1, true);
}

/** The row as it is now. */
function* readRow(fs: Ext4, row: PointerRow): Task<PointerRow> {
  if (row.block === undefined) return row;
  return { ...row, view: (fs.cache.peek(row.block) ?? (yield* fs.cache.read(row.block))).view };
}

/** The row in the handle's transaction, and the inode as well, as it will lose blocks. */
function* writeRow(handle: Handle, inode: Ext4Inode, row: PointerRow): Task<PointerRow> {
  yield* inode.markDirty(handle);
  if (row.block === undefined) return row;
  const buffer = handle.tryWriteAccess(row.block) ?? (yield* handle.getWriteAccess(row.block));
  handle.dirty(buffer);
  return { ...row, view: buffer.view };
}

/** The last block that is mapped at or before `lblk`. */
export function* lastIndirectUpTo(fs: Ext4, inode: Ext4Inode, lblk: Lblk): Task<{ lblk: Lblk; pblk: Pblk } | undefined> {
  for (let index = INODE_ROWS - 1; index >= 0; index--) {
    const found = yield* lastInRow(fs, inode, inodeRow(fs, inode, index), lblk);
    if (found !== undefined) return found;
  }
  return undefined;
}

function* lastInRow(fs: Ext4, inode: Ext4Inode, row: PointerRow, lblk: Lblk): Task<{ lblk: Lblk; pblk: Pblk } | undefined> {
  for (let slot = Math.min(slotOf(row, lblk), row.slots - 1); slot >= 0; slot--) {
    const pointer = pointerAt(fs, inode, row, slot);
    if (pointer === 0) continue;
    if (row.span === 1) return { lblk: slotStart(row, slot), pblk: pointer };
    const found = yield* lastInRow(fs, inode, rowBelow(row, slot, fs.cache.peek(pointer) ?? (yield* fs.cache.read(pointer))), lblk);
    if (found !== undefined) return found;
  }
  return undefined;
}
