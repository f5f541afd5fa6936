/**
 * The lab: how many schedules a second its driver makes of a toy, against fast-check's scheduler with the same one; and, standing alone, how many whole runs of a scenario and how many states after a power cut,
 * each with a filesystem that is mounted, worked in, unmounted, counted again and compared with what was promised.
 */
import { build } from "esbuild";
import fc from "fast-check";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Task } from "../src/sched/task.js";
import { temporaryFolder } from "../test/support/host.js";
import type * as EngineModule from "./lab-engine.js";
import type { Figures } from "./figure.js";
import type { Comparison } from "./measure.js";
import type { Scale } from "./scale.js";

type Engine = typeof EngineModule;

let engine: Promise<Engine> | undefined;

/** Scenarios and searches are built here as the package is: in one piece. */
function loadEngine(): Promise<Engine> {
  return engine ??= (async () => {
    const outfile = join(temporaryFolder(), "lab-engine.mjs");
    await build({ entryPoints: [new URL("lab-engine.ts", import.meta.url).pathname], outfile, bundle: true, format: "esm", target: "es2022", platform: "node", logLevel: "warning" });
    return await import(pathToFileURL(outfile).href) as Engine;
  })();
}

const TASKS = 2;

/** Some schedules lose an update, and some do not: else nobody has interleaved anything. */
function checkLost(lost: number, schedules: number): void {
  if (lost === 0 || lost === schedules) throw new Error(`${lost} of ${schedules} schedules lose an update`);
}

/** Two tasks; each reads a number, lets the other one in, and writes it plus one. */
function toyByDriver({ ExploringDriver, Prng, footprint, racePoint }: Engine, schedules: number): void {
  const prng = new Prng(1);
  let lost = 0;
  for (let schedule = 0; schedule < schedules; schedule++) {
    const shared = { number: 0 };
    const increment = function* (): Task<void> {
      footprint(shared, false);
      const { number } = shared;
      yield* racePoint("number");
      footprint(shared);
      shared.number = number + 1;
    };
    const driver = new ExploringDriver();
    for (let task = 0; task < TASKS; task++) driver.add(`task ${task}`, increment());
    driver.run(({ enabled }) => prng.below(enabled.length));
    if (shared.number < TASKS) lost++;
  }
  checkLost(lost, schedules);
}

async function toyByFastCheck(schedules: number): Promise<void> {
  let lost = 0;
  await fc.assert(fc.asyncProperty(fc.scheduler(), async (scheduler) => {
    let number = 0;
    const increment = async (): Promise<void> => {
      await scheduler.schedule(Promise.resolve());
      const seen = number;
      await scheduler.schedule(Promise.resolve());
      number = seen + 1;
    };
    await scheduler.waitFor(Promise.all(Array.from({ length: TASKS }, increment)));
    if (number < TASKS) lost++;
  }), { numRuns: schedules, seed: 1 });
  checkLost(lost, schedules);
}

export async function lab({ scheduleCount, rounds }: Scale): Promise<Comparison[]> {
  const C = await loadEngine();
  return [{
    title: `${scheduleCount} schedules of two tasks of two steps each, by chance`, amount: scheduleCount, unit: "schedules", rounds: rounds + 2,
    contenders: [
      { name: "fast-check's scheduler", round: (timed) => timed(() => toyByFastCheck(scheduleCount)) },
      { name: "the lab's driver", round: (timed) => timed(() => toyByDriver(C, scheduleCount)) },
    ],
  }];
}

/** Seconds of processor that this process has used: what else the machine does counts less in them than in those of a clock. */
function processorSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000_000;
}

/** Searches in a row, each from another seed, as long as it takes. */
function rateOf({ searchBySampling, scenarioNamed, CRASH_BUDGET }: Engine, name: string, seconds: number, what: "runs" | "states"): number {
  const scenario = scenarioNamed(name);
  const rate = (length: number): number => {
    const start = processorSeconds();
    let count = 0;
    for (let seed = 1; processorSeconds() < start + length; seed += 1000) {
      const { found, runs, crash } = searchBySampling({ scenario, strategy: {}, runsMax: what === "runs" ? 20 : 2, crash: what === "states" ? CRASH_BUDGET : undefined }, { kind: "random", seed, depthMax: 3 });
      if (found !== undefined) throw new Error(`${name}: ${found.failure.message}`);
      count += what === "runs" ? runs : crash.states;
    }
    return count / (processorSeconds() - start);
  };
  rate(seconds / 2); // which is not counted: caches and compilers warm up
  return rate(seconds);
}

export async function labFigures({ figureSeconds }: Scale): Promise<Figures> {
  const C = await loadEngine();
  return {
    title: "whole runs, and states after power cuts, each second of one processor; CrashMonkey's README says 328 workloads of one call each (seq-1, btrfs, a real kernel) in about 12 minutes on one machine: 0.46 workloads/s",
    figures: [
      { name: "engine/rename-unlink, no cuts", value: rateOf(C, "engine/rename-unlink", figureSeconds, "runs"), unit: "runs/s" },
      { name: "history/journal-switch, no cuts", value: rateOf(C, "history/journal-switch", figureSeconds, "runs"), unit: "runs/s" },
      { name: "engine/commit-checkpoint-fsync", value: rateOf(C, "engine/commit-checkpoint-fsync", figureSeconds, "states"), unit: "states/s" },
    ],
  };
}
