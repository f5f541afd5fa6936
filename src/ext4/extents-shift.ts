/**
 * Moves everything from a block on to other places in the file, for collapse and insert range: the blocks stay, their keys change, a leaf at a time. Leaves that move to the front are taken from
 * left to right, to the back from right to left, so that keys are in order at every moment; when the handle goes on in the next transaction, the gap stands between two leaves.
 * Locks: i_data_sem(w), let go between leaves where the transaction is full. Source: ext4_ext_shift_extents (fs/ext4/extents.c).
 */
import type { Handle } from "../jbd2/handle.js";
import { assert, FsError } from "../lib/errno.js";
import { TWO_32, type Lblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { findPath, keyAfterPath, type PathLevel } from "./extents-edit.js";
import { entryKey, nodeEntries, readExtent, searchNode } from "./extents.js";
import { extentEnd, lastExtentUpTo, leafOf, replaceExtents, splitExtent } from "./extents-write.js";
import type { Ext4Inode } from "./inode.js";
import { makeRoom, mapCredits } from "./map-credits.js";
import type { Ext4 } from "./super.js";

/** The first block that no extent may cover. */
const EXTENTS_END = TWO_32 - 1;

/**
 * Adds `delta` to the place of all that is mapped from `from` on. If it is negative, nothing is mapped in the -delta blocks before.
 * @throws FsError EFBIG something would be moved past the last block that a file may have: nothing was changed; ENOSPC an extent that begins before `from` could not be split: likewise.
 */
export function* shiftExtents(handle: Handle, fs: Ext4, inode: Ext4Inode, from: Lblk, delta: number): Task<void> {
  return delta < 0 ? yield* shiftToFront(handle, fs, inode, from, delta) : yield* shiftToBack(handle, fs, inode, from, delta);
}

function* shiftToFront(handle: Handle, fs: Ext4, inode: Ext4Inode, from: Lblk, delta: number): Task<void> {
  const before = from === 0 ? undefined : yield* lastExtentUpTo(fs, inode, from - 1);
  assert(before === undefined || extentEnd(before) <= from + delta, `inode ${inode.i_ino}: blocks before ${from} are still mapped`);
  for (let next: Lblk | undefined = from; next !== undefined;) {
    yield* makeRoom(handle, inode, mapCredits(fs, inode));
    const path: PathLevel[] = yield* findPath(fs, inode, next);
    const { node, slot } = leafOf(path);
    const first = slot >= 0 && entryKey(node, slot) >= next ? slot : slot + 1;
    next = keyAfterPath(path);
    yield* shiftEntries(handle, fs, inode, path, first, nodeEntries(node) - first, delta);
  }
}

function* shiftToBack(handle: Handle, fs: Ext4, inode: Ext4Inode, from: Lblk, delta: number): Task<void> {
  const last = yield* lastExtentUpTo(fs, inode, EXTENTS_END);
  if (last === undefined || extentEnd(last) <= from) return;
  if (extentEnd(last) + delta > EXTENTS_END) throw new FsError("EFBIG");
  yield* splitExtent(handle, fs, inode, from);
  for (let end = extentEnd(last); end > from;) {
    yield* makeRoom(handle, inode, mapCredits(fs, inode));
    const path = yield* findPath(fs, inode, end - 1);
    const { node, slot } = leafOf(path);
    const first = searchNode(node, from - 1) + 1;
    if (first > slot) return;
    end = entryKey(node, first);
    yield* shiftEntries(handle, fs, inode, path, first, slot + 1 - first, delta);
  }
}

function* shiftEntries(handle: Handle, fs: Ext4, inode: Ext4Inode, path: readonly PathLevel[], slot: number, count: number, delta: number): Task<void> {
  if (count === 0) return;
  const { node } = leafOf(path);
  const extents = Array.from({ length: count }, (_, index) => {
    const extent = readExtent(node, slot + index);
    return { ...extent, lblk: extent.lblk + delta };
  });
  yield* inode.markDirty(handle);
  yield* replaceExtents(handle, fs, inode, path, { slot, removed: count, extents });
}
