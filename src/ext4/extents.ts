/**
 * The extent tree: its nodes and their checks, and the read side: find what covers a block, by binary search from the root in the inode down. A node is checked
 * once when it comes in (and once more against its parent's entry, which is another claim). Keys ascend strictly and each level has its depth, so a damaged tree cannot
 * make the search loop. The write side (extents-edit.ts and above) stands on the same nodes. Source: fs/ext4/extents.c (ext4_ext_map_blocks, __ext4_ext_check, ext4_valid_extent_entries).
 */
import { I_BLOCK_AT, I_BLOCK_BYTES } from "../format/inode.js";
import type { BufferHead } from "../block/buffer-cache.js";
import { extentBlockChecksum } from "../format/checksum.js";
import { CorruptionError, type CorruptionKind, type CorruptionPlace } from "../format/corruption.js";
import {
  EXT4_EXT_MAGIC, EXT4_MAX_EXTENT_DEPTH, EXT_ENTRY_BYTES, ext4_extent, ext4_extent_header, ext4_extent_idx, ext4_extent_tail,
  extentIsUnwritten, extentLength, extentPblock, indexPblock, nodeCapacity, type Extent,
} from "../format/extent.js";
import { TWO_32, type Lblk, type Pblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import type { Ext4Inode } from "./inode.js";
import type { Mapping } from "./map.js";
import type { Ext4 } from "./super.js";

/** Where a node stands: in the inode's i_block, or in a block of its own. */
export interface Node {
  readonly view: DataView;
  readonly at: number;
  readonly block: Pblk | undefined;
}

export function rootNode(inode: Ext4Inode): Node {
  return { view: inode.rawView, at: I_BLOCK_AT, block: undefined };
}

export function blockNode(buffer: BufferHead): Node {
  return { view: buffer.view, at: 0, block: buffer.b_blocknr };
}

export const nodeDepth = (node: Node): number => ext4_extent_header.eh_depth.get(node.view, node.at);
export const nodeEntries = (node: Node): number => ext4_extent_header.eh_entries.get(node.view, node.at);
export const nodeMax = (node: Node): number => ext4_extent_header.eh_max.get(node.view, node.at);
export const entryAt = (node: Node, slot: number): number => node.at + EXT_ENTRY_BYTES * (slot + 1);

/** Leaves and index entries both begin with the first logical block that they cover. */
export const entryKey = (node: Node, slot: number): Lblk => ext4_extent.ee_block.get(node.view, entryAt(node, slot));

/** The last entry whose key is at most `lblk`; -1: all are above. */
export function searchNode(node: Node, lblk: Lblk): number {
  let low = 0;
  let high = nodeEntries(node);
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (entryKey(node, middle) <= lblk) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** A leaf's entry, decoded. */
export function readExtent(node: Node, slot: number): Extent {
  const at = entryAt(node, slot);
  const eeLen = ext4_extent.ee_len.get(node.view, at);
  return { lblk: entryKey(node, slot), pblk: extentPblock(node.view, at), count: extentLength(eeLen), unwritten: extentIsUnwritten(eeLen) };
}

export function* mapExtent(fs: Ext4, inode: Ext4Inode, lblk: Lblk, countMax: number): Task<Mapping> {
  let node = rootNode(inode);
  let end = TWO_32; // the first block that this node's parent gives to its right neighbour
  for (let depth = nodeDepth(node); depth > 0; depth--) {
    const slot = searchNode(node, lblk);
    if (slot + 1 < nodeEntries(node)) end = entryKey(node, slot + 1);
    if (slot < 0) return hole(lblk, end, countMax);
    node = yield* readChild(fs, inode, node, slot, depth - 1);
  }
  const slot = searchNode(node, lblk);
  if (slot >= 0) {
    const at = entryAt(node, slot);
    const eeLen = ext4_extent.ee_len.get(node.view, at);
    const skipped = lblk - entryKey(node, slot);
    const length = extentLength(eeLen);
    if (skipped < length) {
      return {
        state: extentIsUnwritten(eeLen) ? "unwritten" : "written",
        pblk: extentPblock(node.view, at) + skipped,
        count: Math.min(length - skipped, countMax),
      };
    }
  }
  if (slot + 1 < nodeEntries(node)) end = entryKey(node, slot + 1);
  return hole(lblk, end, countMax);
}

/** The parent may give a range that its child does not reach up to: such a hole has at least one block. */
function hole(lblk: Lblk, end: Lblk, countMax: number): Mapping {
  return { state: "hole", pblk: 0, count: Math.min(Math.max(end - lblk, 1), countMax) };
}

/** Reads the node that index entry `slot` points to, and holds it against what the parent says of it. */
export function* readChild(fs: Ext4, inode: Ext4Inode, parent: Node, slot: number, depth: number): Task<Node> {
  const block = indexPblock(parent.view, entryAt(parent, slot));
  const buffer = fs.cache.peek(block) ?? (yield* fs.cache.read(block));
  const node = blockNode(buffer);
  verifyBlock(fs, inode, node, buffer);
  if (nodeDepth(node) !== depth) {
    throw damaged("extent-header", inode, node, { field: "eh_depth", found: nodeDepth(node), expected: depth });
  }
  const key = ext4_extent_idx.ei_block.get(parent.view, entryAt(parent, slot));
  if (nodeEntries(node) === 0 || entryKey(node, 0) !== key) {
    throw damaged("extent-order", inode, node, { field: "ee_block", expected: key });
  }
  return node;
}

/**
 * Calls `visit` with every entry of the tree, an index entry before what is below it.
 * @throws CorruptionError map-overrun: more nodes than the filesystem has blocks, as in a damaged tree whose branches meet again; the walk is so bounded.
 */
export function* walkExtentTree(fs: Ext4, inode: Ext4Inode, visit: (node: Node, slot: number) => void): Task<void> {
  let nodeCount = 0;
  const descend = function* (node: Node): Task<void> {
    if (++nodeCount > fs.sb.blocksCount) throw damaged("map-overrun", inode, node, { found: "more nodes than the filesystem has blocks" });
    const depth = nodeDepth(node);
    for (let slot = 0; slot < nodeEntries(node); slot++) {
      visit(node, slot);
      if (depth > 0) yield* descend(yield* readChild(fs, inode, node, slot, depth - 1));
    }
  };
  yield* descend(rootNode(inode));
}

function verifyBlock(fs: Ext4, inode: Ext4Inode, node: Node, buffer: BufferHead): void {
  const token = inode.verifiedToken("extent");
  if (buffer.verifiedAs === token) return;
  checkNode(fs, inode, node, fs.blockBytes);
  if (fs.verifyChecksums && fs.sb.hasMetadataCsum) {
    const found = ext4_extent_tail.et_checksum.get(node.view, tailAt(node));
    const expected = extentBlockChecksum(buffer.data, inode.csumSeed);
    if (found !== expected) throw damaged("extent-checksum", inode, node, { found, expected });
  }
  buffer.verifiedAs = token;
}

/** Where a block's checksum stands. */
const tailAt = (node: Node): number => EXT_ENTRY_BYTES * (1 + nodeMax(node));

/** What brings the checksum of the inode's tree blocks up to date; undefined: they have none. */
export function extentSeal(fs: Ext4, inode: Ext4Inode): ((buffer: BufferHead) => void) | undefined {
  if (!fs.sb.hasMetadataCsum) return undefined;
  const seed = inode.csumSeed;
  return (buffer) => ext4_extent_tail.et_checksum.set(buffer.view, tailAt(blockNode(buffer)), extentBlockChecksum(buffer.data, seed));
}

/** The root has no checksum of its own: the inode's covers it. */
export function checkRoot(fs: Ext4, inode: Ext4Inode): void {
  checkNode(fs, inode, rootNode(inode), I_BLOCK_BYTES);
}

/** Magic, bounds, then each entry: before this nothing in a node may be used in arithmetic. */
function checkNode(fs: Ext4, inode: Ext4Inode, node: Node, roomBytes: number): void {
  const { view, at } = node;
  const magic = ext4_extent_header.eh_magic.get(view, at);
  if (magic !== EXT4_EXT_MAGIC) {
    throw damaged("extent-header", inode, node, { field: "eh_magic", found: magic, expected: EXT4_EXT_MAGIC });
  }
  const depth = nodeDepth(node);
  if (depth > EXT4_MAX_EXTENT_DEPTH) throw damaged("extent-header", inode, node, { field: "eh_depth", found: depth });
  const max = nodeMax(node);
  const room = nodeCapacity(roomBytes);
  if (max === 0 || max > room) throw damaged("extent-header", inode, node, { field: "eh_max", found: max, expected: room });
  const entries = nodeEntries(node);
  // Only a root without any extent may be empty.
  if (entries > max || (entries === 0 && depth > 0)) {
    throw damaged("extent-header", inode, node, { field: "eh_entries", found: entries, expected: max });
  }
  let next = 0;
  for (let slot = 0; slot < entries; slot++) {
    const key = entryKey(node, slot);
    if (key < next) throw damaged("extent-order", inode, node, { offset: entryAt(node, slot), found: key, expected: next });
    next = depth === 0 ? checkLeaf(fs, inode, node, slot) : checkIndex(fs, inode, node, slot);
  }
}

/** Returns the lowest key that the next entry may have. */
function checkLeaf(fs: Ext4, inode: Ext4Inode, node: Node, slot: number): number {
  const at = entryAt(node, slot);
  const length = extentLength(ext4_extent.ee_len.get(node.view, at));
  const pblk = extentPblock(node.view, at);
  const end = entryKey(node, slot) + length;
  if (length === 0 || end > TWO_32 || !fs.sb.containsBlocks(pblk, length)) {
    throw damaged("extent-range", inode, node, { offset: at, found: `${length} blocks at ${pblk}` });
  }
  return end;
}

function checkIndex(fs: Ext4, inode: Ext4Inode, node: Node, slot: number): number {
  const at = entryAt(node, slot);
  const pblk = indexPblock(node.view, at);
  if (!fs.sb.containsBlocks(pblk, 1)) throw damaged("extent-range", inode, node, { offset: at, found: pblk });
  return entryKey(node, slot) + 1;
}

function damaged(kind: CorruptionKind, inode: Ext4Inode, node: Node, where: CorruptionPlace): CorruptionError {
  return new CorruptionError(kind, { ino: inode.i_ino, block: node.block, ...where });
}
