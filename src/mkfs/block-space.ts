/**
 * Which blocks are taken: runs in order, for a new filesystem has few, however large it is. Blocks are taken one by one until the tables stand; from then on whole clusters
 * are, as the filesystem itself counts.
 */
import type { Pblk } from "../lib/numbers.js";

export interface Run {
  readonly first: Pblk;
  readonly count: number;
}

export class BlockSpace {
  /** Run n is starts[n] .. ends[n] - 1; runs neither touch nor overlap. */
  private readonly starts: number[] = [];
  private readonly ends: number[] = [];
  /** Blocks that are taken together. */
  private unit = 1;

  /** Blocks first .. end - 1, all free. */
  constructor(private readonly firstBlock: Pblk, private readonly endBlock: Pblk) {}

  /** From here on blocks are taken in clusters, and a cluster is taken if one of its blocks is. */
  useClusters(clusterBlocks: number): void {
    this.unit = clusterBlocks;
    const runs = this.starts.map((start, index) => [start, this.ends[index]!] as const);
    this.starts.length = this.ends.length = 0;
    for (const [start, end] of runs) this.mark(start, end - start);
  }

  mark(first: Pblk, count: number): void {
    const { starts, ends, unit } = this;
    let start = first - (first % unit);
    let end = Math.min(Math.ceil((first + count) / unit) * unit, this.endBlock);
    const from = this.runEndingAtOrAfter(start);
    let to = from;
    while (to < starts.length && starts[to]! <= end) {
      start = Math.min(start, starts[to]!);
      end = Math.max(end, ends[to]!);
      to++;
    }
    starts.splice(from, to - from, start);
    ends.splice(from, to - from, end);
  }

  /** The first place in from .. end - 1 where `count` blocks in a row are free. */
  find(from: Pblk, end: Pblk, count: number): Pblk | undefined {
    const { starts, ends, unit } = this;
    let at = from - (from % unit);
    for (let index = this.runEndingAtOrAfter(at); ; index++) {
      if (index < ends.length && ends[index]! <= at) continue;
      if (at >= end || at + count > this.endBlock) return undefined;
      if (index === starts.length || starts[index]! >= at + count) return at;
      at = ends[index]!;
    }
  }

  /** Takes the first run of free blocks at or after `goal`, or else from the beginning on: `countMax` blocks at most. Undefined: none is left. */
  take(goal: Pblk, countMax: number): Run | undefined {
    const first = this.find(goal, this.endBlock, 1) ?? this.find(this.firstBlock, goal, 1);
    if (first === undefined) return undefined;
    const next = this.runEndingAtOrAfter(first + 1);
    const run = { first, count: Math.min(countMax, (this.starts[next] ?? this.endBlock) - first) };
    this.mark(run.first, run.count);
    return run;
  }

  usedBlocks(): number {
    return this.starts.reduce((sum, start, index) => sum + this.ends[index]! - start, 0);
  }

  /** Clusters of first .. end - 1 that are free. */
  freeClusters(first: Pblk, end: Pblk): number {
    let free = Math.ceil((end - first) / this.unit);
    for (const run of this.runs(first, end)) free -= Math.ceil(run.count / this.unit);
    return free;
  }

  /** The taken runs in first .. end - 1, cut at both. */
  runs(first: Pblk, end: Pblk): Run[] {
    const runs: Run[] = [];
    for (let index = this.runEndingAtOrAfter(first + 1); index < this.starts.length && this.starts[index]! < end; index++) {
      const start = Math.max(this.starts[index]!, first);
      runs.push({ first: start, count: Math.min(this.ends[index]!, end) - start });
    }
    return runs;
  }

  private runEndingAtOrAfter(block: Pblk): number {
    let low = 0;
    let high = this.ends.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.ends[middle]! < block) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
