/**
 * Changing an extent tree: everything is one primitive, the splice, which puts new entries in the place of some old ones in a leaf. What that means for the node above is a splice again:
 * a leaf that divides is two entries in the place of one, an emptied one is none in the place of one, a new first key is one in the place of one. So it goes up as far as it must; the root
 * moves its entries down into blocks when they do not fit, and takes those of an only child back when they do.
 *
 * A splice is planned (plain code), then all that may fail or wait is done (new nodes are allocated, write access is got to every node that changes), then the tree is changed (plain code).
 * So whoever fails leaves the tree as it was, and nobody ever sees it half changed. An index entry's key is always the first key of the node below.
 * Locks: i_data_sem(w). Source: fs/ext4/extents.c (ext4_ext_split, ext4_ext_grow_indepth, ext4_ext_correct_indexes, ext4_ext_rm_idx, ext4_ext_try_to_merge_up).
 */
import type { BufferHead } from "../block/buffer-cache.js";
import { EXT4_MAX_EXTENT_DEPTH, EXT_ENTRY_BYTES, ext4_extent_header, initNode, nodeCapacity, setExtent, setIndex, type Extent } from "../format/extent.js";
import { assert, FsError } from "../lib/errno.js";
import type { Lblk, Pblk } from "../lib/numbers.js";
import type { Handle } from "../jbd2/handle.js";
import type { Task } from "../sched/task.js";
import { blockNode, entryAt, entryKey, extentSeal, nodeDepth, nodeEntries, nodeMax, readChild, rootNode, searchNode, type Node } from "./extents.js";
import type { Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";

/** One level of the way from the root down to a leaf. */
export interface PathLevel {
  readonly node: Node;
  /** The last entry whose key is at most the block looked for. Where all are above: 0 in an index, -1 in a leaf. */
  readonly slot: number;
}

/** The way to the leaf that holds `lblk`, or would hold it; root first. */
export function* findPath(fs: Ext4, inode: Ext4Inode, lblk: Lblk): Task<PathLevel[]> {
  let node = rootNode(inode);
  const path: PathLevel[] = [];
  for (let depth = nodeDepth(node); depth > 0; depth--) {
    const slot = Math.max(searchNode(node, lblk), 0);
    path.push({ node, slot });
    node = yield* readChild(fs, inode, node, slot, depth - 1);
  }
  path.push({ node, slot: searchNode(node, lblk) });
  return path;
}

/** Where the part of the tree that lies right of the path begins; undefined: nowhere, the path goes to the last leaf. */
export function keyAfterPath(path: readonly PathLevel[]): Lblk | undefined {
  for (let level = path.length - 2; level >= 0; level--) {
    const { node, slot } = path[level]!;
    if (slot + 1 < nodeEntries(node)) return entryKey(node, slot + 1);
  }
  return undefined;
}

/** What is to become of a leaf: `entries` stand from `slot` on where `removed` entries stood. They are in order among their neighbours. */
export interface Splice {
  readonly slot: number;
  readonly removed: number;
  readonly entries: readonly Extent[];
  /** A node that overflows is divided behind the new entries, as more will follow there; else in the middle. At its end it always stays full. */
  readonly isRun?: boolean;
}

/** An entry of a node to be. That of an index gets its block when the node below is allocated. */
interface Entry { readonly lblk: Lblk; pblk: Pblk }

/** A splice of one node, at any level. */
interface Change {
  node: Node;
  readonly slot: number;
  readonly removed: number;
  readonly entries: readonly Entry[];
  /** Entries in all, afterwards. */
  readonly count: number;
  /** Entries that each of the nodes gets among which they are divided; one number: they fit where they are. */
  readonly parts: readonly number[];
  /** Index entries of the nodes that are to be allocated for the parts: all but the first, for the root all. */
  readonly added: readonly Entry[];
  /** Set when access is got. The root has no buffer: it changes with its inode. */
  buffer: BufferHead | undefined;
  addedBuffers: readonly BufferHead[];
}

/** @throws FsError ENOSPC; EFBIG the tree has its greatest depth: the tree is as it was. */
export function* spliceLeaf(handle: Handle, fs: Ext4, inode: Ext4Inode, path: readonly PathLevel[], splice: Splice): Task<void> {
  const changes = planChanges(path, splice, nodeCapacity(fs.blockBytes));
  if (!tryAccess(handle, inode, changes)) yield* getAccess(handle, fs, inode, changes);
  const seal = extentSeal(fs, inode);
  for (const change of changes) {
    makeChange(change);
    for (const buffer of change.addedBuffers) handle.dirty(buffer, seal);
    if (change.buffer !== undefined) handle.dirty(change.buffer, seal);
  }
  for (const change of changes) if (isEmptied(change)) yield* freeNode(handle, fs, inode, change.node.block!);
  if (splice.removed > splice.entries.length) yield* takeBackOnlyChild(handle, fs, inode);
}

const isRoot = (change: Change): boolean => change.node.block === undefined;
const isEmptied = (change: Change): boolean => change.count === 0 && !isRoot(change);

/** The splices that follow from one another, from the leaf up. */
function planChanges(path: readonly PathLevel[], { slot, removed, entries, isRun = false }: Splice, blockMax: number): Change[] {
  const changes: Change[] = [];
  let next: { slot: number; removed: number; entries: readonly Entry[] } | undefined = { slot, removed, entries };
  for (let level = path.length - 1; next !== undefined; level--) {
    const change = planChange(path[level]!.node, next, isRun, blockMax);
    changes.push(change);
    const above = entriesAbove(change);
    next = above === undefined ? undefined : { slot: path[level - 1]!.slot, removed: 1, entries: above };
  }
  return changes;
}

function planChange(node: Node, { slot, removed, entries }: { slot: number; removed: number; entries: readonly Entry[] }, isRun: boolean, blockMax: number): Change {
  const count = nodeEntries(node) - removed + entries.length;
  const fits = count <= nodeMax(node);
  const isAppend = slot + entries.length === count;
  const firstPart = isAppend ? count : isRun ? slot + entries.length : Math.ceil(count / 2);
  const parts = fits ? [count] : node.block === undefined ? divide(count, blockMax, firstPart) : divide(count, nodeMax(node), firstPart);
  const change = { node, slot, removed, entries, count, parts, added: [] as Entry[], buffer: undefined, addedBuffers: [] };
  if (fits) return change;
  assert(node.block !== undefined || parts.length <= nodeMax(node), `${entries.length} entries are too many at a time`);
  if (node.block === undefined && nodeDepth(node) === EXT4_MAX_EXTENT_DEPTH) throw new FsError("EFBIG", "the file is in too many pieces");
  let from = 0;
  for (const part of parts) {
    if (from > 0 || node.block === undefined) change.added.push({ lblk: keyAfterChange(change, from), pblk: 0 });
    from += part;
  }
  return change;
}

/** `count` entries among nodes of `max`, the first of which gets `firstPart` if it can. */
function divide(count: number, max: number, firstPart: number): number[] {
  if (count <= max) return [count];
  const parts = [Math.min(firstPart, max)];
  for (let left = count - parts[0]!; left > 0; left -= max) parts.push(Math.min(left, max));
  return parts;
}

/** What stands for the changed node in the node above; undefined: what stands there now. */
function entriesAbove(change: Change): readonly Entry[] | undefined {
  const { node, slot, count, added } = change;
  if (node.block === undefined) return undefined;
  if (count === 0) return [];
  const key = keyAfterChange(change, 0);
  if (added.length === 0 && (slot > 0 || key === entryKey(node, 0))) return undefined;
  return [{ lblk: key, pblk: node.block }, ...added];
}

/** The key of entry `index` when the change is made. */
function keyAfterChange({ node, slot, removed, entries }: Pick<Change, "node" | "slot" | "removed" | "entries">, index: number): Lblk {
  if (index < slot) return entryKey(node, index);
  return index < slot + entries.length ? entries[index - slot]!.lblk : entryKey(node, index - entries.length + removed);
}

/** Access without a wait, for by far the most common case: one leaf in memory changes where it is. */
function tryAccess(handle: Handle, inode: Ext4Inode, changes: readonly Change[]): boolean {
  const change = changes[0]!;
  const { block } = change.node;
  if (changes.length > 1 || block === undefined) return false;
  const buffer = handle.tryWriteAccess(block);
  if (buffer !== undefined) setBuffer(change, inode, buffer);
  return buffer !== undefined;
}

function setBuffer(change: Change, inode: Ext4Inode, buffer: BufferHead): void {
  change.buffer = buffer;
  change.node = blockNode(buffer);
  // It was checked on the way here; until it is sealed its checksum is wrong.
  buffer.verifiedAs = inode.verifiedToken("extent");
}

/** All that may fail or wait. What was allocated when something fails is given back. */
function* getAccess(handle: Handle, fs: Ext4, inode: Ext4Inode, changes: readonly Change[]): Task<void> {
  const needsInode = changes.some((change) => isRoot(change) || change.added.length > 0 || change.count === 0);
  const allocated: Pblk[] = [];
  try {
    for (const change of changes) {
      for (const entry of change.added) {
        const goal = change.node.block === undefined ? fs.allocator.goalFor(inode) : change.node.block + fs.sb.clusterBlocks;
        entry.pblk = yield* fs.allocator.allocateMetadata(handle, inode, goal);
        allocated.push(entry.pblk);
      }
    }
    if (needsInode) yield* inode.markDirty(handle);
    for (const change of changes) {
      const { block } = change.node;
      if (block === undefined || change.count === 0) continue;
      setBuffer(change, inode, handle.tryWriteAccess(block) ?? (yield* handle.getWriteAccess(block)));
    }
  } catch (error) {
    for (const block of allocated) yield* fs.allocator.free(handle, inode, block, fs.sb.clusterBlocks, false);
    throw error;
  }
  for (const change of changes) change.addedBuffers = change.added.map(({ pblk }) => createNode(handle, fs, inode, pblk, nodeDepth(change.node)));
}

function createNode(handle: Handle, fs: Ext4, inode: Ext4Inode, block: Pblk, depth: number): BufferHead {
  const buffer = handle.getCreateAccess(block);
  initNode(buffer.view, 0, nodeCapacity(fs.blockBytes), depth);
  buffer.verifiedAs = inode.verifiedToken("extent");
  return buffer;
}

function* freeNode(handle: Handle, fs: Ext4, inode: Ext4Inode, block: Pblk): Task<void> {
  const { clusterBlocks } = fs.sb;
  yield* fs.allocator.free(handle, inode, block - (block % clusterBlocks), clusterBlocks, true);
}

function makeChange(change: Change): void {
  if (change.count === 0) {
    if (isRoot(change)) setHeader(change.node, 0, 0);
  } else if (change.added.length === 0) {
    changeInPlace(change);
  } else {
    divideNode(change);
  }
}

function changeInPlace({ node, slot, removed, entries, count }: Change): void {
  const behind = entryAt(node, slot + removed);
  const end = entryAt(node, nodeEntries(node));
  if (entries.length !== removed && behind < end) bytesOf(node).copyWithin(entryAt(node, slot + entries.length), behind, end);
  putEntries(node.view, entryAt(node, slot), entries, nodeDepth(node));
  ext4_extent_header.eh_entries.set(node.view, node.at, count);
}

/** Deals the entries out to the parts, old ones as the bytes that they are. */
function divideNode(change: Change): void {
  const { node, slot, removed, entries, count, parts, added } = change;
  const depth = nodeDepth(node);
  const all = new Uint8Array(count * EXT_ENTRY_BYTES);
  const old = bytesOf(node);
  all.set(old.subarray(entryAt(node, 0), entryAt(node, slot)));
  putEntries(new DataView(all.buffer), slot * EXT_ENTRY_BYTES, entries, depth);
  all.set(old.subarray(entryAt(node, slot + removed), entryAt(node, nodeEntries(node))), (slot + entries.length) * EXT_ENTRY_BYTES);
  const nodes = change.addedBuffers.map(blockNode);
  if (!isRoot(change)) nodes.unshift(node);
  let from = 0;
  parts.forEach((part, index) => {
    const target = nodes[index]!;
    bytesOf(target).set(all.subarray(from * EXT_ENTRY_BYTES, (from + part) * EXT_ENTRY_BYTES), entryAt(target, 0));
    setHeader(target, part, depth);
    from += part;
  });
  if (!isRoot(change)) return;
  putEntries(node.view, entryAt(node, 0), added, depth + 1);
  setHeader(node, added.length, depth + 1);
}

function setHeader(node: Node, entries: number, depth: number): void {
  ext4_extent_header.eh_entries.set(node.view, node.at, entries);
  ext4_extent_header.eh_depth.set(node.view, node.at, depth);
}

function putEntries(view: DataView, at: number, entries: readonly Entry[], depth: number): void {
  for (let index = 0; index < entries.length; index++) {
    const entry = entries[index]!;
    if (depth === 0) setExtent(view, at + index * EXT_ENTRY_BYTES, entry as Extent);
    else setIndex(view, at + index * EXT_ENTRY_BYTES, entry.lblk, entry.pblk);
  }
}

const bytesOf = ({ view }: Node): Uint8Array => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

/** A root with one child whose entries fit the root takes them, and the tree is a level lower. */
function* takeBackOnlyChild(handle: Handle, fs: Ext4, inode: Ext4Inode): Task<void> {
  for (;;) {
    const root = rootNode(inode);
    const depth = nodeDepth(root);
    if (depth === 0 || nodeEntries(root) > 1) return;
    const child = yield* readChild(fs, inode, root, 0, depth - 1);
    const count = nodeEntries(child);
    if (count > nodeMax(root)) return;
    yield* inode.markDirty(handle);
    bytesOf(root).set(bytesOf(child).subarray(entryAt(child, 0), entryAt(child, count)), entryAt(root, 0));
    setHeader(root, count, depth - 1);
    yield* freeNode(handle, fs, inode, child.block!);
  }
}
