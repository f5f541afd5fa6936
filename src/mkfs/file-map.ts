/**
 * Gives a file its blocks, and builds the map that leads to them: an extent tree or pointers. Both grow as a file does that is written from its start, so blocks of the map stand
 * among those that they lead to.
 */
import { extentBlockChecksum, inodeSeed } from "../format/checksum.js";
import { EXT_ENTRY_BYTES, EXT_INIT_MAX_LEN, ext4_extent_header, ext4_extent_tail, initNode, nodeCapacity, setExtent, setIndex } from "../format/extent.js";
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
  const places: Pblk[] = [];
  let goal = draft.goalFor(ino);
  for (const lblk of order) {
    places[lblk] = draft.take(goal, 1, name).first;
    goal = places[lblk] + 1;
  }
  return places;
}

/** Those of the places from `lblk` on that follow each other. */
function runAt(places: readonly Pblk[], lblk: Lblk): Run {
  let count = 1;
  while (places[lblk + count] === places[lblk]! + count) count++;
  return { first: places[lblk]!, count };
}

/** The block of the device that holds block `lblk` of the file. */
export function blockOf(map: FileMap, lblk: Lblk): Pblk {
  const run = map.runs.find(({ lblk: first, count }) => lblk >= first && lblk < first + count);
  assert(run !== undefined, `block ${lblk} is not in the map`);
  return run.pblk + lblk - run.lblk;
}

/** A leaf's entry leads to a run, an index's to a node. */
type Entry = { readonly lblk: Lblk; readonly run: FileRun } | { readonly lblk: Lblk; readonly node: Node };

interface Node {
  /** Undefined: the root, in the inode. */
  readonly block: Pblk | undefined;
  readonly entries: Entry[];
}

class ExtentFile {
  private readonly rootMax: number;
  private readonly nodeMax: number;
  private readonly runs: FileRun[] = [];
  /** From the rightmost leaf, of height 0, up to the root. */
  private readonly path: Node[] = [{ block: undefined, entries: [] }];
  private readonly nodes: Node[] = [];

  constructor(private readonly draft: Draft, private readonly request: FileRequest) {
    this.rootMax = nodeCapacity(ext4_inode.i_block.size);
    this.nodeMax = nodeCapacity(draft.sb.blockBytes);
  }

  build(): FileMap {
    const { draft, request: { ino, blocks, name, goal } } = this;
    const places = placesInOrder(draft, this.request);
    let place = goal ?? draft.goalFor(ino);
    for (let lblk = 0; lblk < blocks;) {
      const { first, count } = places.length > 0 ? runAt(places, lblk) : draft.take(place, Math.min(blocks - lblk, EXT_INIT_MAX_LEN), name);
      const run = { lblk, pblk: first, count };
      this.runs.push(run);
      place = first + count;
      this.makeRoom(0, place);
      this.path[0]!.entries.push({ lblk, run });
      lblk += count;
    }
    for (const node of this.nodes) this.writeNode(node);
    const root = new Uint8Array(ext4_inode.i_block.size);
    encodeNode(root, this.path[this.path.length - 1]!.entries, this.path.length - 1, this.rootMax);
    const { clusterBlocks } = draft.sb;
    const clusters = this.runs.reduce((sum, { count }) => sum + Math.ceil(count / clusterBlocks), this.nodes.length);
    return { root, flags: EXT4_EXTENTS_FL, blocksUsed: clusters * clusterBlocks, runs: this.runs };
  }

  /**
   * Sees to it that the rightmost node of a height takes one more entry. A full node leaves its last entry to a new one beside it; a full root leaves all to one below it,
   * and the tree is one level deeper.
   */
  private makeRoom(height: number, goal: Pblk): void {
    const { path } = this;
    const node = path[height]!;
    const isRoot = height === path.length - 1;
    if (node.entries.length < (isRoot ? this.rootMax : this.nodeMax)) return;
    if (!isRoot) this.makeRoom(height + 1, goal);
    const next = this.newNode(node.entries.splice(isRoot ? 0 : -1), goal);
    if (isRoot) path.splice(height, 0, next);
    else path[height] = next;
    path[height + 1]!.entries.push({ lblk: next.entries[0]!.lblk, node: next });
  }

  private newNode(entries: Entry[], goal: Pblk): Node {
    const node = { block: this.draft.take(goal, 1, this.request.name).first, entries };
    this.nodes.push(node);
    return node;
  }

  private writeNode(node: Node): void {
    const { draft, request } = this;
    const data = new Uint8Array(draft.sb.blockBytes);
    encodeNode(data, node.entries, depthOf(node), this.nodeMax);
    if (draft.sb.hasMetadataCsum) {
      const sum = extentBlockChecksum(data, inodeSeed(draft.sb.csumSeed, request.ino, 0));
      ext4_extent_tail.et_checksum.set(viewOf(data), EXT_ENTRY_BYTES * (1 + this.nodeMax), sum);
    }
    draft.addContent(node.block!, data);
  }
}

function depthOf(node: Node): number {
  const first = node.entries[0]!;
  return "node" in first ? 1 + depthOf(first.node) : 0;
}

function encodeNode(bytes: Uint8Array, entries: readonly Entry[], depth: number, max: number): void {
  const view = viewOf(bytes);
  initNode(view, 0, max, depth);
  ext4_extent_header.eh_entries.set(view, 0, entries.length);
  entries.forEach((entry, index) => {
    const at = EXT_ENTRY_BYTES * (index + 1);
    if ("run" in entry) setExtent(view, at, { ...entry.run, unwritten: false });
    else setIndex(view, at, entry.lblk, entry.node.block!);
  });
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
