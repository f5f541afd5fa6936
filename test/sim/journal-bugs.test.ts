/**
 * The bugs that are planted in journal, writeback, orphans and fsync are bugs: a short sequence of calls, the power fails, and what is recovered is wrong in some state; with the engine as it ships it is
 * right in every one. Here nobody searches: that each is found from scratch is the lab's business (src/sim/scenarios/journal.ts).
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Bio } from "../../src/block/device.js";
import { MemoryDevice } from "../../src/block/memory.js";
import { EXT4_JOURNAL_DATA_FL } from "../../src/format/inode.js";
import type { Strategy } from "../../src/ext4/strategy.js";
import { FsError } from "../../src/lib/errno.js";
import { MAP_SHARED, PROT_READ, PROT_WRITE } from "../../src/mm/constants.js";
import type { Task } from "../../src/sched/task.js";
import { JOURNAL_BUGS } from "../../src/sim/bugs/journal-bugs.js";
import { JOURNAL_SCENARIOS } from "../../src/sim/scenarios/journal.js";
import { LabWorld } from "../../src/sim/lab-world.js";
import { O_CREAT, O_RDWR } from "../../src/vfs/flags.js";
import type { Process } from "../../src/vfs/process.js";
import { CrashDisk } from "../support/crash-disk.js";
import { attempt, run, temporaryFolder } from "../support/host.js";
import { Prng } from "../support/prng.js";

const [OLD, NEW, STALE] = [0x4f, 0x4e, 0x53] as const;
const BLOCK = 1024;
/** Of each moment: with nothing that is uncertain, with all of it, and so many with some. */
const MIXED_STATES = 2;
/** One state in so many is shown to e2fsck, but for bugs that nobody else sees. */
const E2FSCK_SHARE = 10;

const folder = temporaryFolder();

const image = ((): Uint8Array => {
  const path = join(folder, "empty.img");
  run("mke2fs", ["-q", "-F", "-t", "ext4", "-b", String(BLOCK), "-J", "size=1", "-N", "128", "-O", "^resize_inode", path, "4M"]);
  return new Uint8Array(readFileSync(path));
})();

/** A disk on whose way to a write somebody else may do something: when the write's bytes are of one kind. */
class InterruptedDisk extends CrashDisk {
  private byte = -1;
  private work: (() => Task<void>) | undefined;

  before(byte: number, work: () => Task<void>): void {
    this.byte = byte;
    this.work = work;
  }

  override *submit(bios: readonly Bio[]): Task<void> {
    const { work } = this;
    if (work !== undefined && bios.some(({ op, data }) => op === "write" && data.every((byte) => byte === this.byte))) {
      this.work = undefined;
      yield* work();
    }
    yield* super.submit(bios);
  }
}

/** A mounted world in few words. */
class Stage {
  readonly world: LabWorld;
  /** From which event of the disk on the power may fail; what was promised by then stays so. */
  from = 0;

  constructor(readonly disk: InterruptedDisk, private readonly strategy: Partial<Strategy>) {
    this.world = new LabWorld({ device: disk });
    this.mount();
  }

  mount(): void {
    this.world.mount({ strategy: this.strategy, delalloc: false });
  }

  get process(): Process { return this.world.process; }

  do<T>(task: Task<T>): T {
    return this.world.run(task);
  }

  open(path: string): number {
    return this.do(this.process.open(path, O_RDWR | O_CREAT));
  }

  write(fd: number, byte: number, length: number, at = 0): void {
    this.do(this.process.pwrite(fd, new Uint8Array(length).fill(byte), at));
  }

  /** A file that takes all that is free. */
  fill(path: string, byte: number): number {
    const fd = this.open(path);
    for (let block = 0; ; block++) {
      try {
        this.write(fd, byte, BLOCK, block * BLOCK);
      } catch (error) {
        if (!(error instanceof FsError) || error.code !== "ENOSPC") throw error;
        this.do(this.process.fsync(fd));
        return fd;
      }
    }
  }

  setJournaled(fd: number, isOn: boolean): void {
    const flags = this.do(this.process.getflags(fd));
    this.do(this.process.setflags(fd, isOn ? flags | EXT4_JOURNAL_DATA_FL : flags & ~EXT4_JOURNAL_DATA_FL));
  }

  promise(): void {
    this.from = this.disk.events.length;
  }
}

/** What a file has; undefined: there is none. */
function contentOf(world: LabWorld, path: string): Uint8Array | undefined {
  try {
    const bytes = new Uint8Array(world.run(world.process.stat(path)).stx_size);
    world.run(world.process.pread(world.run(world.process.open(path, O_RDWR)), bytes, 0));
    return bytes;
  } catch (error) {
    if (error instanceof FsError && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/** Undefined: the file has that many of these bytes and nothing else. */
function problemWithFile(world: LabWorld, path: string, byte: number, length: number): string | undefined {
  const bytes = contentOf(world, path);
  if (bytes === undefined) return `${path} is not there`;
  const wrong = bytes.findIndex((found) => found !== byte);
  if (wrong >= 0) return `byte ${wrong} of ${path} is ${bytes[wrong]}, not ${byte}`;
  return bytes.length === length || length === Infinity ? undefined : `${path} has ${bytes.length} bytes, not ${length}`;
}

interface Proof {
  /** By the engine as it ships; then everything is unmounted. */
  readonly setup?: (stage: Stage) => void;
  readonly act: (stage: Stage) => void;
  /** On the filesystem as it was recovered. */
  readonly problem: (world: LabWorld) => string | undefined;
  /** Only e2fsck sees it. */
  readonly isSeenByE2fsck?: boolean;
  /** Recovery is what goes wrong: the power fails again in its midst. */
  readonly cutsRecovery?: boolean;
}

const nothingWrong = (): undefined => undefined;

/** Leaves what a file that is gone has written in all free blocks. */
function leaveStaleBytes(stage: Stage): void {
  stage.fill("/stale", STALE);
  stage.do(stage.process.unlink("/stale"));
}

function directoryBecomesFile(stage: Stage): void {
  const { process } = stage;
  stage.do(process.mkdir("/d", 0o755));
  const names = Array.from({ length: 40 }, (_, index) => `/d/${"n".repeat(200)}${index}`);
  for (const name of names) stage.do(process.link("/a", name));
  stage.do(process.sync());
  for (const name of names) stage.do(process.unlink(name));
  stage.do(process.rmdir("/d"));
  stage.do(process.sync());
  stage.fill("/big", NEW);
  stage.promise();
}

/** A file whose newest bytes are in the log. */
function journaledFile(stage: Stage): number {
  const fd = stage.open("/a");
  stage.write(fd, OLD, 4096);
  stage.do(stage.process.fsync(fd));
  return fd;
}

const aFile = (stage: Stage): void => stage.write(stage.open("/a"), OLD, 4096);
function aJournaledFile(stage: Stage): void {
  stage.setJournaled(stage.open("/a"), true);
}

const PROOFS: Readonly<Record<string, Proof>> = {
  "missing-revoke": { setup: aFile, act: directoryBecomesFile, problem: (world) => problemWithFile(world, "/big", NEW, Infinity) },
  "freed-block-comes-home": {
    setup: aFile,
    act(stage) {
      directoryBecomesFile(stage);
      stage.world.unmount();
      stage.promise();
    },
    problem: (world) => problemWithFile(world, "/big", NEW, Infinity),
  },
  "commit-before-blocks": {
    act(stage) {
      for (const name of ["/a", "/b", "/c"]) {
        const fd = stage.open(name);
        stage.write(fd, NEW, 4096);
        stage.do(stage.process.fsync(fd));
      }
    },
    problem: nothingWrong,
  },
  "commit-before-data": {
    setup: leaveStaleBytes,
    act(stage) {
      const fd = stage.open("/a");
      stage.do(stage.process.sync());
      stage.promise();
      stage.write(fd, NEW, 4096);
      stage.disk.before(NEW, () => stage.world.fs.journal.commitAll());
      stage.do(stage.process.fsync(fd));
    },
    problem: (world) => problemWithFile(world, "/a", NEW, Infinity),
  },
  "early-conversion": {
    setup: leaveStaleBytes,
    act(stage) {
      const fd = stage.open("/a");
      stage.do(stage.process.fallocate(fd, 0, 0, 4096));
      stage.do(stage.process.sync());
      stage.promise();
      stage.write(fd, NEW, 4096);
      stage.disk.before(NEW, () => stage.world.fs.journal.commitAll());
      stage.do(stage.process.fsync(fd));
    },
    problem(world) {
      const bytes = contentOf(world, "/a")!;
      return bytes.every((byte) => byte === 0 || byte === NEW) ? undefined : "/a has what stood in its blocks before";
    },
  },
  "tail-before-checkpoint": {
    act(stage) {
      const fd = stage.open("/a");
      stage.write(fd, NEW, 4096);
      stage.do(stage.process.fsync(fd));
      stage.promise();
      stage.world.unmount();
    },
    problem: (world) => problemWithFile(world, "/a", NEW, 4096),
  },
  "lost-orphan": {
    setup: aFile,
    act(stage) {
      stage.open("/a");
      stage.promise();
      stage.do(stage.process.unlink("/a"));
      stage.do(stage.process.sync());
    },
    problem: nothingWrong,
    isSeenByE2fsck: true,
  },
  "fsync-without-flush": {
    setup: aFile,
    act(stage) {
      const fd = stage.open("/a");
      stage.write(fd, NEW, 4096);
      stage.do(stage.process.fdatasync(fd));
      stage.promise();
    },
    problem: (world) => problemWithFile(world, "/a", NEW, 4096),
  },
  "fdatasync-forgets-size": {
    setup: (stage) => stage.write(stage.open("/a"), NEW, 100),
    act(stage) {
      const fd = stage.open("/a");
      stage.write(fd, NEW, 100, 100);
      stage.do(stage.process.fdatasync(fd));
      stage.promise();
    },
    problem: (world) => problemWithFile(world, "/a", NEW, 200),
  },
  "log-remembers": {
    setup: aJournaledFile,
    act(stage) {
      const fd = journaledFile(stage);
      stage.setJournaled(fd, false);
      stage.write(fd, NEW, 4096);
      stage.do(stage.process.fsync(fd));
      stage.promise();
    },
    problem: (world) => problemWithFile(world, "/a", NEW, 4096),
  },
  "flag-before-data": {
    setup: aJournaledFile,
    act(stage) {
      const { process } = stage;
      const fd = journaledFile(stage);
      const map = stage.do(process.mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd));
      for (let at = 0; at < 4096; at++) stage.do(process.store(map + at, NEW));
      stage.setJournaled(fd, false);
      stage.do(process.sync());
      stage.promise();
    },
    problem: (world) => problemWithFile(world, "/a", NEW, 4096),
  },
  "recovery-without-flush": {
    act(stage) {
      const fd = stage.open("/a");
      stage.write(fd, NEW, 4096);
      stage.do(stage.process.fsync(fd));
      stage.promise();
    },
    problem: (world) => problemWithFile(world, "/a", NEW, 4096),
    cutsRecovery: true,
  },
  "transaction-numbers-repeat": {
    setup: aFile,
    act(stage) {
      const chmod = (mode: number): void => {
        stage.do(stage.process.chmod("/a", mode));
        stage.do(stage.process.sync());
      };
      for (const mode of [0o600, 0o640, 0o644]) chmod(mode);
      stage.world.unmount();
      stage.mount();
      chmod(0o400);
      stage.promise();
    },
    problem(world) {
      const mode = world.run(world.process.stat("/a")).stx_mode & 0o777;
      return mode === 0o400 ? undefined : `the mode is 0${mode.toString(8)}`;
    },
  },
};

/** What is wrong with the states that power cuts may leave, as far as the proof looks. Stops at the first. */
function firstProblem(proof: Proof, strategy: Partial<Strategy>): { problem: string | undefined; states: number } {
  const before = new InterruptedDisk(image);
  if (proof.setup !== undefined) {
    const stage = new Stage(before, {});
    proof.setup(stage);
    stage.world.unmount();
  }
  const disk = new InterruptedDisk(before.bytes.slice());
  const stage = new Stage(disk, strategy);
  proof.act(stage);
  const prng = new Prng(3);
  let states = 0;
  let problem: string | undefined;
  const look = (state: Uint8Array): void => {
    const asksE2fsck = proof.isSeenByE2fsck === true || states % E2FSCK_SHARE === 0;
    states++;
    problem ??= problemWith(proof, state, asksE2fsck);
  };
  disk.forEachCut((cut) => {
    if (cut.eventCount < stage.from || problem !== undefined) return;
    if (proof.cutsRecovery === true) return forEachCutRecovery(cut.all(), strategy, prng, look);
    for (const state of [cut.none(), cut.all(), ...Array.from({ length: MIXED_STATES }, () => cut.some(prng))]) look(state);
  });
  return { problem, states };
}

/** The power fails again while the strategy recovers. */
function forEachCutRecovery(state: Uint8Array, strategy: Partial<Strategy>, prng: Prng, look: (state: Uint8Array) => void): void {
  const disk = new InterruptedDisk(state);
  new Stage(disk, strategy);
  disk.forEachCut((cut) => {
    for (const again of [cut.none(), cut.all(), cut.some(prng)]) look(again);
  });
}

/** Recovered by the engine as it ships: the mount, the proof's own look, and e2fsck. */
function problemWith(proof: Proof, state: Uint8Array, asksE2fsck: boolean): string | undefined {
  const world = new LabWorld({ device: new MemoryDevice(state) });
  try {
    world.mount({ delalloc: false });
    const problem = proof.problem(world);
    world.unmount();
    if (problem !== undefined || !asksE2fsck) return problem;
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    return error.message;
  }
  const path = join(folder, "left.img");
  writeFileSync(path, state);
  const { status, stdout } = attempt("e2fsck", ["-fn", path]);
  return status === 0 ? undefined : stdout;
}

test("each bug has a proof and a scenario, and each scenario a bug", () => {
  expect(JOURNAL_BUGS.map(({ name }) => name).sort()).toEqual(Object.keys(PROOFS).sort());
  const scenarios = new Set(JOURNAL_SCENARIOS.map(({ name }) => name));
  expect(new Set(JOURNAL_BUGS.map(({ scenario }) => scenario))).toEqual(scenarios);
});

describe.each(JOURNAL_BUGS)("$name", ({ name, strategy }) => {
  test("the engine as it ships: right in every state", () => {
    const { problem, states } = firstProblem(PROOFS[name]!, {});
    expect(problem).toBeUndefined();
    expect(states).toBeGreaterThan(0);
  });

  test("with the bug: wrong in one", () => {
    expect(firstProblem(PROOFS[name]!, strategy).problem).toBeDefined();
  });
});
