/** The lab's judges in whole runs: what the engine may do is not held against it, what is wrong on purpose is found, and an author is told of calls that no judge knows. */
import { describe, expect, test } from "vitest";
import type { Strategy } from "../../src/ext4/strategy.js";
import { writeOut } from "../../src/ext4/writeback.js";
import { FsError } from "../../src/lib/errno.js";
import { MAP_SHARED, MS_SYNC, PROT_READ, PROT_WRITE } from "../../src/mm/constants.js";
import { Choices } from "../../src/sim/choices.js";
import { CRASH_BUDGET } from "../../src/sim/crash/cutter.js";
import type { Failure } from "../../src/sim/failure.js";
import type { Lab } from "../../src/sim/lab.js";
import { runScenario, type RunFault } from "../../src/sim/run.js";
import { scenario, ScenarioError, type Scenario, type WorldRecipe } from "../../src/sim/scenario.js";
import { searchDepthFirst } from "../../src/sim/search/depth-first.js";
import type { Task } from "../../src/sched/task.js";
import { O_APPEND, O_CREAT, O_DSYNC, O_RDONLY, O_RDWR, O_SYNC, O_TMPFILE, O_TRUNC, SEEK_SET } from "../../src/vfs/flags.js";
import { FALLOC_FL_COLLAPSE_RANGE, RENAME_WHITEOUT, S_IFIFO, S_IFREG } from "../../src/vfs/inode.js";

const bytes = (value: number, count: number): Uint8Array => new Uint8Array(count).fill(value);
const RW = PROT_READ | PROT_WRITE;

function* mapped({ process }: Lab, lengthBytes: number): Task<{ fd: number; map: number }> {
  const fd = yield* process.open("/f", O_RDWR);
  return { fd, map: yield* process.mmap(0, lengthBytes, RW, MAP_SHARED, fd) };
}

/** What a search of two preemptions finds, with power cuts where the scenario has them. */
function searched(searchedFor: Scenario, runsMax: number, strategy: Partial<Strategy> = {}): Failure | undefined {
  return searchDepthFirst({ scenario: searchedFor, strategy, runsMax, crash: searchedFor.crash === true ? { ...CRASH_BUDGET, statesMax: 16, recoveryStatesMax: 0 } : undefined }, 2).found?.failure;
}

function ran(one: Scenario, strategy: Partial<Strategy> = {}, fault?: RunFault): Failure | undefined {
  return runScenario({ scenario: one, strategy, choices: new Choices([]), fault }).failure;
}

let count = 0;
/** A scenario with these tasks, and "/f". */
const made = (tasks: Record<string, (lab: Lab, cast: { fd: number; map: number }) => Task<void>>, more: { sizeBytes?: number; crash?: boolean; mayFailWith?: string[]; world?: WorldRecipe } = {}): Scenario => scenario<{ fd: number; map: number }>({
  name: `judges/${count++}`, description: "", world: { files: { "/f": bytes(0x41, more.sizeBytes ?? 1024) }, ...more.world }, crash: more.crash ?? false, mayFailWith: more.mayFailWith ?? [],
  prepare: (lab) => mapped(lab, 8192), tasks,
});

describe("what is right passes", () => {
  test("a sync of a range that is under way at the cut has written its part of a longer write", () => {
    expect(searched(made({ *a({ process }, { fd, map }) {
      yield* process.pwrite(fd, bytes(0x42, 5000), 1000);
      yield* process.msync(map + 4096, 4096, MS_SYNC);
    } }, { sizeBytes: 1000, crash: true }), 20)).toBeUndefined();
  });

  test("a sync of a range makes no write outside of it durable, nor the gap before that", () => {
    expect(searched(made({ *a({ process }, { fd, map }) {
      yield* process.pwrite(fd, bytes(0x42, 10), 5000);
      yield* process.msync(map, 4096, MS_SYNC);
      yield* process.fstat(fd);
    } }, { crash: true }), 20)).toBeUndefined();
  });

  test("link finds its file before it sees that its new name is taken", () => {
    expect(searched(made({
      *a({ process }) { yield* process.link("/f", "/e"); },
      *b({ process }) { yield* process.rename("/f", "/e"); },
    }, { mayFailWith: ["EEXIST", "ENOENT"] }), 100)).toBeUndefined();
  });

  test("two who share a descriptor read one after the other", () => {
    const read = function* ({ process }: Lab, { fd }: { fd: number }): Task<void> { yield* process.read(fd, new Uint8Array(600)); };
    expect(searched(made({ *fill({ process }, { fd }) { yield* process.pwrite(fd, Uint8Array.from({ length: 1024 }, (_, at) => at % 251), 0); }, a: read, b: read }), 60)).toBeUndefined();
  });

  test("who seeks, reads from there, whenever the call began", () => {
    const world = { files: { "/f": Uint8Array.from({ length: 1024 }, (_, at) => at % 251) } };
    expect(searched(made({
      *a({ process }, { fd }) { yield* process.read(fd, new Uint8Array(100)); },
      *b({ process }, { fd }) { yield* process.lseek(fd, 500, SEEK_SET); },
    }, { world }), 60)).toBeUndefined();
  });

  test("two who share a descriptor write one after the other, with power cuts", () => {
    const write = (value: number) => function* ({ process }: Lab, { fd }: { fd: number }): Task<void> { yield* process.write(fd, bytes(value, 700)); };
    const shared = scenario({
      name: "judges/shared-write", description: "", world: { files: { "/f": bytes(0x41, 1024) } }, crash: true,
      *prepare({ process }) { return { fd: yield* process.open("/f", O_RDWR | O_DSYNC), map: 0 }; },
      tasks: { a: write(0x42), b: write(0x43) },
    });
    expect(searched(shared, 60)).toBeUndefined();
  });

  test("a descriptor that comes to mean another file, or none, in the midst of a write", () => {
    expect(searched(made({
      *a({ process }, { fd }) { yield* process.write(fd, bytes(0x42, 100)); },
      *b({ process }, { fd }) { yield* process.dup2(yield* process.open("/other", O_RDWR | O_CREAT), fd); },
    }), 60)).toBeUndefined();
    expect(searched(made({
      *a({ process }, { fd }) { yield* process.write(fd, bytes(0x42, 100)); },
      *b({ process }, { fd }) { yield* process.close(fd); },
    }, { mayFailWith: ["EBADF"] }), 60)).toBeUndefined();
  });

  test("pwrite appends where O_APPEND says so", () => {
    const append = (value: number) => function* ({ process }: Lab): Task<void> {
      yield* process.pwrite(yield* process.open("/f", O_RDWR | O_APPEND), bytes(value, 10), 3);
    };
    expect(searched(made({ a: append(0x42), b: append(0x43) }), 60)).toBeUndefined();
  });

  test("relative paths, and slashes at the end", () => {
    expect(searched(made({
      *a({ process }) {
        yield* process.mkdir("d/");
        yield* process.chdir("/d/.");
        yield* process.close(yield* process.open("./inside", O_RDWR | O_CREAT));
        yield* process.open("/f/", O_RDONLY);
      },
      *b({ process }) {
        yield* process.mkdir("/e");
        yield* process.rename("/e/", "//g/");
        yield* process.rmdir("/g/");
        yield* process.rename("/f", "/h/");
      },
    }, { mayFailWith: ["ENOTDIR"] }), 60)).toBeUndefined();
  });

  test("files that are truncated by their path, and written anew", () => {
    const anew = (...paths: string[]) => function* ({ process }: Lab): Task<void> {
      for (const path of paths) {
        const fd = yield* process.open(path, O_RDWR | O_CREAT | O_TRUNC);
        yield* process.write(fd, bytes(0x44, 100));
        yield* process.fsync(fd);
        yield* process.close(fd);
      }
    };
    expect(searched(made({
      *a({ process }, { fd }) {
        yield* process.truncate("/f", 100);
        yield* process.pwrite(fd, bytes(0x42, 100), 50);
        yield* process.fsync(fd);
        yield* process.pread(fd, new Uint8Array(1024), 0);
      },
      b: anew("/f", "/new", "/new"),
    }, { crash: true }), 25)).toBeUndefined();
  });

  test("mknod, and what opens a directory", () => {
    expect(searched(made({
      *a({ process }) {
        yield* process.mknod("/fifo", S_IFIFO | 0o644);
        yield* process.mknod("/file", S_IFREG | 0o644);
        yield* process.pwrite(yield* process.open("/file", O_RDWR), bytes(0x42, 10), 0);
        yield* process.mkdir("/d");
        yield* process.open("/d", O_RDWR);
      },
      *b({ process }) { yield* process.unlink("/fifo"); },
    }, { crash: true, mayFailWith: ["ENOENT", "EISDIR"] }), 20)).toBeUndefined();
  });
});

describe("what is wrong on purpose is found", () => {
  const quiet = made({ *a({ process }, { fd }) { yield* process.pwrite(fd, bytes(0x42, 1024), 0); } });

  test("data that was written and is not on the device after the unmount", () => {
    expect(ran(quiet, { *writeOut(fs, inode, plan) { yield* writeOut(fs, inode, { ...plan, bios: [] }); } }))
      .toMatchObject({ kind: "durability", message: "in the end, unmounted and mounted again: /f: byte 0 of the file was 0x42, and is 0x41" });
  });

  test.each<RunFault>([{ kind: "memory", number: 2 }, { kind: "space", number: 3 }])("reads of other bytes, where $kind is scarce", (fault) => {
    const strategy: Partial<Strategy> = { inodeInCore(_fs, inode) {
      const read = inode.read.bind(inode);
      inode.read = function* (position, into) {
        const bytesRead = yield* read(position, into);
        into[0]! ^= 1;
        return bytesRead;
      };
    } };
    const reading = made({ *a({ process }, { fd }) { yield* process.pread(fd, new Uint8Array(100), 0); } });
    expect(ran(reading, strategy, fault)).toMatchObject({ kind: "linearizability" });
    expect(ran(reading, {}, fault)).toBeUndefined();
  });

  test("a warning of the mount that recovers", () => {
    const strategy: Partial<Strategy> = { inodeInCore(fs) { if (fs.recovery !== undefined) fs.warnings.push(new FsError("EIO", "planted")); } };
    const synced = made({ *a({ process }, { fd }) { yield* process.pwrite(fd, bytes(0x42, 5000), 0); yield* process.fsync(fd); } }, { crash: true });
    expect(searched(synced, 10, strategy)).toMatchObject({ kind: "warning", message: expect.stringMatching(/^after a power cut .*: planted$/) });
    expect(searched(synced, 10)).toBeUndefined();
  });

  test("an fsync of the root that does nothing", () => {
    const making = made({ *a({ process }) {
      const root = yield* process.open("/", O_RDONLY);
      yield* process.mkdir("/d");
      yield* process.fsync(root);
      yield* process.fstat(root);
    } }, { crash: true });
    const strategy: Partial<Strategy> = { inodeInCore(_fs, inode) { if (inode.isDirectory()) inode.fsync = function* () {}; } };
    expect(searched(making, 10, strategy)).toMatchObject({ kind: "durability" });
    expect(searched(making, 10)).toBeUndefined();
  });

  test.each([O_SYNC, O_DSYNC])("a write with O_SYNC or O_DSYNC (%i) that syncs nothing", (flag) => {
    const writing = made({ *a({ process }) {
      const fd = yield* process.open("/f", O_RDWR | flag);
      yield* process.pwrite(fd, bytes(0x42, 2000), 0);
      yield* process.write(fd, bytes(0x43, 100));
      yield* process.fstat(fd);
    } }, { crash: true });
    const strategy: Partial<Strategy> = { inodeInCore(_fs, inode) { inode.fsync = function* () {}; } };
    expect(searched(writing, 10, strategy)).toMatchObject({ kind: "durability" });
    expect(searched(writing, 10)).toBeUndefined();
  });

  test.each<[what: string, change: (lab: Lab, fd: number) => Task<void>, problem: RegExp]>([
    ["chmod", ({ process }, fd) => process.chmod(fd, 0o600), /its mode is 0644; it may be 0600 \(a: chmod/],
    ["chown", ({ process }) => process.chown("/f", 7, -1), /its uid is 0; it may be 7 \(a: chown/],
    ["setxattr", ({ process }, fd) => process.setxattr(fd, "user.new", bytes(0x62, 3)), /its user\.new is absent; it may be "bbb" \(a: setxattr/],
    ["removexattr", ({ process }) => process.removexattr("/f", "user.old"), /its user\.old is "a"; it may be absent \(a: removexattr/],
  ])("%s, and an fsync that does nothing", (_what, change, problem) => {
    const changing = scenario<number>({
      name: `judges/${count++}`, description: "", crash: true, world: { files: { "/f": "" } },
      *setup({ process }) { yield* process.setxattr("/f", "user.old", bytes(0x61, 1)); },
      *prepare({ process }) { return yield* process.open("/f", O_RDWR); },
      tasks: {
        *a(lab, fd) {
          yield* change(lab, fd);
          yield* lab.process.fsync(fd);
          yield* lab.process.fstat(fd);
        },
        commit: (lab) => lab.commit(),
      },
    });
    expect(searched(changing, 10, { inodeInCore(_fs, inode) { inode.fsync = function* () {}; } })).toMatchObject({ kind: "durability", message: expect.stringMatching(problem) });
    expect(searched(changing, 30)).toBeUndefined();
  });

  test("an attribute that is set to something else, on the device or in core", () => {
    const changing = made({ *a({ process }, { fd }) { yield* process.chmod(fd, 0o600); } });
    const strategy: Partial<Strategy> = { inodeInCore(_fs, inode) {
      const setattr = inode.setattr.bind(inode);
      inode.setattr = (changes) => setattr(changes.mode === undefined ? changes : { ...changes, mode: changes.mode | 0o022 });
    } };
    expect(ran(changing, strategy)).toMatchObject({ kind: "linearizability", message: expect.stringMatching(/^\/f: its mode is 0622; it may be 0600/) });
    expect(ran(changing)).toBeUndefined();
  });
});

describe("calls that the model does not know are the author's", () => {
  const of = (call: (lab: Lab, cast: { fd: number; map: number }) => Task<unknown>): Scenario => made({ *a(lab, cast) {
    try {
      yield* call(lab, cast);
    } catch {
      // A scenario may catch anything.
    }
  } });

  test.each<[name: string, call: (lab: Lab, cast: { fd: number; map: number }) => Task<unknown>]>([
    ["truncate", function* ({ process }) {
      yield* process.rename("/f", "/g");
      yield* process.truncate("/g", 0);
    }],
    ["linkat", function* ({ process }) { yield* process.linkat(yield* process.open("/", O_RDWR | O_TMPFILE), "/new"); }],
    ["renameat2", ({ process }) => process.renameat2("/f", "/g", RENAME_WHITEOUT)],
    ["fallocate", ({ process }, { fd }) => process.fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 1024)],
    ["open", ({ process }) => process.open("/d/../f", O_RDWR)],
    ["unlink", ({ process }) => process.unlink("/f/")],
    ["pread", ({ process }, { fd, map }) => process.pread(fd, { address: map, lengthBytes: 10 }, 0)],
    ["it follows a symbolic link, /link", function* ({ process }) {
      yield* process.symlink("/f", "/link");
      yield* process.open("/link", O_RDONLY);
    }],
    ["it follows a symbolic link, /link", function* ({ process }) {
      yield* process.symlink("/", "/link");
      yield* process.open("/link/f", O_RDONLY);
    }],
    ["moves a directory from which paths are walked", function* ({ process }) {
      yield* process.mkdir("/d");
      yield* process.chdir("/d");
      yield* process.open("new", O_RDWR | O_CREAT);
      yield* process.rename("/d", "/e");
    }],
  ])("%s", (name, call) => {
    const run = (): unknown => ran(of(call));
    expect(run).toThrow(ScenarioError);
    expect(run).toThrow("the lab's model does not know this call yet: ");
    expect(run).toThrow(name);
  });
});
