/**
 * Extents come in and change their state: each is a splice of the leaf in which they stand, joined with what they touch. Extents join where blocks follow on both sides, the state is one, and
 * the length fits; they do not join across leaves. Locks: i_data_sem(w). Source: ext4_ext_insert_extent, ext4_ext_try_to_merge, ext4_split_extent (fs/ext4/extents.c).
 */
import { extentLengthMax, type Extent } from "../format/extent.js";
import type { Handle } from "../jbd2/handle.js";
import { assert } from "../lib/errno.js";
import { TWO_32, type Lblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { findPath, spliceLeaf, keyAfterPath, type PathLevel } from "./extents-edit.js";
import { entryKey, nodeEntries, readExtent } from "./extents.js";
import type { Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";

export const extentEnd = ({ lblk, count }: Extent): Lblk => lblk + count;

export const leafOf = (path: readonly PathLevel[]): PathLevel => path[path.length - 1]!;

/** What lies in from .. to - 1 of an extent, in that state. */
export function partOf({ lblk, pblk }: Extent, from: Lblk, to: Lblk, unwritten: boolean): Extent {
  return { lblk: from, pblk: pblk + (from - lblk), count: to - from, unwritten };
}

/** Fills a hole. @throws FsError ENOSPC: the tree is as it was. */
export function* insertExtent(handle: Handle, fs: Ext4, inode: Ext4Inode, extent: Extent): Task<void> {
  const path = yield* findPath(fs, inode, extent.lblk);
  const { node, slot } = leafOf(path);
  const before = slot < 0 ? undefined : readExtent(node, slot);
  const nextKey = slot + 1 < nodeEntries(node) ? entryKey(node, slot + 1) : keyAfterPath(path);
  assert((before === undefined || extentEnd(before) <= extent.lblk) && extentEnd(extent) <= (nextKey ?? TWO_32 - 1),
    `inode ${inode.i_ino}: blocks ${extent.lblk}..${extentEnd(extent) - 1} are mapped already`);
  // Who writes on where the last extent ends is likely to go on.
  const isRun = before !== undefined && extentEnd(before) === extent.lblk;
  yield* replaceExtents(handle, fs, inode, path, { slot: slot + 1, removed: 0, extents: [extent], isRun });
}

/** Gives all of the range, which has no hole, one state. @throws FsError ENOSPC: the range may be converted in part. */
export function* convertExtents(handle: Handle, fs: Ext4, inode: Ext4Inode, range: { readonly lblk: Lblk; readonly count: number; readonly unwritten: boolean }): Task<void> {
  const end = range.lblk + range.count;
  for (let at = range.lblk; at < end;) {
    const path = yield* findPath(fs, inode, at);
    const { node, slot } = leafOf(path);
    const extents: Extent[] = [];
    let last = slot;
    for (; at < end && last < nodeEntries(node); last++) {
      const extent = readExtent(node, last);
      const stop = Math.min(extentEnd(extent), end);
      assert(extent.lblk <= at && at < stop, `inode ${inode.i_ino}: block ${at} is to change its state, and is not mapped`);
      extents.push(partOf(extent, extent.lblk, at, extent.unwritten), partOf(extent, at, stop, range.unwritten), partOf(extent, stop, extentEnd(extent), extent.unwritten));
      at = stop;
    }
    yield* replaceExtents(handle, fs, inode, path, { slot, removed: last - slot, extents });
  }
}

/** Makes an extent that covers `lblk` and begins before it two. @throws FsError ENOSPC: the tree is as it was. */
export function* splitExtent(handle: Handle, fs: Ext4, inode: Ext4Inode, lblk: Lblk): Task<void> {
  const path = yield* findPath(fs, inode, lblk);
  const { node, slot } = leafOf(path);
  if (slot < 0) return;
  const extent = readExtent(node, slot);
  if (extent.lblk === lblk || extentEnd(extent) <= lblk) return;
  const entries = [partOf(extent, extent.lblk, lblk, extent.unwritten), partOf(extent, lblk, extentEnd(extent), extent.unwritten)];
  yield* spliceLeaf(handle, fs, inode, path, { slot, removed: 1, entries });
}

/** Puts extents in the place of some old ones of a leaf, or between them, joined with one another and with what stands beside. Empty ones are left out. */
export function* replaceExtents(
  handle: Handle, fs: Ext4, inode: Ext4Inode, path: readonly PathLevel[],
  { slot, removed, extents, isRun = false }: { readonly slot: number; readonly removed: number; readonly extents: readonly Extent[]; readonly isRun?: boolean },
): Task<void> {
  const { node } = leafOf(path);
  const left = slot > 0 ? readExtent(node, slot - 1) : undefined;
  const right = slot + removed < nodeEntries(node) ? readExtent(node, slot + removed) : undefined;
  const entries: Extent[] = [];
  if (left !== undefined) entries.push(left);
  for (const extent of extents) addExtent(entries, extent);
  if (right !== undefined) addExtent(entries, right);
  // A neighbour that nothing was joined to stays where it is.
  const keepsLeft = left !== undefined && entries[0]!.count === left.count;
  const keepsRight = right !== undefined && entries[entries.length - 1]!.lblk === right.lblk;
  if (keepsLeft) entries.shift();
  if (keepsRight) entries.pop();
  const from = left === undefined || keepsLeft ? slot : slot - 1;
  const to = right === undefined || keepsRight ? slot + removed : slot + removed + 1;
  yield* spliceLeaf(handle, fs, inode, path, { slot: from, removed: to - from, entries, isRun });
}

/** Appends an extent to ascending ones: it joins the last if it can, and becomes several if it is longer than an extent may be. */
function addExtent(extents: Extent[], extent: Extent): void {
  const max = extentLengthMax(extent.unwritten);
  const last = extents.length === 0 ? undefined : extents[extents.length - 1]!;
  if (last !== undefined && joins(last, extent) && last.count + extent.count <= max) {
    extents[extents.length - 1] = { ...last, count: last.count + extent.count };
    return;
  }
  if (extent.count > 0 && extent.count <= max) extents.push(extent);
  else for (let at = extent.lblk; at < extentEnd(extent); at += max) extents.push(partOf(extent, at, Math.min(at + max, extentEnd(extent)), extent.unwritten));
}

function joins(before: Extent, after: Extent): boolean {
  return before.unwritten === after.unwritten && extentEnd(before) === after.lblk && before.pblk + before.count === after.pblk;
}

/** The last extent that begins at or before `lblk`. */
export function* lastExtentUpTo(fs: Ext4, inode: Ext4Inode, lblk: Lblk): Task<Extent | undefined> {
  const { node, slot } = leafOf(yield* findPath(fs, inode, lblk));
  return slot < 0 ? undefined : readExtent(node, slot);
}

