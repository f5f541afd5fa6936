/**
 * The switch between journaled data and not, of a file that is mapped, dirty and written to: the power fails between any two requests, or the Nth request fails, once or for good. Then the file is in
 * the old mode or the new one, with all its data, and e2fsck finds nothing. On persistent memory the same of the switch that rebuilds mappings, with lines of the caches lost.
 */
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { BlockDevice } from "../../src/block/device.js";
import { MemoryDevice } from "../../src/block/memory.js";
import { EXT4_JOURNAL_DATA_FL } from "../../src/format/inode.js";
import { FsError } from "../../src/lib/errno.js";
import { recordFlags, setJournalFlag } from "../../src/ext4/journal-mode.js";
import type { Strategy } from "../../src/ext4/strategy.js";
import type { Ext4MountOptions } from "../../src/ext4/super.js";
import { MAP_SHARED, PROT_READ, PROT_WRITE } from "../../src/mm/constants.js";
import { PmemDevice } from "../../src/nvdimm/pmem.js";
import { LabWorld } from "../support/lab-world.js";
import { STRATEGIES } from "../../src/sim/strategies.js";
import { O_CREAT, O_RDWR } from "../../src/vfs/flags.js";
import { CrashDisk, PagedImage } from "../support/crash-disk.js";
import { attempt, readImage, run, temporaryFolder, writeImage } from "../support/host.js";
import { Prng } from "../../src/lib/prng.js";

const PAGES = 6;
const BYTES = PAGES * 4096;
/** One state in so many is shown to e2fsck. */
const E2FSCK_SHARE = Number(process.env["EXT4_E2FSCK_SHARE"] ?? 10);
const [OLD, STORED, WRITTEN] = [1, 2, 3] as const;

const folder = temporaryFolder();
const counts = { cuts: 0, errors: 0, retries: 0, fscks: 0 };

const image = ((): PagedImage => {
  const path = join(folder, "empty.img");
  run("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "4096", "-J", "size=4", "-N", "64", "-O", "^resize_inode", path, "12M"]);
  return new PagedImage(readImage(path));
})();

/** A file of which everything is durable, in the mode that it is to leave. */
function settled(device: BlockDevice, isJournaled: boolean, mount: Ext4MountOptions): LabWorld {
  const world = new LabWorld({ device });
  world.mount({ ...mount, dax: "never", delalloc: false });
  const fd = world.run(world.process.open("/file", O_RDWR | O_CREAT));
  if (isJournaled) world.run(world.process.setflags(fd, world.run(world.process.getflags(fd)) | EXT4_JOURNAL_DATA_FL));
  world.run(world.process.pwrite(fd, new Uint8Array(BYTES).fill(OLD), 0));
  world.unmount();
  world.mount({ delalloc: false, ...mount });
  return world;
}

/** Stored into through a mapping, written to, and then switched; nothing of it is synced. */
function dirtyAndSwitch(world: LabWorld, toJournaled: boolean): () => void {
  const { process } = world;
  const fd = world.run(process.open("/file", O_RDWR));
  const map = world.run(process.mmap(0, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd));
  world.run(process.store(map, STORED));
  world.run(process.pwrite(fd, new Uint8Array(4096).fill(WRITTEN), 4096));
  world.run(process.store(map + 8192, STORED));
  return () => {
    const flags = world.run(process.getflags(fd));
    world.run(process.setflags(fd, toJournaled ? flags | EXT4_JOURNAL_DATA_FL : flags & ~EXT4_JOURNAL_DATA_FL));
  };
}

interface Found { readonly isJournaled: boolean; readonly bytes: Uint8Array }

function look(device: BlockDevice): Found {
  const world = new LabWorld({ device });
  world.mount({ delalloc: false });
  const fd = world.run(world.process.open("/file", O_RDWR));
  const bytes = new Uint8Array(BYTES);
  expect(world.run(world.process.pread(fd, bytes, 0))).toBe(BYTES);
  const isJournaled = (world.run(world.process.getflags(fd)) & EXT4_JOURNAL_DATA_FL) !== 0;
  world.unmount();
  return { isJournaled, bytes };
}

/** Each byte as it was, or as it became; in the new mode all as they became, since the switch writes back first. */
function problemWith({ isJournaled, bytes }: Found, toJournaled: boolean): string | undefined {
  const became = new Uint8Array(BYTES).fill(OLD);
  became[0] = became[8192] = STORED;
  became.fill(WRITTEN, 4096, 8192);
  const isNew = isJournaled === toJournaled;
  const wrong = bytes.findIndex((byte, at) => byte !== became[at] && (isNew || byte !== OLD));
  return wrong < 0 ? undefined : `byte ${wrong} is ${bytes[wrong]} in the ${isNew ? "new" : "old"} mode`;
}

function expectClean(bytes: Uint8Array, where: string): void {
  const path = join(folder, "left.img");
  writeImage(path, bytes);
  attempt("e2fsck", ["-fp", path]);
  const { status, stdout } = attempt("e2fsck", ["-fn", path]);
  expect(status, `${where}\n${stdout}`).toBe(0);
  counts.fscks++;
}

describe.each([["to journaled data", true], ["from journaled data", false]] as const)("%s", (_name, toJournaled) => {
  test("a power cut between any two requests", () => {
    const disk = new CrashDisk(image);
    const world = settled(disk, !toJournaled, {});
    const before = disk.events.length;
    dirtyAndSwitch(world, toJournaled)();
    world.run(world.kernel.sync());
    const seen = new Set<boolean>();
    const prng = new Prng(5);
    disk.forEachCut((cut) => {
      if (cut.eventCount < before) return;
      for (const state of [cut.all(), cut.none(), cut.some(prng)]) {
        const where = `cut after ${cut.eventCount - before} events`;
        if (counts.cuts++ % E2FSCK_SHARE === 0) expectClean(state.bytes, where);
        const found = look(new CrashDisk(state));
        expect(problemWith(found, toJournaled), where).toBeUndefined();
        seen.add(found.isJournaled);
      }
    });
    expect(seen.size).toBe(2); // cuts fell before and after it
  });

  test.each([["once", false], ["for good", true]] as const)("a request that fails %s", (_how, forGood) => {
    for (let request = 0; ; request++) {
      const disk = new CrashDisk(image);
      const world = settled(disk, !toJournaled, {});
      const change = dirtyAndSwitch(world, toJournaled);
      disk.failAt = disk.requestCount + request;
      disk.failsForGood = forGood;
      let code: string | undefined;
      try {
        change();
      } catch (error) {
        if (!(error instanceof FsError)) throw error;
        code = error.code;
        expect(["EIO", "EROFS"]).toContain(code);
      }
      if (code === undefined && disk.requestCount <= disk.failAt) break; // all of the switch went by
      counts.errors++;
      const where = `request ${request}, ${code}`;
      if (request % E2FSCK_SHARE === 0) expectClean(disk.image.bytes, where);
      expect(problemWith(look(new CrashDisk(disk.image)), toJournaled), where).toBeUndefined();
      if (code === undefined || world.fs.journal.abortError !== undefined) continue;
      // It stopped on the way, the mode is as it was, and the next try succeeds.
      const isJournaled = (): boolean => (world.run(world.process.getflags("/file")) & EXT4_JOURNAL_DATA_FL) !== 0;
      expect(isJournaled(), where).toBe(!toJournaled);
      disk.failAt = Infinity;
      disk.failsForGood = false;
      change();
      expect(isJournaled(), where).toBe(toJournaled);
      world.unmount();
      expect(problemWith(look(disk), toJournaled), where).toBeUndefined();
      counts.retries++;
    }
    expect(counts.errors).toBeGreaterThan(0);
  });
});

/** Planted: the flag changes, and the log keeps what it has. */
const FORGETS_LOG: Partial<Strategy> = {
  *changeJournalMode(fs, inode, isJournaled) {
    setJournalFlag(inode, isJournaled);
    yield* recordFlags(fs, inode);
  },
};

test.each([["as it is", {}, true], ["with a switch that leaves the log alone", FORGETS_LOG, false]] as const)("blocks of a file that was journaled hold another's data after a crash: %s", (_name, strategy, isRight) => {
  const disk = new CrashDisk(image);
  const world = settled(disk, true, { strategy });
  const { process } = world;
  const fd = world.run(process.open("/file", O_RDWR));
  world.run(process.pwrite(fd, new Uint8Array(BYTES).fill(WRITTEN), 0));
  world.run(process.fsync(fd)); // it is in the log
  world.run(process.setflags(fd, world.run(process.getflags(fd)) & ~EXT4_JOURNAL_DATA_FL));
  world.run(process.close(fd));
  world.run(process.unlink("/file"));
  world.run(process.sync()); // the blocks are free, and no revoke says so
  const other = world.run(process.open("/other", O_RDWR | O_CREAT));
  for (let page = 0; page < 4096; page++) {
    try {
      world.run(process.pwrite(other, new Uint8Array(4096).fill(9), page * 4096));
    } catch (error) {
      if (!(error instanceof FsError) || error.code !== "ENOSPC") throw error;
      break;
    }
  }
  world.run(process.fsync(other));
  const after = new LabWorld({ device: new CrashDisk(disk.image) }); // no unmount: the log is recovered
  after.mount({});
  const found = new Uint8Array(after.run(after.process.stat("/other")).stx_size);
  after.run(after.process.pread(after.run(after.process.open("/other", O_RDWR)), found, 0));
  expect(found.length).toBeGreaterThan(BYTES);
  expect(found.every((byte) => byte === 9)).toBe(isRight); // else a replay put the file's old data there
});

describe.each([["to journaled data", true], ["from journaled data", false]] as const)("with rebuilt mappings on persistent memory, %s", (_name, toJournaled) => {
  test("a power cut at any store, flush or fence", () => {
    const prng = new Prng(11);
    const states: Uint8Array[] = [];
    let isOn = false;
    const device = new PmemDevice(image.bytes, {
      persistence: "adr",
      onEvent: () => {
        if (!isOn) return;
        const kind = prng.below(3);
        states.push(device.crashImage((count) => (kind === 0 ? 0 : kind === 1 ? count - 1 : prng.below(count))));
      },
    });
    const world = settled(device, !toJournaled, { dax: "always", strategy: STRATEGIES.rebuild });
    const change = dirtyAndSwitch(world, toJournaled);
    isOn = true;
    change();
    world.run(world.kernel.sync());
    isOn = false;
    expect(states.length).toBeGreaterThan(10);
    states.forEach((state, index) => {
      const where = `state ${index} of ${states.length}`;
      if (index % E2FSCK_SHARE === 0) expectClean(state, where);
      expect(problemWith(look(new MemoryDevice(state)), toJournaled), where).toBeUndefined();
    });
    counts.cuts += states.length;
  });
});

afterAll(() => console.log(`switch: ${counts.cuts} states after power cuts, ${counts.errors} failed requests (${counts.retries} tried again with success), ${counts.fscks} seen by e2fsck`));
