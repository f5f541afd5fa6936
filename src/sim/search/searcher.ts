/** What a search is asked, and what it finds. A search makes runs, one after the other, and stops at the first failure: which run that is depends on nothing but what is asked here. */
import type { Strategy } from "../../ext4/strategy.js";
import { Choices } from "../choices.js";
import { CrashMemory, noCrashCounts, type CrashBudget, type CrashCounts } from "../crash/cutter.js";
import type { Failure } from "../failure.js";
import { describeCall } from "../recorder.js";
import { headline } from "../report/call-trace.js";
import { runScenario, type Run, type RunFault, type RunListener, type RunPlan, type RunResult } from "../run.js";
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

/** How far faults from outside were counted: the last request that failed, and so on; undefined: the scenario has none of these. */
export interface FaultCounts { requests?: number; blocks?: number; pages?: number }

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
  /** Images that `fsck` was shown. */
  fsckImages: number;
  /** Of a search among faults. */
  faults?: FaultCounts;
}

export const nothingYet = (): SearchResult => ({ found: undefined, runs: 0, steps: 0, equalRuns: 0, boundedTurns: 0, isExhaustive: false, crash: noCrashCounts(), fsckImages: 0 });

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
    // Where little room is left the power fails no differently.
    const crash = fault === undefined || fault.kind === "request" ? memory : undefined;
    const ran = runScenario({ scenario, strategy, choices, chooseTurn, fault, crash, fsck });
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
    const moments: Moment[] = [];
    const watch = ({ driver, lab: { recorder } }: Run): RunListener => {
      const note = (text: string): void => { moments.push({ text, step: driver.stepCount, orderLength: recorder.order.length }); };
      recorder.addListener({ began: (call) => note(`${call.task} calls ${describeCall(call)}`), ended: (call) => note(`${call.task} comes back from ${describeCall(call)}`) });
      return {};
    };
    const again = runScenario({ scenario, strategy, choices: new Choices(before.choices), fault, watch });
    if (again.fingerprint === before.fingerprint && again.misfit === undefined) return undefined;
    const { text, step } = firstDifference(before, again, moments);
    const end = again.failure === undefined ? "" : `; the second time this ends in ${again.failure.kind}: ${headline(again.failure.message)}`;
    return { kind: "nondeterminism", step, message: `the same choices lead elsewhere: ${text}${end}` };
  }
}

/** Of a run: a call begins or ends. */
interface Moment {
  readonly text: string;
  readonly step: number;
  /** Of the recorder's order, with this moment. */
  readonly orderLength: number;
}

/** Where two runs part, as far as their fingerprints tell it. @param moments of the second. */
function firstDifference(before: RunResult, again: RunResult, moments: readonly Moment[]): { readonly text: string; readonly step: number } {
  const [order, orderAgain] = [orderOf(before), orderOf(again)];
  const step = again.stepCount;
  if (order !== orderAgain) {
    const at = orderAgain.split("").findIndex((character, index) => character !== order[index]);
    const moment = at < 0 ? undefined : moments.find(({ orderLength }) => orderLength > at);
    return moment === undefined ? { text: "the second time fewer calls are made", step } : { text: `the first difference is that, the second time, ${moment.text} in step ${moment.step}`, step: moment.step };
  }
  if (before.stepCount !== step) return { text: `the same calls come to the same, but in ${before.stepCount} steps and then in ${step}`, step };
  const isContentEqual = before.fingerprint.split(" ").at(-2) === again.fingerprint.split(" ").at(-2);
  return { text: isContentEqual ? "the same calls come to the same, but touch other things on the way" : "the same calls come to the same, but leave other bytes on the device", step };
}

/** Which calls began and ended, in which order, and what they came to: the middle of a fingerprint. */
const orderOf = ({ fingerprint }: RunResult): string => fingerprint.split(" ").slice(2, -2).join(" ");
