/** The lab's own workings: the reduction loses no outcome, each way of searching finds what it must, a run is its string, and what is not repeatable is noticed. */
import { describe, expect, test, vi } from "vitest";
import { Choices, decodeChoices, encodeChoices } from "../../src/sim/choices.js";
import { CRASH_BUDGET, CrashMemory, hashDifference, statesOf } from "../../src/sim/crash/cutter.js";
import { Arena, LabDisk, type Unit } from "../../src/sim/crash/medium.js";
import { DEFAULT_BUDGET, describeVerdict, explore, jobsFor, replayOf, runJob, verdictOf } from "../../src/sim/explore.js";
import type { Lab } from "../../src/sim/lab.js";
import { decodeReplay, encodeReplay, type Replay } from "../../src/sim/replay.js";
import { runScenario, type Run, type RunPlan } from "../../src/sim/run.js";
import { scenario, type Scenario } from "../../src/sim/scenario.js";
import { canary } from "../../src/sim/scenarios/canary.js";
import { searchDepthFirst } from "../../src/sim/search/depth-first.js";
import { searchFaults } from "../../src/sim/search/faults.js";
import { searchBySampling } from "../../src/sim/search/sampling.js";
import { shrink } from "../../src/sim/shrink.js";
import type { Ext4Inode } from "../../src/ext4/inode.js";
import type { Strategy } from "../../src/ext4/strategy.js";
import { runSync } from "../../src/sched/scheduler.js";
import type { Task } from "../../src/sched/task.js";
import { O_CREAT, O_RDWR } from "../../src/vfs/flags.js";
import { FsError } from "../../src/lib/errno.js";
import { lookAt } from "../../src/sim/image.js";
import { tell } from "../../src/sim/report/story-teller.js";
import { scenarioNamed, strategyNamed } from "../../src/sim/catalogue.js";
import { MAP_SHARED, MS_SYNC, PROT_READ, PROT_WRITE } from "../../src/mm/constants.js";
import { Prng } from "../../src/lib/prng.js";

const byte = (value: number, count = 1): Uint8Array => new Uint8Array(count).fill(value);

interface Cast { readonly a: number; readonly b: number; readonly map: number }
type Work = (lab: Lab, cast: Cast) => Task<void>;

/** Two calls side by side; `outcomes` gets all that came of them: what each returned and when it did, and the tree. */
function pair(name: string, first: Work, second: Work, outcomes: Set<string>): Scenario {
  return scenario<Cast>({
    name, description: "two calls side by side",
    *setup({ process }) {
      for (const path of ["/a", "/b"]) yield* process.pwrite(yield* process.open(path, O_RDWR | O_CREAT), byte(0x41, 3000), 0);
    },
    *prepare({ process }) {
      const a = yield* process.open("/a", O_RDWR);
      return { a, b: yield* process.open("/b", O_RDWR), map: yield* process.mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, a) };
    },
    tasks: { first, second },
    mayFailWith: ["ENOENT", "EEXIST"],
    *after(lab) {
      const calls = lab.recorder.calls.filter(({ task }) => task !== "");
      const results = calls.map(({ task, name: call, result, error }) => `${task} ${call} ${error ?? JSON.stringify(result, (_key, value: unknown) => (value instanceof Uint8Array ? `${value.length} ${value.join("").slice(0, 200)}` : value))}`);
      const tree = [...(yield* lookAt(lab))].map(([path, { kind, nlink, bytes }]) => `${path} ${kind} ${nlink} ${bytes.length} ${bytes.join("").slice(0, 400)}`);
      const isOrdered = calls.map((call) => calls.map((other) => (call.end < other.begin ? "<" : "")).join(","));
      outcomes.add([...results.sort(), ...tree, ...isOrdered.sort()].join("\n"));
    },
  });
}

const PAIRS: readonly (readonly [string, Work, Work])[] = [
  ["write and write of one file", function* ({ process }, { a }) { yield* process.pwrite(a, byte(1, 10), 0); }, function* ({ process }, { a }) { yield* process.pwrite(a, byte(2, 10), 5); }],
  ["write and read of two files", function* ({ process }, { a }) { yield* process.pwrite(a, byte(1, 10), 0); }, function* ({ process }, { b }) { yield* process.pread(b, byte(0, 10), 0); }],
  ["rename and unlink", function* ({ process }) { yield* process.rename("/a", "/c"); }, function* ({ process }) { yield* process.unlink("/a"); }],
  ["create and create", function* ({ process }) { yield* process.mkdir("/n"); }, function* ({ process }) { yield* process.symlink("x", "/n"); }],
  ["write and sync of two files", function* ({ process }, { a }) { yield* process.pwrite(a, byte(1, 10), 0); }, function* ({ process }, { b }) { yield* process.fsync(b); }],
];

describe("the reduction", () => {
  test.each(PAIRS)("loses no outcome: %s", (name, first, second) => {
    const [all, reduced] = [new Set<string>(), new Set<string>()];
    const search = (outcomes: Set<string>, reduces: boolean) => searchDepthFirst({ scenario: pair(`test/${name}`, first, second, outcomes), strategy: {}, runsMax: 800, crash: undefined }, Infinity, reduces);
    const whole = search(all, false);
    const less = search(reduced, true);
    expect([whole.found, less.found]).toEqual([undefined, undefined]);
    expect(less.isExhaustive).toBe(true);
    if (whole.isExhaustive) expect([...reduced].sort()).toEqual([...all].sort());
    else expect([...all].filter((outcome) => !reduced.has(outcome))).toEqual([]);
    expect(less.runs).toBeLessThanOrEqual(whole.runs);
    console.log(`${name}: ${reduced.size} outcomes in ${less.runs} runs, without the reduction ${all.size} in ${whole.runs}${whole.isExhaustive ? "" : ", and not all"}`);
  });
});

/** Calls whose steps have little to do with each other, but something: each pair once showed two states that were taken for one. */
const NEARLY: readonly (readonly [string, Work, Work])[] = [
  ["commit and writeback", (lab) => lab.commit(), (lab) => lab.writeback()],
  ["fallocate and statfs", function* ({ process }, { a }) { yield* process.fallocate(a, 0, 8000, 3000); }, function* ({ process }) { yield* process.statfs("/"); }],
  ["mkdir and statfs", function* ({ process }) { yield* process.mkdir("/n"); }, function* ({ process }) { yield* process.statfs("/"); }],
  ["freeze and mkdir", (lab) => lab.recorder.call("freeze", [], function* () { yield* lab.kernel.freeze(); yield* lab.kernel.thaw(); }), function* ({ process }) { yield* process.mkdir("/n"); }],
  ["write and mincore", function* ({ process }, { a }) { yield* process.pwrite(a, byte(1, 10), 0); }, function* ({ process }, { map }) { yield* process.mincore(map, 4096); }],
  ["msync and store", function* ({ process }, { map }) { yield* process.msync(map, 4096, MS_SYNC); }, function* ({ process }, { map }) { yield* process.store(map + 9, 7); }],
  ["truncate and write of another file", function* ({ process }, { a }) { yield* process.ftruncate(a, 0); }, function* ({ process }, { b }) { yield* process.pwrite(b, byte(2, 4000), 3000); }],
  ["unlink and open", function* ({ process }) { yield* process.unlink("/a"); }, function* ({ process }) { yield* process.open("/a", O_RDWR); }],
];

test.each(NEARLY)("equal states are equal: %s", (name, first, second) => {
  const outcomes = new Set<string>();
  const scene = pair(`test/equal ${name}`, function* (lab, cast) { yield* lab.process.pwrite(cast.b, byte(9, 2000), 4000); yield* first(lab, cast); }, second, outcomes);
  const known = new Map<string, string>();
  const see = (state: string, what: string): void => {
    expect(known.get(state) ?? what, `state ${state}`).toBe(what);
    known.set(state, what);
  };
  for (let seed = 1; seed <= 40; seed++) {
    const prng = new Prng(seed);
    const stay = prng.below(8);
    outcomes.clear();
    const { failure, fingerprint } = runScenario({
      scenario: scene, strategy: {}, choices: new Choices([]),
      chooseTurn: ({ enabled, state }) => {
        see(`${state}`, enabled.map(({ index }) => index).sort().join());
        return prng.below(8) <= stay ? 0 : prng.below(enabled.length);
      },
    });
    expect(failure?.message).toBeUndefined();
    see(`end ${fingerprint.split(" ")[1]}`, [...outcomes].join());
  }
});

/** Devices in few words: what is certain, and what may be there or not. */
function deviceOf({ medium, base: { arena } }: Run): string {
  const units = medium.units();
  const certain = medium.survivor(units.map(() => 0));
  const hash = hashDifference(certain, arena.base, medium.changedPages);
  arena.giveBack(certain, medium.changedPages);
  return `${hash} ${units.map(({ text, count }) => `${text}/${count}`).sort().join()}`;
}

/** Which pages are in memory, which of them are dirty, and in which order files would be written back. */
function pagesOf({ lab: { fs, process } }: Run): string {
  const pages = [3, 4].map((fd) => process.descriptors.get(fd).f_mapping.within(0, 16384).map(({ index, dirtyBlocks }) => `${index}/${dirtyBlocks}`).sort().join());
  return `${pages.join("; ")}; ${Array.from(fs.pageCache.dirtyMappings, ({ host }) => (host as Ext4Inode).i_ino).join()}`;
}

const twoFiles = { files: { "/f": byte(1, 16384), "/g": byte(2, 16384) } };
function* overwriteAndSync({ process }: Lab, fd: number): Task<void> {
  for (const page of [0, 1, 0]) {
    yield* process.pwrite(fd, byte(3, 10), page * 4096 + 10);
    yield* process.fdatasync(fd);
  }
  yield* process.pread(fd, byte(0, 10), 0);
}
const smallCache = scenario<Record<"f" | "g", number>>({
  name: "test/small-cache", description: "two files are written and read where three pages have room", world: { ...twoFiles, mount: { pageCacheBytes: 3 * 4096 } },
  *prepare({ process }) { return { f: yield* process.open("/f", O_RDWR), g: yield* process.open("/g", O_RDWR) }; },
  tasks: { first: (lab, { f }) => overwriteAndSync(lab, f), second: (lab, { g }) => overwriteAndSync(lab, g) },
});

test.each([
  ["the device, where a block is freed", scenarioNamed("bugs/freed-metadata-block"), 300, deviceOf],
  ["the device, where preallocated blocks are written", scenarioNamed("bugs/preallocated-and-commit"), 300, deviceOf],
  ["persistent memory", scenarioNamed("engine/grow-fdatasync-dax"), 60, deviceOf],
  ["a page cache of three pages", smallCache, 80, pagesOf],
] as const)("equal states are equal in %s", (_what, scene, runs, digest) => {
  const known = new Map<number, string>();
  for (let seed = 1; seed <= runs; seed++) {
    const prng = new Prng(seed);
    const stay = prng.below(8);
    let run: Run | undefined;
    const watch = (made: Run): object => { run = made; return {}; };
    const { failure } = runScenario({
      scenario: scene, strategy: {}, choices: new Choices([], (count) => prng.below(count)), crash: new CrashMemory({ statesMax: 0, recoveryStatesMax: 0 }), watch,
      chooseTurn: ({ enabled, state }) => {
        const now = digest(run!);
        expect(known.get(state) ?? now, `state ${state}`).toBe(now);
        known.set(state, now);
        return prng.below(8) <= stay ? 0 : prng.below(enabled.length);
      },
    });
    expect(failure?.message).toBeUndefined();
  }
});

/** What each task has called and what came of it, whatever others did meanwhile. */
function callsOf(promises: string, tasks: readonly string[]): string {
  const [order, known] = [promises.slice(0, promises.lastIndexOf(" ")), promises.slice(promises.lastIndexOf(" ") + 1)];
  const texts = order.split(new RegExp(`(?=(?:${tasks.join("|")})[()])`));
  return [...tasks.map((task) => texts.filter((text) => text.startsWith(task)).join("")), ...known.split(",").sort()].join(" ");
}

test.each(["bugs/preallocated-and-commit", "bugs/new-blocks-and-commit"])("the reduction loses no image with its promises: %s", (name) => {
  const scene = scenarioNamed(name);
  const pairsOf = (reduces: boolean): Set<string> => {
    const pairs = new Set<string>();
    const isNew = vi.spyOn(CrashMemory.prototype, "isNew").mockImplementation((image, pages, { arena }, promises) => {
      pairs.add(`${hashDifference(image, arena.base, pages)} ${callsOf(promises, Object.keys(scene.tasks))}`);
      return false;
    });
    const result = searchDepthFirst({ scenario: scene, strategy: {}, runsMax: 300, crash: { statesMax: 4000, recoveryStatesMax: 0 } }, 2, reduces);
    isNew.mockRestore();
    expect([result.isExhaustive, result.crash.sampledMoments]).toEqual([true, 0]);
    return pairs;
  };
  const all = pairsOf(false);
  expect(pairsOf(true)).toEqual(all);
  expect(all.size).toBeGreaterThan(50);
});

test("what is judged before the historian hears of a call is judged anew when it has", () => {
  const seen: string[] = [];
  const isNew = vi.spyOn(CrashMemory.prototype, "isNew").mockImplementation((_image, _pages, _base, promises) => {
    seen.push(promises);
    return false;
  });
  const scene = scenario({
    name: "test/two-syncs", description: "", crash: true, world: twoFiles,
    tasks: { *only({ process }) {
      const f = yield* process.open("/f", O_RDWR);
      yield* process.pwrite(f, byte(3), 0);
      yield* process.fdatasync(f);
      yield* process.fdatasync(f);
    } },
  });
  runScenario({ scenario: scene, strategy: {}, choices: new Choices([]), crash: new CrashMemory() });
  isNew.mockRestore();
  const distinct = [...new Set(seen)];
  expect(new Set(distinct.map((promises) => promises.slice(0, promises.lastIndexOf(" ")))).size).toBeLessThan(distinct.length);
  expect(seen.at(-1)).toMatch(/ =\d+,\d+@0,\d+@0,\d+@0$/);
});

test("what was read may be old when its task goes on", () => {
  const forgetful: Partial<Strategy> = { inodeInCore: (_fs, { i_mapping: mapping }) => { mapping.changedOnDisk = () => {}; } };
  const scene = scenarioNamed("engine/write-evict-during-read");
  expect(explore(scene, "forgetful", forgetful, { ...DEFAULT_BUDGET, runs: 20 }).found?.failure.kind).toBe("linearizability");
  expect(explore(scene, "default", {}, { ...DEFAULT_BUDGET, runs: 20 }).found).toBeUndefined();
});

describe("faults", () => {
  test("an fsync that swallows EIO is found by a power cut, made simpler, and replayed", () => {
    const swallows: Partial<Strategy> = {
      inodeInCore(_fs, inode) {
        const right = inode.fsync.bind(inode);
        inode.fsync = function* (dataOnly) {
          try {
            yield* right(dataOnly);
          } catch (error) {
            if (!(error instanceof FsError) || error.code !== "EIO") throw error;
          }
        };
      },
    };
    const scene = scenarioNamed("engine/failing-data-write");
    const find = (strategy: Partial<Strategy>) => searchFaults({ scenario: scene, strategy, runsMax: 60, crash: CRASH_BUDGET }, 1, 1);
    const found = find(swallows).found!;
    expect(found).toMatchObject({ fault: { kind: "request" }, failure: { kind: "durability", cuts: [[0, 0]] } });
    const small = shrink(scene, swallows, found, { crash: CRASH_BUDGET });
    expect(tell(scene, "swallows", swallows, decodeReplay(replayOf(scene.name, "swallows", small))).result.failure?.message).toBe(small.failure.message);
    expect(find({})).toMatchObject({ found: undefined, isExhaustive: true });
  });

  test("requests are counted in each schedule", () => {
    const scene = scenario<{ isAsked: boolean }>({
      name: "test/asked", description: "a file is synced if somebody has asked for it", world: twoFiles, faults: { requests: true }, *prepare() { return { isAsked: false }; },
      tasks: {
        *syncs({ process }, cast) {
          const f = yield* process.open("/f", O_RDWR);
          if (!cast.isAsked) return;
          yield* process.pwrite(f, byte(3, 4096), 0);
          yield* process.fdatasync(f);
        },
        *asks(_lab, cast) { cast.isAsked = true; },
      },
    });
    expect(runScenario({ scenario: scene, strategy: {}, choices: new Choices([]) }).requestCount).toBe(1);
    expect(searchFaults({ scenario: scene, strategy: {}, runsMax: 100, crash: undefined }, 1, 8)).toMatchObject({ found: undefined, faults: { requests: 3 } });
  });

  test("what a small cache brings about is made simpler, and stays the same", () => {
    const scene = scenario<{ order: string }>({
      name: "test/small-and-late", description: "one task comes after the other, or has much room", world: twoFiles, faults: { memory: true }, *prepare() { return { order: "" }; },
      tasks: {
        *first({ process }, cast) { yield* process.stat("/f"); cast.order += "1"; },
        *second(lab, cast) {
          yield* lab.process.stat("/g");
          cast.order += "2";
          lab.check(cast.order !== "2" || lab.fs.pageCache.limitBytes > 2 * 4096, "few pages, and the second was first");
        },
      },
    });
    const found = searchFaults({ scenario: scene, strategy: {}, runsMax: 100, crash: undefined }, 1, 8).found!;
    expect(found).toMatchObject({ fault: { kind: "memory", number: 1 }, failure: { kind: "invariant" } });
    const small = shrink(scene, {}, found, { crash: CRASH_BUDGET });
    expect(small).toMatchObject({ fault: found.fault, failure: { message: found.failure.message } });
    expect(small.choices.filter((choice) => choice > 0)).toHaveLength(1);
  });

  test("a write that failed may be there, until another is written over it", () => {
    const disk = new LabDisk(new Arena(new Uint8Array(8192)), { isMortal: true });
    disk.failAt = 1;
    const write = (value: number): void => runSync(disk.submit([{ op: "write", offsetBytes: 4096, data: byte(value, 512) }]));
    const flush = (): void => runSync(disk.submit([{ op: "flush", offsetBytes: 0, data: byte(0, 0) }]));
    expect(() => write(1)).toThrow("EIO");
    flush();
    expect(disk.units()).toHaveLength(1);
    expect([0, 1].map((state) => disk.survivor([state])[4096])).toEqual([0, 1]);
    write(2);
    flush();
    expect(disk.units()).toEqual([]);
    expect(disk.survivor([])[4096]).toBe(2);
  });
});

test("a promise that lapses is judged while it stands, and one state with two promises twice", () => {
  const strategy = strategyNamed("fsync-without-flush");
  const overwrites = (name: string, values: readonly [number, number]): Scenario => scenario({
    name: `test/${name}`, description: "a byte is written, synced, and written back as it was", crash: true, world: { files: { "/a": byte(0x41, 1024) } },
    *prepare({ process }) { return yield* process.open("/a", O_RDWR); },
    tasks: {
      *only(lab, fd) {
        const value = values[lab.choose(2)]!;
        yield* lab.process.pwrite(fd, byte(value, 1024), 0);
        yield* lab.process.fdatasync(fd);
        yield* lab.process.pwrite(fd, byte(0x41, 1024), 0);
      },
    },
  });
  for (const values of [[0x41, 0x42], [0x42, 0x41]] as const) {
    const scene = overwrites(`lapses-${values[0]}`, values);
    const found = searchDepthFirst({ scenario: scene, strategy, runsMax: 10, crash: CRASH_BUDGET }, 1).found!;
    expect(found.failure.kind).toBe("durability");
    expect(tell(scene, "fsync-without-flush", strategy, decodeReplay(replayOf(scene.name, "fsync-without-flush", found))).result.failure?.message).toBe(found.failure.message);
    expect(searchDepthFirst({ scenario: scene, strategy: {}, runsMax: 10, crash: CRASH_BUDGET }, 1)).toMatchObject({ found: undefined, isExhaustive: true });
  }
});

describe("searches", () => {
  test("the canary is found, each way", () => {
    expect(searchDepthFirst({ scenario: canary, strategy: {}, runsMax: 100, crash: undefined }, 1).found?.failure.kind).toBe("invariant");
    for (const kind of ["pct", "random"] as const) expect(searchBySampling({ scenario: canary, strategy: {}, runsMax: 100, crash: undefined }, { kind, seed: 1, depthMax: 3 }).found?.failure.kind).toBe("invariant");
  });

  test("without a preemption it is not there, and the verdict says what was left out", () => {
    const verdict = explore(canary, "default", {}, { ...DEFAULT_BUDGET, explorer: "depth-first", preemptions: 0 });
    expect(verdict.found).toBeUndefined();
    expect(describeVerdict(verdict)).toMatch(/every interleaving with at most 0 preemptions, depth first: \d+ runs .*cut off: \d+ turns beyond that bound/);
  });

  test("what is found is replayed by its string, and shrunk to one turn", () => {
    const found = searchBySampling({ scenario: canary, strategy: {}, runsMax: 200, crash: undefined }, { kind: "random", seed: 7, depthMax: 3 }).found!;
    const replay = decodeReplay(replayOf(canary.name, "default", found));
    expect(runScenario({ scenario: canary, strategy: {}, choices: new Choices(replay.choices) }).failure?.message).toBe(found.failure.message);
    const small = shrink(canary, {}, found, { crash: CRASH_BUDGET });
    expect(small.failure.kind).toBe("invariant");
    expect(small.choices.filter((choice) => choice > 0).length).toBeLessThanOrEqual(1);
  });

  test("jobs in any order of execution give one verdict", () => {
    const budget = { ...DEFAULT_BUDGET, runs: 60 };
    const jobs = jobsFor(canary, budget);
    const results = jobs.map((job) => runJob(canary, {}, job, budget.crash));
    const backwards = [...jobs].reverse().map((job) => runJob(canary, {}, job, budget.crash)).reverse();
    expect(verdictOf("x", "y", jobs, backwards)).toEqual(verdictOf("x", "y", jobs, results));
    expect(explore(canary, "default", {}, budget).replay).toBe(verdictOf(canary.name, "default", jobs, results).replay);
  });

  test("what another run changes is noticed", () => {
    let count = 0;
    const forgetful = scenario({ ...canary, name: "test/forgetful", tasks: { *only({ process }) { if (++count % 2 === 0) yield* process.sync(); } }, after: function* () {} });
    expect(searchDepthFirst({ scenario: forgetful, strategy: {}, runsMax: 10, crash: undefined }, 1).found?.failure.kind).toBe("nondeterminism");
  });

  test("a scenario's own choices are explored", () => {
    const seen = new Set<number>();
    const chooses = scenario({ ...canary, name: "test/chooses", tasks: { *only(lab) { seen.add(lab.choose(3) * 10 + lab.choose(2)); } }, after: function* () {} });
    const result = searchDepthFirst({ scenario: chooses, strategy: {}, runsMax: 50, crash: undefined }, 0);
    expect([result.runs, result.isExhaustive, [...seen].sort((a, b) => a - b)]).toEqual([6, true, [0, 1, 10, 11, 20, 21]]);
  });

  test("an error that nobody expects is one", () => {
    const waits = scenario({ ...canary, name: "test/error", tasks: { *only({ process }) { yield* process.unlink("/nothing"); } }, after: function* () {} });
    expect(searchDepthFirst({ scenario: waits, strategy: {}, runsMax: 5, crash: undefined }, 1).found?.failure).toMatchObject({ kind: "error", message: expect.stringContaining("ENOENT") as string });
  });
});

describe("strings", () => {
  test("choices, there and back", () => {
    const prng = new Prng(3);
    for (let round = 0; round < 300; round++) {
      const choices = Array.from({ length: prng.below(40) }, () => (prng.below(3) > 0 ? 0 : prng.below(100)));
      expect(decodeChoices(encodeChoices(choices, true))).toEqual(choices);
      const short = decodeChoices(encodeChoices(choices));
      expect([...short, ...choices.slice(short.length)]).toEqual(choices);
      expect(choices.slice(short.length).every((choice) => choice === 0)).toBe(true);
    }
  });

  test.each(["z", "zz3", "1..2", "-1", "1.", "1.x!", "zzzzz.zzzzz"])("'%s' is no list", (text) => expect(() => decodeChoices(text)).toThrow(FsError));

  test("replays, there and back", () => {
    const replays: Partial<Replay>[] = [{}, { choices: [0, 0, 1] }, { choices: [0, 2], cuts: [[0, 1, 0], [3]] }, { fault: { kind: "request", number: 12, forGood: true }, choices: [1] }, { fault: { kind: "space", number: 0 } }, { fault: { kind: "memory", number: 3 }, choices: [0, 1] }];
    for (const replay of replays) {
      const whole: Replay = { scenario: "a/b", strategy: "linux-4.13", choices: [], fault: undefined, cuts: undefined, ...replay };
      expect(decodeReplay(encodeReplay(whole))).toEqual(whole);
    }
    for (const text of ["", "a/b", "a/b:c", "a/b:c:q!"]) expect(() => decodeReplay(text), text).toThrow(FsError);
  });

  test("a list for another run is refused", () => {
    const misfitOf = (plan: Partial<RunPlan>): string | undefined => runScenario({ scenario: canary, strategy: {}, choices: new Choices([]), ...plan }).misfit;
    expect(misfitOf({ choices: new Choices([7]) })).toBe("choice 1 is 7, of 2");
    expect(misfitOf({ choices: new Choices(new Array<number>(1000).fill(0)) })).toMatch(/^the last \d+ choices were not asked for$/);
    expect(misfitOf({ cuts: [[99]] })).toBe("there is no moment 99 after the last choice");
    expect(misfitOf({ fault: { kind: "request", number: 1000, forGood: false } })).toMatch(/^there is no request 1000: \d+ are made$/);
    expect(misfitOf({})).toBeUndefined();
  });
});

test("what a cut leaves: all of it if there is little, else what matters most", () => {
  const unit = (count: number): Unit => ({ count, whole: 1, text: "", part: String });
  expect(statesOf([unit(2), unit(2), unit(3)], 24)).toMatchObject({ isSampled: false, states: { length: 12 } });
  const { states, isSampled } = statesOf(Array.from({ length: 10 }, () => unit(9)), 24);
  expect(isSampled).toBe(true);
  expect(new Set(states.map(String)).size).toBe(states.length);
  expect(states.length).toBe(24);
  expect(states).toContainEqual(Array(10).fill(0));
  expect(states).toContainEqual(Array(10).fill(1));
});
