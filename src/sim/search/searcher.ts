/** What a search is asked, and what it finds. A search makes runs, one after the other, and stops at the first failure: which run that is depends on nothing but what is asked here. */
import type { Strategy } from "../../ext4/strategy.js";
import { Choices } from "../choices.js";
import { CrashMemory, noCrashCounts, type CrashBudget, type CrashCounts } from "../crash/cutter.js";
import type { Failure } from "../failure.js";
import { runScenario, type RunFault, type RunPlan, type RunResult } from "../run.js";
import type { Scenario } from "../scenario.js";

export interface SearchTask {
  readonly scenario: Scenario;
  readonly strategy: Partial<Strategy>;
  readonly runsMax: number;
  /** In every run. */
  readonly fault?: RunFault | undefined;
  /** Undefined: the power does not fail. */
  readonly crash: CrashBudget | undefined;
  /** Looks at each image with other eyes. @returns what is wrong. */
  readonly fsck?: ((image: Uint8Array) => string | undefined) | undefined;
  /** Asked before each run: no more time. */
  readonly isOver?: (() => boolean) | undefined;
}

export interface FoundFailure {
  readonly failure: Failure;
  readonly choices: readonly number[];
  readonly fault: RunFault | undefined;
  /** The run in which it was found, from 1. */
  readonly run: number;
}

export interface SearchResult {
  found: FoundFailure | undefined;
  runs: number;
  steps: number;
  /** Runs that were dropped where they came to a state that had been gone on from already. */
  equalRuns: number;
  /** Turns that were not taken as they were one preemption too many. */
  boundedTurns: number;
  /** Nothing within the bound was left out. */
  isExhaustive: boolean;
  crash: CrashCounts;
}

export const nothingYet = (): SearchResult => ({ found: undefined, runs: 0, steps: 0, equalRuns: 0, boundedTurns: 0, isExhaustive: false, crash: noCrashCounts() });

/** One run in so many is made twice, to see that it comes out the same. */
const REPEAT_SHARE = 64;

/** Makes the runs of a search and keeps the counts. */
export class Runner {
  readonly result = nothingYet();
  private readonly memory: CrashMemory | undefined;

  constructor(readonly task: SearchTask) {
    if (task.crash === undefined) return;
    this.memory = new CrashMemory(task.crash);
    this.result.crash = this.memory.counts;
  }

  get mayGoOn(): boolean {
    return this.result.found === undefined && this.result.runs < this.task.runsMax && this.task.isOver?.() !== true;
  }

  run(choices: Choices, chooseTurn?: RunPlan["chooseTurn"], fault = this.task.fault): RunResult {
    const { task: { scenario, strategy, fsck }, memory, result } = this;
    const ran = runScenario({ scenario, strategy, choices, chooseTurn, fault, crash: fault === undefined ? memory : undefined, fsck });
    result.runs++;
    result.steps += ran.stepCount;
    if (!ran.isComplete && ran.failure === undefined) result.equalRuns++;
    let failure = ran.failure;
    if (ran.isComplete && failure === undefined && result.runs % REPEAT_SHARE === 1) failure = this.runAgain(ran, fault);
    if (failure !== undefined) result.found = { failure, choices: [...ran.choices], fault, run: result.runs };
    return ran;
  }

  private runAgain(before: RunResult, fault: RunFault | undefined): Failure | undefined {
    const { scenario, strategy } = this.task;
    const again = runScenario({ scenario, strategy, choices: new Choices(before.choices), fault });
    if (again.fingerprint === before.fingerprint) return undefined;
    return { kind: "nondeterminism", step: again.stepCount, message: `the same choices led elsewhere: ${before.fingerprint}, then ${again.fingerprint}` };
  }
}
