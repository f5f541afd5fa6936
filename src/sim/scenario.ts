/**
 * A scenario: a small world, and tasks that make system calls, loads and stores in it. The lab runs the tasks through their interleavings, cuts the power, and judges by itself what every filesystem
 * promises (linearizable bytes, whole operations, e2fsck's rules, no warning, no deadlock); a scenario adds what is its own.
 */
import type { Ext4MountOptions } from "../ext4/super.js";
import type { MkfsOptions } from "../mkfs/options.js";
import type { Task } from "../sched/task.js";
import type { Lab } from "./lab.js";

export interface WorldRecipe {
  /** "disk": a block device with a cache that a power cut loses, in sectors. "pmem": persistent memory, lost in cache lines. Default disk. */
  readonly device?: "disk" | "pmem";
  /** Default 4 MiB for a disk, 12 MiB for persistent memory: what the journal and a few files need. */
  readonly sizeBytes?: number;
  readonly mkfs?: Partial<MkfsOptions>;
  readonly mount?: Omit<Ext4MountOptions, "strategy" | "clock" | "events">;
  /** What the filesystem has at first, in its root: "/name" and content. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
}

/** What may be wrong from outside, beside the power: each is tried in turn. */
export interface FaultPlan {
  /** The Nth request to the device fails with EIO, for N = 1, 2, 3 … until none is reached: once, and for good. */
  readonly requests?: boolean;
  /** So many blocks are free when the tasks begin, for 0, 1, 2 … until they suffice. */
  readonly space?: boolean;
  /** So many pages fit the page cache, for 1, 2, 3 … up to 8. */
  readonly memory?: boolean;
  /** Calls may end with these codes then. Default EIO, EROFS, ENOSPC. */
  readonly codes?: readonly string[];
}

export interface ScenarioDefinition<Cast> {
  /** "room/words", as in "engine/rename-unlink". */
  readonly name: string;
  /** What happens, in one sentence. */
  readonly description: string;
  readonly world?: WorldRecipe;
  /** Once for all runs, by the default engine on a fresh filesystem: files, flags. What it leaves is unmounted, and each run begins with a copy. */
  readonly setup?: (lab: Lab) => Task<void>;
  /** At the start of each run, before the tasks and without interleaving: opens, maps, forks. What it returns is given to the tasks. */
  readonly prepare?: (lab: Lab) => Task<Cast>;
  /** By name. They run side by side; each call of `lab.process` (or of a fork of it) is recorded, and others may come in before it and wherever it might wait. */
  readonly tasks: Readonly<Record<string, (lab: Lab, cast: Cast) => Task<void>>>;
  /** When all tasks have ended: what the scenario itself knows to be true. Problems go to lab.check. */
  readonly after?: (lab: Lab, cast: Cast) => Task<void>;
  /** On a filesystem recovered after a power cut: `lab` is a new world, `before` the one of the tasks; its `recorder` has their calls. */
  readonly afterCrash?: (lab: Lab, before: Lab) => Task<void>;
  /** Whether the power may fail. Default false. */
  readonly crash?: boolean;
  readonly faults?: FaultPlan;
  /** Codes that a call may end with, without being a failure of the scenario: "EBUSY", "ENOENT". */
  readonly mayFailWith?: readonly string[];
}

/** A scenario of whatever cast. */
export type Scenario = ScenarioDefinition<unknown>;

/** The scenario itself is at fault: nothing can be said of the engine. */
export class ScenarioError extends Error {
  override name = "ScenarioError";
}

const PARTS = new Set<keyof Scenario>(["name", "description", "world", "setup", "prepare", "tasks", "after", "afterCrash", "crash", "faults", "mayFailWith"]);
const WORLD_PARTS = new Set<keyof WorldRecipe>(["device", "sizeBytes", "mkfs", "mount", "files"]);
const FAULT_PARTS = new Set<keyof FaultPlan>(["requests", "space", "memory", "codes"]);

/** Checks the definition, and the cast's type, which is then forgotten. @throws ScenarioError: what a mistaken definition leaves out would seem to pass. */
export function scenario<Cast>(definition: ScenarioDefinition<Cast>): Scenario {
  const { name, description, world = {}, tasks, faults = {} } = definition as Scenario;
  if (typeof name !== "string" || name === "") throw new ScenarioError("a scenario has no name");
  const check = (isRight: boolean, problem: string): void => {
    if (!isRight) throw new ScenarioError(`${name}: ${problem}`);
  };
  check(typeof description === "string", "it has no description");
  checkParts(definition, PARTS, "a scenario", check);
  checkParts(world, WORLD_PARTS, "a world", check);
  checkParts(faults, FAULT_PARTS, "a plan of faults", check);
  check(world.device === undefined || world.device === "disk" || world.device === "pmem", `a device is "disk" or "pmem", not "${world.device}"`);
  check(typeof tasks === "object" && tasks !== null && Object.keys(tasks).length > 0, "it has no tasks");
  for (const [part, value] of [...["setup", "prepare", "after", "afterCrash"].map((key) => [key, definition[key as "after"]] as const), ...Object.entries(tasks)]) {
    check(value === undefined || typeof value === "function", `${part} is no generator function`);
  }
  made.add(definition);
  return definition as Scenario;
}

const made = new WeakSet<object>();

/** Whether `scenario` has made it. */
export function isScenario(value: unknown): value is Scenario {
  return typeof value === "object" && value !== null && made.has(value);
}

function checkParts(value: object, parts: ReadonlySet<string>, whose: string, check: (isRight: boolean, problem: string) => void): void {
  for (const key of Object.keys(value)) check(parts.has(key), `${whose} has no '${key}', but ${[...parts].join(", ")}`);
}

/** What a part of a scenario returns: a task. @throws ScenarioError. */
export function taskOf<T>({ name }: Scenario, part: string, task: Task<T>): Task<T> {
  if (typeof (task as Partial<Task<T>> | undefined)?.next !== "function") throw new ScenarioError(`${name}: ${part} is no generator function: it returns ${String(task)}`);
  return task;
}
