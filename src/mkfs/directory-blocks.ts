/**
 * Directories written at once, with all of their names: inside the inode, in one block, in a row of blocks, or as a hash tree, whichever the filesystem would have chosen had the names come one by one.
 * A tree is made from its leaves up: they hold the names in the order of their hashes, with some room in each, so that the first names to come later split none.
 */
import { EXT4_FT_DIR_CSUM, ext4_dir_entry_2, ext4_dir_entry_tail, HEAD_BYTES, recLenToDisk, roundUp4 } from "../format/dir-entry.js";
import { sealDirLeaf, sealDxBlock } from "../format/checksum.js";
import {
  DX_ENTRY_BYTES, DX_NODE_ENTRIES_AT, DX_ROOT_ENTRIES_AT, DX_ROOT_INFO_AT, dx_countlimit, dx_entry, dx_root_info, dxNodeLimit, dxRootLimit,
} from "../format/htree.js";
import { I_BLOCK_BYTES } from "../format/inode.js";
import type { Superblock } from "../ext4/superblock.js";
import { dirHash, DX_HASH_LAST_PLAIN, DX_HASH_LEGACY_UNSIGNED } from "../lib/dir-hash.js";
import { FsError } from "../lib/errno.js";
import { TWO_32, type Ino, type Lblk } from "../lib/numbers.js";
import { viewOf } from "../lib/view.js";
import { S_IFDIR, S_IFMT } from "../vfs/inode.js";

export interface Entry {
  readonly ino: Ino;
  readonly name: Uint8Array;
  /** Of the inode: the entry says its type. */
  readonly mode: number;
}

export interface DirectoryContent {
  readonly ino: Ino;
  readonly parent: Ino;
  /** Start value of its blocks' checksums. */
  readonly seed: number;
  readonly entries: readonly Entry[];
  /** It has so many blocks at least, and then no tree. */
  readonly blocksMin?: number | undefined;
}

export interface DirectoryBlocks {
  readonly blocks: readonly Uint8Array[];
  readonly isIndexed: boolean;
}

export interface InlineDirectory {
  /** What goes into i_block. */
  readonly head: Uint8Array;
  /** The value of the attribute that holds the rest. */
  readonly value: Uint8Array;
}

const DOT = Uint8Array.of(0x2e);
const DOTDOT = Uint8Array.of(0x2e, 0x2e);
export const UNUSED_ENTRY: Entry = { ino: 0, name: new Uint8Array(0), mode: 0 };
const TAIL_BYTES = ext4_dir_entry_tail.$.size;
/** Of a leaf's room, the part that stays free. */
const LEAF_SLACK_DIVISOR = 8;
/** An inline directory begins with its parent's number. */
const PARENT_BYTES = 4;
const SHORTEST_ENTRY_BYTES = roundUp4(HEAD_BYTES + 1);
/** An index entry can name so many blocks. */
const SIZE_MAX_SMALL = TWO_32 - 1;

/** file_type by the type bits of a mode. */
const FILE_TYPES: readonly number[] = Array.from({ length: 16 }, (_, type) => ({ 8: 1, 4: 2, 2: 3, 6: 4, 1: 5, 12: 6, 10: 7 } as Record<number, number>)[type] ?? 0);

const entryBytes = (nameBytes: number): number => roundUp4(HEAD_BYTES + nameBytes);

export function dotsOf(ino: Ino, parent: Ino): Entry[] {
  return [{ ino, name: DOT, mode: S_IFDIR }, { ino: parent, name: DOTDOT, mode: S_IFDIR }];
}

/** @throws FsError ENOSPC the names are more than a tree can hold, or a directory. */
export function buildDirectory(sb: Superblock, content: DirectoryContent): DirectoryBlocks {
  const dots = dotsOf(content.ino, content.parent);
  const neededBytes = content.entries.reduce((sum, { name }) => sum + entryBytes(name.length), dots.reduce((sum, { name }) => sum + entryBytes(name.length), 0));
  const isIndexed = neededBytes > leafBytes(sb) && content.blocksMin === undefined && sb.hasDirIndex && sb.hashVersion <= DX_HASH_LAST_PLAIN;
  const blocks = isIndexed ? treeBlocks(sb, content) : rowOfBlocks(sb, content.seed, [...dots, ...content.entries], content.blocksMin ?? 1);
  if (!sb.hasLargeDir && blocks.length * sb.blockBytes > SIZE_MAX_SMALL) throw new FsError("ENOSPC", "a directory cannot hold so many names");
  return { blocks, isIndexed };
}

/** The same inside the inode, whose attribute for it may have so many bytes. Undefined: there is no room. */
export function buildInlineDirectory(sb: Superblock, parent: Ino, entries: readonly Entry[], capacityBytes: number): InlineDirectory | undefined {
  const areas = [I_BLOCK_BYTES - PARENT_BYTES, capacityBytes - (capacityBytes % 4)].map((roomBytes) => ({ roomBytes, entries: [] as Entry[] }));
  for (const entry of entries) {
    const needed = entryBytes(entry.name.length);
    const area = areas.find(({ roomBytes }) => roomBytes >= needed);
    if (area === undefined) return undefined;
    area.roomBytes -= needed;
    area.entries.push(entry);
  }
  const head = new Uint8Array(I_BLOCK_BYTES);
  viewOf(head).setUint32(0, parent, true);
  writeEntries(sb, head.subarray(PARENT_BYTES), areas[0]!.entries);
  const hasRest = areas[1]!.entries.length > 0;
  const value = new Uint8Array(hasRest ? capacityBytes - (capacityBytes % 4) : 0);
  if (hasRest && value.length >= SHORTEST_ENTRY_BYTES) writeEntries(sb, value, areas[1]!.entries);
  return { head, value };
}

/** Room for entries in a block that is no node. */
function leafBytes(sb: Superblock): number {
  return sb.hasMetadataCsum ? sb.blockBytes - TAIL_BYTES : sb.blockBytes;
}

function rowOfBlocks(sb: Superblock, seed: number, entries: readonly Entry[], blocksMin: number): Uint8Array[] {
  const blocks: Uint8Array[] = [];
  for (let from = 0; from < entries.length;) {
    const end = endOfLeaf(entries, from, leafBytes(sb));
    blocks.push(leafBlock(sb, seed, entries.slice(from, end)));
    from = end;
  }
  while (blocks.length < blocksMin) blocks.push(leafBlock(sb, seed, []));
  return blocks;
}

/** Behind the last of the entries from `from` on that fit into so many bytes; one does in any case. */
function endOfLeaf(entries: readonly Entry[], from: number, roomBytes: number): number {
  let end = from;
  for (let used = 0; end < entries.length; end++) {
    used += entryBytes(entries[end]!.name.length);
    if (used > roomBytes && end > from) break;
  }
  return end;
}

/** A block with these entries, sealed. */
export function leafBlock(sb: Superblock, seed: number, entries: readonly Entry[]): Uint8Array {
  const data = new Uint8Array(sb.blockBytes);
  const end = leafBytes(sb);
  writeEntries(sb, data.subarray(0, end), entries);
  if (sb.hasMetadataCsum) {
    const view = viewOf(data);
    ext4_dir_entry_tail.det_rec_len.set(view, end, TAIL_BYTES);
    ext4_dir_entry_tail.det_reserved_ft.set(view, end, EXT4_FT_DIR_CSUM);
    sealDirLeaf(data, seed);
  }
  return data;
}

/** Fills an area with directories' names, the last one's entry to its end; without any, with one unused entry. */
function writeEntries({ blockBytes, hasFiletype }: Superblock, area: Uint8Array, entries: readonly Entry[]): void {
  const view = viewOf(area);
  const all = entries.length === 0 ? [UNUSED_ENTRY] : entries;
  let at = 0;
  for (let index = 0; index < all.length; index++) {
    const { ino, name, mode } = all[index]!;
    const recLen = index === all.length - 1 ? area.length - at : entryBytes(name.length);
    ext4_dir_entry_2.inode.set(view, at, ino);
    ext4_dir_entry_2.rec_len.set(view, at, recLenToDisk(recLen, blockBytes));
    ext4_dir_entry_2.name_len.set(view, at, name.length);
    if (hasFiletype) ext4_dir_entry_2.file_type.set(view, at, FILE_TYPES[(mode & S_IFMT) >>> 12]!);
    area.set(name, at + HEAD_BYTES);
    at += recLen;
  }
}

/** What a node of the tree leads to. */
interface Below {
  /** Lowest hash of the names there; its lowest bit says that the leaf before ends with names of the same hash. */
  readonly key: number;
  readonly lblk: Lblk;
}

/** Root, leaves, and behind them the levels of nodes that it takes, the lowest first. */
function treeBlocks(sb: Superblock, { ino, parent, seed, entries }: DirectoryContent): Uint8Array[] {
  const root = new Uint8Array(sb.blockBytes);
  const blocks = [root];
  let below = addLeaves(sb, seed, entries, blocks);
  const rootLimit = dxRootLimit(sb.blockBytes, sb.hasMetadataCsum);
  const levelsMax = sb.hasLargeDir ? 2 : 1;
  let levels = 0;
  for (; below.length > rootLimit; levels++) {
    if (levels === levelsMax) throw new FsError("ENOSPC", "a directory's tree cannot hold so many names");
    below = addNodes(sb, seed, below, blocks);
  }
  const view = viewOf(root);
  writeEntries(sb, root, dotsOf(ino, parent));
  dx_root_info.hash_version.set(view, DX_ROOT_INFO_AT, sb.hashVersion % DX_HASH_LEGACY_UNSIGNED);
  dx_root_info.info_length.set(view, DX_ROOT_INFO_AT, dx_root_info.$.size);
  dx_root_info.indirect_levels.set(view, DX_ROOT_INFO_AT, levels);
  writeIndex(view, DX_ROOT_ENTRIES_AT, rootLimit, below);
  if (sb.hasMetadataCsum) sealDxBlock(root, true, seed);
  return blocks;
}

function addLeaves(sb: Superblock, seed: number, entries: readonly Entry[], blocks: Uint8Array[]): Below[] {
  const hashes = Float64Array.from(entries, ({ name }) => dirHash(sb.hashVersion, name, sb.hashSeed).hash);
  const order = Uint32Array.from(entries.keys()).sort((a, b) => hashes[a]! - hashes[b]! || a - b);
  const sorted = Array.from(order, (index) => entries[index]!);
  const roomBytes = leafBytes(sb) - Math.floor(leafBytes(sb) / LEAF_SLACK_DIVISOR);
  const leaves: Below[] = [];
  for (let from = 0; from < sorted.length;) {
    const end = endOfLeaf(sorted, from, roomBytes);
    const hash = hashes[order[from]!]!;
    const isContinued = from > 0 && hashes[order[from - 1]!] === hash;
    leaves.push({ key: isContinued ? hash + 1 : hash, lblk: blocks.length });
    blocks.push(leafBlock(sb, seed, sorted.slice(from, end)));
    from = end;
  }
  return leaves;
}

/** As few nodes as it takes, filled alike. */
function addNodes(sb: Superblock, seed: number, below: readonly Below[], blocks: Uint8Array[]): Below[] {
  const limit = dxNodeLimit(sb.blockBytes, sb.hasMetadataCsum);
  const each = Math.ceil(below.length / Math.ceil(below.length / limit));
  const nodes: Below[] = [];
  for (let from = 0; from < below.length; from += each) {
    const data = new Uint8Array(sb.blockBytes);
    const view = viewOf(data);
    ext4_dir_entry_2.rec_len.set(view, 0, recLenToDisk(sb.blockBytes, sb.blockBytes));
    writeIndex(view, DX_NODE_ENTRIES_AT, limit, below.slice(from, from + each));
    if (sb.hasMetadataCsum) sealDxBlock(data, false, seed);
    nodes.push({ key: below[from]!.key, lblk: blocks.length });
    blocks.push(data);
  }
  return nodes;
}

/** The first entry has no hash, as limit and count stand in its place. */
function writeIndex(view: DataView, entriesAt: number, limit: number, below: readonly Below[]): void {
  below.forEach(({ key, lblk }, slot) => {
    const at = entriesAt + slot * DX_ENTRY_BYTES;
    if (slot > 0) dx_entry.hash.set(view, at, key);
    dx_entry.block.set(view, at, lblk);
  });
  dx_countlimit.limit.set(view, entriesAt, limit);
  dx_countlimit.count.set(view, entriesAt, below.length);
}
