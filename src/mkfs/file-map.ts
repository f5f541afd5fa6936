/**
 * Gives a file its blocks, and builds the map that leads to them: an extent tree or pointers. Both grow as a file does that is written from its start, so blocks of the map stand
 * among those that they lead to.
 */
import { extentBlockChecksum, inodeSeed } from "../format/checksum.js";
import { EXT_ENTRY_BYTES, EXT_INIT_MAX_LEN, ext4_extent, ext4_extent_header as H, ext4_extent_tail, initNode, nodeCapacity, setExtent, setIndex } from "../format/extent.js";
import { EXT4_EXTENTS_FL, EXT4_NDIR_BLOCKS, ext4_inode } from "../format/inode.js";
import { assert } from "../lib/errno.js";
import type { Ino, Lblk, Pblk } from "../lib/numbers.js";
import { viewOf } from "../lib/view.js";
import type { Run } from "./block-space.js";
import type { Draft } from "./draft.js";

const POINTER_BYTES = 4;

/** Blocks of a file that follow each other on the device, too. */
export interface FileRun {
  readonly lblk: Lblk;
  readonly pblk: Pblk;
  readonly count: number;
}

export interface FileMap {
  /** What goes into the inode's i_block. */
  readonly root: Uint8Array;
  /** What goes into its i_flags. */
  readonly flags: number;
  /** Blocks in use, the map's own and the unused rest of clusters included. */
  readonly blocksUsed: number;
  readonly runs: readonly FileRun[];
}

/** Blocks of a file in a row. */
export interface FilePart {
  readonly lblk: Lblk;
  readonly count: number;
}

export interface FileRequest {
  readonly ino: Ino;
  /** Default: 0. */
  readonly generation?: number;
  /** So many from the start on, or those that are no hole: ascending, in whole clusters but for the file's end, and none touches the next. */
  readonly blocks: number | readonly FilePart[];
  /** For the message if they are not there. */
  readonly name: string;
  /** Default: near the inode. Files without extents always begin there. */
  readonly goal?: Pblk | undefined;
  /** Where files of either kind begin. */
  readonly from?: Pblk | undefined;
  /** In which the file's blocks are written, and so get their places. Default: ascending. */
  readonly order?: readonly Lblk[] | undefined;
}

/** @throws FsError ENOSPC. */
export function allocateFile(draft: Draft, request: FileRequest): FileMap {
  if (!draft.geometry.features.has("extent")) return new PointerFile(draft, request).build();
  const parts = partsOf(request);
  const isShort = request.from !== undefined && parts.length === 1 && parts[0]!.lblk === 0 && parts[0]!.count <= EXT_INIT_MAX_LEN;
  return isShort ? mapShortFile(draft, request, request.from, parts[0]!.count) : new ExtentFile(draft, request).build();
}

const shortRoot = newNode(0, ext4_inode.i_block.size, 0);

/** The quick way for the great many files that are one extent. */
function mapShortFile(draft: Draft, request: FileRequest, from: Pblk, blocks: number): FileMap {
  const { first, count } = draft.take(from, blocks, request.name);
  if (count < blocks) return new ExtentFile(draft, request, { first, count }).build();
  H.eh_entries.set(shortRoot.view, 0, 1);
  setExtent(shortRoot.view, EXT_ENTRY_BYTES, { lblk: 0, pblk: first, count, unwritten: false });
  const { clusterBlocks } = draft.sb;
  return { root: shortRoot.data.slice(), flags: EXT4_EXTENTS_FL, blocksUsed: Math.ceil(blocks / clusterBlocks) * clusterBlocks, runs: [{ lblk: 0, pblk: first, count }] };
}

/** The places of blocks that are not written in ascending order, by their number in the file. */
function placesInOrder(draft: Draft, { ino, name, order = [] }: FileRequest): Pblk[] {
  const { clusterBlocks } = draft.sb;
  const places: Pblk[] = [];
  const clusters: Pblk[] = [];
  if (order.length === 0) return places;
  let goal = draft.goalFor(ino);
  for (const lblk of order) {
    const inCluster = lblk % clusterBlocks;
    places[lblk] = inCluster + (clusters[lblk - inCluster] ??= draft.take(goal, 1, name).first);
    goal = places[lblk] + 1;
  }
  return places;
}

/** Those of the places from `lblk` on that follow each other. A block joins the one before it if that is there already, but none is joined later. */
function runAt(places: readonly Pblk[], order: readonly Lblk[], lblk: Lblk): Run {
  let count = 1;
  while (places[lblk + count] === places[lblk]! + count && order.indexOf(lblk + count) > order.indexOf(lblk + count - 1)) count++;
  return { first: places[lblk]!, count };
}

function partsOf({ blocks }: FileRequest): readonly FilePart[] {
  return typeof blocks !== "number" ? blocks : blocks === 0 ? [] : [{ lblk: 0, count: blocks }];
}

export function blocksIn({ runs }: FileMap): number {
  return runs.reduce((sum, { count }) => sum + count, 0);
}

/** The block of the device that follows the file's last one. */
export function endOfMap({ runs }: FileMap): Pblk {
  const { pblk, count } = runs[runs.length - 1]!;
  return pblk + count;
}

/** The block of the device that holds block `lblk` of the file. */
export function blockOf(map: FileMap, lblk: Lblk): Pblk {
  const run = map.runs.find(({ lblk: first, count }) => lblk >= first && lblk < first + count);
  assert(run !== undefined, `block ${lblk} is not in the map`);
  return run.pblk + lblk - run.lblk;
}

/** A node of an extent tree: the root in the inode, or a block. */
interface Node {
  readonly block: Pblk;
  readonly data: Uint8Array;
  readonly view: DataView;
}

/** A tree to which extents are appended. Its bytes change in place, so those of entries that moved stay behind the entries that count, as in any tree that has grown. */
class ExtentFile {
  private readonly runs: FileRun[] = [];
  /** From the rightmost leaf, of height 0, up to the root. */
  private readonly path: Node[];
  private readonly blocks: Node[] = [];

  /** @param taken blocks that the file has already: its first ones. */
  constructor(private readonly draft: Draft, private readonly request: FileRequest, private readonly taken: Run = { first: 0, count: 0 }) {
    this.path = [newNode(0, ext4_inode.i_block.size, 0)];
  }

  build(): FileMap {
    const { draft, request, taken } = this;
    const { ino, name, order = [] } = request;
    const places = placesInOrder(draft, request);
    let place = request.from ?? request.goal ?? draft.goalFor(ino);
    if (taken.count > 0) {
      this.append({ lblk: 0, pblk: taken.first, count: taken.count });
      place = taken.first + taken.count;
    }
    for (const part of partsOf(request)) {
      for (let lblk = Math.max(part.lblk, taken.count); lblk < part.lblk + part.count;) {
        const left = part.lblk + part.count - lblk;
        const { first, count } = places.length > 0 ? runAt(places, order, lblk) : draft.take(place, Math.min(left, EXT_INIT_MAX_LEN), name);
        this.append({ lblk, pblk: first, count });
        place = first + count;
        lblk += count;
      }
    }
    for (const node of this.blocks) this.seal(node);
    const { clusterBlocks } = draft.sb;
    const clusters = clustersOf(this.runs, clusterBlocks) + this.blocks.length;
    return { root: this.path.at(-1)!.data, flags: EXT4_EXTENTS_FL, blocksUsed: clusters * clusterBlocks, runs: this.runs };
  }

  private append(run: FileRun): void {
    this.runs.push(run);
    this.makeRoom(0);
    const leaf = this.path[0]!;
    setExtent(leaf.view, addEntry(leaf), { ...run, unwritten: false });
  }

  /**
   * Sees to it that the rightmost node of a height takes one more entry. A full node leaves its last entry to a new one beside it; a full root leaves all to one below it,
   * and the tree is one level deeper.
   */
  private makeRoom(height: number): void {
    const { path, draft } = this;
    const node = path[height]!;
    const isRoot = height === path.length - 1;
    const entries = H.eh_entries.get(node.view, 0);
    if (entries < H.eh_max.get(node.view, 0)) return;
    if (!isRoot) this.makeRoom(height + 1);
    // The block in front of the file's first is the nearest that does not stand in its way.
    const { first: block } = draft.take(this.runs[0]!.pblk - 1, 1, this.request.name);
    const next = newNode(block, draft.sb.blockBytes, height);
    this.blocks.push(next);
    moveLastEntries(node, next, isRoot ? entries : 1);
    if (isRoot) H.eh_depth.set(node.view, 0, height + 1);
    path.splice(height, isRoot ? 0 : 1, next);
    const parent = path[height + 1]!;
    setIndex(parent.view, addEntry(parent), ext4_extent.ee_block.get(next.view, EXT_ENTRY_BYTES), next.block);
  }

  private seal({ block, data, view }: Node): void {
    const { draft, request } = this;
    if (draft.sb.hasMetadataCsum) ext4_extent_tail.et_checksum.set(view, EXT_ENTRY_BYTES * (1 + nodeCapacity(data.length)), extentBlockChecksum(data, inodeSeed(draft.sb.csumSeed, request.ino, request.generation ?? 0)));
    draft.addContent(block, data);
  }
}

/** Two runs may share a cluster. */
function clustersOf(runs: readonly FileRun[], clusterBlocks: number): number {
  let clusters = 0;
  let last = -1;
  for (const { pblk, count } of runs) {
    const first = Math.floor(pblk / clusterBlocks);
    clusters -= first === last ? 1 : 0;
    last = Math.floor((pblk + count - 1) / clusterBlocks);
    clusters += last - first + 1;
  }
  return clusters;
}

function newNode(block: Pblk, sizeBytes: number, depth: number): Node {
  const data = new Uint8Array(sizeBytes);
  const view = viewOf(data);
  initNode(view, 0, nodeCapacity(sizeBytes), depth);
  return { block, data, view };
}

/** @returns where in the node the new entry goes. */
function addEntry({ view }: Node): number {
  const entries = H.eh_entries.get(view, 0) + 1;
  H.eh_entries.set(view, 0, entries);
  return entries * EXT_ENTRY_BYTES;
}

function moveLastEntries(from: Node, to: Node, count: number): void {
  const left = H.eh_entries.get(from.view, 0) - count;
  to.data.set(from.data.subarray((1 + left) * EXT_ENTRY_BYTES, (1 + left + count) * EXT_ENTRY_BYTES), EXT_ENTRY_BYTES);
  H.eh_entries.set(from.view, 0, left);
  H.eh_entries.set(to.view, 0, count);
}

/** Direct pointers first, then blocks of pointers, blocks of these, and so on, each made when the first block below it is. A pointer of 0 is a hole. */
class PointerFile {
  private readonly root = new Uint8Array(ext4_inode.i_block.size);
  private readonly runs: FileRun[] = [];
  private readonly places: readonly Pblk[];
  private readonly parts: readonly FilePart[];
  private readonly pointersPerBlock: number;
  /** The part that is being placed, and its next block. Behind the last one: Infinity. */
  private partIndex = -1;
  private next: Lblk = 0;
  /** Blocks that are taken and have no use yet. */
  private taken: Run = { first: 0, count: 0 };
  private goal: Pblk;
  private leftToTake: number;
  private blocksUsed = 0;

  constructor(private readonly draft: Draft, private readonly request: FileRequest) {
    this.places = placesInOrder(draft, request);
    this.goal = request.from ?? draft.goalFor(request.ino);
    this.parts = partsOf(request);
    this.pointersPerBlock = draft.sb.blockBytes / POINTER_BYTES;
    this.leftToTake = this.blocksOfPointers() + (this.places.length > 0 ? 0 : this.parts.reduce((sum, { count }) => sum + count, 0));
    this.nextPart();
  }

  build(): FileMap {
    const root = viewOf(this.root);
    for (let slot = 0; slot < EXT4_NDIR_BLOCKS; slot++) if (this.next === slot) this.fillSlot(root, slot, slot, 1);
    let first = EXT4_NDIR_BLOCKS;
    for (let levels = 1; this.next < Infinity; levels++) {
      assert(levels <= 3, "the file is longer than pointers reach");
      const span = this.pointersPerBlock ** levels;
      if (this.next < first + span) this.fillSlot(root, EXT4_NDIR_BLOCKS + levels - 1, first, span);
      first += span;
    }
    return { root: this.root, flags: 0, blocksUsed: this.blocksUsed, runs: this.runs };
  }

  private nextPart(): void {
    this.next = this.parts[++this.partIndex]?.lblk ?? Infinity;
  }

  /** How many blocks of pointers the parts take, of each level those in which one of them has a block. */
  private blocksOfPointers(): number {
    let blocks = 0;
    let first = EXT4_NDIR_BLOCKS;
    for (let levels = 1; levels <= 3; levels++) {
      const end = first + this.pointersPerBlock ** levels;
      for (let below = levels; below >= 1; below--) {
        let last = -1;
        for (const { lblk, count } of this.parts) {
          if (lblk + count <= first || lblk >= end) continue;
          const span = this.pointersPerBlock ** below;
          const from = Math.max(Math.floor((Math.max(lblk, first) - first) / span), last + 1);
          last = Math.floor((Math.min(lblk + count, end) - 1 - first) / span);
          blocks += last - from + 1;
        }
      }
      first = end;
    }
    return blocks;
  }

  /** Takes the block that pointer `slot` leads to, and all below it, which is the file from `first` on, `span` blocks at most. There is a block to be placed there. */
  private fillSlot(pointers: DataView, slot: number, first: Lblk, span: number): void {
    const block = span === 1 && this.places.length > 0 ? this.places[first]! : this.takeBlock();
    pointers.setUint32(slot * POINTER_BYTES, block, true);
    this.blocksUsed++;
    if (span === 1) return this.addBlock(block);
    const data = new Uint8Array(this.draft.sb.blockBytes);
    this.draft.addContent(block, data);
    const view = viewOf(data);
    const spanBelow = span / this.pointersPerBlock;
    while (this.next < first + span) {
      const below = Math.floor((this.next - first) / spanBelow);
      this.fillSlot(view, below, first + below * spanBelow, spanBelow);
    }
  }

  /** The next free block. They are taken in runs, as many as the file needs: nobody else takes any meanwhile. */
  private takeBlock(): Pblk {
    if (this.taken.count === 0) {
      this.taken = this.draft.take(this.goal, this.leftToTake, this.request.name);
      this.leftToTake -= this.taken.count;
    }
    const { first, count } = this.taken;
    this.taken = { first: first + 1, count: count - 1 };
    this.goal = first + 1;
    return first;
  }

  private addBlock(block: Pblk): void {
    const last = this.runs[this.runs.length - 1];
    if (last !== undefined && last.pblk + last.count === block && last.lblk + last.count === this.next) this.runs[this.runs.length - 1] = { ...last, count: last.count + 1 };
    else this.runs.push({ lblk: this.next, pblk: block, count: 1 });
    const part = this.parts[this.partIndex]!;
    if (++this.next === part.lblk + part.count) this.nextPart();
  }
}
