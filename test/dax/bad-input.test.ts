/**
 * What goes wrong under a mapping: no space, bad memory, damaged maps, a journal that was aborted, a device that fails, pages that somebody holds; and what a fault costs in handles. Each ends in the
 * signal or error that Linux gives, nothing is lost, and where the cause goes the same access works. Calls of mmap and its like are held against a real Linux in test/mm; here is what only DAX has.
 */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Bio } from "../../src/block/device.js";
import { ext4_super_block as S } from "../../src/format/superblock.js";
import type { Ext4Inode } from "../../src/ext4/inode.js";
import { FsError } from "../../src/lib/errno.js";
import { PMD_ORDER, PTE_ORDER, PUD_ORDER, VmFault } from "../../src/lib/vm-fault.js";
import { FOLL_LONGTERM, FOLL_WRITE, MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE, MAP_SYNC, MS_SYNC, PROT_READ, PROT_WRITE } from "../../src/mm/constants.js";
import { PmemDevice } from "../../src/nvdimm/pmem.js";
import type { Task } from "../../src/sched/task.js";
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } from "../../src/vfs/inode.js";
import { O_CREAT, O_RDWR } from "../../src/vfs/flags.js";
import { BUS_ADRERR, BUS_MCEERR_AR, Signal, SIGBUS } from "../../src/vfs/signal.js";
import { attempt, temporaryFolder, writeImage } from "../support/host.js";
import { MappingWorld, type MappingWorldOptions } from "./world.js";

const PAGE = 4096;
const HUGE = 2 ** 21;
const RW = PROT_READ | PROT_WRITE;
/** Nothing is kept for root. */
const UNRESERVED = ["-b", "4096", "-m", "0"];
/** Files of 2 MiB lie on boundaries of 2 MiB. */
const ALIGNED = [...UNRESERVED, "-E", "stride=512,stripe_width=512"];

class World extends MappingWorld {
  readonly handles: unknown[] = [];
  readonly tried: { order: number; flags: number; code: number }[] = [];

  constructor(options: Partial<MappingWorldOptions> = {}) {
    super({ device: "pmem", size: "32M", ...options, mount: { dax: "always", ...options.mount } });
    this.events.listener = (event, fields) => {
      if (event === "jbd2:jbd2_handle_start") this.handles.push(fields["type"]);
      else if (event === "ext4_dax_huge_fault") this.tried.push(fields as unknown as World["tried"][0]);
    };
  }

  /** The result, or what it ended in: an error's code, a signal with its place. */
  outcome(task: Task<unknown>): unknown {
    try {
      return this.run(task) ?? 0;
    } catch (error) {
      if (error instanceof FsError) return error.code;
      if (error instanceof Signal) return [error.signo, error.si_code, error.si_addr];
      throw error;
    }
  }

  /** A file, open, and of that size. */
  file(path: string, sizeBytes: number): number {
    const fd = this.run(this.process.open(path, O_RDWR | O_CREAT));
    this.run(this.process.ftruncate(fd, sizeBytes));
    return fd;
  }

  /** The same with blocks, in as few pieces as there are, each page full of its number. */
  written(path: string, pages: number): number {
    const fd = this.file(path, 0);
    this.run(this.process.fallocate(fd, 0, 0, pages * PAGE));
    this.run(this.process.pwrite(fd, Uint8Array.from({ length: pages * PAGE }, (_, index) => (Math.floor(index / PAGE) % 250) + 1), 0));
    this.run(this.process.fsync(fd));
    return fd;
  }

  map(fd: number, lengthBytes: number, flags = MAP_SHARED, prot = RW): number {
    return this.run(this.process.mmap(0, lengthBytes, prot, flags, fd));
  }

  space(path: string): Record<string, number> {
    const { stx_size, stx_blocks } = this.run(this.process.stat(path));
    const { bfree, bavail } = this.run(this.process.statfs("/"));
    return { stx_size, stx_blocks, bfree, bavail };
  }

  /** Where a block of a file begins on the device. */
  onDevice(path: string, page: number): number {
    const found = this.run(this.process.fiemap(path)).find(({ fe_logical, fe_length }) => page * PAGE >= fe_logical && page * PAGE < fe_logical + fe_length)!;
    return found.fe_physical + page * PAGE - found.fe_logical;
  }

  unmountAndCheck(): void {
    this.unmount();
    const image = join(temporaryFolder(), "disk.img");
    writeImage(image, this.image);
    const { status, stdout } = attempt("e2fsck", ["-fn", image]);
    expect(status, stdout).toBe(0);
  }

  /** What is free but for `pages` pages goes to a file. */
  fill(path: string, pages: number): number {
    const fd = this.file(path, 0);
    for (let step = this.run(this.process.statfs("/")).bfree; step >= 1;) {
      const { bfree } = this.run(this.process.statfs("/"));
      const wanted = Math.min(step, bfree - pages);
      if (wanted <= 0) return fd;
      if (this.outcome(this.process.fallocate(fd, 0, this.run(this.process.fstat(fd)).stx_size, wanted * PAGE)) !== 0) step = Math.floor(Math.min(step, wanted) / 2);
    }
    return fd;
  }
}

const busError = (address: number): unknown => [SIGBUS, BUS_ADRERR, address];
const machineCheck = (address: number): unknown => [SIGBUS, BUS_MCEERR_AR, address];
const MODES = [["persistent memory", "always"], ["the page cache", "never"]] as const;

test("what only DAX asks of a mapping", () => {
  const world = new World();
  const fd = world.written("/file", 4);
  const { process } = world;
  expect(world.outcome(process.mmap(0, PAGE, RW, MAP_SHARED_VALIDATE | MAP_SYNC, fd))).toBeGreaterThan(0);
  expect(world.outcome(process.mmap(0, PAGE, RW, MAP_SHARED_VALIDATE | MAP_SYNC | 0x4000_0000, fd))).toBe("EOPNOTSUPP");
  expect(world.outcome(process.mmap(0, PAGE, RW, MAP_SHARED, fd, 100))).toBe("EINVAL");
  expect(world.outcome(process.mmap(0, 0, RW, MAP_SHARED, fd))).toBe("EINVAL");
  // Behind the file's end: mapped, and not to be touched.
  const far = world.run(process.mmap(0, 8 * PAGE, RW, MAP_SHARED, fd, 2 * PAGE));
  expect(world.outcome(process.load(far + PAGE))).toBe(4);
  expect(world.outcome(process.load(far + 2 * PAGE))).toEqual(busError(far + 2 * PAGE));
  expect(world.outcome(process.store(far + 7 * PAGE, 1))).toEqual(busError(far + 7 * PAGE));
  const beyond = world.run(process.mmap(0, PAGE, RW, MAP_PRIVATE, fd, 2 ** 40));
  expect(world.outcome(process.store(beyond, 1))).toEqual(busError(beyond));
  // Who would keep pages for ever gets none.
  expect(world.outcome(process.getUserPages(far, 1, FOLL_WRITE | FOLL_LONGTERM))).toBe("EOPNOTSUPP");
  expect(world.outcome(process.getUserPages(far + 2 * PAGE, 1, FOLL_WRITE))).toBe("EFAULT");
  world.unmountAndCheck();

  const cached = new World({ mount: { dax: "never" } });
  const plain = cached.written("/file", 1);
  for (const flags of [MAP_SHARED_VALIDATE, MAP_SHARED, MAP_PRIVATE]) expect(cached.outcome(cached.process.mmap(0, PAGE, RW, flags | MAP_SYNC, plain)), String(flags)).toBe("EOPNOTSUPP"); // f02:3-5
  const [page] = cached.run(cached.process.getUserPages(cached.map(plain, PAGE), 1, FOLL_WRITE | FOLL_LONGTERM));
  page!.release();
  // Memory that a fence does not make durable.
  const hosted = new World({ pmem: { hostFlush: () => undefined } });
  const onHost = hosted.written("/file", 1);
  expect(hosted.outcome(hosted.process.mmap(0, PAGE, RW, MAP_SHARED_VALIDATE | MAP_SYNC, onHost))).toBe("EOPNOTSUPP");
});

describe("no space in a fault", () => {
  test.each(MODES)("a page, %s: SIGBUS, nothing is lost, and later it works", (_name, dax) => {
    const world = new World({ size: "8M", mke2fs: UNRESERVED, mount: { dax } });
    const { process } = world;
    const fd = world.file("/sparse", 64 * PAGE);
    const address = world.map(fd, 64 * PAGE);
    world.run(process.store(address, 1));
    world.run(process.fsync(fd));
    world.fill("/filler", 0);
    const before = world.space("/sparse");
    for (let tries = 0; tries < 3; tries++) expect(world.outcome(process.store(address + 9 * PAGE, 7))).toEqual(busError(address + 9 * PAGE));
    expect(world.space("/sparse")).toEqual(before);
    // Loads, private stores, and stores where there is a block go on.
    expect(world.outcome(process.load(address + 9 * PAGE))).toBe(0);
    expect(world.outcome(process.store(address + 9 * PAGE, 7))).toEqual(busError(address + 9 * PAGE));
    expect(world.outcome(process.store(world.map(fd, 64 * PAGE, MAP_PRIVATE) + 9 * PAGE, 7))).toBe(0);
    expect(world.outcome(process.store(address + 5, 2))).toBe(0);
    expect(world.space("/sparse")).toEqual(before);
    world.run(process.truncate("/filler", PAGE));
    expect(world.outcome(process.store(address + 9 * PAGE, 7))).toBe(0);
    world.run(process.msync(address, 64 * PAGE, MS_SYNC));
    expect(world.run(process.load(address + 9 * PAGE))).toBe(7);
    world.unmountAndCheck();
  });

  test("2 MiB that are not there in one piece: declined before anything is allocated", () => {
    const world = new World({ size: "16M", mke2fs: ALIGNED });
    const { process } = world;
    const fd = world.file("/sparse", 2 * HUGE);
    const address = world.map(fd, 2 * HUGE);
    world.fill("/filler", 200);
    const before = world.space("/sparse");
    world.handles.length = 0;
    world.run(process.store(address + 7 * PAGE, 3));
    expect(world.tried.map(({ order, code }) => [order, code & (VmFault.FALLBACK | VmFault.NOPAGE)])).toEqual([[PUD_ORDER, VmFault.FALLBACK], [PMD_ORDER, VmFault.FALLBACK], [PTE_ORDER, VmFault.NOPAGE]]);
    expect(world.handles).toEqual(["MAP_BLOCKS"]);
    // Linux has taken all that was left by then (b04:17-20).
    expect(world.space("/sparse")).toEqual({ ...before, stx_blocks: before["stx_blocks"]! + 8, bfree: before["bfree"]! - 1, bavail: before["bavail"]! - 1 });
    world.unmountAndCheck();
  });
});

describe("bad memory", () => {
  test("under an entry that is present, and under a fault", () => {
    const world = new World({ mke2fs: ALIGNED });
    const { process, pmem } = world;
    const fd = world.written("/file", 1024);
    const address = world.map(fd, 2 * HUGE);
    expect(world.run(process.load(address + 5 * PAGE))).toBe(6);
    expect(process.mm.pageTables.find(address)!.order).toBe(PMD_ORDER);
    const bad = world.onDevice("/file", 5);
    pmem.poison(bad + 512, 1);
    // The entry is there, and the access meets it; what lies beside it can be loaded.
    expect(world.outcome(process.load(address + 5 * PAGE + 512))).toEqual(machineCheck(address + 5 * PAGE + 512));
    expect(world.outcome(process.load(address + 5 * PAGE))).toBe(6);
    // A fault of 2 MiB falls back; the page itself is not mapped, not even for a store.
    const other = world.map(fd, 2 * HUGE);
    expect(world.outcome(process.load(other + 5 * PAGE))).toEqual(machineCheck(other + 5 * PAGE));
    expect(world.outcome(process.store(other + 5 * PAGE, 1))).toEqual(machineCheck(other + 5 * PAGE));
    expect(world.outcome(process.load(other + 6 * PAGE))).toBe(7);
    expect([process.mm.pageTables.find(other), process.mm.pageTables.find(other + 6 * PAGE)!.order]).toEqual([undefined, PTE_ORDER]);
    expect(world.outcome(process.getUserPages(other + 5 * PAGE, 1, 0))).toBe("EFAULT");
    // A copy of it cannot be made, whether the handler copies or the memory manager does.
    const copied = world.map(fd, 2 * HUGE, MAP_PRIVATE);
    expect(world.outcome(process.store(copied + 5 * PAGE, 1))).toEqual(machineCheck(copied + 5 * PAGE));
    const late = world.map(fd, 2 * HUGE, MAP_PRIVATE);
    expect(world.run(process.load(late + 7 * PAGE))).toBe(8);
    pmem.poison(world.onDevice("/file", 7), 1);
    expect(world.outcome(process.store(late + 7 * PAGE, 1))).toEqual(machineCheck(late + 7 * PAGE));
    expect(world.outcome(process.store(late + 8 * PAGE, 1))).toBe(0);
    world.unmountAndCheck();
  });

  test("under read and write", () => {
    const world = new World();
    const { process, pmem } = world;
    const fd = world.written("/file", 16);
    pmem.poison(world.onDevice("/file", 5) + 1024, 1);
    const into = new Uint8Array(16 * PAGE);
    // Up to the first unit of 512 bytes that is bad; an error only if that is nothing.
    expect(world.outcome(process.pread(fd, into, 0))).toBe(5 * PAGE + 1024);
    expect(into[5 * PAGE + 1023]).toBe(6);
    expect(world.outcome(process.pread(fd, into, 5 * PAGE))).toBe("EIO");
    expect(world.outcome(process.pread(fd, into.subarray(0, 100), 5 * PAGE))).toBe(100);
    expect(world.outcome(process.pread(fd, into, 6 * PAGE))).toBe(10 * PAGE);
    // A write of part of the page cannot know the rest.
    expect(world.outcome(process.pwrite(fd, new Uint8Array(1000).fill(9), 5 * PAGE + 500))).toBe("EIO");
    expect(world.outcome(process.pwrite(fd, new Uint8Array(3 * PAGE).fill(9), 2 * PAGE + 100))).toBe(3 * PAGE);
    expect(world.outcome(process.pwrite(fd, new Uint8Array(PAGE + 1000).fill(9), 4 * PAGE + 100))).toBe(PAGE - 100);
    expect(pmem.badBlocks).toHaveLength(1);
    // One of the whole page makes it good.
    expect(world.outcome(process.pwrite(fd, new Uint8Array(2 * PAGE).fill(8), 5 * PAGE))).toBe(2 * PAGE);
    expect(pmem.badBlocks).toEqual([]);
    expect(world.outcome(process.pread(fd, into, 0))).toBe(16 * PAGE);
    expect([into[2 * PAGE + 99], into[2 * PAGE + 100], into[4 * PAGE + 100], into[5 * PAGE], into[7 * PAGE - 1]]).toEqual([3, 9, 9, 8, 8]);
    expect(world.outcome(process.load(world.map(fd, 16 * PAGE) + 5 * PAGE))).toBe(8);
    world.unmountAndCheck();
  });

  test("in a hole's new block it is overwritten, and gone", () => {
    const world = new World({ size: "8M" });
    const { process, pmem } = world;
    const fd = world.file("/sparse", PAGE);
    const address = world.map(fd, PAGE);
    const filler = world.fill("/filler", 0);
    const free = world.run(process.fiemap("/filler"));
    world.run(process.ftruncate(filler, 0));
    world.run(process.sync());
    for (const { fe_physical, fe_length } of free) pmem.poison(fe_physical, fe_length);
    world.run(process.store(address + 3, 2));
    const block = world.onDevice("/sparse", 0);
    expect(free.some(({ fe_physical, fe_length }) => block >= fe_physical && block < fe_physical + fe_length)).toBe(true);
    expect([pmem.isPoisoned(block, PAGE), pmem.badBlocks.length > 0]).toEqual([false, true]);
    expect([...world.run(process.loadBytes(address, 5))]).toEqual([0, 0, 0, 2, 0]);
    world.unmountAndCheck();
  });
});

describe.each(MODES)("a damaged map under a fault, %s", (_name, dax) => {
  /** A file whose map has a block of its own, and that block spoilt. */
  function damaged(errors: "continue" | "remount-ro"): { world: World; fd: number; ino: number } {
    const world = new World({ mount: { dax, errors } });
    const { process } = world;
    const fd = world.file("/damaged", 40 * PAGE);
    for (let page = 0; page < 40; page += 2) world.run(process.pwrite(fd, new Uint8Array(PAGE).fill(5), page * PAGE));
    world.run(process.fsync(fd));
    world.written("/sound", 4);
    const inode = world.run(world.fs.igetSpecial(world.run(process.fstat(fd)).stx_ino)) as Ext4Inode;
    const leaf = inode.rawView.getUint32(0x28 + 12 + 4, true); // ei_leaf_lo of the first index entry
    world.unmount();
    expect([...world.image.subarray(leaf * PAGE, leaf * PAGE + 2)]).toEqual([0x0a, 0xf3]); // eh_magic
    world.image[leaf * PAGE]! ^= 0xff;
    world.mount();
    return { world, fd: world.run(world.process.open("/damaged", O_RDWR)), ino: inode.i_ino };
  }

  test.each([["load", (world: World, at: number) => world.process.load(at)], ["store", (world: World, at: number) => world.process.store(at, 1)]] as const)("a %s: SIGBUS, and the superblock tells", (_kind, access) => {
    const { world, fd, ino } = damaged("continue");
    const { process } = world;
    const address = world.map(fd, 40 * PAGE);
    expect(world.outcome(access(world, address + 2 * PAGE))).toEqual(busError(address + 2 * PAGE));
    const { view } = world.fs.sb;
    expect([S.s_error_count.get(view, 0), S.s_first_error_ino.get(view, 0)]).toEqual([1, ino]);
    expect(world.outcome(access(world, address + 4 * PAGE))).toEqual(busError(address + 4 * PAGE));
    const copied = world.map(fd, 40 * PAGE, MAP_PRIVATE);
    expect(world.outcome(process.store(copied, 1))).toEqual(busError(copied));
    // All else goes on.
    const sound = world.map(world.run(process.open("/sound", O_RDWR)), 4 * PAGE);
    expect(world.outcome(process.store(sound, 77))).toBe(0);
    world.unmount();
    expect(S.s_error_count.get(new DataView(world.image.buffer), 1024)).toBeGreaterThan(1);
    expect(S.s_first_error_ino.get(new DataView(world.image.buffer), 1024)).toBe(ino);
  });

  test("errors=remount-ro: nothing is stored any more", () => {
    const { world, fd } = damaged("remount-ro");
    const { process } = world;
    const sound = world.map(world.run(process.open("/sound", O_RDWR)), 4 * PAGE);
    expect(world.run(process.load(sound))).toBe(1);
    const address = world.map(fd, 40 * PAGE);
    expect(world.outcome(process.load(address))).toEqual(busError(address));
    expect(world.outcome(process.store(sound, 77))).toEqual(busError(sound));
    expect(world.run(process.load(sound + PAGE))).toBe(2);
    expect(world.outcome(process.pwrite(fd, new Uint8Array(1), 0))).toBe("EROFS");
  });
});

test.each(MODES)("a journal that was aborted, %s: shared stores end, private ones and loads go on", (_name, dax) => {
  const world = new World({ mount: { dax } });
  const { process } = world;
  const fd = world.written("/file", 8);
  const address = world.map(fd, 8 * PAGE);
  const copied = world.map(fd, 8 * PAGE, MAP_PRIVATE);
  world.run(process.store(address, 9));
  world.run(world.fs.journal.abort(new FsError("EIO", "for the test")));
  world.handles.length = 0;
  expect(world.outcome(process.store(address + PAGE, 9))).toEqual(busError(address + PAGE)); // d10:14
  expect(world.outcome(process.load(address + 2 * PAGE))).toBe(3);
  expect(world.outcome(process.store(address + 2 * PAGE, 9))).toEqual(busError(address + 2 * PAGE));
  // What may be stored into already is nobody's business any more.
  expect(world.outcome(process.store(address + 1, 9))).toBe(0);
  expect(world.outcome(process.store(copied + PAGE, 9))).toBe(0);
  expect(world.outcome(process.load(copied + PAGE))).toBe(9);
  expect(world.handles).toEqual([]);
});

/** Reads fail while it is told so. */
class FailingDevice extends PmemDevice {
  failsReads = false;

  override *submit(bios: readonly Bio[]): Task<void> {
    if (this.failsReads && bios.some(({ op }) => op === "read")) throw new FsError("EIO", "for the test");
    yield* super.submit(bios);
  }
}

test("a device that fails reads under a fault of the page cache: SIGBUS, and later it works", () => {
  const first = new World({ mount: { dax: "never" } });
  first.written("/file", 64);
  first.unmount();
  const device = new FailingDevice(first.image);
  const world = new World({ device, mount: { dax: "never" } });
  const { process } = world;
  const fd = world.run(process.open("/file", O_RDWR));
  const address = world.map(fd, 64 * PAGE);
  const copied = world.map(fd, 64 * PAGE, MAP_PRIVATE);
  expect(world.run(process.load(address))).toBe(1);
  device.failsReads = true;
  expect(world.outcome(process.load(address + 40 * PAGE))).toEqual(busError(address + 40 * PAGE));
  expect(world.outcome(process.store(address + 40 * PAGE, 1))).toEqual(busError(address + 40 * PAGE));
  expect(world.outcome(process.store(copied + 40 * PAGE, 1))).toEqual(busError(copied + 40 * PAGE));
  expect(world.outcome(process.load(address + PAGE))).toBe(2); // it came along with the first
  device.failsReads = false;
  expect(world.outcome(process.load(address + 40 * PAGE))).toBe(41);
  expect(world.outcome(process.store(address + 41 * PAGE, 1))).toBe(0);
  expect(world.outcome(process.store(copied + 40 * PAGE, 1))).toBe(0);
  world.unmountAndCheck();
});

test("who takes pages away that somebody holds waits, if it can", async () => {
  const world = new World();
  const { process } = world;
  const fd = world.written("/file", 16);
  const [page] = world.run(process.getUserPages(world.map(fd, 16 * PAGE) + 4 * PAGE, 1, FOLL_WRITE));
  // Nobody could let go of it while a synchronous call waits.
  expect(world.outcome(process.ftruncate(fd, 0))).toBe("EBUSY");
  expect(world.space("/file")["stx_size"]).toBe(16 * PAGE);
  const done: string[] = [];
  const start = (name: string, task: Task<unknown>): Promise<unknown> => world.scheduler.runAsync(task, name).then(() => done.push(name));
  await start("punch elsewhere", process.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8 * PAGE, PAGE));
  const waiting = [start("punch", process.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * PAGE, PAGE)), start("truncate", process.ftruncate(fd, PAGE))];
  await start("a read of another file", process.stat("/"));
  expect(done).toEqual(["punch elsewhere", "a read of another file"]);
  page!.data[0] = 99;
  expect(world.image[world.onDevice("/file", 4)]).toBe(99);
  page!.release();
  await Promise.all(waiting);
  expect(done.slice(2)).toEqual(["punch", "truncate"]);
  expect(world.space("/file")["stx_size"]).toBe(PAGE);
  world.unmountAndCheck();
});

test("a shared store starts one handle, if its page needs a block, and none at a size that is declined", () => {
  const world = new World({ mke2fs: ALIGNED });
  const { process } = world;
  const sparse = world.file("/sparse", 4 * HUGE);
  const written = world.written("/written", 1024);
  const small = world.map(sparse, HUGE - PAGE);
  const large = world.map(sparse, 4 * HUGE);
  const blocks = world.map(written, 2 * HUGE);
  const copied = world.map(written, 2 * HUGE, MAP_PRIVATE);
  let second = 1_700_001_000;
  const cost = (task: Task<unknown>, isLater = true): { handles: unknown[]; tried: unknown[] } => {
    if (isLater) world.clock.set(second++);
    world.handles.length = world.tried.length = 0;
    world.run(task);
    return { handles: [...world.handles], tried: world.tried.map(({ order, code }) => [order, (code & VmFault.FALLBACK) !== 0]) };
  };
  const [pud, pmdNo, pmd, pte] = [[PUD_ORDER, true], [PMD_ORDER, true], [PMD_ORDER, false], [PTE_ORDER, false]];

  // Of a page, over a hole: the blocks' own handle sets the times as well. Linux has one at each size, and one for the times.
  expect(cost(process.store(small, 1))).toEqual({ handles: ["MAP_BLOCKS"], tried: [pud, pmdNo, pte] });
  expect(cost(process.store(small + PAGE, 1))).toEqual({ handles: ["MAP_BLOCKS"], tried: [pte] });
  expect(cost(process.store(small, 2))).toEqual({ handles: [], tried: [] });
  // Of 2 MiB.
  expect(cost(process.store(large + HUGE, 1))).toEqual({ handles: ["MAP_BLOCKS"], tried: [pmd] });
  expect(cost(process.store(large + HUGE + 77 * PAGE, 1))).toEqual({ handles: [], tried: [] });
  // Over blocks that are written: the times, once for each tick of the clock.
  expect(cost(process.store(blocks, 1))).toEqual({ handles: ["INODE"], tried: [pmd] });
  expect(cost(process.store(blocks + HUGE, 1), false)).toEqual({ handles: [], tried: [pmd] });
  // Private stores, loads, and faults that are declined in between.
  expect(cost(process.store(copied + 3 * PAGE, 1)).handles).toEqual([]);
  expect(cost(process.store(copied + HUGE, 1)).handles).toEqual([]);
  expect(cost(process.load(large + 2 * HUGE)).handles).toEqual([]);
  expect(cost(process.store(world.map(sparse, 4 * HUGE, MAP_PRIVATE) + 3 * HUGE, 1)).handles).toEqual([]);
  // A private copy had a page of its own there first: entries of 4 KiB keep the 2 MiB from being mapped, at no handle's cost.
  expect(cost(process.store(large + 3 * HUGE + PAGE, 1))).toEqual({ handles: ["MAP_BLOCKS"], tried: [pmdNo, pte] });
  // After a write-back the next store faults again.
  world.run(process.msync(blocks, PAGE, MS_SYNC));
  expect(cost(process.store(blocks, 1)).handles).toEqual(["INODE"]);
  world.unmountAndCheck();
});
