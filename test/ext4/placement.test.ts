/** Where blocks and inodes land: files in few extents, small ones side by side, long ones where huge pages can map them, directories apart, files by their directory. */
import { describe, expect, test } from "vitest";
import type { BlockRun } from "../../src/ext4/mballoc.js";
import type { Ext4Inode } from "../../src/ext4/inode.js";
import { S_IFDIR, S_IFREG } from "../../src/vfs/inode.js";
import { AllocationWorld } from "../support/allocation-world.js";
import { Prng } from "../../src/lib/prng.js";

/** A file that is appended to, as writeback does it. */
class File {
  readonly extents: { pblk: number; count: number }[] = [];
  blocks = 0;

  constructor(private readonly world: AllocationWorld, private readonly goal = world.allocator.goalFor(world.inode)) {}

  append(blocks: number): void {
    for (let left = blocks; left > 0;) {
      const last = this.extents.at(-1);
      const goal = last === undefined ? this.goal : last.pblk + last.count;
      const claimed = this.world.run(this.world.allocator.claim({ goal, count: left, lblk: this.blocks }));
      this.world.mark(claimed);
      if (last !== undefined && goal === claimed.pblk) last.count += claimed.count;
      else this.extents.push({ pblk: claimed.pblk, count: claimed.count });
      this.blocks += claimed.count;
      left -= claimed.count;
    }
  }
}

describe("blocks", () => {
  test("small files stand side by side", () => {
    const world = new AllocationWorld(["-b", "4096"], "256M");
    const prng = new Prng(5);
    const files = Array.from({ length: 200 }, () => {
      const file = new File(world);
      file.append(1 + prng.below(20));
      return file;
    });
    for (const file of files) expect(file.extents).toHaveLength(1);
    for (let index = 1; index < files.length; index++) {
      const [before, after] = [files[index - 1]!.extents[0]!, files[index]!.extents[0]!];
      expect(after.pblk).toBe(before.pblk + before.count);
    }
  });

  test("a file written alone is one extent per group", () => {
    const world = new AllocationWorld(["-b", "4096"], "1G");
    const file = new File(world);
    for (let piece = 0; piece < 100; piece++) file.append(512);
    expect(file.extents.length).toBeLessThanOrEqual(3);
  });

  test("files appended to by turns keep apart", () => {
    const world = new AllocationWorld(["-b", "4096"], "1G");
    const files = [new File(world), new File(world), new File(world), new File(world)];
    for (let round = 0; round < 1000; round++) for (const file of files) file.append(1);
    for (const file of files) expect(file.extents.length).toBeLessThanOrEqual(12);
  });

  test("long runs begin where huge pages can map them", () => {
    for (const [args, size] of [[["-b", "4096"], "1G"], [["-b", "1024", "-O", "^flex_bg"], "128M"], [["-O", "bigalloc", "-C", "65536"], "1G"]] as const) {
      const world = new AllocationWorld(args, size);
      const hugeBlocks = (2 << 20) / world.fs.blockBytes;
      new File(world).append(7); // something odd in front
      const file = new File(world);
      file.append(3 * hugeBlocks + 5);
      expect(file.extents[0]!.pblk % hugeBlocks, args.join(" ")).toBe(0);
      const far = 10 * hugeBlocks + 3 * world.fs.sb.clusterBlocks;
      const hole = world.run(world.allocator.claim({ goal: world.fs.sb.blocksCount, count: 2 * hugeBlocks, lblk: far }));
      expect(hole.pblk % hugeBlocks).toBe(far % hugeBlocks);
    }
  });

  test("what is freed is filled again, and a full group spills to one other", () => {
    const world = new AllocationWorld(["-b", "1024", "-O", "^flex_bg"], "40M");
    const { sb } = world.fs;
    const goal = sb.firstBlockOf(1);
    const groupOf = ({ pblk }: BlockRun): number => Math.floor((pblk - 1) / sb.blocksPerGroup);
    const claims: BlockRun[] = [];
    while (claims.length === 0 || groupOf(claims.at(-1)!) === 1) {
      claims.push(world.run(world.allocator.claim({ goal, count: 100, lblk: 0 })));
      world.mark(claims.at(-1)!);
    }
    const spill = groupOf(claims.at(-1)!);
    for (let index = 0; index < 10; index++) {
      claims.push(world.run(world.allocator.claim({ goal, count: 100, lblk: 0 })));
      world.mark(claims.at(-1)!);
      expect(groupOf(claims.at(-1)!)).toBe(spill);
    }
    const freed = claims[3]!;
    world.free(freed);
    world.commit();
    expect(world.run(world.allocator.claim({ goal, count: 100, lblk: 0 })).pblk).toBe(freed.pblk);
  });

  test("a fragmented filesystem is filled to the last block", () => {
    const world = new AllocationWorld(["-t", "ext2", "-b", "1024"], "10M");
    const prng = new Prng(9);
    // Every second block is taken, then files come that want more.
    const singles: BlockRun[] = [];
    while (world.allocator.freeClusters > 0) {
      const claimed = world.run(world.allocator.claim({ goal: prng.below(world.fs.sb.blocksCount), count: 1 }));
      world.mark(claimed);
      singles.push(claimed);
    }
    for (const single of singles) if (single.pblk % 2 === 0) world.free(single);
    world.commit();
    const file = new File(world);
    file.append(world.allocator.freeClusters);
    expect(world.allocator.freeClusters).toBe(0);
    expect(world.complaints().filter((line) => !line.startsWith("Block bitmap differences"))).toEqual([]);
  });
});

describe("inodes", () => {
  const allocate = (world: AllocationWorld, parent: Ext4Inode, mode: number, goal?: number): number => world.change((handle) => world.inodeAllocator.allocate(handle, parent, mode, goal));
  const at = (ino: number): Ext4Inode => ({ i_ino: ino, i_flags: 0 }) as Ext4Inode;

  for (const [kind, args] of [["with flex_bg", ["-G", "4"]], ["without", ["-O", "^flex_bg"]]] as const) {
    test(`directories below the root are spread, ${kind}`, () => {
      const world = new AllocationWorld(["-b", "1024", ...args], "256M");
      const { sb } = world.fs;
      const { flex } = world.groups;
      const flexOf = (ino: number): number => flex.of(Math.floor((ino - 1) / sb.inodesPerGroup));
      const places = Array.from({ length: flex.count * 2 }, () => flexOf(allocate(world, world.fs.root, S_IFDIR)));
      // Not to all places: those that are fuller than the average, with backups or the journal, are passed over.
      expect(new Set(places).size).toBeGreaterThanOrEqual(flex.count * 0.7);
      for (const place of places) expect(places.filter((other) => other === place).length).toBeLessThanOrEqual(4);
      // Those below stay by their parent, and so do files.
      const parent = at(sb.inodesPerGroup * flex.size * 3 + 5);
      for (let index = 0; index < 20; index++) {
        expect(flexOf(allocate(world, parent, S_IFDIR))).toBe(3);
        expect(flexOf(allocate(world, parent, S_IFREG))).toBe(3);
      }
    });
  }

  test("all inodes can be had, then none; a goal is met", () => {
    const world = new AllocationWorld(["-b", "1024", "-N", "512"], "40M");
    const { inodeAllocator } = world;
    expect(allocate(world, world.fs.root, S_IFREG, 300)).toBe(300);
    expect(allocate(world, world.fs.root, S_IFREG, 300)).toBe(301);
    const free = inodeAllocator.freeInodes;
    const inodes = new Set(Array.from({ length: free }, () => allocate(world, at(200), S_IFREG)));
    expect(inodes.size).toBe(free);
    expect(inodeAllocator.freeInodes).toBe(0);
    expect(() => allocate(world, world.fs.root, S_IFREG)).toThrow("ENOSPC");
    world.change((handle) => inodeAllocator.free(handle, 77, false));
    expect(allocate(world, world.fs.root, S_IFDIR)).toBe(77);
  });

  test("without a journal a freed inode rests for a minute, unless there is no other", () => {
    const world = new AllocationWorld(["-b", "1024", "-O", "^has_journal", "-N", "512"], "40M");
    const ino = allocate(world, at(200), S_IFREG);
    world.change((handle) => world.inodeAllocator.free(handle, ino, false));
    const next = allocate(world, at(200), S_IFREG);
    expect(next).toBe(ino + 1);
    const free = world.inodeAllocator.freeInodes;
    const last = Array.from({ length: free }, () => allocate(world, at(200), S_IFREG)).indexOf(ino);
    expect(last).toBeGreaterThan(0);
    world.change((handle) => world.inodeAllocator.free(handle, ino, false));
    world.change((handle) => world.inodeAllocator.free(handle, ino + 9, false));
    world.clock.set(1_700_000_061);
    expect(allocate(world, at(200), S_IFREG)).toBe(ino);
  });

  test("a block of the table that was never used is made of zeroes, others are left", () => {
    const world = new AllocationWorld(["-b", "1024", "-E", "lazy_itable_init=1"], "20M");
    const { sb } = world.fs;
    const desc = world.run(world.fs.groupDesc(1));
    const perBlock = sb.blockBytes / sb.inodeBytes;
    const garbage = new Uint8Array(sb.blockBytes).fill(0xab);
    for (const block of [0, 1, 5]) world.run(world.fs.device.submit([{ op: "write", offsetBytes: (desc.inodeTable + block) * sb.blockBytes, data: garbage }]));
    expect(desc.itableUnused).toBe(sb.inodesPerGroup);
    const first = sb.inodesPerGroup + 1;
    expect(allocate(world, at(first), S_IFREG, first)).toBe(first);
    expect(allocate(world, at(first), S_IFREG, first + 5 * perBlock + 2)).toBe(first + 5 * perBlock + 2);
    expect(desc.itableUnused).toBe(sb.inodesPerGroup - 5 * perBlock - 3);
    world.commit();
    const bytes = new Uint8Array(sb.blockBytes);
    const filledWith = (block: number): number => {
      world.run(world.fs.device.submit([{ op: "read", offsetBytes: (desc.inodeTable + block) * sb.blockBytes, data: bytes }]));
      expect(new Set(bytes).size).toBe(1);
      return bytes[0]!;
    };
    expect([0, 1, 5].map(filledWith)).toEqual([0, 0xab, 0]);
  });
});
