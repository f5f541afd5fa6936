/**
 * Blocks and inodes are taken and given back in random order on images of every kind. A plain set knows what is taken; e2fsck, which finds blocks and inodes that belong to nobody, must count
 * exactly the same ones, and nothing else may be wrong. When all is given back the image is clean.
 */
import { describe, expect, test } from "vitest";
import type { BlockRun } from "../../src/ext4/mballoc.js";
import type { Ext4Inode } from "../../src/ext4/inode.js";
import { FsError } from "../../src/lib/errno.js";
import type { Task } from "../../src/sched/task.js";
import { S_IFDIR, S_IFREG } from "../../src/vfs/inode.js";
import { AllocationWorld, differences } from "../support/allocation-world.js";
import { attempt } from "../support/host.js";
import { Prng } from "../../src/lib/prng.js";

const KINDS: Record<string, readonly [args: readonly string[], size: string]> = {
  "4 KiB blocks, as mke2fs makes them": [["-g", "4096"], "96M"],
  "1 KiB blocks": [["-b", "1024"], "48M"],
  "uninit_bg": [["-b", "1024", "-O", "^metadata_csum,uninit_bg"], "40M"],
  "uninit_bg with 64bit": [["-g", "2048", "-O", "^metadata_csum,uninit_bg,64bit"], "48M"],
  "no checksums": [["-b", "1024", "-O", "^metadata_csum,^uninit_bg,^64bit"], "40M"],
  "checksums of 16 bits": [["-b", "1024", "-O", "metadata_csum,^64bit"], "40M"],
  "bigalloc": [["-O", "bigalloc", "-C", "16384", "-g", "8192"], "128M"],
  "bigalloc with 1 KiB blocks": [["-b", "1024", "-O", "bigalloc", "-C", "8192", "-g", "8192"], "64M"],
  "meta_bg": [["-b", "1024", "-O", "meta_bg,^resize_inode"], "300M"],
  "no flex_bg": [["-b", "1024", "-O", "^flex_bg"], "48M"],
  "small flex groups, sparse_super2": [["-b", "1024", "-G", "4", "-O", "sparse_super2"], "80M"],
  "ext2": [["-t", "ext2"], "40M"],
  "ext3, a short last group": [["-t", "ext3", "-b", "1024"], "41900K"],
  "blocks of 64 KiB": [["-b", "65536"], "512M"],
};

/** "3-7 9 12-14". */
function ranges(numbers: Set<number>): string {
  const found: { first: number; last: number }[] = [];
  for (const number of [...numbers].sort((a, b) => a - b)) {
    const last = found.at(-1);
    if (last !== undefined && last.last + 1 === number) last.last = number;
    else found.push({ first: number, last: number });
  }
  return found.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`)).join(" ");
}

class Model {
  readonly runs: BlockRun[] = [];
  readonly blocks = new Set<number>();
  /** Freed, and not committed yet. */
  readonly pending = new Set<number>();
  readonly inodes = new Map<number, boolean>();

  constructor(readonly world: AllocationWorld, readonly prng: Prng) {}

  expectFree({ pblk, count }: BlockRun): void {
    const { sb } = this.world.fs;
    expect(sb.containsBlocks(pblk, count)).toBe(true);
    expect((pblk - sb.firstDataBlock) % sb.clusterBlocks).toBe(0);
    expect(count % sb.clusterBlocks).toBe(0);
    for (let block = pblk; block < pblk + count; block++) expect(this.blocks.has(block) || this.pending.has(block), `block ${block} is free`).toBe(false);
  }

  add(claimed: BlockRun): void {
    this.runs.push(claimed);
    for (let block = claimed.pblk; block < claimed.pblk + claimed.count; block++) this.blocks.add(block);
  }

  claim(): void {
    const { world, prng } = this;
    const { sb } = world.fs;
    const count = 1 + prng.below(2 ** prng.below(11));
    const goal = prng.below(4) === 0 ? world.allocator.goalFor(world.inode) : prng.below(sb.blocksCount + 10);
    const lblk = [undefined, 0, prng.below(10_000) * sb.clusterBlocks][prng.below(3)];
    const claimed = world.run(world.allocator.claim({ goal, count, ...(lblk === undefined ? {} : { lblk }) }));
    expect(claimed.count).toBeLessThan(count + sb.clusterBlocks);
    this.expectFree(claimed);
    if (prng.below(5) === 0) return world.allocator.release(claimed);
    world.mark(claimed);
    this.add(claimed);
  }

  allocateMetadata(): void {
    const { world, prng } = this;
    const pblk = world.change((handle) => world.allocator.allocateMetadata(handle, world.inode, prng.below(world.fs.sb.blocksCount)));
    const claimed = { pblk, count: world.fs.sb.clusterBlocks };
    this.expectFree(claimed);
    this.add(claimed);
  }

  free(): void {
    const index = this.prng.below(this.runs.length);
    const whole = this.runs[index]!;
    const { clusterBlocks } = this.world.fs.sb;
    // The whole run, or some clusters from its midst.
    const clusters = whole.count / clusterBlocks;
    const from = this.prng.below(2) === 0 ? 0 : this.prng.below(clusters);
    const length = from === 0 && this.prng.below(2) === 0 ? clusters : 1 + this.prng.below(clusters - from);
    const freed = { pblk: whole.pblk + from * clusterBlocks, count: length * clusterBlocks };
    this.runs.splice(index, 1);
    if (from > 0) this.runs.push({ pblk: whole.pblk, count: from * clusterBlocks });
    if (from + length < clusters) this.runs.push({ pblk: freed.pblk + freed.count, count: (clusters - from - length) * clusterBlocks });
    this.giveBack(freed);
  }

  giveBack(freed: BlockRun): void {
    this.world.free(freed, this.prng.below(3) === 0);
    for (let block = freed.pblk; block < freed.pblk + freed.count; block++) {
      this.blocks.delete(block);
      this.pending.add(block);
    }
  }

  commit(): void {
    this.world.commit();
    this.pending.clear();
    expect(this.world.allocator.pendingFreeClusters).toBe(0);
  }

  allocateInode(): void {
    const { world, prng } = this;
    const { inodesCount } = world.fs.sb;
    const parent = prng.below(4) === 0 ? world.fs.root : ({ i_ino: 1 + prng.below(inodesCount), i_flags: 0 } as Ext4Inode);
    const isDirectory = prng.below(3) === 0;
    const goal = prng.below(6) === 0 ? 1 + prng.below(inodesCount) : undefined;
    const ino = world.change((handle) => world.inodeAllocator.allocate(handle, parent, isDirectory ? S_IFDIR | 0o755 : S_IFREG | 0o644, goal));
    expect(ino).toBeGreaterThanOrEqual(world.fs.sb.firstIno);
    expect(ino).toBeLessThanOrEqual(inodesCount);
    expect(this.inodes.has(ino), `inode ${ino} is free`).toBe(false);
    this.inodes.set(ino, isDirectory);
  }

  freeInode(): void {
    const ino = this.prng.pick([...this.inodes.keys()]);
    this.world.change((handle) => this.world.inodeAllocator.free(handle, ino, this.inodes.get(ino)!));
    this.inodes.delete(ino);
  }

  step(): void {
    const choice = this.prng.below(20);
    if (choice < 8) this.claim();
    else if (choice < 9) this.allocateMetadata();
    else if (choice < 13) {
      if (this.runs.length > 0) this.free();
    } else if (choice < 17) this.allocateInode();
    else if (choice < 19) {
      if (this.inodes.size > 0) this.freeInode();
    } else this.commit();
  }

  /** Nothing is wrong but that these blocks and inodes are not found in use. */
  expectExact(): void {
    const { world } = this;
    const lines = world.complaints();
    expect(lines.filter((line) => !/bitmap differences:|Directories count wrong for group/.test(line))).toEqual([]);
    // e2fsck names of a cluster one block, or all.
    const clusters = (blocks: Set<number>): string => ranges(new Set([...blocks].map((block) => Math.floor((block - world.fs.sb.firstDataBlock) / world.fs.sb.clusterBlocks))));
    expect(clusters(differences(lines, "Block"))).toBe(clusters(this.blocks));
    expect(ranges(differences(lines, "Inode"))).toBe(ranges(new Set(this.inodes.keys())));
    // Free blocks and inodes e2fsck counts in the bitmaps; directories it counts itself, and finds none of ours.
    let missed = 0;
    for (const line of lines) {
      const counts = line.match(/^Directories count wrong for group #\d+ \((\d+), counted=(\d+)\)/);
      if (counts !== null) missed += Number(counts[1]) - Number(counts[2]);
    }
    expect(missed).toBe([...this.inodes.values()].filter(Boolean).length);
  }

  giveBackAll(): void {
    for (const taken of this.runs.splice(0)) this.giveBack(taken);
    for (const [ino, isDirectory] of this.inodes) this.world.change((handle) => this.world.inodeAllocator.free(handle, ino, isDirectory));
    this.inodes.clear();
  }
}

describe("random allocation", () => {
  for (const [kind, [args, size]] of Object.entries(KINDS)) {
    test(kind, () => {
      const world = new AllocationWorld(args, size, undefined, true);
      const before = { clusters: world.allocator.freeClusters, inodes: world.inodeAllocator.freeInodes };
      const model = new Model(world, new Prng(3));
      for (let round = 0; round < 2; round++) {
        for (let step = 0; step < 250; step++) model.step();
        model.expectExact();
        const again = world.remount();
        expect(again.allocator.freeClusters).toBe(world.allocator.freeClusters);
        expect(again.inodeAllocator.freeInodes).toBe(world.inodeAllocator.freeInodes);
      }
      expect(world.inode.i_blocks).toBe((model.blocks.size * world.fs.blockBytes) / 512);
      model.giveBackAll();
      world.commit();
      expect({ clusters: world.allocator.freeClusters, inodes: world.inodeAllocator.freeInodes }).toEqual(before);
      const { status, stdout } = attempt("e2fsck", ["-fn", world.image]);
      expect(status, stdout).toBe(0);
    });
  }
});

test("tasks that wait for the disk by turns never get the same block or inode", async () => {
  const world = new AllocationWorld(["-b", "1024"], "60M", undefined, true);
  const { fs, allocator, inodeAllocator } = world;
  const model = new Model(world, new Prng(1));
  function* work(seed: number): Task<void> {
    const prng = new Prng(seed);
    const own: BlockRun[] = [];
    for (let step = 0; step < 60; step++) {
      const claimed = yield* allocator.claim({ goal: prng.below(fs.sb.blocksCount), count: 1 + prng.below(50) });
      const handle = yield* fs.journal.start(40);
      try {
        yield* allocator.mark(handle, world.inode, claimed);
        model.expectFree(claimed);
        model.add(claimed);
        own.push(claimed);
        const ino = yield* inodeAllocator.allocate(handle, fs.root, S_IFREG);
        expect(model.inodes.has(ino)).toBe(false);
        model.inodes.set(ino, false);
        if (prng.below(3) === 0) {
          const [freed] = own.splice(prng.below(own.length), 1) as [BlockRun];
          yield* allocator.free(handle, world.inode, freed.pblk, freed.count, false);
          for (let block = freed.pblk; block < freed.pblk + freed.count; block++) {
            model.blocks.delete(block);
            model.pending.add(block);
          }
          handle.transaction.onCommit(() => {
            for (let block = freed.pblk; block < freed.pblk + freed.count; block++) model.pending.delete(block);
          });
        }
      } finally {
        handle.stop();
      }
      if (prng.below(10) === 0) yield* fs.journal.commitAll();
    }
  }
  await Promise.all(Array.from({ length: 8 }, (_, seed) => world.scheduler.runAsync(work(seed))));
  model.expectExact();
});

function code(work: () => unknown): string {
  try {
    work();
    return "done";
  } catch (error) {
    if (error instanceof FsError) return error.code;
    throw error;
  }
}

test("every cluster can be had, and not one more", () => {
  const world = new AllocationWorld(["-b", "1024"], "20M");
  const { allocator } = world;
  const pool = Math.floor(world.fs.sb.blocksCount / 50);
  let left = allocator.freeClusters - pool;
  const prng = new Prng(1);
  const runs: BlockRun[] = [];
  while (left > 0) {
    const claimed = world.run(allocator.claim({ goal: prng.below(world.fs.sb.blocksCount), count: 1 + prng.below(3000) }));
    runs.push(claimed);
    world.mark(claimed);
    left -= claimed.count;
  }
  expect(left).toBe(0);
  expect(code(() => world.run(allocator.claim({ goal: 0, count: 1 })))).toBe("ENOSPC");
  expect(allocator.reserve(1)).toBe(false);
  // Metadata has the pool, to the last block.
  for (let index = 0; index < pool; index++) world.change((handle) => allocator.allocateMetadata(handle, world.inode, 0));
  expect(allocator.freeClusters).toBe(0);
  expect(code(() => world.change((handle) => allocator.allocateMetadata(handle, world.inode, 0)))).toBe("ENOSPC");
  // What is freed can be had after the commit, not before.
  for (const taken of runs) world.free(taken);
  expect(allocator.pendingFreeClusters).toBe(runs.reduce((sum, { count }) => sum + count, 0));
  expect(code(() => world.run(allocator.claim({ goal: 0, count: 1 })))).toBe("ENOSPC");
  world.commit();
  world.run(allocator.claim({ goal: 0, count: 1 }));
});

test("promises are kept", () => {
  const world = new AllocationWorld(["-b", "1024"], "20M");
  const { allocator } = world;
  const free = allocator.freeClusters - Math.floor(world.fs.sb.blocksCount / 50);
  expect(allocator.reserve(free - 10)).toBe(true);
  expect(allocator.reserve(11)).toBe(false);
  expect(allocator.unpromisedClusters).toBe(allocator.freeClusters - (free - 10));
  expect(world.run(allocator.claim({ goal: 0, count: 100 })).count).toBe(10);
  expect(code(() => world.run(allocator.claim({ goal: 0, count: 1 })))).toBe("ENOSPC");
  let promised = free - 10;
  while (promised > 0) {
    const claimed = world.run(allocator.claim({ goal: 0, count: promised, lblk: 0, isReserved: true }));
    // Between claim and unreserve nothing counts twice.
    expect(allocator.unpromisedClusters).toBe(Math.floor(world.fs.sb.blocksCount / 50));
    world.mark(claimed);
    allocator.unreserve(claimed.count);
    promised -= claimed.count;
  }
  expect(allocator.reservedClusters).toBe(0);
  allocator.usesReservedBlocks = false;
  expect(allocator.reserve(1)).toBe(false);
});

test("the superblock's reserved blocks are root's", () => {
  const world = new AllocationWorld(["-b", "1024", "-m", "10"], "20M");
  const { allocator } = world;
  const spare = Math.floor(world.fs.sb.blocksCount / 50);
  allocator.usesReservedBlocks = false;
  const usable = allocator.freeClusters - spare - world.fs.sb.reservedBlocks();
  expect(allocator.reserve(usable + 1)).toBe(false);
  expect(allocator.reserve(usable)).toBe(true);
  allocator.usesReservedBlocks = true;
  expect(allocator.reserve(world.fs.sb.reservedBlocks())).toBe(true);
});

describe("damage", () => {
  test("a block is not freed twice, nor is what is the filesystem's own", () => {
    const world = new AllocationWorld(["-b", "1024"], "20M");
    const claimed = world.run(world.allocator.claim({ goal: 5000, count: 10 }));
    world.mark(claimed);
    world.free(claimed);
    expect(() => world.free(claimed)).toThrow("free already");
    const { blockBitmap, inodeBitmap, inodeTable } = world.run(world.fs.groupDesc(1));
    for (const block of [2, blockBitmap, inodeBitmap, inodeTable, inodeTable + 3, 8193]) expect(() => world.free({ pblk: block, count: 1 }), `block ${block}`).toThrow("own structures");
    expect(() => world.free({ pblk: world.fs.sb.blocksCount - 1, count: 2 })).toThrow("outside");
    expect(() => world.change((handle) => world.inodeAllocator.free(handle, 500, false))).toThrow("free already");
    expect(() => world.change((handle) => world.inodeAllocator.free(handle, 8, false))).toThrow("out of range");
  });

  test("a bitmap that contradicts its descriptor is met once, and then left alone", () => {
    const world = new AllocationWorld(["-b", "1024", "-O", "^metadata_csum,^uninit_bg,^64bit"], "20M");
    const { blockBitmap } = world.run(world.fs.groupDesc(1));
    const buffer = world.run(world.fs.cache.read(blockBitmap));
    buffer.data[900] = 0xff;
    const goal = world.fs.sb.firstBlockOf(1) + 5000;
    expect(code(() => world.run(world.allocator.claim({ goal, count: 4 })))).toBe("EUCLEAN");
    const claimed = world.run(world.allocator.claim({ goal, count: 4 }));
    expect(Math.floor((claimed.pblk - 1) / 8192)).not.toBe(1);
  });
});
