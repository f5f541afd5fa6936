/**
 * The power fails, at every moment: between any two requests, with all, none, or some of what was not flushed, torn at sectors. Then we recover the image, and e2fsck recovers a copy: it is
 * clean, everything that was synced is there, and the tree is the one that stood after some operation: each is whole or absent. `npm run campaign:crash` tries many more states.
 */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { Ext4, type Volume } from "../../src/platform/node/index.js";
import { CrashDisk, PagedImage } from "../support/crash-disk.js";
import { attempt, readImage, run, temporaryFolder, writeImage } from "../support/host.js";
import { MemoryDevice } from "../../src/block/memory.js";
import { Prng } from "../../src/lib/prng.js";
import { History, snapshotOf, type Snapshot } from "./history.js";

const STATES_PER_CUT = Number(process.env["EXT4_STATES"] ?? 1);
/** One in so many states is shown to e2fsck as well; all are recovered by us. */
const E2FSCK_SHARE = Number(process.env["EXT4_E2FSCK_SHARE"] ?? 30);

const SETUPS: (readonly [name: string, args: readonly string[], dataMode: "journal" | undefined])[] = [
  ["ext4, 1 KiB", ["-t", "ext4", "-b", "1024"], undefined],
  ["orphan_file", ["-t", "ext4", "-b", "1024", "-O", "orphan_file"], undefined],
  ["bigalloc and inline_data", ["-t", "ext4", "-b", "1024", "-C", "4096", "-O", "bigalloc,inline_data"], undefined],
  ["ext3, no checksums", ["-t", "ext3", "-b", "1024"], undefined],
  ["data=journal", ["-t", "ext4", "-b", "1024"], "journal"],
];

const folder = temporaryFolder();
const counts = { cuts: 0, states: 0, checkedByE2fsck: 0, cutRecoveries: 0 };

function emptyImage(args: readonly string[]): Uint8Array {
  const image = join(folder, "empty.img");
  rmSync(image, { force: true });
  run("mke2fs", ["-q", "-F", ...args, "-J", "size=1", "-N", "256", "-O", "^resize_inode", "-E", "lazy_itable_init=0", image, "6M"]);
  return readImage(image);
}

/** What can happen to a few files, with syncs in between. */
function work(volume: Volume, history: History, disk: CrashDisk, prng: Prng, steps: number): void {
  const did = (): void => history.record(snapshotOf(volume), disk.events.length);
  const name = (): string => `/d${prng.below(3)}/f${prng.below(6)}`;
  const tries: (() => void)[] = [
    () => volume.writeFileSync(name(), Buffer.alloc(prng.below(9000), prng.next() & 0xff)),
    () => volume.appendFileSync(name(), Buffer.alloc(prng.below(3000), prng.next() & 0xff)),
    () => volume.truncateSync(name(), prng.below(4000)),
    () => volume.unlinkSync(name()),
    () => volume.renameSync(name(), name()),
    () => volume.linkSync(name(), name()),
    () => volume.symlinkSync("t".repeat(1 + prng.below(100)), name()),
    () => volume.mkdirSync(`/d${prng.below(3)}/s${prng.below(3)}`),
    () => volume.rmdirSync(`/d${prng.below(3)}/s${prng.below(3)}`),
    () => volume.setxattrSync(name(), "user.x", Buffer.alloc(prng.below(500), prng.next() & 0xff)),
  ];
  for (const directory of ["/d0", "/d1", "/d2"]) {
    volume.mkdirSync(directory);
    did();
  }
  for (let step = 0; step < steps; step++) {
    try {
      prng.pick(tries)();
    } catch (error) {
      if ((error as { code?: string }).code === undefined) throw error;
    }
    did();
    if (prng.below(6) === 0) {
      volume.syncSync();
      history.synced(disk.events.length);
    } else if (prng.below(6) === 0) {
      const file = name();
      try {
        const fd = volume.openSync(file, "r+");
        volume.fsyncSync(fd);
        volume.closeSync(fd);
        history.syncedFile(file, disk.events.length);
      } catch (error) {
        if ((error as { code?: string }).code === undefined) throw error;
      }
    }
  }
}

function recovered(state: PagedImage): { snapshot: Snapshot; disk: CrashDisk } {
  const disk = new CrashDisk(state);
  const volume = Ext4.openSync(disk, { readOnly: false });
  const snapshot = snapshotOf(volume);
  volume.closeSync();
  return { snapshot, disk };
}

/** e2fsck recovers a copy of what the cut left, and looks at what we made of it. */
function expectClean(found: PagedImage, name: string, recovers: boolean): void {
  mkdirSync(folder, { recursive: true });
  const image = join(folder, name);
  writeImage(image, found.bytes);
  if (recovers) attempt("e2fsck", ["-fp", image]);
  const { status, stdout } = attempt("e2fsck", ["-fn", image]);
  expect(status, stdout).toBe(0);
  counts.checkedByE2fsck++;
}

describe.each(SETUPS)("%s", (_name, args, dataMode) => {
  test("a cut at every moment", { timeout: 3_600_000 }, () => {
    const disk = new CrashDisk(new PagedImage(emptyImage(args)));
    const history = new History();
    const prng = new Prng(Number(process.env["EXT4_SEED"] ?? 7));
    const volume = Ext4.openSync(disk, { readOnly: false, dataMode, clock: { now: () => ({ sec: 1_700_000_000, nsec: 0 }) } });
    work(volume, history, disk, prng, Number(process.env["EXT4_STEPS"] ?? 60));
    volume.closeSync();
    expectClean(disk.image, "whole.img", false);
    const cutPrng = new Prng(99);
    disk.forEachCut((cut) => {
      counts.cuts++;
      const states = [cut.all()];
      if (cut.uncertainCount > 0) states.push(cut.none(), ...Array.from({ length: STATES_PER_CUT }, () => cut.some(cutPrng)));
      for (const state of states) {
        const where = `cut after ${cut.eventCount} events`;
        const { snapshot, disk: after } = recovered(state);
        const problem = history.problemWith(snapshot, cut.eventCount);
        expect(problem, where).toBeUndefined();
        if (counts.states++ % E2FSCK_SHARE === 0) {
          expectClean(after.image, "ours.img", false);
          expectClean(state, "theirs.img", true);
          checkCutRecovery(after, snapshot, cutPrng);
        }
      }
    });
  });
});

/** The power fails again while we recover: another recovery comes to the same end. */
function checkCutRecovery(first: CrashDisk, expected: Snapshot, prng: Prng): void {
  const at = prng.below(first.events.length + 1);
  first.forEachCut((cut) => {
    if (cut.eventCount !== at) return;
    for (const again of [cut.none(), cut.some(prng)]) {
      counts.cutRecoveries++;
      expect(recovered(again).snapshot).toEqual(expected);
    }
  });
}

test("an image in memory is recovered like one on disk", () => {
  const image = emptyImage(["-t", "ext4", "-b", "1024"]);
  const volume = Ext4.openSync(new MemoryDevice(image), { readOnly: false });
  volume.writeFileSync("/a", "b");
  volume.closeSync();
  expect(Ext4.openSync(new MemoryDevice(image)).readFileSync("/a", "utf8")).toBe("b");
});

afterAll(() => {
  process.stdout.write(`power cuts: ${counts.cuts} moments, ${counts.states} states recovered, ${counts.checkedByE2fsck} looked at by e2fsck, ${counts.cutRecoveries} recoveries cut short and done again\n`);
});
