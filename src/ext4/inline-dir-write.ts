/**
 * Inline directories, write side: entries go into i_block's area, then into the value of "system.data", which takes all the room that the inode has; what fits neither moves the
 * directory out to a block. Locks: i_rwsem(w) of the directory covers its entries wherever they stand; setInlineValue takes what attributes need.
 * Source: fs/ext4/inline.c (ext4_try_add_inline_entry, ext4_update_inline_dir, ext4_convert_inline_data_nolock).
 */
import { ext4_dir_entry_2 } from "../format/dir-entry.js";
import { EXT4_EXTENTS_FL, I_BLOCK_AT, I_BLOCK_BYTES } from "../format/inode.js";
import type { Handle } from "../jbd2/handle.js";
import { FsError } from "../lib/errno.js";
import type { Ino } from "../lib/numbers.js";
import { viewOf } from "../lib/view.js";
import type { Task } from "../sched/task.js";
import { appendBlock, claimBlock } from "./dir-append.js";
import { addDots, AreaFiller, entryBytes, findGap, leafFiller, leafSeal, placeEntry, stretchLast, usedBytes, type NewEntry } from "./dir-edit.js";
import { walkEntries } from "./dir.js";
import { inlineAreas, PARENT_BYTES } from "./inline.js";
import { leaveInode } from "./inline-write.js";
import type { Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";
import { inlineCapacityBytes, setInlineValue } from "./xattr-write.js";

const NO_BYTES = new Uint8Array(0);

export function inlineParent(dir: Ext4Inode): Ino {
  return dir.rawView.getUint32(I_BLOCK_AT, true);
}

export function* setInlineParent(handle: Handle, dir: Ext4Inode, parent: Ino): Task<void> {
  dir.rawView.setUint32(I_BLOCK_AT, parent, true);
  yield* dir.markDirty(handle);
}

export function inlineIsEmpty(fs: Ext4, dir: Ext4Inode): boolean {
  return inlineAreas(fs, dir).every(({ view, from, end }) => walkEntries(fs, view, from, end, (at) => ext4_dir_entry_2.inode.get(view, at) === 0) === end);
}

/** Makes an empty directory inside the inode. False: the inode has no room for the attribute, and will have a map. */
export function* initInline(handle: Handle, fs: Ext4, dir: Ext4Inode, parent: Ino): Task<boolean> {
  try {
    yield* setInlineValue(handle, fs, dir, NO_BYTES);
  } catch (error) {
    if (!(error instanceof FsError) || error.code !== "ENOSPC") throw error;
    yield* leaveInode(handle, fs, dir);
    return false;
  }
  dir.i_flags &= ~EXT4_EXTENTS_FL;
  new AreaFiller(fs, dir.rawView, I_BLOCK_AT + PARENT_BYTES, I_BLOCK_AT + I_BLOCK_BYTES).close();
  dir.i_size = dir.i_disksize = I_BLOCK_BYTES;
  yield* setInlineParent(handle, dir, parent);
  return true;
}

/** Adds an entry. False: there was no room, and the directory now has a block instead, without the entry. @throws FsError ENOSPC: nothing was changed. */
export function* addInline(handle: Handle, fs: Ext4, dir: Ext4Inode, entry: NewEntry): Task<boolean> {
  const isPlaced = placeInside(fs, dir, entry) || ((yield* extendValue(handle, fs, dir)) && placeInside(fs, dir, entry));
  if (isPlaced) yield* dir.markDirty(handle);
  else yield* growOut(handle, fs, dir);
  return isPlaced;
}

function placeInside(fs: Ext4, dir: Ext4Inode, entry: NewEntry): boolean {
  for (const { view, from, end } of inlineAreas(fs, dir)) {
    const at = findGap(fs, view, from, end, entryBytes(entry.name.length));
    if (at < 0) continue;
    placeEntry(fs, view, at, entry);
    return true;
  }
  return false;
}

/** Gives the second area all that the inode has left. False: that is less than the shortest entry. */
function* extendValue(handle: Handle, fs: Ext4, dir: Ext4Inode): Task<boolean> {
  const area = inlineAreas(fs, dir)[1];
  const oldBytes = area === undefined ? 0 : area.end - area.from;
  const newBytes = inlineCapacityBytes(fs, dir) & ~3;
  if (newBytes - oldBytes < entryBytes(1)) return false;
  const value = new Uint8Array(newBytes);
  if (area === undefined) new AreaFiller(fs, viewOf(value), 0, newBytes).close();
  else {
    value.set(dir.raw.subarray(area.from, area.end));
    stretchLast(fs, viewOf(value), oldBytes, newBytes);
  }
  yield* setInlineValue(handle, fs, dir, value);
  dir.i_size = dir.i_disksize = I_BLOCK_BYTES + newBytes;
  return true;
}

/** Moves all entries to a block. They fit, for an inode is never larger than a block. */
function* growOut(handle: Handle, fs: Ext4, dir: Ext4Inode): Task<void> {
  const areas = inlineAreas(fs, dir);
  const old = viewOf(dir.raw.slice());
  const parent = inlineParent(dir);
  const run = yield* claimBlock(fs, dir, 0);
  try {
    yield* leaveInode(handle, fs, dir);
  } catch (error) {
    fs.allocator.release(run);
    throw error;
  }
  dir.i_size = 0;
  const { buffer } = yield* appendBlock(handle, fs, dir, run);
  const filler = leafFiller(fs, buffer.view);
  addDots(filler, dir.i_ino, parent);
  for (const { from, end } of areas) {
    walkEntries(fs, old, from, end, (at) => {
      if (usedBytes(fs, old, at) > 0) filler.copy(old, at);
      return true;
    });
  }
  filler.close();
  handle.dirty(buffer, leafSeal(fs, dir));
}
