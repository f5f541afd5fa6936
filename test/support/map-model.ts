/** What a file's map should be, block by block, and random changes of both the model and the file. */
import { convertToUnwritten, convertToWritten, insertMapping, removeMappings, shiftMappings } from "../../src/ext4/map-write.js";
import { nodeDepth, rootNode } from "../../src/ext4/extents.js";
import { FsError } from "../../src/lib/errno.js";
import type { Task } from "../../src/sched/task.js";
import type { Handle } from "../../src/jbd2/handle.js";
import type { FileExtent } from "../../src/vfs/inode.js";
import type { MapWorld } from "./fake-map-world.js";

interface Block { readonly pblk: number; readonly unwritten: boolean }

/** Extents as a reader lists them: joined wherever blocks follow. */
export function joined(blocks: ReadonlyMap<number, Block>): FileExtent[] {
  const extents: { lblk: number; pblk: number; count: number; unwritten: boolean }[] = [];
  for (const lblk of [...blocks.keys()].sort((a, b) => a - b)) {
    const { pblk, unwritten } = blocks.get(lblk)!;
    const last = extents.at(-1);
    if (last !== undefined && last.unwritten === unwritten && last.lblk + last.count === lblk && last.pblk + last.count === pblk) last.count++;
    else extents.push({ lblk, pblk, count: 1, unwritten });
  }
  return extents;
}

export interface ModelOptions {
  /** Changes stay below this block. */
  readonly end: number;
  readonly runMax: number;
  readonly hasUnwritten: boolean;
  /** Blocks that the file may have. */
  readonly blocksMax: number;
}

export class MapModel {
  blocks = new Map<number, Block>();
  depthMax = 0;
  failures = 0;

  constructor(readonly world: MapWorld, readonly options: ModelOptions) {}

  private get ratio(): number { return this.world.fs.sb.clusterBlocks; }
  private below(limit: number): number { return this.world.prng.below(limit); }

  /** What differs between the file and the model; undefined: nothing. */
  difference(): string | undefined {
    const { world, blocks, ratio } = this;
    let mapped = 0;
    for (const { lblk, pblk, count, unwritten } of world.list()) {
      for (let index = 0; index < count; index++) {
        const block = blocks.get(lblk + index);
        if (block?.pblk !== pblk + index || block.unwritten !== unwritten) return `block ${lblk + index} is at ${pblk + index}, ${unwritten ? "unwritten" : "written"}, should be ${JSON.stringify(block)}`;
      }
      mapped += count;
    }
    if (mapped !== blocks.size) return `${mapped} blocks are mapped, should be ${blocks.size}`;
    return this.ownershipDifference(ratio);
  }

  private ownershipDifference(ratio: number): string | undefined {
    const { world, blocks } = this;
    const { used } = world.allocator;
    const clusters = new Set<number>();
    for (const block of [...world.mapBlocks(), ...Array.from(blocks.values(), ({ pblk }) => pblk)]) {
      const cluster = block - (block % ratio);
      if (!used.has(cluster)) return `block ${block} is mapped, and free`;
      clusters.add(cluster);
    }
    if (clusters.size !== used.size) return `${used.size} clusters are in use, should be ${clusters.size}`;
    const sectors = (used.size * ratio * world.fs.blockBytes) / 512;
    if (world.inode.i_blocks !== sectors) return `i_blocks is ${world.inode.i_blocks}, should be ${sectors}`;
    this.depthMax = Math.max(this.depthMax, nodeDepth(rootNode(world.inode)));
    return undefined;
  }

  /** Runs a change that may fail for want of space. @returns whether it did not. */
  attempt(work: (handle: Handle) => Task<void>, pieces?: number): boolean {
    try {
      this.world.change(work, pieces);
      return true;
    } catch (error) {
      if (!(error instanceof FsError && error.code === "ENOSPC")) throw error;
      this.failures++;
      return false;
    }
  }

  /** Fills part of a hole. */
  insert(lblk: number, wanted: number, unwritten: boolean): void {
    const { world, ratio } = this;
    for (let at = lblk; at < lblk + wanted && !this.blocks.has(at);) {
      if (world.allocator.freeCount * ratio < 200) return;
      let count = 1;
      while (at + count < lblk + wanted && !this.blocks.has(at + count)) count++;
      const cluster = at - (at % ratio);
      const known = [...Array(ratio).keys()].map((index) => cluster + index).find((block) => this.blocks.has(block));
      let pblk: number;
      let taken: { pblk: number; count: number } | undefined;
      if (known !== undefined) {
        pblk = this.blocks.get(known)!.pblk + at - known;
        count = Math.min(count, cluster + ratio - at);
      } else {
        taken = world.allocator.take(Math.ceil((count + at - cluster) / ratio));
        pblk = taken.pblk + at - cluster;
        count = Math.min(count, taken.count - (at - cluster));
        // The last cluster may have blocks already, at another place.
        const lastCluster = at + count - 1 - ((at + count - 1) % ratio);
        if (lastCluster > cluster && [...Array(ratio).keys()].some((index) => this.blocks.has(lastCluster + index))) {
          world.allocator.used.delete(pblk + lastCluster - at);
          world.allocator.giveBack(pblk + lastCluster - at);
          taken = { pblk: taken.pblk, count: taken.count - ratio };
          count = lastCluster - at;
        }
      }
      const done = this.attempt(function* (handle) {
        yield* insertMapping(handle, world.fs, world.inode, { lblk: at, pblk, count, unwritten });
        if (taken !== undefined) yield* world.allocator.mark(handle, world.inode, taken);
        yield* world.inode.markDirty(handle);
      }, taken === undefined || !world.allocator.isScattered ? undefined : 1);
      if (!done) {
        for (let block = 0; taken !== undefined && block < taken.count; block += ratio) {
          world.allocator.used.delete(taken.pblk + block);
          world.allocator.giveBack(taken.pblk + block);
        }
        return;
      }
      for (let index = 0; index < count; index++) this.blocks.set(at + index, { pblk: pblk + index, unwritten });
      at += count;
    }
  }

  convert(from: number, to: number, unwritten: boolean): void {
    const { world } = this;
    const pieces = joined(new Map(Array.from({ length: to - from }, (_, index) => [from + index, this.blocks.get(from + index)!]))).length;
    const done = this.attempt((handle) => (unwritten ? convertToUnwritten : convertToWritten)(handle, world.fs, world.inode, from, to - from), pieces);
    // Where space ran out the beginning of the range may be converted.
    const converted = done ? to : world.list().reduce((end, extent) => (extent.lblk <= end && extent.lblk + extent.count > end && extent.unwritten === unwritten ? Math.min(to, extent.lblk + extent.count) : end), from);
    for (let lblk = from; lblk < converted; lblk++) this.blocks.set(lblk, { ...this.blocks.get(lblk)!, unwritten });
  }

  remove(from: number, to: number): void {
    const { world } = this;
    if (!this.attempt((handle) => removeMappings(handle, world.fs, world.inode, from, to))) return;
    for (const lblk of [...this.blocks.keys()]) if (lblk >= from && lblk < to) this.blocks.delete(lblk);
  }

  shift(from: number, delta: number): void {
    const { world } = this;
    if (!this.attempt((handle) => shiftMappings(handle, world.fs, world.inode, from, delta))) return;
    this.blocks = new Map([...this.blocks].map(([lblk, block]) => [lblk < from ? lblk : lblk + delta, block]));
  }

  /** One random change. */
  step(): void {
    const { end, runMax, hasUnwritten, blocksMax } = this.options;
    const { ratio } = this;
    const lblk = this.below(end);
    const length = 1 + this.below(runMax);
    const choice = this.below(hasUnwritten ? 100 : 75);
    const isFull = this.blocks.size > blocksMax;
    if (choice < 35 && !isFull) return this.insert(lblk, length, hasUnwritten && this.below(2) === 0);
    if (choice < 55 && !isFull) return this.insert(Math.min(Math.max(-1, ...this.blocks.keys()) + 1, end), length, hasUnwritten && this.below(3) === 0);
    if (choice < 75) return this.remove(lblk, this.below(20) === 0 ? 2 ** 32 - 1 : Math.min(end * 2, lblk + (isFull ? end >> 2 : length)));
    if (choice < 93) {
      // A range without a hole, around some block that is mapped.
      const keys = [...this.blocks.keys()];
      if (keys.length === 0) return undefined;
      let from = keys[this.below(keys.length)]!;
      let to = from + 1;
      while (this.blocks.has(to) && to - from < length) to++;
      while (this.blocks.has(from - 1) && to - from < length / 2) from--;
      return this.convert(from, to, this.below(2) === 0);
    }
    const from = lblk - (lblk % ratio);
    const delta = ratio * (1 + this.below(20));
    if (choice < 97) return this.shift(from, delta);
    this.remove(Math.max(0, from - delta), from);
    return from >= delta && this.rangeIsFree(from - delta, from) ? this.shift(from, -delta) : undefined;
  }

  private rangeIsFree(from: number, to: number): boolean {
    for (let lblk = from; lblk < to; lblk++) if (this.blocks.has(lblk)) return false;
    return true;
  }
}
