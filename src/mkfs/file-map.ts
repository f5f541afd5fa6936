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

export interface FileRequest {
  readonly ino: Ino;
  readonly blocks: number;
  /** For the message if they are not there. */
  readonly name: string;
  /** Default: near the inode. Files without extents always begin there. */
  readonly goal?: Pblk | undefined;
  /** In which the file's blocks are written, and so get their places. Default: ascending. */
  readonly order?: readonly Lblk[] | undefined;
}

/** @throws FsError ENOSPC. */
export function allocateFile(draft: Draft, request: FileRequest): FileMap {
  return draft.geometry.features.has("extent") ? new ExtentFile(draft, request).build() : new PointerFile(draft, request).build();
}

/** The places of blocks that are not written in ascending order, by their number in the file. */
function placesInOrder(draft: Draft, { ino, name, order = [] }: FileRequest): Pblk[] {
  const { clusterBlocks } = draft.sb;
  const places: Pblk[] = [];
  const clusters: Pblk[] = [];
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

  constructor(private readonly draft: Draft, private readonly request: FileRequest) {
    this.path = [newNode(0, ext4_inode.i_block.size, 0)];
  }

  build(): FileMap {
    const { draft, request: { ino, blocks, name, goal, order = [] } } = this;
    const places = placesInOrder(draft, this.request);
    let place = goal ?? draft.goalFor(ino);
    for (let lblk = 0; lblk < blocks;) {
      const { first, count } = places.length > 0 ? runAt(places, order, lblk) : draft.take(place, Math.min(blocks - lblk, EXT_INIT_MAX_LEN), name);
      const run = { lblk, pblk: first, count };
      this.runs.push(run);
      place = first + count;
      this.makeRoom(0);
      const leaf = this.path[0]!;
      setExtent(leaf.view, addEntry(leaf), { ...run, unwritten: false });
      lblk += count;
    }
    for (const node of this.blocks) this.seal(node);
    const { clusterBlocks } = draft.sb;
    const clusters = clustersOf(this.runs, clusterBlocks) + this.blocks.length;
    return { root: this.path.at(-1)!.data, flags: EXT4_EXTENTS_FL, blocksUsed: clusters * clusterBlocks, runs: this.runs };
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
    if (draft.sb.hasMetadataCsum) ext4_extent_tail.et_checksum.set(view, EXT_ENTRY_BYTES * (1 + nodeCapacity(data.length)), extentBlockChecksum(data, inodeSeed(draft.sb.csumSeed, request.ino, 0)));
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

/** Direct pointers first, then blocks of pointers, blocks of these, and so on, each made when the first block below it is. */
class PointerFile {
  private readonly root = new Uint8Array(ext4_inode.i_block.size);
  private readonly runs: FileRun[] = [];
  private readonly places: readonly Pblk[];
  private goal: Pblk;
  private blocksUsed = 0;

  constructor(private readonly draft: Draft, private readonly request: FileRequest) {
    this.places = placesInOrder(draft, request);
    this.goal = draft.goalFor(request.ino);
  }

  build(): FileMap {
    const root = viewOf(this.root);
    for (let slot = 0; slot < EXT4_NDIR_BLOCKS && this.blocksLeft() > 0; slot++) this.fillSlot(root, slot, 0);
    for (let levels = 1; this.blocksLeft() > 0; levels++) {
      assert(levels <= 3, "the file is longer than pointers reach");
      this.fillSlot(root, EXT4_NDIR_BLOCKS + levels - 1, levels);
    }
    return { root: this.root, flags: 0, blocksUsed: this.blocksUsed, runs: this.runs };
  }

  private blocksDone(): number {
    const last = this.runs[this.runs.length - 1];
    return last === undefined ? 0 : last.lblk + last.count;
  }

  private blocksLeft(): number {
    return this.request.blocks - this.blocksDone();
  }

  /** Takes the block that pointer `slot` leads to, and all below it, `levels` deep, as far as the file goes. */
  private fillSlot(pointers: DataView, slot: number, levels: number): void {
    const block = levels === 0 && this.places.length > 0 ? this.places[this.blocksDone()]! : this.takeBlock();
    pointers.setUint32(slot * 4, block, true);
    this.blocksUsed++;
    if (levels === 0) {
      this.addBlock(block);
      return;
    }
    const data = new Uint8Array(this.draft.sb.blockBytes);
    this.draft.addContent(block, data);
    const view = viewOf(data);
    for (let below = 0; below < data.length / 4 && this.blocksLeft() > 0; below++) this.fillSlot(view, below, levels - 1);
  }

  private takeBlock(): Pblk {
    const { first } = this.draft.take(this.goal, 1, this.request.name);
    this.goal = first + 1;
    return first;
  }

  private addBlock(block: Pblk): void {
    const last = this.runs[this.runs.length - 1];
    if (last !== undefined && last.pblk + last.count === block) this.runs[this.runs.length - 1] = { ...last, count: last.count + 1 };
    else this.runs.push({ lblk: this.blocksDone(), pblk: block, count: 1 });
  }
}
