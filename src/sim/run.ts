/**
 * One run of a scenario: a world is made from nothing, its tasks run as the choices say, and everything that a filesystem promises is judged: at each step by the engine itself (assertions, lockdep, warnings),
 * at each moment at which the power may fail, and in the end.
 */
import type { Strategy } from "../ext4/strategy.js";
import { FsError } from "../lib/errno.js";
import { PAGE_BYTES } from "../mm/memory.js";
import { footprint } from "../sched/footprint.js";
import { aside, runSync } from "../sched/scheduler.js";
import type { Task } from "../sched/task.js";
import { Signal } from "../vfs/signal.js";
import { MisfitError, type Choices } from "./choices.js";
import { checkFilesystem, judgeAborted, judgeWreck } from "./crash/aftermath.js";
import { forEachState, hashDifference, type CrashMemory } from "./crash/cutter.js";
import type { Medium, Unit } from "./crash/medium.js";
import { ExploringDriver, type DriverListener, type Turn } from "./driver.js";
import { failureKindOf, textOf, type Failure, type FailureKind } from "./failure.js";
import { Historian } from "./historian.js";
import { baseImage, lookAt, makeMedium, type BaseImage, type FoundTree } from "./image.js";
import { finalProblems } from "./judge.js";
import { Lab } from "./lab.js";
import { ScenarioError, taskOf, type Scenario } from "./scenario.js";

/** What is wrong from outside. */
export type RunFault =
  /** A request fails, counted from the first that a task makes; and, for good, all later ones. */
  | { readonly kind: "request"; readonly number: number; readonly forGood: boolean }
  /** So many blocks are free. */
  | { readonly kind: "space"; readonly number: number }
  /** So many pages fit the page cache. */
  | { readonly kind: "memory"; readonly number: number };

/** A cut that is to be made: which moment since the last choice, and the units' states; then those of a cut during recovery. */
export type CutNumbers = readonly (readonly number[])[];

export interface RunPlan {
  readonly scenario: Scenario;
  readonly strategy: Partial<Strategy>;
  readonly choices: Choices;
  /** Who goes on, where it is not given. undefined: the run is dropped. Default: whoever runs already. */
  readonly chooseTurn?: ((turn: Turn) => number | undefined) | undefined;
  /** Undefined: the power does not fail. */
  readonly crash?: CrashMemory | undefined;
  /** The only cut that is made, after all given choices. */
  readonly cuts?: CutNumbers | undefined;
  readonly fault?: RunFault | undefined;
  /** Looks at the image with other eyes: e2fsck. @returns what is wrong. */
  readonly fsck?: ((image: Uint8Array) => string | undefined) | undefined;
  /** Hears of everything: for the story. */
  readonly watch?: ((run: Run) => RunListener) | undefined;
}

export interface RunListener extends DriverListener {
  /** The cut that was asked for, in the run or again in the recovery: right before what, and what became of all that was on its way. */
  powerFails?(what: string, survivors: string): void;
  /** The device is recovered, and the power is to fail again meanwhile. */
  recovers?(medium: Medium): void;
  /** Tasks stand as they do now. */
  failed?(): void;
}

export interface RunResult {
  /** Undefined: nothing was found. */
  readonly failure: Failure | undefined;
  /** False: it was dropped on the way. */
  readonly isComplete: boolean;
  /** What of the plan has no place in this run: it was made for another one. */
  readonly misfit: string | undefined;
  readonly choices: readonly number[];
  readonly stepCount: number;
  /** Requests that tasks made. */
  readonly requestCount: number;
  /** Of a run with few free blocks: somebody asked for one that was not there. */
  readonly lacksSpace: boolean;
  /** Of all that happened and came out: two runs with the same choices have the same. */
  readonly fingerprint: string;
}

/** Calls that promise something. A task that flushes and fences by itself says so as "CLWB, SFENCE". */
const SYNCS = new Set(["fsync", "fdatasync", "msync", "sync", "syncfs", "CLWB, SFENCE"]);

/** Of the random numbers of its mount: another one than those of the setup and of recovery. */
const RUN_SEED = 2;

export function runScenario(plan: RunPlan): RunResult {
  return new Run(plan).play();
}

/** Everything may be dropped at any time: what is in memory is the run's own. */
export class Run {
  readonly base: BaseImage;
  readonly medium: Medium;
  readonly lab: Lab;
  readonly driver: ExploringDriver;
  readonly historian = new Historian();
  failure: Failure | undefined;
  private misfit: string | undefined;
  private isCut = false;
  readonly listener: RunListener;
  private cast: unknown;
  /** Moments at which the power could fail since the last choice. */
  private momentsSinceChoice = 0;
  /** A sync has ended since then. */
  private isPromised = false;
  private isRunning = false;
  private spaceTaken = 0;
  private lacksSpace = false;
  /** Requests of tasks. */
  private requestCount = 0;
  /** Choices up to the failure. */
  private choiceCount: number | undefined;

  constructor(readonly plan: RunPlan) {
    const { scenario, strategy, choices, fault } = plan;
    const recipe = fault?.kind === "memory" ? { ...scenario.world, mount: { ...scenario.world?.mount, pageCacheBytes: fault.number * PAGE_BYTES } } : scenario.world ?? {};
    this.base = baseImage(scenario);
    this.medium = makeMedium(recipe, this.base.arena, { isMortal: plan.crash !== undefined || plan.cuts !== undefined });
    this.driver = new ExploringDriver();
    this.lab = new Lab(this.medium, recipe, strategy, (count) => {
      if (count === 1) return 0;
      const value = choices.choose(count);
      this.momentsSinceChoice = 0;
      this.driver.chose(value);
      this.lab.recorder.order += `=${value}`;
      return value;
    }, RUN_SEED);
    this.lab.recorder.addListener(this.driver);
    this.lab.recorder.addListener({ began: () => this.promisesLapse(), ended: ({ name }) => this.promises(name) });
    this.lab.recorder.addListener(this.historian);
    this.listener = plan.watch?.(this) ?? {};
    this.driver.addListener(this.listener);
    this.driver.addListener({ stepEnded: () => this.checkWarnings() });
  }

  fail(kind: FailureKind, message: string, cuts?: CutNumbers): void {
    this.driver.stop();
    if (this.failure !== undefined) return;
    this.listener.failed?.();
    this.failure = { kind, message, step: this.driver.stepCount, ...(cuts === undefined ? {} : { cuts }) };
    // The step under way goes on, and may choose: a cut comes before that.
    this.choiceCount = this.plan.choices.made.length;
  }

  play(): RunResult {
    let isComplete = false;
    try {
      isComplete = this.begin() && this.runTasks();
      if (isComplete && this.failure === undefined) this.finish();
    } catch (error) {
      if (error instanceof ScenarioError) throw error;
      if (error instanceof MisfitError) this.misfit = error.message;
      else this.fail(failureKindOf(error), textOf(error));
    }
    if (isComplete || this.isCut) this.checkFit();
    const { driver, medium, plan: { choices }, lab } = this;
    const content = hashDifference(medium.bytes, this.base.arena.base, medium.changedPages);
    medium.release();
    return {
      failure: this.failure, isComplete, misfit: this.misfit, choices: choices.made.slice(0, this.choiceCount), stepCount: driver.stepCount, requestCount: this.requestCount, lacksSpace: this.lacksSpace,
      fingerprint: `${driver.stepCount} ${driver.happensBefore.state} ${lab.recorder.order} ${content} ${this.failure?.kind ?? ""}`,
    };
  }

  private begin(): boolean {
    const { lab, plan: { scenario, fault } } = this;
    runSync(this.preparing("it cannot be mounted", lab.mount()));
    if (scenario.prepare !== undefined) this.cast = runSync(this.preparing("its prepare fails", taskOf(scenario, "prepare", scenario.prepare(lab))));
    this.medium.requestCount = 0;
    if (fault?.kind === "request") {
      this.medium.failAt = fault.number;
      this.medium.failsForGood = fault.forGood;
    } else if (fault?.kind === "space") this.takeSpace(fault.number);
    return this.checkWarnings();
  }

  /** Where the engine as it ships cannot come so far, the scenario is at fault. */
  private *preparing<T>(what: string, task: Task<T>): Task<T> {
    try {
      return yield* task;
    } catch (error) {
      if (Object.keys(this.plan.strategy).length > 0 || error instanceof MisfitError) throw error;
      throw new ScenarioError(`${this.plan.scenario.name}: ${what}: ${textOf(error)}`, { cause: error });
    }
  }

  private runTasks(): boolean {
    const { lab, driver, plan: { scenario, choices, chooseTurn } } = this;
    for (const [name, task] of Object.entries(scenario.tasks)) driver.add(name, this.expected(taskOf(scenario, name, task(lab, this.cast))));
    this.medium.onBarrier = (what) => aside(() => this.mayFail(what));
    this.isRunning = true;
    const hasEnded = driver.run((turn) => {
      const choice = choices.isGiven || chooseTurn === undefined ? choices.choose(turn.enabled.length) : this.chooseFreely(turn, chooseTurn);
      this.momentsSinceChoice = 0;
      return choice;
    });
    if (hasEnded) this.mayFail("the end");
    this.requestCount = this.medium.requestCount;
    driver.current = undefined;
    this.isRunning = false;
    this.medium.onBarrier = undefined;
    return hasEnded && this.checkWarnings();
  }

  /** Promises all but so many blocks to nobody. */
  private takeSpace(blocksLeft: number): void {
    const { allocator, sb } = this.lab.fs;
    for (let clusters = 2 ** 20; clusters >= 1; clusters /= 2) {
      if (!allocator.reserve(clusters)) continue;
      this.spaceTaken += clusters;
      clusters *= 2;
    }
    const left = Math.min(this.spaceTaken, Math.ceil(blocksLeft / sb.clusterBlocks));
    allocator.unreserve(left);
    this.spaceTaken -= left;
    const reserve = allocator.reserve.bind(allocator);
    const claim = allocator.claim.bind(allocator);
    allocator.reserve = (clusters) => {
      const isThere = reserve(clusters);
      this.lacksSpace ||= !isThere;
      return isThere;
    };
    allocator.claim = (request) => this.claiming(claim(request));
  }

  private *claiming<T>(task: Task<T>): Task<T> {
    try {
      return yield* task;
    } catch (error) {
      this.lacksSpace ||= error instanceof FsError && error.code === "ENOSPC";
      throw error;
    }
  }

  private chooseFreely(turn: Turn, chooseTurn: (turn: Turn) => number | undefined): number | undefined {
    const choice = chooseTurn(turn);
    return choice === undefined ? undefined : this.plan.choices.choose(turn.enabled.length, () => choice);
  }

  /** A task may end in what the scenario says, and in what the planted fault brings about. */
  private *expected(task: Task<void>): Task<void> {
    try {
      yield* task;
    } catch (error) {
      if (!this.isExpected(error)) throw error;
    }
  }

  private isExpected(error: unknown): boolean {
    const { scenario: { mayFailWith = [], faults }, fault } = this.plan;
    if (error instanceof Signal) return fault !== undefined || mayFailWith.includes("signal");
    if (!(error instanceof FsError)) return false;
    return mayFailWith.includes(error.code) || (fault !== undefined && (faults?.codes ?? ["EIO", "EROFS", "ENOSPC"]).includes(error.code));
  }

  private checkWarnings(): boolean {
    const { lab, plan: { fault } } = this;
    const [warning] = lab.fs.warnings;
    if (warning !== undefined && fault === undefined) this.fail("warning", warning.message.replace(/^[A-Z]+: /, ""));
    if (lab.problems.length > 0) this.fail("invariant", lab.problems.join("\n"));
    return this.failure === undefined;
  }

  /** Called right before something becomes certain. */
  private mayFail(what: string): void {
    const { plan: { crash, cuts, choices, scenario }, driver } = this;
    if (!this.isRunning || this.failure !== undefined || (scenario.crash !== true && cuts === undefined)) return;
    const moment = this.momentsSinceChoice++;
    if (cuts !== undefined) {
      const [[wanted, ...states], ...rest] = [cuts[0]!, ...cuts.slice(1)] as [readonly number[], ...CutNumbers];
      if (choices.isGiven || moment !== wanted) return;
      this.isCut = true;
      checkStates(this.medium.units(), states);
      this.listener.powerFails?.(what, describeSurvivors(this.medium.units(), states));
      judgeWreck(this, { image: this.medium.survivor(states), changedPages: this.medium.changedPages, cuts: [[moment, ...states]], where: what }, rest);
      driver.stop();
      return;
    }
    if (crash === undefined) return;
    const { judgedBy } = this;
    forEachState(this.medium, crash, false, (states, image) => {
      const { changedPages } = this.medium;
      if (!crash.isNew(image, changedPages, this.base, judgedBy)) this.base.arena.giveBack(image, changedPages);
      else {
        crash.counts.states++;
        judgeWreck(this, { image, changedPages, cuts: [[moment, ...states]], where: what }, undefined);
      }
      return this.failure === undefined;
    });
  }

  /** What a cut leaves afterwards is judged by it. */
  private promises(call: string): void {
    if (!SYNCS.has(call)) return;
    this.isPromised = true;
    footprint(this.medium.common.certainty, false);
  }

  /** What a wreck is judged by: calls, and what the historian knows of them. That a call begins is in the recorder's order before the historian has heard of it. */
  get judgedBy(): string {
    const { historian: { records }, lab } = this;
    const known = records.map((record) => ("file" in record ? record.file ?? "" : "") + ("id" in record ? `=${record.id}` : "") + ("offset" in record ? `@${record.offset}` : ""));
    return `${lab.recorder.order} ${known.join()}`;
  }

  /** A call begins, after which what a sync has promised may be undone: what a cut leaves is judged while the promise stands. */
  private promisesLapse(): void {
    if (this.isPromised) aside(() => this.mayFail("the next call"));
    this.isPromised = false;
  }

  /** A failure is one, whatever the plan had in store; a run that passes must have gone as it was planned. */
  private checkFit(): void {
    const { choices, cuts, fault } = this.plan;
    if (this.failure !== undefined || this.misfit !== undefined) return;
    if (choices.leftOver > 0) this.misfit = `the last ${choices.leftOver === 1 ? "choice was" : `${choices.leftOver} choices were`} not asked for`;
    else if (cuts !== undefined && !this.isCut) this.misfit = `there is no moment ${cuts[0]![0]} after the last choice`;
    else if (fault?.kind === "request" && fault.number > this.requestCount) this.misfit = `there is no request ${fault.number}: ${this.requestCount} are made`;
  }

  /** All tasks have ended. */
  private finish(): void {
    const { lab, plan: { scenario, fault } } = this;
    // What a failing device has left is judged by a mount that recovers, as after a cut.
    this.medium.failAt = Infinity;
    this.medium.failsForGood = false;
    if (this.spaceTaken > 0) lab.fs.allocator.unreserve(this.spaceTaken);
    if (fault !== undefined && lab.fs.journal.abortError !== undefined) {
      return judgeAborted(this);
    }
    const [call] = lab.recorder.unbegun;
    if (call !== undefined) throw new ScenarioError(`${scenario.name}: ${call.name}() has not begun: calls are made with yield*`);
    if (scenario.after !== undefined) runSync(taskOf(scenario, "after", scenario.after(lab, this.cast)));
    const tree: FoundTree = runSync(lookAt(lab));
    // After a failed request, what was read may be older than what was written: that was lost, and those who asked were told.
    const problems = fault?.kind === "request" ? [] : finalProblems(this.historian.records, this.base.tree, tree);
    if (problems.length > 0) this.fail("linearizability", problems.join("\n"));
    if (!this.checkWarnings()) return;
    checkFilesystem(this, lab, this.medium, "in the end", tree);
  }
}

/** @throws MisfitError the cut was made of other units. */
export function checkStates(units: readonly Unit[], states: readonly number[]): void {
  if (states.length !== units.length) throw new MisfitError(`a cut of ${states.length} units, where ${units.length} are on their way`);
  units.forEach(({ count, text }, at) => {
    if (states[at]! >= count) throw new MisfitError(`${text} has no state ${states[at]}, but ${count}`);
  });
}

/** "write 4096 at 8192 is there, write 1024 at 0 is not". */
export function describeSurvivors(units: readonly Unit[], states: readonly number[]): string {
  if (units.length === 0) return "nothing was on its way";
  return units.map(({ text, whole, part }, index) => `${text} ${states[index] === 0 ? "is lost" : states[index] === whole ? "is there" : `is there in part: ${part(states[index]!)}`}`).join(", ");
}
