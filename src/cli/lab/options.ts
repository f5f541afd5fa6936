/** What `lab run` may be told, as commander has it and as the lab wants it. */
import { availableParallelism } from "node:os";
import { CRASH_BUDGET } from "../../sim/crash/cutter.js";
import { DEFAULT_BUDGET, EXPLORERS, type Budget, type Explorer } from "../../sim/explore.js";
import { UsageError } from "../operand.js";

export interface RunOptions {
  readonly strategy: string;
  readonly runs?: string;
  readonly seconds?: string;
  readonly grace: string;
  readonly explorer: string;
  readonly preemptions?: string;
  readonly seed?: string;
  readonly crashStates?: string;
  readonly workers?: string;
  /** False: --no-shrink. */
  readonly shrink: boolean;
  readonly fsck?: boolean;
  readonly html?: string;
  readonly story?: boolean;
}

/** @throws UsageError. */
export function budgetOf({ runs, explorer, preemptions, seed, crashStates }: RunOptions): Budget {
  if (!(EXPLORERS as readonly string[]).includes(explorer)) throw new UsageError(`--explorer is ${EXPLORERS.join(", ")}, not '${explorer}'`);
  return {
    runs: number("--runs", runs, 1) ?? DEFAULT_BUDGET.runs,
    preemptions: preemptions === "none" ? Infinity : number("--preemptions", preemptions, 0),
    explorer: explorer as Explorer,
    seed: number("--seed", seed, 0) ?? DEFAULT_BUDGET.seed,
    crash: { ...CRASH_BUDGET, statesMax: number("--crash-states", crashStates, 1) ?? CRASH_BUDGET.statesMax },
  };
}

/** @throws UsageError. */
export const threadsOf = ({ workers }: RunOptions): number => number("--workers", workers, 1) ?? availableParallelism();

/** @throws UsageError. */
export const secondsOf = ({ seconds }: RunOptions): number => (seconds === undefined ? Infinity : duration("--seconds", seconds));

/** @throws UsageError. */
export const graceOf = ({ grace }: RunOptions): number => duration("--grace", grace);

/** As many runs as there is time for. */
export const isOpenEnded = ({ seconds, runs }: RunOptions): boolean => seconds !== undefined && runs === undefined;

function duration(name: string, text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text) || Number(text) <= 0) throw new UsageError(`${name} is a number above 0, not '${text}'`);
  return Number(text);
}

const NUMBER_MAX = 1_000_000_000;

function number(name: string, text: string | undefined, min: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > NUMBER_MAX) throw new UsageError(`${name} is a number from ${min} to ${NUMBER_MAX}, not '${text}'`);
  return value;
}
