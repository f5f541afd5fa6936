/**
 * Changing directories: names are added, removed, and led elsewhere. A directory is inline, linear or a hash tree, and grows from one to the next; it never shrinks. Times, link counts
 * and permissions are the caller's business, and so is knowing that a new name is absent.
 *
 * Requires: dir.i_rwsem(w) and a handle with directoryCredits. Crash: each call is whole within its handle; ENOSPC leaves the directory valid, with the names that it had.
 * Source: fs/ext4/namei.c (ext4_add_entry, ext4_delete_entry, ext4_setent, ext4_empty_dir, ext4_init_new_dir).
 */
import { CorruptionError } from "../format/corruption.js";
import { ext4_dir_entry_2 } from "../format/dir-entry.js";
import { EXT4_ENCRYPT_FL, EXT4_INDEX_FL, EXT4_INLINE_DATA_FL } from "../format/inode.js";
import type { Handle } from "../jbd2/handle.js";
import { FsError } from "../lib/errno.js";
import type { Ino } from "../lib/numbers.js";
import { assertHeld } from "../sched/lockdep.js";
import type { Task } from "../sched/task.js";
import { S_IFDIR } from "../vfs/inode.js";
import { appendBlock } from "./dir-append.js";
import {
  addDots, changeDirBlock, dotDotAt, entryBytes, findGap, indexSeal, leafFiller, leafSeal, placeEntry, removeEntry, retargetEntry, type NewEntry,
} from "./dir-edit.js";
import { DirRoom, forgetRoom, knownRoom, roomOf } from "./dir-room.js";
import { blocksOf, readDirBlock, readNextDirBlock, walkEntries } from "./dir.js";
import { addIndexed, canIndex, makeIndexed } from "./htree-write.js";
import { isIndexed, levelsMax } from "./htree.js";
import { addInline, initInline, inlineIsEmpty, inlineParent, setInlineParent } from "./inline-dir-write.js";
import type { Ext4Inode } from "./inode.js";
import { initMap } from "./map-write.js";
import { checkEncoding, locateEntry, type EntryPlace } from "./namei.js";
import type { Ext4 } from "./super.js";

/** A new block of a directory: itself, two of its map, and a bitmap with its descriptor. */
const APPEND_CREDITS = 5;

const isInline = (dir: Ext4Inode): boolean => (dir.i_flags & EXT4_INLINE_DATA_FL) !== 0;

/** What one change of a directory may need: the way down its tree and the inode, and a new block for the leaf, for each level of nodes, and for the root. */
export function directoryCredits(fs: Ext4): number {
  const depth = levelsMax(fs) + 2;
  return depth + 1 + depth * APPEND_CREDITS;
}

/** Gives a new directory its first entries, "." and "..": inside the inode, if i_flags say so and there is room, else in a block. Nobody else knows the directory yet. */
export function* initDirectory(handle: Handle, fs: Ext4, dir: Ext4Inode, parent: Ino): Task<void> {
  forgetRoom(dir);
  if (isInline(dir) && (yield* initInline(handle, fs, dir, parent))) return;
  initMap(dir);
  dir.i_size = 0;
  const { buffer } = yield* appendBlock(handle, fs, dir);
  const filler = leafFiller(fs, buffer.view);
  addDots(filler, dir.i_ino, parent);
  filler.close();
  handle.dirty(buffer, leafSeal(fs, dir));
}

/**
 * Adds a name that is not there yet.
 * @throws FsError ENOSPC no free block, or the directory is as large as it may get; ENOKEY it is encrypted; EINVAL its names must be UTF-8, and this is not.
 */
export function* addEntry(handle: Handle, fs: Ext4, dir: Ext4Inode, name: Uint8Array, ino: Ino, mode: number): Task<void> {
  assertHeld(dir.i_rwsem, "write");
  checkNewName(fs, dir, name);
  const entry: NewEntry = { name, ino, mode };
  if (isInline(dir) && (yield* addInline(handle, fs, dir, entry))) return;
  if (isIndexed(fs, dir)) {
    try {
      return yield* addIndexed(handle, fs, dir, entry);
    } catch (error) {
      // The leaves are all that counts, so a damaged tree may go. With checksums, damage is more than an old kernel's mistake.
      if (!(error instanceof CorruptionError) || error.kind !== "htree-field" || fs.sb.hasMetadataCsum) throw error;
      fs.warnings.push(error);
    }
  }
  yield* addLinear(handle, fs, dir, entry);
}

function checkNewName(fs: Ext4, dir: Ext4Inode, name: Uint8Array): void {
  if ((dir.i_flags & EXT4_ENCRYPT_FL) !== 0) throw new FsError("ENOKEY");
  checkEncoding(fs, dir, name);
}

/** Into the first gap of any block. Who writes so into a directory with a tree, damaged or not understood, ends the tree. */
function* addLinear(handle: Handle, fs: Ext4, dir: Ext4Inode, entry: NewEntry): Task<void> {
  if ((dir.i_flags & EXT4_INDEX_FL) !== 0) {
    dir.i_flags &= ~EXT4_INDEX_FL;
    yield* dir.markDirty(handle);
  }
  const neededBytes = entryBytes(entry.name.length);
  const blocks = blocksOf(fs, dir);
  const room = blocks > 1 ? roomOf(dir) : new DirRoom();
  for (let lblk = room.first(neededBytes); lblk < blocks; lblk++) {
    const block = yield* readNextDirBlock(fs, dir, lblk, blocks);
    const at = findGap(fs, block.view, 0, block.end, neededBytes);
    if (at >= 0) {
      const buffer = yield* changeDirBlock(handle, dir, block.buffer);
      placeEntry(fs, buffer.view, at, entry);
      handle.dirty(buffer, leafSeal(fs, dir));
      room.noneBefore(neededBytes, lblk);
      return;
    }
    if (blocks === 1 && canIndex(fs)) {
      yield* makeIndexed(handle, fs, dir, block);
      return yield* addIndexed(handle, fs, dir, entry);
    }
  }
  const { lblk, buffer } = yield* appendBlock(handle, fs, dir);
  const filler = leafFiller(fs, buffer.view);
  filler.add(entry);
  filler.close();
  handle.dirty(buffer, leafSeal(fs, dir));
  roomOf(dir).noneBefore(neededBytes, lblk);
}

/** @throws FsError ENOENT. */
export function* deleteEntry(handle: Handle, fs: Ext4, dir: Ext4Inode, name: Uint8Array): Task<void> {
  assertHeld(dir.i_rwsem, "write");
  const place = yield* requireEntry(fs, dir, name);
  yield* changePlace(handle, fs, dir, place, (view) => removeEntry(fs, view, place.from, place.at));
  knownRoom(dir)?.freedIn(place.lblk);
}

/** Lets a name lead to another inode. @throws FsError ENOENT; ENOKEY the directory is encrypted. */
export function* replaceEntry(handle: Handle, fs: Ext4, dir: Ext4Inode, name: Uint8Array, ino: Ino, mode: number): Task<void> {
  assertHeld(dir.i_rwsem, "write");
  if ((dir.i_flags & EXT4_ENCRYPT_FL) !== 0) throw new FsError("ENOKEY");
  const place = yield* requireEntry(fs, dir, name);
  yield* changePlace(handle, fs, dir, place, (view) => retargetEntry(fs, view, place.at, ino, mode));
}

function* requireEntry(fs: Ext4, dir: Ext4Inode, name: Uint8Array): Task<EntryPlace> {
  const place = yield* locateEntry(fs, dir, name);
  if (place === undefined) throw new FsError("ENOENT");
  return place;
}

/** Changes the area in which an entry stands. */
function* changePlace(handle: Handle, fs: Ext4, dir: Ext4Inode, place: EntryPlace, change: (view: DataView) => void): Task<void> {
  if (place.buffer === undefined) {
    change(dir.rawView);
    return yield* dir.markDirty(handle);
  }
  const buffer = yield* changeDirBlock(handle, dir, place.buffer);
  change(buffer.view);
  handle.dirty(buffer, leafSeal(fs, dir));
}

/** What ".." says. @throws CorruptionError dir-entry. */
export function* parentIno(fs: Ext4, dir: Ext4Inode): Task<Ino> {
  if (isInline(dir)) return inlineParent(dir);
  const { buffer } = yield* readDirBlock(fs, dir, 0);
  return ext4_dir_entry_2.inode.get(buffer.view, dotDotAt(fs, dir, buffer));
}

/** Lets ".." lead to another directory. */
export function* setParent(handle: Handle, fs: Ext4, dir: Ext4Inode, parent: Ino): Task<void> {
  if (isInline(dir)) return yield* setInlineParent(handle, dir, parent);
  const block = yield* readDirBlock(fs, dir, 0);
  const at = dotDotAt(fs, dir, block.buffer);
  const buffer = yield* changeDirBlock(handle, dir, block.buffer);
  retargetEntry(fs, buffer.view, at, parent, S_IFDIR);
  handle.dirty(buffer, isIndexed(fs, dir) ? indexSeal(fs, dir, 0) : leafSeal(fs, dir));
}

/** Whether there is nothing but "." and "..". @throws CorruptionError. */
export function* isEmptyDirectory(fs: Ext4, dir: Ext4Inode): Task<boolean> {
  if (isInline(dir)) return inlineIsEmpty(fs, dir);
  const blocks = blocksOf(fs, dir);
  for (let lblk = 0; lblk < blocks; lblk++) {
    const { buffer, view, end } = yield* readNextDirBlock(fs, dir, lblk, blocks);
    const dotDot = lblk === 0 ? dotDotAt(fs, dir, buffer) : -1;
    if (walkEntries(fs, view, 0, end, (at) => at <= dotDot || ext4_dir_entry_2.inode.get(view, at) === 0) !== end) return false;
  }
  return true;
}
