/**
 * A directory's hash tree, and the way down it to a name. Block 0 is the root, disguised as "." and a ".." that spans the block; inner nodes are
 * disguised as one empty entry. The lowest bit of an index entry's hash says that names of the same hash may also end the leaf before.
 * Source: fs/ext4/namei.c (dx_probe, ext4_htree_next_block, ext4_dx_find_entry).
 */
import type { BufferHead } from "../block/buffer-cache.js";
import { CorruptionError } from "../format/corruption.js";
import { EXT4_CASEFOLD_FL, EXT4_ENCRYPT_FL, EXT4_INDEX_FL, EXT4_INLINE_DATA_FL } from "../format/inode.js";
import {
  DX_BLOCKS_MAX, DX_ENTRY_BYTES, DX_NODE_ENTRIES_AT, DX_ROOT_ENTRIES_AT, DX_ROOT_INFO_AT, dx_countlimit, dx_entry, dx_root_info, dxNodeLimit, dxRootLimit,
} from "../format/htree.js";
import { casefold } from "../lib/casefold.js";
import { dirHash, DX_HASH_LAST_PLAIN } from "../lib/dir-hash.js";
import type { Lblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { readDirBlock } from "./dir.js";
import type { Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";

/** The lowest 28 bits of an index entry's block are the block; the rest is reserved. */
const DX_BLOCK_MASK = DX_BLOCKS_MAX - 1;

/** A place in an index node: which of its entries the search took. */
export interface Frame {
  readonly lblk: Lblk;
  readonly buffer: BufferHead;
  readonly view: DataView;
  readonly entriesAt: number;
  readonly count: number;
  slot: number;
}

export interface HtreeRoot {
  /** Hash version, with the unsigned variants of s_flags folded in. */
  readonly hashVersion: number;
  readonly levels: number;
}

/** Whether names in this directory have hashes to be found by: a tree, or one block that may grow into one. */
export function isIndexed(fs: Ext4, dir: Ext4Inode): boolean {
  return fs.sb.hasDirIndex && (dir.i_flags & EXT4_INDEX_FL) !== 0 && (dir.i_flags & EXT4_INLINE_DATA_FL) === 0;
}

/**
 * The version of the hash with which Linux shows the names of an encrypted directory: its tree's, or, where it is small enough to be given one, that of new trees. Undefined: it shows none.
 */
export function* shownHashVersion(fs: Ext4, dir: Ext4Inode): Task<number | undefined> {
  if (!fs.sb.hasDirIndex) return undefined;
  if (!isIndexed(fs, dir)) return dir.i_size <= fs.blockBytes || (dir.i_flags & EXT4_INLINE_DATA_FL) !== 0 ? fs.sb.hashVersion : undefined;
  try {
    return readRoot(fs, dir, (yield* readDirBlock(fs, dir, 0)).buffer).hashVersion;
  } catch (error) {
    if (!(error instanceof CorruptionError) || error.kind !== "htree-field") throw error;
    fs.warnings.push(error);
    return undefined;
  }
}

/** The hash of a name that is looked for, in the version that a tree has. Undefined: it takes a key to know. */
export type HashOf = (version: number) => number | undefined;

/** The hash by which `name` is filed. Encrypted names that are casefolded as well are filed by a keyed hash: undefined. */
export function filingHash(fs: Ext4, dir: Ext4Inode, version: number, name: Uint8Array): number | undefined {
  if (version > DX_HASH_LAST_PLAIN) return undefined;
  const folded = (dir.i_flags & EXT4_CASEFOLD_FL) !== 0 ? casefold(name) ?? name : name;
  return dirHash(version, folded, fs.sb.hashSeed).hash;
}

/** Most levels of nodes between the root and the leaves. */
export function levelsMax(fs: Ext4): number {
  return fs.sb.hasLargeDir ? 2 : 1;
}

/** Reads and checks what the root says of the tree. */
export function readRoot(fs: Ext4, dir: Ext4Inode, buffer: BufferHead): HtreeRoot {
  const { view } = buffer;
  const damaged = (field: string, found: number, expected?: number): CorruptionError =>
    new CorruptionError("htree-field", { ino: dir.i_ino, block: buffer.b_blocknr, field, found, expected });
  const version = dx_root_info.hash_version.get(view, DX_ROOT_INFO_AT);
  const levels = dx_root_info.indirect_levels.get(view, DX_ROOT_INFO_AT);
  const infoLength = dx_root_info.info_length.get(view, DX_ROOT_INFO_AT);
  const unused = dx_root_info.unused_flags.get(view, DX_ROOT_INFO_AT);
  if (infoLength !== dx_root_info.$.size) throw damaged("info_length", infoLength, dx_root_info.$.size);
  if ((unused & 1) !== 0) throw damaged("unused_flags", unused, 0);
  const encryptedAndFolded = (dir.i_flags & (EXT4_ENCRYPT_FL | EXT4_CASEFOLD_FL)) === (EXT4_ENCRYPT_FL | EXT4_CASEFOLD_FL);
  if (version > 2 && !(version === 6 && encryptedAndFolded)) throw damaged("hash_version", version);
  if (levels > levelsMax(fs)) throw damaged("indirect_levels", levels, levelsMax(fs));
  return { hashVersion: version === 6 ? version : version + fs.sb.hashUnsignedOffset, levels };
}

/** The entries of an index node, after its count and limit are checked. */
export function indexEntries(fs: Ext4, dir: Ext4Inode, buffer: BufferHead, isRoot: boolean): { entriesAt: number; count: number } {
  const { view } = buffer;
  const entriesAt = isRoot ? DX_ROOT_ENTRIES_AT : DX_NODE_ENTRIES_AT;
  const limit = isRoot ? dxRootLimit(fs.blockBytes, fs.sb.hasMetadataCsum) : dxNodeLimit(fs.blockBytes, fs.sb.hasMetadataCsum);
  const found = dx_countlimit.limit.get(view, entriesAt);
  const count = dx_countlimit.count.get(view, entriesAt);
  const where = { ino: dir.i_ino, block: buffer.b_blocknr };
  if (found !== limit) throw new CorruptionError("htree-field", { ...where, field: "limit", found, expected: limit });
  if (count === 0 || count > limit) throw new CorruptionError("htree-field", { ...where, field: "count", found: count, expected: limit });
  return { entriesAt, count };
}

/** Hash of entry `slot`; the first one has none, as count and limit stand in its place. */
export const indexHash = (view: DataView, entriesAt: number, slot: number): number =>
  slot === 0 ? 0 : dx_entry.hash.get(view, entriesAt + slot * DX_ENTRY_BYTES);

/** The block in the directory that entry `slot` points to. */
export const indexBlock = (view: DataView, entriesAt: number, slot: number): Lblk =>
  dx_entry.block.get(view, entriesAt + slot * DX_ENTRY_BYTES) & DX_BLOCK_MASK;

/** The way from the root to the leaf where a name's hash belongs. */
export interface TreePath {
  /** Hash version, with the unsigned variants of s_flags folded in. */
  readonly hashVersion: number;
  readonly hash: number;
  /** One per level, the root first. */
  readonly frames: Frame[];
  /** Leaves that nextLeaf has gone on to. */
  leafCount: number;
}

/**
 * Goes down to the leaf where a name belongs. Undefined: the tree cannot answer, because the names are filed by a hash that needs a key.
 * @throws CorruptionError htree-field, and what reading the blocks throws.
 */
export function* descend(fs: Ext4, dir: Ext4Inode, hashOf: HashOf): Task<TreePath | undefined> {
  let { buffer } = yield* readDirBlock(fs, dir, 0);
  const { hashVersion, levels } = readRoot(fs, dir, buffer);
  const hash = hashOf(hashVersion);
  if (hash === undefined) return undefined;
  const path: TreePath = { hashVersion, hash, frames: [], leafCount: 0 };
  for (let lblk = 0; ; lblk = leafOf(path)) {
    if (lblk !== 0) ({ buffer } = yield* readDirBlock(fs, dir, lblk));
    const { entriesAt, count } = indexEntries(fs, dir, buffer, path.frames.length === 0);
    path.frames.push({ lblk, buffer, view: buffer.view, entriesAt, count, slot: searchIndex(buffer.view, entriesAt, count, hash) });
    checkNoCycle(dir, path);
    if (path.frames.length > levels) return path;
  }
}

/** Where the lowest frame points. */
export function leafOf({ frames }: TreePath): Lblk {
  const { view, entriesAt, slot } = frames[frames.length - 1]!;
  return indexBlock(view, entriesAt, slot);
}

/** Where a node points must not be on the way to it: a leaf would be taken for free space that is index. */
function checkNoCycle(dir: Ext4Inode, path: TreePath): void {
  const { frames } = path;
  const next = leafOf(path);
  for (let level = 0; level < frames.length; level++) {
    if (frames[level]!.lblk === next) {
      throw new CorruptionError("htree-field", { ino: dir.i_ino, block: frames[frames.length - 1]!.buffer.b_blocknr, field: "block", found: next });
    }
  }
}

/** The last entry whose hash is at most `hash`. */
function searchIndex(view: DataView, entriesAt: number, count: number, hash: number): number {
  let low = 1;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (indexHash(view, entriesAt, middle) > hash) high = middle;
    else low = middle + 1;
  }
  return low - 1;
}

/**
 * Moves the path to the next leaf, if that goes on with names of the same hash.
 * @throws CorruptionError htree-field: more leaves than the directory has blocks, as where a damaged index leads to some again and again; the walk is so bounded.
 */
export function* nextLeaf(fs: Ext4, dir: Ext4Inode, path: TreePath): Task<boolean> {
  const { frames, hash } = path;
  let level = frames.length - 1;
  while (frames[level]!.slot + 1 >= frames[level]!.count) {
    if (level-- === 0) return false;
  }
  const frame = frames[level]!;
  const next = indexHash(frame.view, frame.entriesAt, frame.slot + 1);
  if ((next & 1) === 0 || ((next & ~1) >>> 0) !== hash) return false;
  if (++path.leafCount > dir.i_size / fs.blockBytes) {
    throw new CorruptionError("htree-field", { ino: dir.i_ino, block: frame.buffer.b_blocknr, field: "hash", found: hash, expected: "names of one hash in fewer leaves" });
  }
  frame.slot++;
  for (let below = level + 1; below < frames.length; below++) {
    const parent = frames[below - 1]!;
    const { lblk, buffer } = yield* readDirBlock(fs, dir, indexBlock(parent.view, parent.entriesAt, parent.slot));
    frames[below] = { lblk, buffer, view: buffer.view, ...indexEntries(fs, dir, buffer, false), slot: 0 };
  }
  return true;
}
