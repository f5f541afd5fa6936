/**
 * Runs by chance, each from its own seed, so that any of them can be made without the others: with weights, or by PCT. PCT gives each task a priority and lowers that of whoever runs at d - 1 random steps; a bug that
 * needs d steps in a certain order is found with a probability of at least 1 / (n * k^(d-1)) (Burckhardt, Kothari, Musuvathi, Nagarakatte: A randomized scheduler with probabilistic guarantees of finding bugs, 2010).
 */
import { Choices } from "../choices.js";
import type { Turn } from "../driver.js";
import { Prng } from "../../lib/prng.js";
import { runScenario } from "../run.js";
import { Runner, type SearchResult, type SearchTask } from "./searcher.js";

export interface Sampling {
  readonly kind: "random" | "pct";
  /** Run number n is made from seed + n. */
  readonly seed: number;
  /** Of PCT: how many steps in a certain order are looked for, at most. */
  readonly depthMax: number;
}

export function searchBySampling(task: SearchTask, { kind, seed, depthMax }: Sampling): SearchResult {
  const runner = new Runner(task);
  // Each run must be what it is without the others, so the number of steps is that of the plain run.
  const steps = kind === "pct" ? runScenario({ scenario: task.scenario, strategy: task.strategy, choices: new Choices([]) }).stepCount : 0;
  for (let number = 0; runner.mayGoOn; number++) {
    const prng = new Prng(seed + number);
    const pick = kind === "random" ? weighted(prng) : byPriority(prng, 1 + ((seed + number) % depthMax), steps);
    runner.run(new Choices([], (count) => prng.below(count)), pick);
  }
  return runner.result;
}

/** Each run has its own idea of how often to switch, and of whom to prefer. */
function weighted(prng: Prng): (turn: Turn) => number {
  const stay = [0, 1, 3, 9, 27][prng.below(5)]!;
  const weights: number[] = [];
  return ({ enabled, canStay }) => {
    const parts = enabled.map(({ index }, at) => (weights[index] ??= 1 + prng.below(4)) * (at === 0 && canStay ? 1 + stay : 1));
    let left = prng.below(parts.reduce((sum, part) => sum + part, 0));
    for (let at = 0; ; at++) {
      left -= parts[at]!;
      if (left < 0) return at;
    }
  };
}

function byPriority(prng: Prng, depth: number, steps: number): (turn: Turn) => number {
  const changes = new Set(Array.from({ length: depth - 1 }, () => 1 + prng.below(steps)));
  const priorities: number[] = [];
  let lowest = 0;
  let isDue = 0;
  return ({ enabled, step }) => {
    for (const { index } of enabled) priorities[index] ??= 1 + prng.below(1 << 20);
    const best = (): number => enabled.reduce((found, { index }, at) => (priorities[index]! > priorities[enabled[found]!.index]! ? at : found), 0);
    // Steps without a choice pass by unseen: their change comes with the next choice.
    for (; isDue <= step; isDue++) if (changes.has(isDue)) priorities[enabled[best()]!.index] = --lowest;
    return best();
  };
}
