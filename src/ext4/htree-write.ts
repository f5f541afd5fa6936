/**
 * The hash tree of a directory, write side. A directory gets its tree when its first block overflows. A full leaf is split in the order of its hashes, half its bytes to a new leaf; a full node
 * is split at its middle, from the highest full one down; a full root moves into a new node. After each of these steps the tree is whole, so that ENOSPC in the next one harms nothing, and the
 * way down is taken anew: at most once per level and once for the leaf. Leaves and nodes never go away again.
 * Locks: i_rwsem(w). Source: fs/ext4/namei.c (make_indexed_dir, ext4_dx_add_entry, do_split, dx_insert_block).
 */
import type { BufferHead } from "../block/buffer-cache.js";
import { ext4_dir_entry_2, recLenToDisk } from "../format/dir-entry.js";
import {
  DX_ENTRY_BYTES, DX_NODE_ENTRIES_AT, DX_ROOT_ENTRIES_AT, DX_ROOT_INFO_AT, dx_countlimit, dx_entry, dx_root_info, dxNodeLimit, dxRootLimit,
} from "../format/htree.js";
import { EXT4_INDEX_FL } from "../format/inode.js";
import type { Handle } from "../jbd2/handle.js";
import { DX_HASH_LAST_PLAIN, DX_HASH_LEGACY_UNSIGNED } from "../lib/dir-hash.js";
import { FsError } from "../lib/errno.js";
import type { Lblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { appendBlock } from "./dir-append.js";
import {
  addDots, AreaFiller, changeDirBlock, dotDotAt, entryBytes, findGap, indexSeal, leafFiller, leafSeal, placeEntry, usedBytes, type NewEntry,
} from "./dir-edit.js";
import { entryName, readDirBlock, walkEntries, type DirBlock } from "./dir.js";
import { descend, filingHash, indexHash, leafOf, levelsMax, type Frame, type TreePath } from "./htree.js";
import type { Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";

/** Whether a directory that is one full block may become a tree. */
export function canIndex(fs: Ext4): boolean {
  return fs.sb.hasDirIndex && fs.sb.hashVersion <= DX_HASH_LAST_PLAIN;
}

/** Makes a tree of a directory whose only block is `only`: the entries move to a leaf, and the root takes their place. */
export function* makeIndexed(handle: Handle, fs: Ext4, dir: Ext4Inode, only: DirBlock): Task<void> {
  const dotDot = dotDotAt(fs, dir, only.buffer);
  const root = yield* changeDirBlock(handle, dir, only.buffer);
  const leaf = yield* appendBlock(handle, fs, dir);
  const filler = leafFiller(fs, leaf.buffer.view);
  walkEntries(fs, root.view, 0, only.end, (at) => {
    if (at > dotDot && usedBytes(fs, root.view, at) > 0) filler.copy(root.view, at);
    return true;
  });
  filler.close();
  handle.dirty(leaf.buffer, leafSeal(fs, dir));
  writeRoot(fs, dir, root, ext4_dir_entry_2.inode.get(root.view, dotDot), leaf.lblk);
  handle.dirty(root, indexSeal(fs, dir, 0));
  dir.i_flags |= EXT4_INDEX_FL;
  yield* dir.markDirty(handle);
}

function writeRoot(fs: Ext4, dir: Ext4Inode, { view, data }: BufferHead, parentIno: number, leaf: Lblk): void {
  const dots = new AreaFiller(fs, view, 0, fs.blockBytes);
  addDots(dots, dir.i_ino, parentIno);
  dots.close();
  const { hashVersion } = fs.sb;
  dx_root_info.hash_version.set(view, DX_ROOT_INFO_AT, hashVersion % DX_HASH_LEGACY_UNSIGNED);
  dx_root_info.info_length.set(view, DX_ROOT_INFO_AT, dx_root_info.$.size);
  setCount(data, view, DX_ROOT_ENTRIES_AT, 1);
  dx_countlimit.limit.set(view, DX_ROOT_ENTRIES_AT, dxRootLimit(fs.blockBytes, fs.sb.hasMetadataCsum));
  dx_entry.block.set(view, DX_ROOT_ENTRIES_AT, leaf);
}

/**
 * Adds an entry to an indexed directory.
 * @throws FsError ENOSPC the tree is as deep as it may be and full, or there is no free block; CorruptionError htree-field: nothing was changed.
 */
export function* addIndexed(handle: Handle, fs: Ext4, dir: Ext4Inode, entry: NewEntry): Task<void> {
  const neededBytes = entryBytes(entry.name.length);
  for (;;) {
    const path = yield* descend(fs, dir, (version) => filingHash(fs, dir, version, entry.name));
    if (path === undefined) throw new FsError("ENOKEY");
    const leaf = yield* readDirBlock(fs, dir, leafOf(path));
    const at = findGap(fs, leaf.view, 0, leaf.end, neededBytes);
    const buffer = handle.tryWriteAccess(leaf.buffer.b_blocknr) ?? (yield* changeDirBlock(handle, dir, leaf.buffer));
    if (at >= 0) {
      placeEntry(fs, buffer.view, at, entry);
      handle.dirty(buffer, leafSeal(fs, dir));
      return;
    }
    if (packIfScattered(fs, buffer, leaf.end, neededBytes)) handle.dirty(buffer, leafSeal(fs, dir));
    else if (isFull(path.frames[path.frames.length - 1]!)) yield* makeRoomInIndex(handle, fs, dir, path);
    else yield* splitLeaf(handle, fs, dir, path, leaf);
  }
}

const limitOf = ({ view, entriesAt }: Frame): number => dx_countlimit.limit.get(view, entriesAt);
const isFull = (frame: Frame): boolean => frame.count >= limitOf(frame);

/** Where the used entries of a leaf stand. */
function usedEntries(fs: Ext4, view: DataView, end: number): { offsets: number[]; sizeBytes: number } {
  const offsets: number[] = [];
  let sizeBytes = 0;
  walkEntries(fs, view, 0, end, (at) => {
    const used = usedBytes(fs, view, at);
    sizeBytes += used;
    if (used > 0) offsets.push(at);
    return true;
  });
  return { offsets, sizeBytes };
}

/** Where there is room enough but in pieces too small, moving the entries together is all it takes. */
function packIfScattered(fs: Ext4, { view, data }: BufferHead, end: number, neededBytes: number): boolean {
  const { offsets, sizeBytes } = usedEntries(fs, view, end);
  if (sizeBytes + neededBytes > end) return false;
  fill(new AreaFiller(fs, view, 0, end), copyOf(data), offsets);
  return true;
}

function copyOf(data: Uint8Array): DataView {
  return new DataView(data.slice().buffer);
}

function fill(filler: AreaFiller, source: DataView, offsets: Iterable<number>): void {
  for (const at of offsets) filler.copy(source, at);
  filler.close();
}

/** Moves the upper half of a leaf's entries, by their hashes, to a new leaf. The lowest frame has room for it. */
function* splitLeaf(handle: Handle, fs: Ext4, dir: Ext4Inode, path: TreePath, leaf: DirBlock): Task<void> {
  const frame = path.frames[path.frames.length - 1]!;
  const lower = yield* changeDirBlock(handle, dir, leaf.buffer);
  const node = yield* changeDirBlock(handle, dir, frame.buffer);
  const upper = yield* appendBlock(handle, fs, dir);
  const { offsets } = usedEntries(fs, lower.view, leaf.end);
  const order = hashOrder(fs, dir, path.hashVersion, lower.view, offsets);
  const first = splitPoint(fs, lower.view, order);
  const moved = order.slice(first).map(({ at }) => at);
  const isMoved = new Set(moved);
  fill(leafFiller(fs, upper.buffer.view), lower.view, moved);
  fill(new AreaFiller(fs, lower.view, 0, leaf.end), copyOf(lower.data), offsets.filter((at) => !isMoved.has(at)));
  // A hash whose names stand on both sides is marked, so that a search goes on to the second leaf.
  const { hash } = order[first]!;
  const key = hash === order[first - 1]!.hash ? hash + 1 : hash;
  insertIndexEntry(node, frame, key, upper.lblk);
  handle.dirty(lower, leafSeal(fs, dir));
  handle.dirty(upper.buffer, leafSeal(fs, dir));
  handle.dirty(node, indexSeal(fs, dir, frame.lblk));
}

interface HashedEntry { readonly hash: number; readonly at: number }

/** The entries by hash; those of one hash in the order in which they stand. */
function hashOrder(fs: Ext4, dir: Ext4Inode, version: number, view: DataView, offsets: readonly number[]): HashedEntry[] {
  return offsets.map((at) => ({ hash: filingHash(fs, dir, version, entryName(fs, view, at))!, at })).sort((a, b) => a.hash - b.hash || a.at - b.at);
}

/** The first entry that moves: as many as fill half a block, from the highest hash down. The leaf is too full for one entry more, so neither side is empty. */
function splitPoint(fs: Ext4, view: DataView, order: readonly HashedEntry[]): number {
  let first = order.length;
  for (let movedBytes = 0; first > 1; first--) {
    const sizeBytes = usedBytes(fs, view, order[first - 1]!.at);
    if (movedBytes + sizeBytes / 2 > fs.blockBytes / 2) break;
    movedBytes += sizeBytes;
  }
  return first;
}

/** Splits the highest full node below one that has room; where all are full, the tree gets another level. */
function* makeRoomInIndex(handle: Handle, fs: Ext4, dir: Ext4Inode, { frames }: TreePath): Task<void> {
  let level = frames.length - 1;
  while (level > 0 && isFull(frames[level - 1]!)) level--;
  if (level > 0) return yield* splitNode(handle, fs, dir, frames[level - 1]!, frames[level]!);
  if (frames.length > levelsMax(fs)) throw new FsError("ENOSPC", `the hash tree of directory ${dir.i_ino} is full`);
  yield* pushDownRoot(handle, fs, dir, frames[0]!);
}

function* splitNode(handle: Handle, fs: Ext4, dir: Ext4Inode, parent: Frame, frame: Frame): Task<void> {
  const parentBuffer = yield* changeDirBlock(handle, dir, parent.buffer);
  const lower = yield* changeDirBlock(handle, dir, frame.buffer);
  const upper = yield* appendBlock(handle, fs, dir);
  const kept = frame.count >>> 1;
  const key = indexHash(lower.view, frame.entriesAt, kept);
  writeNode(fs, upper.buffer, lower.data.subarray(frame.entriesAt + kept * DX_ENTRY_BYTES, frame.entriesAt + frame.count * DX_ENTRY_BYTES));
  setCount(lower.data, lower.view, frame.entriesAt, kept);
  insertIndexEntry(parentBuffer, parent, key, upper.lblk);
  handle.dirty(upper.buffer, indexSeal(fs, dir, upper.lblk));
  handle.dirty(lower, indexSeal(fs, dir, frame.lblk));
  handle.dirty(parentBuffer, indexSeal(fs, dir, parent.lblk));
}

/** All of the root's entries move into a new node, which becomes the root's only entry. */
function* pushDownRoot(handle: Handle, fs: Ext4, dir: Ext4Inode, frame: Frame): Task<void> {
  const root = yield* changeDirBlock(handle, dir, frame.buffer);
  const node = yield* appendBlock(handle, fs, dir);
  writeNode(fs, node.buffer, root.data.subarray(frame.entriesAt, frame.entriesAt + frame.count * DX_ENTRY_BYTES));
  setCount(root.data, root.view, frame.entriesAt, 1);
  dx_entry.block.set(root.view, frame.entriesAt, node.lblk);
  dx_root_info.indirect_levels.set(root.view, DX_ROOT_INFO_AT, dx_root_info.indirect_levels.get(root.view, DX_ROOT_INFO_AT) + 1);
  handle.dirty(node.buffer, indexSeal(fs, dir, node.lblk));
  handle.dirty(root, indexSeal(fs, dir, 0));
}

/** A node of the given entries, disguised as one unused entry. */
function writeNode(fs: Ext4, { view, data }: BufferHead, entries: Uint8Array): void {
  ext4_dir_entry_2.rec_len.set(view, 0, recLenToDisk(fs.blockBytes, fs.blockBytes));
  data.set(entries, DX_NODE_ENTRIES_AT);
  dx_countlimit.limit.set(view, DX_NODE_ENTRIES_AT, dxNodeLimit(fs.blockBytes, fs.sb.hasMetadataCsum));
  dx_countlimit.count.set(view, DX_NODE_ENTRIES_AT, entries.length / DX_ENTRY_BYTES);
}

/** The first `count` entries stay, the rest is wiped. */
function setCount(data: Uint8Array, view: DataView, entriesAt: number, count: number): void {
  dx_countlimit.count.set(view, entriesAt, count);
  data.fill(0, entriesAt + count * DX_ENTRY_BYTES);
}

/** Puts an entry behind the one that the frame's search took. */
function insertIndexEntry({ view, data }: BufferHead, { entriesAt, count, slot }: Frame, hash: number, block: Lblk): void {
  const at = entriesAt + (slot + 1) * DX_ENTRY_BYTES;
  data.copyWithin(at + DX_ENTRY_BYTES, at, entriesAt + count * DX_ENTRY_BYTES);
  dx_entry.hash.set(view, at, hash);
  dx_entry.block.set(view, at, block);
  dx_countlimit.count.set(view, entriesAt, count + 1);
}

