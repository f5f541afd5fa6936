/**
 * Explorations on all cores: the jobs of a scenario are given out in their order to a pool of threads. As soon as one has found something, later ones end, and earlier ones go on, as what counts is the first in the
 * list; so the verdict does not depend on how many threads there are.
 */
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { Piscina } from "piscina";
import { jobsFor, verdictOf, type Budget, type Job, type Verdict } from "../../sim/explore.js";
import type { Scenario } from "../../sim/scenario.js";
import type { SearchResult } from "../../sim/search/searcher.js";
import { bundleUrl } from "./place.js";
import { FOUND, RUNS, type Work } from "./work.js";

export interface Exploration {
  readonly scenario: Scenario;
  readonly file: string | undefined;
  readonly strategy: string;
  readonly budget: Budget;
  /** Of time; Infinity: none. */
  readonly secondsMax: number;
  /** As long as there is time, go on with larger and larger budgets. */
  readonly isOpenEnded: boolean;
  readonly folder: string | undefined;
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
}

const NOBODY = 0x7fff_ffff;
/** An open-ended exploration begins with a small budget, so that every explorer has its turn; each round has so many times that of the one before, and seeds of its own. */
const FIRST_ROUND_RUNS = 25;
const ROUND_GROWTH = 4;
const ROUND_SEEDS = 10_000_000;

export class Searchers {
  private readonly pool: Piscina<Work, SearchResult>;

  constructor(readonly threadCount = availableParallelism()) {
    this.pool = new Piscina({ filename: fileURLToPath(bundleUrl("lab-worker.js")), minThreads: 1, maxThreads: threadCount, idleTimeout: Infinity });
  }

  async explore(exploration: Exploration, onProgress: (progress: Progress) => void): Promise<Explored> {
    const { scenario, strategy, budget, secondsMax, isOpenEnded } = exploration;
    const startMs = Date.now();
    const endsAtMs = startMs + secondsMax * 1000;
    const jobs: Job[] = [];
    const results: SearchResult[] = [];
    for (let round = 0; ; round++) {
      const runs = isOpenEnded ? FIRST_ROUND_RUNS * ROUND_GROWTH ** round : budget.runs;
      const next = jobsFor(scenario, { ...budget, runs, seed: budget.seed + round * ROUND_SEEDS }).filter((job) => !isDone(job, jobs, results));
      jobs.push(...next);
      results.push(...await this.searchAll(exploration, next, endsAtMs, onProgress));
      if (!isOpenEnded || next.length === 0 || Date.now() >= endsAtMs || results.some(({ found }) => found !== undefined)) break;
    }
    const verdict = verdictOf(scenario.name, strategy, jobs, results);
    return { verdict: { ...verdict, jobs: withoutSmaller(verdict.jobs) }, seconds: (Date.now() - startMs) / 1000, isOutOfTime: verdict.found === undefined && Date.now() >= endsAtMs };
  }

  async close(): Promise<void> {
    await this.pool.destroy();
  }

  /** @returns results up to the first that found something, at least. */
  private async searchAll({ scenario, file, strategy, budget, folder }: Exploration, jobs: readonly Job[], endsAtMs: number, onProgress: (progress: Progress) => void): Promise<SearchResult[]> {
    const shared = new Int32Array(new SharedArrayBuffer(8));
    shared[FOUND] = NOBODY;
    let jobsDone = 0;
    let states = 0;
    const startMs = Date.now();
    const timer = setInterval(() => onProgress({ jobsDone, jobCount: jobs.length, runs: Atomics.load(shared, RUNS), states, seconds: (Date.now() - startMs) / 1000 }), 100);
    try {
      return await Promise.all(jobs.map(async (job, index) => {
        const result = await this.pool.run({ scenario: scenario.name, file, strategy, job, index, crash: budget.crash, endsAtMs, folder, shared });
        jobsDone++;
        states += result.crash.states;
        return result;
      }));
    } finally {
      clearInterval(timer);
    }
  }
}

/** Left nothing for a larger budget. */
function isDone(job: Job, jobs: readonly Job[], results: readonly SearchResult[]): boolean {
  return results.some(({ isExhaustive }, index) => isExhaustive && isSameSearch(jobs[index]!, job));
}

function isSameSearch(a: Job, b: Job): boolean {
  return a.kind === b.kind && (a.kind === "faults" || (a.kind === "depth-first" && b.kind === "depth-first" && a.preemptions === b.preemptions));
}

/** A larger search of a later round has seen all that the smaller one has. */
function withoutSmaller(jobs: Verdict["jobs"]): Verdict["jobs"] {
  return jobs.filter(({ job }, index) => !jobs.slice(index + 1).some((later) => isSameSearch(later.job, job) && later.result.runs > 0));
}
