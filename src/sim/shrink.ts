/**
 * A simpler run with the same failure: fewer turns away from whoever runs, an earlier end. First all runs with no preemption are made, then those with one, and two: the first such failure there has
 * the fewest. Where that takes too long a choice less is tried, and kept if the failure comes out. After a power cut all that a cut may leave is looked at again, as other choices leave other things.
 */
import type { Strategy } from "../ext4/strategy.js";
import { Choices } from "./choices.js";
import { CrashMemory, type CrashBudget } from "./crash/cutter.js";
import { forgetOthers } from "./explore.js";
import { isSameFailure } from "./failure.js";
import { runScenario, type RunPlan } from "./run.js";
import type { Scenario } from "./scenario.js";
import { searchDepthFirst } from "./search/depth-first.js";
import type { FoundFailure } from "./search/searcher.js";

export interface ShrinkOptions {
  readonly crash: CrashBudget;
  /** For a failure that e2fsck alone sees. */
  readonly fsck?: RunPlan["fsck"];
  readonly isOver?: (() => boolean) | undefined;
  /** Called with each simpler run. */
  readonly onProgress?: ((found: FoundFailure) => void) | undefined;
}

/** Runs that are made at most: for each number of preemptions, and of lists with a choice less. */
const RUNS_MAX = 150;
const TRIES_MAX = 200;
const PREEMPTIONS_MAX = 3;

export function shrink(scenario: Scenario, strategy: Partial<Strategy>, found: FoundFailure, options: ShrinkOptions): FoundFailure {
  forgetOthers(scenario);
  return withFewerPreemptions(scenario, strategy, found, options) ?? withFewerChoices(scenario, strategy, found, options);
}

function withFewerPreemptions(scenario: Scenario, strategy: Partial<Strategy>, found: FoundFailure, { crash, fsck, isOver, onProgress }: ShrinkOptions): FoundFailure | undefined {
  const { failure, failure: { cuts }, fault } = found;
  for (let preemptions = 0; preemptions <= PREEMPTIONS_MAX; preemptions++) {
    const task = { scenario, strategy, runsMax: RUNS_MAX, crash: cuts === undefined ? undefined : crash, fault, fsck, isOver };
    const simpler = searchDepthFirst(task, preemptions).found;
    if (simpler === undefined || !isSameFailure(simpler.failure, failure)) continue;
    onProgress?.(simpler);
    return { ...simpler, run: found.run };
  }
  return undefined;
}

function withFewerChoices(scenario: Scenario, strategy: Partial<Strategy>, found: FoundFailure, { crash, fsck, isOver, onProgress }: ShrinkOptions): FoundFailure {
  let best = found;
  let tries = 0;
  const attempt = (choices: readonly number[]): boolean => {
    if (++tries > TRIES_MAX || isOver?.() === true) return false;
    const memory = scenario.crash === true && best.failure.cuts !== undefined ? new CrashMemory(crash) : undefined;
    const { failure, choices: made } = runScenario({ scenario, strategy, choices: new Choices(choices, undefined, true), fault: best.fault, crash: memory, fsck });
    if (failure === undefined || !isSameFailure(failure, best.failure) || !isSimpler(made, best.choices)) return false;
    best = { ...best, failure, choices: [...made] };
    onProgress?.(best);
    return true;
  };
  // Halves, quarters … of the turns are given up at once, then each alone, until nothing more can go.
  for (let size = turnsOf(best.choices).length; size >= 1;) {
    let isBetter = false;
    for (let first = 0; first < turnsOf(best.choices).length; first += size) {
      const given = turnsOf(best.choices).slice(first, first + size);
      if (attempt(best.choices.map((choice, at) => (given.includes(at) ? 0 : choice)))) isBetter = true;
    }
    if (!isBetter || size > 1) size = Math.floor(size / 2);
  }
  // Smaller numbers are nearer to whoever ran.
  for (const at of turnsOf(best.choices)) for (let choice = 1; choice < (best.choices[at] ?? 0); choice++) if (attempt(best.choices.map((old, index) => (index === at ? choice : old)))) break;
  return best;
}

/** Where another way than the plain one was taken. */
function turnsOf(choices: readonly number[]): number[] {
  return choices.flatMap((choice, at) => (choice === 0 ? [] : [at]));
}

/** Fewer turns, then smaller numbers, then less to go. */
function isSimpler(a: readonly number[], b: readonly number[]): boolean {
  const measure = (choices: readonly number[]): number[] => [turnsOf(choices).length, choices.reduce((sum, choice) => sum + choice, 0), choices.length];
  const [first, second] = [measure(a), measure(b)];
  const differing = first.findIndex((value, index) => value !== second[index]);
  return differing >= 0 && first[differing]! < second[differing]!;
}
