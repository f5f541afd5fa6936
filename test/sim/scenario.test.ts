/** What an author may get wrong is said to him, and not taken for a failure of the engine, or for none; faults from outside are counted as far as they go; a simpler run shows the same. */
import { expect, test } from "vitest";
import { DEFAULT_BUDGET, describeVerdict, explore, runJob } from "../../src/sim/explore.js";
import { FsError } from "../../src/lib/errno.js";
import { Choices } from "../../src/sim/choices.js";
import { CRASH_BUDGET } from "../../src/sim/crash/cutter.js";
import { runScenario } from "../../src/sim/run.js";
import { scenario, ScenarioError, type Scenario, type ScenarioDefinition } from "../../src/sim/scenario.js";
import { shrink } from "../../src/sim/shrink.js";
import { O_CREAT, O_RDWR } from "../../src/vfs/flags.js";

const SOUND: ScenarioDefinition<unknown> = { name: "mine/sound", description: "a directory is made", tasks: { *make({ process }) { yield* process.mkdir("/d"); } } };

/** What a mistaken definition is told, when it is made or when it is first run. */
function problemOf(changes: Record<string, unknown>): string {
  try {
    return String(runScenario({ scenario: scenario({ ...SOUND, ...changes } as ScenarioDefinition<unknown>), strategy: {}, choices: new Choices([]) }).failure?.message);
  } catch (error) {
    if (error instanceof ScenarioError) return error.message;
    throw error;
  }
}

test.each<[problem: string, changes: Record<string, unknown>]>([
  ["undefined", {}],
  ["a scenario has no name", { name: "" }],
  ["mine/sound: it has no description", { description: undefined }],
  ["mine/sound: it has no tasks", { tasks: {} }],
  ["mine/sound: it has no tasks", { tasks: null }],
  ["mine/sound: a scenario has no 'afer', but name, description, world, setup, prepare, tasks, after, afterCrash, crash, faults, mayFailWith", { *afer() {} }],
  ["mine/sound: a world has no 'size', but device, sizeBytes, mkfs, mount, files", { world: { size: 1 } }],
  ["mine/sound: a plan of faults has no 'io', but requests, space, memory, codes", { faults: { io: true } }],
  ['mine/sound: a device is "disk" or "pmem", not "floppy"', { world: { device: "floppy" } }],
  ["mine/sound: prepare is no generator function", { prepare: 1 }],
  ["mine/sound: prepare is no generator function: it returns 7", { prepare: () => 7 }],
  ["mine/sound: make is no generator function: it returns [object Promise]", { tasks: { async make() {} } }],
  ["mine/sound: after is no generator function: it returns undefined", { after() {} }],
  ["task make yields what is no wait: calls are made with yield*", { tasks: { *make({ process }: Parameters<Scenario["tasks"][string]>[0]) { yield process.mkdir("/d"); } } }],
  ["mine/sound: mkdir() has not begun: calls are made with yield*", { tasks: { *make({ process }: Parameters<Scenario["tasks"][string]>[0]) { yield* process.mkdir("/d"); process.mkdir("/e"); } } }],
  ["mine/sound: its prepare fails: ENOENT: no such file or directory", { *prepare({ process }: Parameters<Scenario["tasks"][string]>[0]) { yield* process.rmdir("/none"); } }],
  ["mine/sound: it cannot be mounted: EINVAL: unsupported blocksize for DAX", { world: { mount: { dax: "always" } } }],
])("%s", (problem, changes) => {
  expect(problemOf(changes)).toBe(problem);
});

test("where a strategy keeps a scenario from being prepared, that is a failure", () => {
  const tried = scenario({ ...SOUND, *prepare({ process }) { yield* process.mkdir("/prepared"); } });
  const strategy = { *addOrphan() {}, inodeInCore: () => { throw new FsError("EIO", "planted"); } };
  expect(runScenario({ scenario: tried, strategy, choices: new Choices([]) }).failure).toMatchObject({ kind: "error", message: "EIO: planted" });
});

test("blocks are counted until they suffice", () => {
  const writes = (blocks: number): Scenario => scenario({
    name: `mine/write-${blocks}`, description: "two writes, of which the second must not fail once the first has not", faults: { space: true },
    *prepare({ process }) { return yield* process.open("/f", O_RDWR | O_CREAT); },
    tasks: {
      *write({ process }, fd) {
        if ((yield* process.pwrite(fd, new Uint8Array(1024 * blocks), 0)) < 1024 * blocks) return;
        try {
          yield* process.pwrite(fd, new Uint8Array(4096), 1024 * blocks);
        } catch (error) {
          throw new Error("the second", { cause: error });
        }
      },
    },
  });
  // Further than any number that one would think of.
  const { found } = runJob(writes(100), {}, { kind: "faults", runs: 3000, seed: 1, schedules: 1 }, CRASH_BUDGET);
  expect(found).toMatchObject({ fault: { kind: "space" }, failure: { kind: "error" } });
  expect(found!.fault!.number).toBeGreaterThanOrEqual(100);
  const verdict = explore(scenario({ ...SOUND, faults: { requests: true, space: true, memory: true } }), "default", {}, { ...DEFAULT_BUDGET, runs: 1 });
  expect(describeVerdict(verdict)).toMatch(/with a fault from outside each, in 3 interleavings of each: requests 1 to \d+, failing once and for good; 0 to \d+ free blocks; a cache of 1 to 8 pages$/m);
});

test("a simpler run shows the same failure, not another one", () => {
  const two = scenario<{ choice: number }>({
    name: "mine/two", description: "two failures, by choice",
    *prepare() { return { choice: 0 }; },
    tasks: { *make({ process, choose }, cast) { yield* process.mkdir("/d"); cast.choice = choose(3); } },
    *after({ check }, { choice }) {
      check(choice !== 1, "beta is broken");
      check(choice !== 2, "alpha is broken");
    },
  });
  const choices = [2];
  const failure = runScenario({ scenario: two, strategy: {}, choices: new Choices(choices) }).failure!;
  expect(failure.message).toBe("alpha is broken");
  expect(shrink(two, {}, { failure, choices, fault: undefined, run: 1 }, { crash: CRASH_BUDGET }).failure.message).toBe("alpha is broken");
});
