/**
 * The lab's threads, and who waits for them. The jobs of a scenario are given out in their order. As soon as one has found something, later ones end, and earlier ones go on, as what counts is the first in the list; so the
 * verdict does not depend on how many threads there are. A thread looks at the clock, and at whether it shall end, between two runs: one that is in a run for too long is ended with all the others.
 */
import { fileURLToPath } from "node:url";
import { Piscina } from "piscina";
import type { CrashBudget } from "../../sim/crash/cutter.js";
import { jobsFor, verdictOf, type Budget, type Job, type Verdict } from "../../sim/explore.js";
import type { Replay } from "../../sim/replay.js";
import type { Told } from "../../sim/report/story-teller.js";
import type { Scenario } from "../../sim/scenario.js";
import { nothingYet, type FoundFailure, type SearchResult } from "../../sim/search/searcher.js";
import { UsageError } from "../operand.js";
import type * as handlers from "./job-worker.js";
import { bundleUrl } from "./place.js";
import { FOUND, PLACES, RUNS, STOP, type Answer, type Case } from "./work.js";

type Handlers = typeof handlers;
type ValueOf<Name extends keyof Handlers> = Awaited<ReturnType<Handlers[Name]>> extends Answer<infer T> ? T : never;

export interface Exploration {
  readonly scenario: Scenario;
  readonly tried: Case;
  readonly budget: Budget;
  /** Of time; Infinity: none. */
  readonly secondsMax: number;
  /** As long as there is time, go on with larger and larger budgets. */
  readonly isOpenEnded: boolean;
}

export interface Progress {
  readonly jobsDone: number;
  readonly jobCount: number;
  readonly runs: number;
  /** After power cuts, in the jobs that are done. */
  readonly states: number;
  readonly seconds: number;
}

export interface Explored {
  readonly verdict: Verdict;
  readonly seconds: number;
  /** It ended for want of time. */
  readonly isOutOfTime: boolean;
  readonly isInterrupted: boolean;
  /** Searches that did not end when they should have: what they have seen is lost. */
  readonly stuck: readonly Job[];
}

const NOBODY = 0x7fff_ffff;
/** An open-ended exploration begins with a small budget, so that every explorer has its turn; each round has so many times that of the one before, and seeds of its own. */
const FIRST_ROUND_RUNS = 25;
const ROUND_GROWTH = 4;
const ROUND_SEEDS = 10_000_000;
const TICK_MS = 100;
/** Whoever has interrupted the lab is waiting. */
const INTERRUPTED_GRACE_MS = 3000;

export class Searchers {
  private pool: Piscina | undefined;
  private readonly shared = new Int32Array(new SharedArrayBuffer(PLACES * Int32Array.BYTES_PER_ELEMENT));
  private interruptedAtMs = Infinity;

  /** @param graceSeconds that a run may go on when the time is up. */
  constructor(private readonly threadCount: number, private readonly graceSeconds: number) {}

  /** @param isTimed the grace is all that it has. @returns whether it came to an end. @throws UsageError the scenario is at fault. */
  async rehearse(tried: Case, isTimed: boolean): Promise<boolean> {
    return await this.inTime(this.ask("rehearse", tried), isTimed ? Date.now() : Infinity, () => undefined);
  }

  async explore(exploration: Exploration, onProgress: (progress: Progress) => void): Promise<Explored> {
    const { scenario, tried, budget, secondsMax, isOpenEnded } = exploration;
    const startMs = Date.now();
    const endsAtMs = startMs + secondsMax * 1000;
    let ended: Verdict["jobs"] = [];
    let stuck: readonly Job[] = [];
    for (let round = 0; ; round++) {
      const runs = isOpenEnded ? FIRST_ROUND_RUNS * ROUND_GROWTH ** round : budget.runs;
      const next = jobsFor(scenario, { ...budget, runs, seed: budget.seed + round * ROUND_SEEDS }).filter((job) => !isDone(job, ended));
      const searched = await this.searchAll(exploration, next, endsAtMs, onProgress);
      ended = [...ended, ...searched.ended];
      stuck = searched.stuck;
      if (!isOpenEnded || next.length === 0 || this.isInterrupted || Date.now() >= endsAtMs || ended.some(({ result }) => result.found !== undefined)) break;
    }
    const verdict = verdictOf(scenario.name, tried.strategy, ended.map(({ job }) => job), ended.map(({ result }) => result));
    const isOutOfTime = verdict.found === undefined && !this.isInterrupted && Date.now() >= endsAtMs;
    return { verdict: { ...verdict, jobs: withoutSmaller(verdict.jobs) }, seconds: (Date.now() - startMs) / 1000, isOutOfTime, isInterrupted: this.isInterrupted, stuck };
  }

  /** @returns the failure as it was found, if there is no simpler run, or no time to find it. */
  async simplify(tried: Case, found: FoundFailure, crash: CrashBudget, secondsMax: number, onProgress: (runs: number) => void): Promise<FoundFailure> {
    // A run that goes elsewhere each time has no simpler one.
    if (found.failure.kind === "nondeterminism" || this.isInterrupted) return found;
    const endsAtMs = Date.now() + secondsMax * 1000;
    let best = found;
    Atomics.store(this.shared, RUNS, 0);
    const work = this.ask("simplify", { tried, found, crash, endsAtMs, shared: this.shared }).then((simpler) => { best = simpler; });
    await this.inTime(work, endsAtMs, () => onProgress(Atomics.load(this.shared, RUNS)));
    return best;
  }

  async tellAgain(tried: Case, replay: Replay): Promise<Told> {
    return await this.ask("tellAgain", { tried, replay });
  }

  get isInterrupted(): boolean { return this.interruptedAtMs < Infinity; }

  /** Whatever is under way ends soon, with what it has; nothing else begins. */
  interrupt(): void {
    this.interruptedAtMs = Date.now();
    Atomics.store(this.shared, STOP, 1);
  }

  /** The next piece of work gets new threads. */
  async close(): Promise<void> {
    await this.pool?.destroy();
    this.pool = undefined;
  }

  private async ask<Name extends keyof Handlers>(name: Name, work: Parameters<Handlers[Name]>[0]): Promise<ValueOf<Name>> {
    this.pool ??= new Piscina({ filename: fileURLToPath(bundleUrl("lab-worker.js")), minThreads: 1, maxThreads: this.threadCount, idleTimeout: Infinity });
    const answer = await this.pool.run(work, { name }) as Answer<ValueOf<Name>>;
    if ("problem" in answer) throw new UsageError(answer.problem);
    return answer.value;
  }

  /** @returns all jobs but those that are stuck, with results up to the first that found something, at least. */
  private async searchAll(
    { tried, budget: { crash } }: Exploration, jobs: readonly Job[], endsAtMs: number, onProgress: (progress: Progress) => void,
  ): Promise<{ readonly ended: Verdict["jobs"]; readonly stuck: readonly Job[] }> {
    const { shared } = this;
    Atomics.store(shared, FOUND, NOBODY);
    Atomics.store(shared, RUNS, 0);
    const results: (SearchResult | undefined)[] = [];
    let begun = 0;
    let jobsDone = 0;
    let states = 0;
    // No more than there are threads are in the pool's hands: a list may be long, and end soon.
    const searchOn = async (): Promise<void> => {
      while (begun < jobs.length && !this.isInterrupted && Date.now() < endsAtMs && Atomics.load(shared, FOUND) > begun) {
        const index = begun++;
        const result = await this.ask("search", { tried, job: jobs[index]!, index, crash, endsAtMs, shared });
        results[index] = result;
        jobsDone++;
        states += result.crash.states;
      }
    };
    const startMs = Date.now();
    const all = Promise.all(Array.from({ length: Math.min(this.threadCount, jobs.length) }, searchOn));
    await this.inTime(all, endsAtMs, () => onProgress({ jobsDone, jobCount: jobs.length, runs: Atomics.load(shared, RUNS), states, seconds: (Date.now() - startMs) / 1000 }));
    const stuck = jobs.slice(0, begun).filter((_job, index) => results[index] === undefined);
    return { ended: jobs.map((job, index) => ({ job, result: results[index] ?? nothingYet() })).filter(({ job }) => !stuck.includes(job)), stuck };
  }

  /** @returns false: it did not come to an end in time and the grace, and its threads are gone. */
  private async inTime(work: Promise<unknown>, endsAtMs: number, onTick: () => void): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const isLate = new Promise<boolean>((resolve) => {
      timer = setInterval(() => {
        onTick();
        if (Date.now() >= Math.min(endsAtMs + this.graceSeconds * 1000, this.interruptedAtMs + INTERRUPTED_GRACE_MS)) resolve(true);
      }, TICK_MS);
    });
    try {
      if (!await Promise.race([work.then(() => false), isLate])) return true;
    } finally {
      clearInterval(timer);
    }
    await this.close();
    return false;
  }
}

/** Left nothing for a larger budget. */
function isDone(job: Job, ended: Verdict["jobs"]): boolean {
  return !isSampling(job) && ended.some(({ job: before, result }) => result.isExhaustive && isSameSearch(before, job));
}

/** Samples are others in each round. */
function isSameSearch(a: Job, b: Job): boolean {
  return a.kind === b.kind && (a.kind === "faults" || (a.kind === "depth-first" && b.kind === "depth-first" && a.preemptions === b.preemptions));
}

/** A larger search of a later round has seen all that the smaller one has. */
function withoutSmaller(jobs: Verdict["jobs"]): Verdict["jobs"] {
  const whole = jobs.filter(({ job }) => !isSampling(job));
  return jobs.filter(({ job, result }) => isSampling(job) || !whole.slice(whole.findIndex((each) => each.job === job) + 1).some((later) => isSameSearch(later.job, job) && later.result.runs >= result.runs));
}

const isSampling = ({ kind }: Job): boolean => kind === "pct" || kind === "random";
