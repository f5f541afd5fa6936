/**
 * Changes of a file's map, held against a model block by block after every step: seeded random insertions, conversions, removals and shifts, over both kinds of map, with blocks so scattered
 * that trees grow deep, with transactions so small that removals restart, and with allocations that fail. What is on disk after each commit must be a whole file whose blocks are its own.
 */
import { describe, expect, test } from "vitest";
import { nodeDepth, nodeEntries, readExtent, rootNode } from "../../src/ext4/extents.js";
import { convertToUnwritten, convertToWritten, insertMapping, lastMappedLblk, removeMappings, shiftMappings } from "../../src/ext4/map-write.js";
import type { Handle } from "../../src/jbd2/handle.js";
import { FsError } from "../../src/lib/errno.js";
import type { Task } from "../../src/sched/task.js";
import { WaitQueue } from "../../src/sched/wait-queue.js";
import type { FileExtent } from "../../src/vfs/inode.js";
import { MapWorld, type MapWorldOptions } from "../support/fake-map-world.js";
import { joined, MapModel, type ModelOptions } from "../support/map-model.js";

const EXTENTS_1K = ["-t", "ext4", "-b", "1024", "-O", "metadata_csum,^has_journal,^resize_inode"];
const INDIRECT_1K = ["-t", "ext2", "-b", "1024", "-O", "^resize_inode"];

interface Case extends MapWorldOptions { readonly name: string; readonly args: readonly string[]; readonly steps: number; readonly model: Partial<ModelOptions>; readonly depth?: number }

const CASES: readonly Case[] = [
  { name: "extents, scattered", args: EXTENTS_1K, isScattered: true, steps: 700, model: { end: 4000, runMax: 12, blocksMax: 3000 }, depth: 2 },
  { name: "extents, scattered, a cache of a few blocks", args: EXTENTS_1K, isScattered: true, cacheBytes: 8192, steps: 600, model: { end: 4000, runMax: 12, blocksMax: 3000 }, depth: 2 },
  { name: "extents, in runs", args: EXTENTS_1K, steps: 250, model: { end: 6000, runMax: 300, blocksMax: 4500 } },
  { name: "extents, 4 KiB, without checksums", args: ["-t", "ext4", "-b", "4096", "-O", "^metadata_csum,^has_journal"], sizeMib: 32, isScattered: true, steps: 700, model: { end: 7000, runMax: 12, blocksMax: 5000 } },
  { name: "bigalloc", args: [...EXTENTS_1K.slice(0, 4), "-O", "metadata_csum,bigalloc,^has_journal,^resize_inode", "-C", "8192"], sizeMib: 64, isScattered: true, steps: 900, model: { end: 8000, runMax: 40, blocksMax: 5000 }, depth: 2 },
  { name: "indirect, scattered", args: INDIRECT_1K, isScattered: true, steps: 700, model: { end: 4000, runMax: 12, blocksMax: 3000, hasUnwritten: false } },
  { name: "indirect, far apart", args: INDIRECT_1K, steps: 300, model: { end: 900_000, runMax: 300, blocksMax: 3000, hasUnwritten: false } },
];

function makeModel(args: readonly string[], options: MapWorldOptions, model: Partial<ModelOptions>): MapModel {
  return new MapModel(new MapWorld(args, options), { end: 4000, runMax: 12, blocksMax: 3000, hasUnwritten: true, ...model });
}

/** After each commit: what a stranger finds on disk maps only blocks that are the file's. */
function watchDisk({ world }: MapModel, every: number): void {
  world.journal.onCommitted = () => {
    if (world.journal.commitCount % every !== 0) return;
    for (const { pblk, count } of world.listOnDisk()) {
      for (let block = pblk; block < pblk + count; block++) {
        if (!world.allocator.used.has(block - (block % world.fs.sb.clusterBlocks))) throw new Error(`after commit ${world.journal.commitCount}: block ${block} is mapped on disk, and free`);
      }
    }
  };
}

describe.each(CASES)("$name", ({ args, steps, model: modelOptions, depth, ...options }) => {
  test.each([1, 2])("random changes, seed %i", (seed) => {
    const model = makeModel(args, { ...options, seed }, modelOptions);
    const { world } = model;
    watchDisk(model, 5);
    for (let step = 1; step <= steps; step++) {
      model.step();
      if (step % 20 === 0) world.commit();
      const difference = model.difference();
      if (difference !== undefined) expect.fail(`step ${step}: ${difference}`);
    }
    world.commit();
    expect(world.listOnDisk()).toEqual(joined(model.blocks));
    expect(model.depthMax).toBeGreaterThanOrEqual(depth ?? 0);
    expect(world.complaints()).toEqual([]);
    model.remove(0, world.fs.mapEnd(world.inode));
    expect(model.difference()).toBeUndefined();
    expect(world.allocator.used.size).toBe(0);
    expect(world.inode.raw.subarray(0x28, 0x28 + 8)).toEqual(options.name.startsWith("indirect") ? new Uint8Array(8) : Uint8Array.of(0x0a, 0xf3, 0, 0, 4, 0, 0, 0));
  });

  test("allocations fail", () => {
    const model = makeModel(args, { ...options, seed: 3 }, modelOptions);
    for (let step = 1; step <= steps / 2; step++) {
      model.world.allocator.failAt = 1 + (step % 3);
      model.step();
      if (step % 20 === 0) model.world.commit();
      const difference = model.difference();
      if (difference !== undefined) expect.fail(`step ${step}: ${difference}`);
    }
    if (depth !== undefined) expect(model.failures).toBeGreaterThan(2);
  });
});

/** Extents as debugfs shows them, joined as a reader joins them. */
function debugfsExtents(world: MapWorld): FileExtent[] {
  const blocks = new Map<number, { pblk: number; unwritten: boolean }>();
  for (const line of world.debugfs("ex f").split("\n")) {
    const numbers = /^\s*(\d+)\/\s*(\d+)\s+\d+\/\s*\d+\s+(\d+)\s+-\s+(\d+)\s+(\d+)(?:\s+-\s+(\d+))?\s+(\d+)( Uninit)?/.exec(line);
    if (numbers === null || numbers[1] !== numbers[2]) continue;
    const [first, last, pblk] = [numbers[3]!, numbers[4]!, numbers[5]!].map(Number) as [number, number, number];
    for (let lblk = first; lblk <= last; lblk++) blocks.set(lblk, { pblk: pblk + lblk - first, unwritten: numbers[8] !== undefined });
  }
  return joined(blocks);
}

/** Appends extents of one block that do not join. */
function appendScattered(model: MapModel, count: number): void {
  const { world } = model;
  for (let from = model.blocks.size; from < count;) {
    world.change(function* (handle) {
      for (const end = Math.min(count, from + 20); from < end; from++) {
        const taken = world.allocator.take(1);
        yield* insertMapping(handle, world.fs, world.inode, { lblk: from * 2, pblk: taken.pblk, count: 1, unwritten: false });
        yield* world.allocator.mark(handle, world.inode, taken);
        yield* world.inode.markDirty(handle);
        model.blocks.set(from * 2, { pblk: taken.pblk, unwritten: false });
      }
    });
  }
}

/** Removes blocks that the allocator never gave out. */
function* removeMappingsOnly({ allocator, fs, inode }: MapWorld, handle: Handle, lblk: number, count = 1): Task<void> {
  const { free } = allocator;
  allocator.free = function* () {};
  try {
    yield* removeMappings(handle, fs, inode, lblk, lblk + count);
  } finally {
    allocator.free = free;
  }
}

describe("extent trees", () => {
  test("appends leave full leaves behind, to a depth of 3; debugfs reads the same; removal takes many small transactions", () => {
    const model = makeModel(EXTENTS_1K, { sizeMib: 64, isScattered: true, transactionBlocksMax: 1000 }, {});
    const { world } = model;
    appendScattered(model, 30_000);
    expect(model.difference()).toBeUndefined();
    expect(nodeDepth(rootNode(world.inode))).toBe(3);
    expect(world.mapBlocks().length).toBe(Math.ceil(30_000 / 84) + Math.ceil(30_000 / 84 / 84) + 1);
    expect(debugfsExtents(world)).toEqual(joined(model.blocks));
    expect(world.complaints()).toEqual([]);
    watchDisk(model, 10);
    const before = world.journal.commitCount;
    model.remove(1001, 2 ** 32 - 1);
    expect(model.difference()).toBeUndefined();
    expect(nodeDepth(rootNode(world.inode))).toBe(2);
    model.remove(0, 2 ** 32 - 1);
    expect(world.journal.commitCount).toBeGreaterThan(before);
    expect(world.allocator.used.size).toBe(0);
    expect(nodeDepth(rootNode(world.inode))).toBe(0);
  });

  test("a file of random changes reads the same in debugfs", () => {
    const model = makeModel(EXTENTS_1K, { isScattered: true, seed: 9 }, {});
    for (let step = 0; step < 600; step++) model.step();
    expect(debugfsExtents(model.world)).toEqual(joined(model.blocks));
  });

  test("whichever allocation fails, nothing has changed", () => {
    const model = makeModel(EXTENTS_1K, { sizeMib: 64, isScattered: true, transactionBlocksMax: 1000 }, {});
    const { world } = model;
    // A full root over a full node over a full leaf: the next extent needs a leaf, a node, and a node for what stood in the root.
    appendScattered(model, 4 * 84 * 84);
    const shape = (): unknown => [world.list(), world.mapBlocks(), world.inode.i_blocks];
    for (const needed of [1, 2, 3]) {
      const before = shape();
      world.allocator.failAt = needed;
      expect(() => appendScattered(model, 4 * 84 * 84 + 1)).toThrow("ENOSPC");
      expect(shape()).toEqual(before);
      const last = [...world.allocator.used].at(-1)!; // what the file would have got
      world.allocator.used.delete(last);
      world.allocator.giveBack(last);
      expect(model.difference()).toBeUndefined();
    }
    world.allocator.failAt = 4;
    appendScattered(model, 4 * 84 * 84 + 1);
    expect(world.allocator.failAt).toBe(1);
    expect(model.difference()).toBeUndefined();
    expect(nodeDepth(rootNode(world.inode))).toBe(3);
  });

  test("whichever read fails, nothing has changed", () => {
    const model = makeModel(EXTENTS_1K, { isScattered: true, cacheBytes: 32_768 }, {});
    const { world } = model;
    const { allocator, device, fs, inode } = world;
    appendScattered(model, 1000);
    const submit = device.submit.bind(device);
    const state = (): string => JSON.stringify([world.list(), world.mapBlocks(), inode.i_blocks, allocator.used.size]);
    let failures = 0;
    for (let lblk = 1; lblk < 2000; lblk += 300) {
      const taken = allocator.take(1);
      for (let fails = 1, hasFailed = true; hasFailed; fails++) {
        world.commit();
        fs.cache.invalidate();
        const before = state();
        fs.cache.invalidate();
        world.change(function* (handle) {
          let countdown = fails;
          device.submit = function* (bios) {
            if (bios.some(({ op }) => op === "read") && --countdown === 0) throw new FsError("EIO");
            yield* submit(bios);
          };
          try {
            yield* insertMapping(handle, fs, inode, { lblk, pblk: taken.pblk, count: 1, unwritten: false });
            hasFailed = false;
          } catch (error) {
            expect((error as FsError).code).toBe("EIO");
            failures++;
          }
          device.submit = submit;
          if (!hasFailed) yield* allocator.mark(handle, inode, taken);
          yield* inode.markDirty(handle);
        });
        if (hasFailed) expect(state()).toBe(before);
      }
      model.blocks.set(lblk, { pblk: taken.pblk, unwritten: false });
    }
    expect(failures).toBeGreaterThan(20);
  });

  test("an extent is as long as it may be, and joins as far", () => {
    const world = new MapWorld(EXTENTS_1K, { sizeMib: 160 });
    const { fs, inode } = world;
    const extents = (): FileExtent[] => Array.from({ length: nodeEntries(rootNode(inode)) }, (_, slot) => readExtent(rootNode(inode), slot));
    world.change((handle) => insertMapping(handle, fs, inode, { lblk: 0, pblk: 20_000, count: 40_000, unwritten: false }));
    expect(extents()).toEqual([{ lblk: 0, pblk: 20_000, count: 32_768, unwritten: false }, { lblk: 32_768, pblk: 52_768, count: 7232, unwritten: false }]);
    world.change((handle) => convertToUnwritten(handle, fs, inode, 0, 40_000));
    expect(extents()).toEqual([
      { lblk: 0, pblk: 20_000, count: 32_767, unwritten: true }, { lblk: 32_767, pblk: 52_767, count: 1, unwritten: true }, { lblk: 32_768, pblk: 52_768, count: 7232, unwritten: true },
    ].flatMap((extent) => (extent.count === 1 ? [] : extent.lblk === 32_768 ? [{ lblk: 32_767, pblk: 52_767, count: 7233, unwritten: true }] : [extent])));
    world.change((handle) => convertToWritten(handle, fs, inode, 100, 1));
    expect(extents().map(({ lblk, count, unwritten }) => [lblk, count, unwritten])).toEqual([[0, 100, true], [100, 1, false], [101, 32_666, true], [32_767, 7233, true]]);
    world.change((handle) => convertToUnwritten(handle, fs, inode, 100, 1));
    expect(extents().map(({ lblk, count }) => [lblk, count])).toEqual([[0, 32_767], [32_767, 7233]]);
    for (const [max, unwritten] of [[32_768, false], [32_767, true]] as const) {
      world.change((handle) => removeMappingsOnly(world, handle, 0, 40_000));
      world.change((handle) => insertMapping(handle, fs, inode, { lblk: 0, pblk: 20_000, count: max - 1, unwritten }));
      for (const lblk of [max - 1, max]) world.change((handle) => insertMapping(handle, fs, inode, { lblk, pblk: 20_000 + lblk, count: 1, unwritten }));
      expect(extents().map(({ lblk, count }) => [lblk, count])).toEqual([[0, max], [max, 1]]);
    }
    // Many pieces at a time divide a node among several.
    world.change((handle) => removeMappingsOnly(world, handle, 0, 40_000));
    world.change((handle) => insertMapping(handle, fs, inode, { lblk: 0, pblk: 2, count: 163_000, unwritten: true }));
    expect(nodeDepth(rootNode(inode))).toBe(1);
    expect(world.list()).toEqual([{ lblk: 0, pblk: 2, count: 163_000, unwritten: true }]);
  });

  test("what does not fit is refused", () => {
    const world = new MapWorld(EXTENTS_1K);
    const { fs, inode } = world;
    const end = 2 ** 32 - 1;
    world.change((handle) => insertMapping(handle, fs, inode, { lblk: end - 10, pblk: 5000, count: 10, unwritten: false }));
    expect(world.run(lastMappedLblk(fs, inode))).toEqual({ lblk: end - 1, pblk: 5009 });
    expect(world.run(lastMappedLblk(fs, inode, end - 5))).toEqual({ lblk: end - 5, pblk: 5005 });
    expect(world.run(lastMappedLblk(fs, inode, 77))).toBeUndefined();
    expect(() => world.change((handle) => shiftMappings(handle, fs, inode, 5, 1))).toThrow("EFBIG");
    expect(() => world.change((handle) => insertMapping(handle, fs, inode, { lblk: end - 11, pblk: 7000, count: 2, unwritten: false }))).toThrow("are mapped already");
    expect(world.list()).toEqual([{ lblk: end - 10, pblk: 5000, count: 10, unwritten: false }]);
  });

  test("a restart lets those in who need the map to get out of the commit's way", () => {
    const model = makeModel(EXTENTS_1K, { sizeMib: 64, isScattered: true, transactionBlocksMax: 400 }, {});
    const { world } = model;
    appendScattered(model, 3000);
    world.commit();
    const { fs, inode } = world;
    const isThere = new WaitQueue("the other has its handle");
    let hasHandle = false;
    const taken = world.allocator.take(1);
    world.scheduler.spawn("other", (function* () {
      const handle = yield* fs.journal.start(20);
      hasHandle = true;
      isThere.wakeAll();
      yield* inode.i_data_sem.write();
      yield* insertMapping(handle, fs, inode, { lblk: 1, pblk: taken.pblk, count: 1, unwritten: false });
      yield* world.allocator.mark(handle, inode, taken);
      yield* inode.markDirty(handle);
      inode.i_data_sem.unlockWrite();
      handle.stop();
    })());
    world.change(function* (handle) {
      yield* isThere.wait(() => hasHandle);
      yield* removeMappings(handle, fs, inode, 2, 2 ** 32 - 1);
    });
    world.commit();
    expect(world.list().map(({ lblk }) => lblk)).toEqual([0, 1]);
    expect(world.allocator.used.size).toBe(2);
  });
});

test("a block map refuses unwritten blocks, and finds the last block", () => {
  const world = new MapWorld(INDIRECT_1K);
  const { fs, inode } = world;
  expect(world.run(lastMappedLblk(fs, inode))).toBeUndefined();
  for (const lblk of [3, 11, 12, 267, 268, 300, 65_803, 65_804, 70_000]) {
    const taken = world.allocator.take(1);
    world.change((handle) => insertMapping(handle, fs, inode, { lblk, pblk: taken.pblk, count: 1, unwritten: false }));
    expect(world.run(lastMappedLblk(fs, inode))).toEqual({ lblk, pblk: taken.pblk });
  }
  expect(world.run(lastMappedLblk(fs, inode, 65_802))?.lblk).toBe(300);
  expect(world.run(lastMappedLblk(fs, inode, 10))?.lblk).toBe(3);
  expect(world.run(lastMappedLblk(fs, inode, 2))).toBeUndefined();
  expect(() => world.change((handle) => insertMapping(handle, fs, inode, { lblk: 50, pblk: 9000, count: 1, unwritten: true }))).toThrow("EOPNOTSUPP");
  expect(() => world.change((handle) => shiftMappings(handle, fs, inode, 5, 1))).toThrow("EOPNOTSUPP");
});
