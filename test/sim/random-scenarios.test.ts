/**
 * Scenarios that nobody thought of: two or three tasks of a few calls each, by seed, on worlds of all kinds, explored as any scenario is. What fails here is our mistake, or the lab's. `npm run campaign:lab` tries
 * many more; a seed that fails is made a scenario of its own.
 */
import { afterAll, expect, test } from "vitest";
import { FsError } from "../../src/lib/errno.js";
import { Prng } from "../../src/lib/prng.js";
import { MAP_SHARED, MS_SYNC, PROT_READ, PROT_WRITE } from "../../src/mm/constants.js";
import type { Task } from "../../src/sched/task.js";
import { DEFAULT_BUDGET, describeVerdict, explore } from "../../src/sim/explore.js";
import type { Lab } from "../../src/sim/lab.js";
import { scenario, type Scenario, type WorldRecipe } from "../../src/sim/scenario.js";
import { O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_RDONLY, O_RDWR } from "../../src/vfs/flags.js";
import { Signal } from "../../src/vfs/signal.js";

const FIRST_SEED = Number(process.env["EXT4_SEED"] ?? 1);
const SEEDS = Number(process.env["EXT4_SEEDS"] ?? 12);
const RUNS = Number(process.env["EXT4_RUNS"] ?? 30);
const MAP_BYTES = 8192;

interface Cast { readonly f: number; readonly g: number; readonly appending: number; readonly directory: number; readonly map: number }
type Call = readonly [text: string, run: (lab: Lab, cast: Cast) => Task<unknown>];

const WORLDS: readonly WorldRecipe[] = [
  {}, {}, { mkfs: { features: "^resize_inode,inline_data" } }, { mount: { delalloc: false } }, { mount: { dataMode: "journal" } }, { device: "pmem", mount: { dax: "always" } }, { device: "pmem" },
];
/** What a call may well end with, as names come and go. */
const CODES = new Set(["ENOENT", "EEXIST", "ENOTEMPTY", "EISDIR", "ENOTDIR", "EINVAL", "EBUSY", "EPERM"]);

const bytes = (value: number, count: number): Uint8Array => new Uint8Array(count).fill(value);

function nameCalls(prng: Prng): readonly (() => Call)[] {
  const path = (): string => prng.pick(["/f", "/g", "/d/x", "/d/y", "/d", "/e", "/e/x", "/h"]);
  const one = (name: "unlink" | "mkdir" | "rmdir") => (): Call => {
    const at = path();
    return [`${name} ${at}`, ({ process }) => process[name](at)];
  };
  const two = (name: "rename" | "link") => (): Call => {
    const [from, to] = [path(), path()];
    return [`${name} ${from} ${to}`, ({ process }) => process[name](from, to)];
  };
  const create = (): Call => {
    const at = path();
    const flags = O_RDWR | O_CREAT | (prng.below(3) === 0 ? O_EXCL : 0);
    return [`open ${at} ${flags}`, ({ process }) => process.open(at, flags)];
  };
  const renameat2 = (): Call => {
    const [from, to, flags] = [path(), path(), 1 + prng.below(2)];
    return [`renameat2 ${from} ${to} ${flags}`, ({ process }) => process.renameat2(from, to, flags)];
  };
  return [create, create, one("unlink"), one("unlink"), one("mkdir"), one("rmdir"), two("rename"), two("rename"), two("rename"), renameat2, two("link"), two("link"),
    () => ["fsync of the directory", ({ process }, { directory }) => process.fsync(directory)]];
}

function byteCalls(prng: Prng): readonly (() => Call)[] {
  const offset = (): number => prng.pick([0, 100, 500, 1000, 1024, 1500, 2048, 3000, 4090, 4096, 5000]);
  const count = (): number => prng.pick([1, 10, 100, 1000, 1024, 3000]);
  const value = (): number => 0x61 + prng.below(20);
  const file = (): "f" | "g" => (prng.below(4) === 0 ? "g" : "f");
  const pwrite = (): Call => {
    const [to, at, length, what] = [file(), offset(), count(), value()];
    return [`pwrite ${to} ${length} at ${at}`, ({ process }, cast) => process.pwrite(cast[to], bytes(what, length), at)];
  };
  const append = (): Call => {
    const [length, what] = [count(), value()];
    return [`append ${length}`, ({ process }, { appending }) => process.write(appending, bytes(what, length))];
  };
  const ftruncate = (): Call => {
    const [to, at] = [file(), offset()];
    return [`ftruncate ${to} ${at}`, ({ process }, cast) => process.ftruncate(cast[to], at)];
  };
  const fallocate = (): Call => {
    const [to, at, length, mode] = [file(), offset(), count(), prng.pick([0, 1, 3, 16, 17])];
    return [`fallocate ${to} ${mode} ${length} at ${at}`, ({ process }, cast) => process.fallocate(cast[to], mode, at, length)];
  };
  const pread = (): Call => {
    const [from, at, length] = [file(), offset(), count()];
    return [`pread ${from} ${length} at ${at}`, ({ process }, cast) => process.pread(cast[from], new Uint8Array(length), at)];
  };
  const store = (): Call => {
    const [at, what] = [offset(), value()];
    return [`store ${at}`, ({ process }, { map }) => process.store(map + at, what)];
  };
  const load = (): Call => {
    const at = offset();
    return [`load ${at}`, ({ process }, { map }) => process.load(map + at)];
  };
  const msync = (): Call => {
    const at = prng.below(2) * 4096;
    return [`msync 4096 at ${at}`, ({ process }, { map }) => process.msync(map + at, 4096, MS_SYNC)];
  };
  const fdatasync = (): Call => {
    const of = file();
    return [`fdatasync ${of}`, ({ process }, cast) => process.fdatasync(cast[of])];
  };
  return [pwrite, pwrite, pwrite, append, ftruncate, ftruncate, fallocate, fallocate, pread, store, store, load, msync, fdatasync];
}

function otherCalls(prng: Prng): readonly (() => Call)[] {
  const fsync = (): Call => {
    const of = prng.pick(["f", "g"] as const);
    return [`fsync ${of}`, ({ process }, cast) => process.fsync(cast[of])];
  };
  const writeback = (): Call => ["writeback", (lab) => lab.writeback()];
  const commit = (): Call => ["commit", (lab) => lab.commit()];
  return [fsync, fsync, () => ["sync", ({ process }) => process.sync()], writeback, writeback, commit, commit, () => ["checkpoint", (lab) => lab.checkpoint()]];
}

/** Its calls go on where one of them fails. */
function* perform(calls: readonly Call[], lab: Lab, cast: Cast): Task<void> {
  for (const [, run] of calls) {
    try {
      yield* run(lab, cast);
    } catch (error) {
      if (!(error instanceof Signal) && !(error instanceof FsError && CODES.has(error.code))) throw error;
    }
  }
}

function randomScenario(seed: number): { readonly tried: Scenario; readonly text: string } {
  const prng = new Prng(seed);
  const kind = prng.pick(["names", "bytes", "bytes", "both"]);
  const world = prng.pick(WORLDS);
  const makers = [...(kind === "bytes" ? [] : nameCalls(prng)), ...(kind === "names" ? [] : byteCalls(prng)), ...otherCalls(prng)];
  const tasks = Array.from({ length: 2 + prng.below(2) }, () => Array.from({ length: 1 + prng.below(4) }, () => prng.pick(makers)()));
  const tried = scenario<Cast>({
    name: `random/${seed}`, description: "a few calls by chance", world, crash: prng.below(3) > 0,
    *setup({ process }) {
      yield* process.mkdir("/d");
      for (const [path, count] of [["/f", 1500], ["/g", 100], ["/d/x", 10]] as const) yield* process.pwrite(yield* process.open(path, O_RDWR | O_CREAT), bytes(0x41, count), 0);
    },
    *prepare({ process }) {
      const f = yield* process.open("/f", O_RDWR);
      return {
        f, g: yield* process.open("/g", O_RDWR), appending: yield* process.open("/f", O_RDWR | O_APPEND), directory: yield* process.open("/d", O_RDONLY | O_DIRECTORY),
        map: yield* process.mmap(0, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, f),
      };
    },
    tasks: Object.fromEntries(tasks.map((calls, index) => ["abc"[index]!, (lab: Lab, cast: Cast) => perform(calls, lab, cast)])),
  });
  const text = tasks.map((calls, index) => `${"abc"[index]}: ${calls.map(([each]) => each).join("; ")}`).join("\n");
  return { tried, text: `${JSON.stringify(world)}\n${text}` };
}

const counts = { runs: 0, states: 0 };

test.each(Array.from({ length: SEEDS }, (_, index) => FIRST_SEED + index))("seed %i", { timeout: 600_000 }, (seed) => {
  const { tried, text } = randomScenario(seed);
  const verdict = explore(tried, "default", {}, { ...DEFAULT_BUDGET, runs: RUNS, crash: { statesMax: 12, recoveryStatesMax: 0 } });
  counts.runs += verdict.runs;
  counts.states += verdict.crash.states;
  expect(verdict.found?.failure.message, `${describeVerdict(verdict)}\n${verdict.replay}\n${text}`).toBeUndefined();
});

afterAll(() => {
  process.stdout.write(`random scenarios: ${SEEDS} of ${RUNS} runs each, ${counts.runs} runs, ${counts.states} states after power cuts\n`);
});
