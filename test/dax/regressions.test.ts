/** Defects that were found by reading, each by what it did. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { LogJournal } from "../../src/jbd2/log-journal.js";
import { MemoryDevice } from "../../src/block/memory.js";
import type { Bio } from "../../src/block/device.js";
import type { Ext4Inode } from "../../src/ext4/inode.js";
import { EXT4_INLINE_DATA_FL, EXT4_JOURNAL_DATA_FL } from "../../src/format/inode.js";
import { FsError } from "../../src/lib/errno.js";
import { FOLL_WRITE, MADV_REMOVE, MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, MREMAP_FIXED, MREMAP_MAYMOVE, MS_SYNC, PROT_READ, PROT_WRITE } from "../../src/mm/constants.js";
import { PmemDevice } from "../../src/nvdimm/pmem.js";
import { WaitQueue } from "../../src/sched/wait-queue.js";
import type { Task } from "../../src/sched/task.js";
import { FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } from "../../src/vfs/inode.js";
import { O_CREAT, O_DIRECT, O_RDWR } from "../../src/vfs/flags.js";
import { Signal } from "../../src/vfs/signal.js";
import { makeImage } from "../support/allocation-world.js";
import { attempt, readImage, temporaryFolder, writeImage } from "../support/host.js";
import { MappingWorld, type MappingWorldOptions } from "./world.js";

const PAGE = 4096;
const RW = PROT_READ | PROT_WRITE;

/** Requests that `stops` names stay under way until it is taken back. */
class GatedDevice extends MemoryDevice {
  stops: ((bio: Bio) => boolean) | undefined;
  stopped = 0;
  private readonly gate = new WaitQueue("the gate", true);

  override *submit(bios: readonly Bio[]): Task<void> {
    yield* super.submit(bios);
    if (this.stops === undefined || !bios.some(this.stops)) return;
    this.stopped++;
    yield* this.gate.wait(() => this.stops === undefined);
  }

  open(): void {
    this.stops = undefined;
    this.gate.wakeAll();
  }
}

class World extends MappingWorld {
  constructor(options: Partial<MappingWorldOptions> = {}) {
    super({ device: "memory", size: "32M", ...options });
  }

  outcome(task: Task<unknown>): unknown {
    try {
      return this.run(task) ?? 0;
    } catch (error) {
      if (error instanceof FsError) return error.code;
      if (error instanceof Signal) return [error.signo, error.si_code];
      throw error;
    }
  }

  file(path: string, content: Uint8Array = new Uint8Array(0), flags = 0): number {
    const fd = this.run(this.process.open(path, O_RDWR | O_CREAT | flags));
    if (content.length > 0) this.run(this.process.pwrite(fd, content, 0));
    return fd;
  }

  map(fd: number, lengthBytes: number, flags = MAP_SHARED, prot = RW): number {
    return this.run(this.process.mmap(0, lengthBytes, prot, flags, fd));
  }

  read(fd: number, offset: number, length: number): number[] {
    const into = new Uint8Array(length);
    return [...into.subarray(0, this.run(this.process.pread(fd, into, offset)))];
  }

  unmountAndCheck(): void {
    this.unmount();
    const image = join(temporaryFolder(), "disk.img");
    writeImage(image, this.image);
    const { status, stdout } = attempt("e2fsck", ["-fn", image]);
    expect(status, stdout).toBe(0);
  }

  remounted(path: string): number {
    this.unmountAndCheck();
    this.mount();
    return this.run(this.process.open(path, O_RDWR));
  }
}

const filled = (length: number, byte: number): Uint8Array => new Uint8Array(length).fill(byte);
const inodeOf = (world: World, fd: number): Ext4Inode => world.process.descriptors.get(fd).f_inode as Ext4Inode;
const ticks = async (): Promise<void> => { for (let i = 0; i < 200; i++) await new Promise<void>((r) => setImmediate(r)); };

test("blocks of a mapped page that the file only now reaches become dirty by a store", () => {
  const world = new World({ mke2fs: ["-b", "1024"] });
  const { process } = world;
  const fd = world.file("/f", filled(100, 1));
  const at = world.map(fd, PAGE);
  world.run(process.store(at + 50, 2));
  world.run(process.ftruncate(fd, PAGE));
  world.run(process.store(at + 3000, 77));
  world.run(process.munmap(at, PAGE));
  const again = world.remounted("/f");
  expect(world.read(again, 3000, 1)).toEqual([77]);
});

test("so do they where a write made the file grow", () => {
  const world = new World({ mke2fs: ["-b", "1024"] });
  const { process } = world;
  const fd = world.file("/f", filled(100, 1));
  const at = world.map(fd, PAGE);
  world.run(process.store(at + 50, 2));
  world.run(process.pwrite(fd, filled(10, 3), 3500));
  world.run(process.store(at + 2000, 77));
  world.run(process.munmap(at, PAGE));
  const again = world.remounted("/f");
  expect(world.read(again, 2000, 1)).toEqual([77]);
});

test("journaled, not journaled, journaled again", () => {
  const world = new World({ mount: { delalloc: false } });
  const { process } = world;
  const fd = world.file("/f");
  const inode = inodeOf(world, fd);
  const set = (isOn: boolean): void => {
    world.run((function* (): Task<void> {
      yield* inode.i_rwsem.write();
      try { yield* inode.setFlags(isOn ? inode.i_flags | EXT4_JOURNAL_DATA_FL : inode.i_flags & ~EXT4_JOURNAL_DATA_FL); } finally { inode.i_rwsem.unlockWrite(); }
    })());
  };
  set(true);
  world.run(process.pwrite(fd, filled(PAGE, 1), 0));
  set(false);
  world.run(process.pwrite(fd, filled(PAGE, 2), 0));
  world.run(process.fsync(fd));
  set(true);
  expect(world.read(fd, 0, 1)).toEqual([2]);
  world.run(process.pwrite(fd, filled(10, 3), 0));
  expect(world.read(fd, 100, 1)).toEqual([2]);
  const again = world.remounted("/f");
  expect(world.read(again, 100, 1)).toEqual([2]);
});

test("inline data that is cut off leaves no page behind", () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "f"), filled(50, 1));
  const world = new World({ mke2fs: ["-b", "4096", "-O", "inline_data", "-d", folder] });
  const { process } = world;
  const fd = world.file("/f");
  expect(inodeOf(world, fd).i_flags & EXT4_INLINE_DATA_FL).not.toBe(0);
  const shared = world.map(fd, PAGE, MAP_SHARED, PROT_READ);
  const copied = world.map(fd, PAGE, MAP_PRIVATE);
  expect(world.outcome(process.load(shared))).toBe(1);
  world.run(process.store(copied, 9));
  world.run(process.ftruncate(fd, 0));
  expect(world.outcome(process.load(shared))).toEqual([7, 2]);
  expect(world.outcome(process.load(copied))).toEqual([7, 2]);
  world.unmountAndCheck();
});

test("what was stored behind the end reads as zeroes when a journaled file grows", () => {
  for (const grow of ["write", "truncate", "near"]) {
    const world = new World({ mount: { dataMode: "journal" } });
    const { process } = world;
    const fd = world.file("/f", filled(100, 1));
    const at = world.map(fd, PAGE);
    world.run(process.store(at + 200, 9));
    if (grow === "write") world.run(process.pwrite(fd, filled(10, 3), 10000));
    else if (grow === "near") world.run(process.pwrite(fd, filled(10, 3), 1000));
    else world.run(process.ftruncate(fd, 10000));
    expect(world.read(fd, 200, 1), grow).toEqual([0]);
    const again = world.remounted("/f");
    expect(world.read(again, 200, 1), grow).toEqual([0]);
  }
});

test("mremap stays within the address space", () => {
  const world = new World();
  const { process } = world;
  const at = world.run(process.mmap(0, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS));
  expect(world.outcome(process.mremap(at, PAGE, 2 ** 47 - PAGE, MREMAP_MAYMOVE))).toBe("ENOMEM");
  expect(world.outcome(process.mremap(at, PAGE, 2 ** 50, 0))).toBe("ENOMEM");
  expect(world.outcome(process.mremap(at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, 2 ** 47))).toBe("EINVAL");
  expect(world.outcome(process.mremap(at, 2 ** 50, PAGE, 0))).toBe("EINVAL");
  const shared = world.run(process.mmap(0, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS));
  expect(world.outcome(process.mremap(shared, 0, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, shared))).toBe("EFAULT");
  expect(world.outcome(process.mincore(at, 2 ** 60))).toBe("ENOMEM");
  expect(world.outcome(process.mincore(at, 2 ** 46))).toBe("ENOMEM");
  world.unmountAndCheck();
});

test("what was stored through a mapping of persistent memory is durable after a range was inserted before it", () => {
  const world = new World({ device: "pmem", pmem: { persistence: "adr" }, mount: { dax: "always" } });
  const { process } = world;
  const fd = world.file("/f", filled(8 * PAGE, 1));
  world.run(process.fsync(fd));
  const at = world.map(fd, 8 * PAGE);
  world.run(process.store(at + 4 * PAGE, 99));
  world.run(process.fallocate(fd, FALLOC_FL_INSERT_RANGE, PAGE, PAGE));
  world.run(process.fsync(fd));
  const image = world.pmem.crashImage(() => 0);
  const crashed = new MappingWorld({ device: new PmemDevice(image), mount: { dax: "always" } });
  const again = crashed.run(crashed.process.open("/f", O_RDWR));
  const into = new Uint8Array(9 * PAGE);
  crashed.run(crashed.process.pread(again, into, 0));
  expect(into[5 * PAGE]).toBe(99);
});

async function gated(options: Partial<MappingWorldOptions>): Promise<{ world: World; device: GatedDevice }> {
  const device = new GatedDevice(readImage(makeImage(options.mke2fs ?? ["-b", "4096"], "32M")));
  return { world: new World({ ...options, device }), device };
}

test("a file is deleted while its pages are written back", async () => {
  const { world, device } = await gated({});
  const { process } = world;
  const fd = world.file("/f", filled(16 * PAGE, 0xab));
  device.stops = (bio) => bio.op === "write" && bio.data!.length >= PAGE && bio.data![0] === 0xab;
  const writing = world.scheduler.runAsync(world.fs.sync());
  await ticks();
  expect(device.stopped).toBe(1);
  const gone = world.scheduler.runAsync((function* () { yield* process.unlink("/f"); yield* process.close(fd); })());
  await ticks();
  device.open();
  await Promise.all([writing, gone]);
  world.unmountAndCheck();
});

test("a store into a page that is on its way to the journal is kept", async () => {
  const { world, device } = await gated({ mount: { dataMode: "journal" } });
  const { process } = world;
  const fd = world.file("/f", filled(4 * PAGE, 1));
  // A map with a block of its own.
  for (let i = 0; i < 8; i++) world.run(process.pwrite(fd, filled(10, i), (20 + i * 3) * PAGE));
  const at = world.map(fd, 4 * PAGE);
  world.run(process.store(at + 10, 2));
  world.run(world.fs.journal.commitAll());
  world.run((world.fs.journal as LogJournal).checkpoint());
  world.fs.cache.invalidate();
  device.stops = (bio) => bio.op === "read" && bio.data![0] === 0x0a && bio.data![1] === 0xf3;
  const writing = world.scheduler.runAsync(process.msync(at, PAGE, MS_SYNC));
  await ticks();
  expect(device.stopped).toBe(1);
  const storing = world.scheduler.runAsync(process.store(at + 11, 77));
  await ticks();
  device.open();
  await Promise.all([writing, storing]);
  expect(world.run(process.load(at + 11))).toBe(77);
  const again = world.remounted("/f");
  expect(world.read(again, 10, 2)).toEqual([2, 77]);
});

test("caches are dropped while a write waits", async () => {
  const { world, device } = await gated({});
  const { process } = world;
  const fd = world.file("/f", filled(4 * PAGE, 1));
  for (let i = 0; i < 8; i++) world.run(process.pwrite(fd, filled(10, i), (20 + i * 3) * PAGE));
  world.run(process.sync());
  world.run((world.fs.journal as LogJournal).checkpoint());
  const [byte] = world.read(fd, 0, 1);
  expect(byte).toBe(1);
  world.fs.cache.invalidate();
  world.run(process.pread(fd, new Uint8Array(1), 0));
  world.fs.cache.invalidate();
  device.stops = (bio) => bio.op === "read" && bio.data![0] === 0x0a && bio.data![1] === 0xf3;
  const writing = world.scheduler.runAsync(process.pwrite(fd, filled(PAGE, 3), PAGE / 2));
  await ticks();
  expect(device.stopped).toBe(1);
  world.run(world.fs.dropCaches());
  device.open();
  await writing;
  expect(world.read(fd, 0, 1)).toEqual([1]);
  expect(world.read(fd, 2 * PAGE - 1, 1)).toEqual([1]);
});

test("a reservation that fails in its midst gives all promises back", () => {
  const world = new World({ mke2fs: ["-b", "4096", "-m", "0"] });
  const { process } = world;
  const fd = world.file("/f");
  world.run(process.fsync(fd));
  const { allocator } = world.fs;
  const claim = allocator.claim.bind(allocator);
  let calls = 0;
  allocator.claim = function* (...args: Parameters<typeof claim>): ReturnType<typeof claim> {
    if (++calls > 2) throw new FsError("EIO");
    return yield* claim({ ...args[0], count: 4 });
  };
  const before = allocator.freeClusters;
  expect(world.outcome(process.fallocate(fd, 0, 0, 64 * PAGE))).toBe("EIO");
  allocator.claim = claim;
  expect(inodeOf(world, fd).delayedClusters.size).toBe(0);
  expect(allocator.freeClusters).toBeLessThanOrEqual(before);
});

test("a cluster that is cut off in its midst keeps no promise without a dirty page", () => {
  const world = new World({ mke2fs: ["-b", "4096", "-O", "bigalloc", "-C", "16384"] });
  const { process } = world;
  const fd = world.file("/f");
  world.run(process.pwrite(fd, filled(PAGE, 1), PAGE));
  world.run(process.ftruncate(fd, PAGE));
  expect(inodeOf(world, fd).delayedClusters.size).toBe(0);
  // A hole that does not reach the end: before such a one everything is written back.
  world.run(process.pwrite(fd, filled(PAGE, 1), 4 * PAGE));
  world.run(process.fsync(fd));
  world.run(process.pwrite(fd, filled(3 * PAGE, 1), 0));
  world.run(process.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, 2 * PAGE));
  expect(inodeOf(world, fd).delayedClusters.size).toBe(1);
  world.run(process.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE));
  expect(inodeOf(world, fd).delayedClusters.size).toBe(0);
  world.unmountAndCheck();
});

test("a page that is being read does not bring back what a direct write replaced", async () => {
  for (const mode of ["ordered", "journal"] as const) {
    const { world, device } = await gated({ mount: { dataMode: mode } });
    world.file("/f", filled(16 * PAGE, 1));
    const fd = world.remounted("/f");
    const { process } = world;
    const direct = world.file("/f", undefined, O_DIRECT);
    const at = world.map(fd, 16 * PAGE);
    device.stops = (bio) => bio.op === "read" && bio.data![0] === 1;
    const loading = world.scheduler.runAsync(process.load(at));
    await ticks();
    expect(device.stopped).toBe(1);
    const writing = world.scheduler.runAsync(process.pwrite(direct, filled(4 * PAGE, 2), 0));
    await ticks();
    device.open();
    await Promise.all([loading, writing]);
    expect(world.run(process.load(at)), mode).toBe(2);
    expect(world.read(fd, PAGE, 1), mode).toEqual([2]);
  }
});

test("an exit lets go of everything, whatever goes wrong", async () => {
  const { world, device } = await gated({});
  const { process } = world;
  const fd = world.file("/f", filled(PAGE, 1));
  const other = world.file("/g", filled(PAGE, 1));
  world.map(fd, PAGE);
  world.map(other, PAGE);
  const inodes = [inodeOf(world, fd), inodeOf(world, other)];
  world.run(process.ftruncate(fd, 0));
  world.run(process.pwrite(fd, filled(PAGE, 1), 0));
  device.submit = function* (bios: readonly Bio[]): Task<void> { if (bios.some(({ op }) => op === "write")) throw new FsError("EIO"); yield* MemoryDevice.prototype.submit.call(device, bios); };
  world.outcome(process.exit());
  expect(inodes.map(({ i_count }) => i_count)).toEqual([0, 0]);
  expect(process.mm.vmas.overlapping(0, 2 ** 47).length).toBe(0);
});

test("a pinned page of persistent memory stays pinned when a write fills the hole behind it", async () => {
  const world = new World({ device: "pmem", mount: { dax: "always" } });
  const { process } = world;
  const fd = world.file("/f", filled(PAGE, 1));
  world.run(process.ftruncate(fd, 4 * PAGE));
  const at = world.map(fd, 4 * PAGE);
  const [page] = world.run(process.getUserPages(at, 1, FOLL_WRITE));
  world.run(process.fsync(fd));
  world.run(process.pwrite(fd, filled(2 * PAGE, 2), 0));
  let isDone = false;
  const punching = world.scheduler.runAsync(process.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE)).then(() => { isDone = true; });
  await ticks();
  expect(isDone).toBe(false);
  page!.release();
  await punching;
  world.unmountAndCheck();
});

test("MADV_REMOVE over mappings that go meanwhile", async () => {
  const { world } = await gated({});
  const { process } = world;
  const fd = world.file("/f", filled(16 * PAGE, 1));
  world.run(process.sync());
  const at = world.map(fd, 4 * PAGE);
  const next = world.run(process.mmap(at + 4 * PAGE, 4 * PAGE, RW, MAP_SHARED, fd, 8 * PAGE));
  expect(next).toBe(at + 4 * PAGE);
  const inode = inodeOf(world, fd);
  const hold = new WaitQueue("hold", true);
  let isOpen = false;
  const holder = world.scheduler.runAsync((function* () { yield* inode.i_rwsem.write(); yield* hold.wait(() => isOpen); inode.i_rwsem.unlockWrite(); })());
  const removing = world.scheduler.runAsync(process.madvise(at, 8 * PAGE, MADV_REMOVE)).catch((error: unknown) => error);
  await ticks();
  const unmapping = world.scheduler.runAsync(process.munmap(next, 4 * PAGE));
  await ticks();
  isOpen = true;
  hold.wakeAll();
  await Promise.all([holder, unmapping]);
  expect(await removing).toMatchObject({ code: "ENOMEM" });
  world.unmountAndCheck();
});

test("a private copy made while the file is cut off goes with it", async () => {
  const { world } = await gated({});
  const { process } = world;
  const fd = world.file("/f", filled(4 * PAGE, 1));
  world.run(process.sync());
  const at = world.map(fd, 4 * PAGE, MAP_PRIVATE);
  world.run(process.load(at));
  const inode = inodeOf(world, fd);
  const hold = new WaitQueue("hold", true);
  let isOpen = false;
  const holder = world.scheduler.runAsync((function* () { yield* inode.i_writeback.lock(); yield* hold.wait(() => isOpen); inode.i_writeback.unlock(); })());
  const cutting = world.scheduler.runAsync(process.ftruncate(fd, 100));
  await ticks();
  const storing = world.scheduler.runAsync(process.store(at + 2 * PAGE, 5));
  await ticks();
  isOpen = true;
  hold.wakeAll();
  await Promise.all([holder, cutting, storing]);
  expect(world.outcome(process.load(at + 2 * PAGE))).toEqual([7, 2]);
  world.unmountAndCheck();
});

test("a file of persistent memory is deleted when nobody holds its pages any more", async () => {
  const world = new World({ device: "pmem", mount: { dax: "always" } });
  const { process } = world;
  const fd = world.file("/f", filled(4 * PAGE, 1));
  const at = world.map(fd, 4 * PAGE);
  const [page] = world.run(process.getUserPages(at, 1, FOLL_WRITE));
  world.run(process.munmap(at, 4 * PAGE));
  world.run(process.unlink("/f"));
  let isDone = false;
  const closing = world.scheduler.runAsync(process.close(fd)).then(() => { isDone = true; });
  await ticks();
  expect(isDone).toBe(false);
  page!.release();
  await closing;
  world.unmountAndCheck();
});

test("what was stored into blocks behind the end reads as zeroes when the file grows", () => {
  for (const dataMode of ["ordered", "journal"] as const) for (const size of [100, 1024]) {
    const world = new World({ mke2fs: ["-b", "1024"], mount: { dataMode } });
    const { process } = world;
    const fd = world.file("/f", filled(size, 1));
    const at = world.map(fd, PAGE);
    world.run(process.store(at + 3000, 9));
    world.run(process.ftruncate(fd, PAGE));
    expect(world.read(fd, 3000, 1), `${dataMode} ${size}`).toEqual([0]);
    world.run(process.store(at + 3001, 8));
    const again = world.remounted("/f");
    expect(world.read(again, 3000, 2), `${dataMode} ${size}`).toEqual([0, 8]);
  }
});

test("a file that is deleted while somebody opens it", async () => {
  const { world, device } = await gated({});
  const { process, kernel } = world;
  const fd = world.file("/f", filled(PAGE, 1));
  world.run(process.setxattr("/f", "user.big", filled(200, 7)));
  const acl = new Uint8Array([2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 6, 0, 232, 3, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16, 0, 6, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255]);
  world.run(process.setxattr("/f", "system.posix_acl_access", acl));
  world.run(process.close(fd));
  world.run(process.sync());
  world.run((world.fs.journal as LogJournal).checkpoint());
  world.fs.cache.invalidate();
  device.stops = (bio) => bio.op === "read" && bio.data![2] === 2 && bio.data![3] === 0xea;
  const user = kernel.spawn({ uid: 1000, gid: 1000, groups: [], umask: 0 } as never);
  const opening = world.scheduler.runAsync(user.open("/f", O_RDWR)).catch((error: unknown) => error);
  await ticks();
  expect(device.stopped).toBe(1);
  // Frees the inode, and its number goes to another file.
  const unlinking = world.scheduler.runAsync(process.unlink("/f")).catch((error: unknown) => error);
  await ticks();
  device.open();
  const [opened] = await Promise.all([opening, unlinking]);
  const other = world.file("/other", filled(PAGE, 5));
  if (typeof opened === "number") {
    world.run(user.pwrite(opened, filled(PAGE, 9), 0));
    world.run(user.close(opened));
  } else expect(opened).toMatchObject({ code: "ENOENT" });
  expect(world.read(other, 0, 1)).toEqual([5]);
  world.unmountAndCheck();
});
