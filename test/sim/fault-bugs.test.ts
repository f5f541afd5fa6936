/** Each planted bug of faults, mappings and their locks shows in a few calls, and without it the same calls go well. Those that need an interleaving get it by a lock that the test holds. */
import { describe, expect, test } from "vitest";
import type { Ext4Inode } from "../../src/ext4/inode.js";
import type { Ext4MountOptions } from "../../src/ext4/super.js";
import { FOLL_WRITE, MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE, MAP_SYNC, MS_SYNC, PROT_READ, PROT_WRITE } from "../../src/mm/constants.js";
import { PmemDevice } from "../../src/nvdimm/pmem.js";
import type { Task } from "../../src/sched/task.js";
import { FAULT_BUGS } from "../../src/sim/bugs/fault-bugs.js";
import { LabWorld } from "../../src/sim/lab-world.js";
import { O_CREAT, O_RDWR } from "../../src/vfs/flags.js";
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } from "../../src/vfs/inode.js";
import type { Process } from "../../src/vfs/process.js";

const PAGE = 4096;
const PMD = 2 * 2 ** 20;
const RW = PROT_READ | PROT_WRITE;
const PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

/** The file as made on a new filesystem: two pages of ones, then a hole up to 4 MiB. */
const image = ((): Uint8Array => {
  const world = new LabWorld();
  world.mount({});
  const fd = world.run(world.process.open("/file", O_RDWR | O_CREAT));
  world.run(world.process.pwrite(fd, new Uint8Array(2 * PAGE).fill(1), 0));
  world.run(world.process.ftruncate(fd, 2 * PMD));
  world.unmount();
  return (world.device as PmemDevice).bytes.slice();
})();

/** The file mounted and open, with what a scenario does to it. */
class Stage {
  readonly world: LabWorld;
  readonly process: Process;
  readonly fd: number;
  readonly inode: Ext4Inode;

  constructor(private readonly mount: Ext4MountOptions, bytes: Uint8Array = image.slice()) {
    this.world = new LabWorld({ device: new PmemDevice(bytes, { persistence: "adr" }) });
    this.world.mount({ dax: "always", ...mount });
    this.process = this.world.process;
    this.fd = this.run(this.process.open("/file", O_RDWR));
    this.inode = this.process.descriptors.get(this.fd).f_inode as Ext4Inode;
  }

  get pmem(): PmemDevice { return this.world.device as PmemDevice; }

  run<T>(task: Task<T>): T {
    return this.world.run(task);
  }

  /** Side by side with others: it goes as far as it can at once. */
  start<T>(task: Task<T>): Promise<T> {
    return this.world.scheduler.runAsync(task);
  }

  map(flags = MAP_SHARED, lengthBytes = 2 * PMD): number {
    return this.run(this.process.mmap(0, lengthBytes, RW, flags, this.fd));
  }

  read(offsetBytes: number): number {
    const byte = new Uint8Array(1);
    this.run(this.process.pread(this.fd, byte, offsetBytes));
    return byte[0]!;
  }

  /** What lay in the processors' caches is lost. */
  afterPowerCut(): Stage {
    return new Stage(this.mount, this.pmem.crashImage(() => 0));
  }

  remounted(): Stage {
    this.world.unmount();
    return new Stage(this.mount, this.pmem.bytes.slice());
  }
}

type Script = (mount: Ext4MountOptions) => unknown;

/** A script's last value with the bug, and as it should be; an error is given by its code or name. */
const SCRIPTS: Record<string, readonly [script: Script, wrong: unknown, right: unknown]> = {
  "pmd-no-split": [(mount) => {
    const stage = new Stage(mount);
    const map = stage.map(MAP_PRIVATE) + PMD; // all hole: 2 MiB of zeroes
    stage.run(stage.process.load(map));
    stage.run(stage.process.store(map + 5, 7));
    return stage.run(stage.process.load(map + 5));
  }, "EDEADLK", 7],

  "fault-without-invalidate-lock": [async (mount) => {
    const stage = new Stage(mount);
    const { inode, process, fd } = stage;
    const map = stage.map();
    // Blocks are about to go, with all pages unmapped, when the load comes.
    inode.i_writeback.lockIfFree();
    const punch = stage.start(process.fallocate(fd, PUNCH, 0, PAGE));
    const load = stage.start(process.load(map));
    inode.i_writeback.unlock();
    await Promise.all([punch, load]);
    return stage.run(process.load(map));
  }, 1, 0],

  "handle-before-invalidate-lock": [(mount) => {
    const stage = new Stage(mount);
    stage.run(stage.process.fallocate(stage.fd, PUNCH, 0, PAGE));
  }, "LockOrderError", undefined],

  "mmap-lock-under-invalidate-lock": [(mount) => {
    const stage = new Stage(mount);
    stage.map();
    stage.run(stage.process.ftruncate(stage.fd, PAGE));
  }, "LockOrderError", undefined],

  "commit-under-i_data_sem": [(mount) => {
    const stage = new Stage(mount);
    stage.run(stage.process.pwrite(stage.fd, Uint8Array.of(2), PMD));
    stage.run(stage.process.fsync(stage.fd));
  }, "LockOrderError", undefined],

  "lost-wakeup": [async (mount) => {
    const stage = new Stage(mount);
    const { inode, process } = stage;
    const map = stage.map() + PMD;
    const small = stage.run(process.mmap(0, 3 * PAGE, RW, MAP_SHARED, stage.fd, PMD));
    // A fault of 2 MiB has the entry and looks at the map; two of a page wait for it.
    inode.i_data_sem.writeIfFree();
    const tasks = [stage.start(process.load(map)), stage.start(process.load(small)), stage.start(process.load(small + PAGE))];
    inode.i_data_sem.unlockWrite();
    return (await Promise.all(tasks)).length;
  }, "EDEADLK", 3],

  "map-sync-without-commit": [(mount) => {
    const stage = new Stage(mount);
    const map = stage.map(MAP_SHARED_VALIDATE | MAP_SYNC) + PMD;
    stage.run(stage.process.store(map, 7));
    const { offsetBytes } = stage.process.mm.pageTables.find(map)!;
    stage.pmem.flush(offsetBytes, 1);
    stage.pmem.fence();
    return stage.afterPowerCut().read(PMD);
  }, 0, 7],

  "zero-page-stays": [(mount) => {
    const stage = new Stage(mount);
    const [one, other] = [stage.map(MAP_SHARED), stage.run(stage.process.fork())];
    stage.run(other.load(one + PMD));
    stage.run(other.load(one + 3 * PAGE));
    stage.run(stage.process.store(one + PMD, 7));
    stage.run(stage.process.pwrite(stage.fd, Uint8Array.of(8), 3 * PAGE));
    return [stage.run(other.load(one + PMD)), stage.run(other.load(one + 3 * PAGE))];
  }, [0, 0], [7, 8]],

  "dax-fsync-without-flush": [(mount) => {
    const stage = new Stage(mount);
    const map = stage.map();
    stage.run(stage.process.store(map, 7));
    stage.run(stage.process.msync(map, PAGE, MS_SYNC));
    return stage.afterPowerCut().read(0);
  }, 1, 7],

  "dax-fsync-keeps-writable": [(mount) => {
    const stage = new Stage(mount);
    const map = stage.map();
    for (const value of [7, 8]) {
      stage.run(stage.process.store(map, value));
      stage.run(stage.process.fsync(stage.fd));
    }
    return stage.afterPowerCut().read(0);
  }, 7, 8],

  "truncate-keeps-mapped": [(mount) => {
    const stage = new Stage({ ...mount, dax: "never" });
    const map = stage.map();
    stage.run(stage.process.store(map, 2));
    stage.run(stage.process.ftruncate(stage.fd, 0));
    stage.run(stage.process.ftruncate(stage.fd, PAGE));
    stage.run(stage.process.store(map, 7));
    return stage.read(0);
  }, 0, 7],

  "writeback-without-write-protect": [(mount) => {
    const stage = new Stage({ ...mount, dax: "never" });
    const map = stage.map();
    for (const value of [7, 8]) {
      stage.run(stage.process.store(map, value));
      stage.run(stage.process.fsync(stage.fd));
    }
    return stage.remounted().read(0);
  }, 7, 8],

  "fork-shares-private": [(mount) => {
    const stage = new Stage(mount);
    const map = stage.map(MAP_PRIVATE);
    stage.run(stage.process.store(map, 7));
    const child = stage.run(stage.process.fork());
    stage.run(stage.process.store(map, 8));
    return stage.run(child.load(map));
  }, 8, 7],

  "layout-not-broken": [(mount) => {
    const stage = new Stage(mount);
    const map = stage.map();
    const [page] = stage.run(stage.process.getUserPages(map, 1, FOLL_WRITE));
    stage.run(stage.process.fallocate(stage.fd, PUNCH, 0, PAGE));
    page!.release();
  }, undefined, "EBUSY"], // a synchronous call waits for what its own program has
};

async function outcome(script: Script, mount: Ext4MountOptions): Promise<unknown> {
  try {
    return await script(mount);
  } catch (error) {
    return (error as { code?: string }).code ?? (error as Error).name;
  }
}

/** Only the lab finds it: the pause that it needs is at no lock that a test can hold. */
const FOR_THE_LAB = ["dax-look-before-lock"];

describe.each(FAULT_BUGS.filter(({ name }) => !FOR_THE_LAB.includes(name)))("$name", ({ name, strategy }) => {
  const [script, wrong, right] = SCRIPTS[name]!;
  test("shows", async () => expect(await outcome(script, { strategy })).toEqual(wrong));
  test("does not without it", async () => expect(await outcome(script, {})).toEqual(right));
});

test("every bug has a name and a scenario of its own", () => {
  const names = FAULT_BUGS.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  expect([...Object.keys(SCRIPTS), ...FOR_THE_LAB].sort()).toEqual([...names].sort());
  for (const { name, scenario } of FAULT_BUGS) expect(scenario).toBe(`bugs/${name}`);
});
