/**
 * The exploration of a scenario: a list of jobs that is the same however many workers there are, each a search of its own, and the verdict over them. The failure that counts is that of the first job in the list
 * that found one; so who has all results up to that job knows the verdict, and the same seed gives the same one.
 */
import type { Strategy } from "../ext4/strategy.js";
import { resetLockdep } from "../sched/lockdep.js";
import { CRASH_BUDGET, noCrashCounts, type CrashBudget, type CrashCounts } from "./crash/cutter.js";
import { searchDepthFirst } from "./search/depth-first.js";
import { searchFaults } from "./search/faults.js";
import { searchBySampling } from "./search/sampling.js";
import type { FoundFailure, SearchResult, SearchTask } from "./search/searcher.js";
import { baseImage } from "./image.js";
import { encodeReplay } from "./replay.js";
import { count } from "./report/table.js";
import type { Scenario } from "./scenario.js";

export const EXPLORERS = ["auto", "depth-first", "pct", "random"] as const;
export type Explorer = (typeof EXPLORERS)[number];

export interface Budget {
  /** Runs in all. */
  readonly runs: number;
  /** Of depth-first search; Infinity: no bound. Default: first 1, then 2. */
  readonly preemptions: number | undefined;
  readonly explorer: Explorer;
  readonly seed: number;
  /** Of scenarios in which the power may fail. */
  readonly crash: CrashBudget;
}

export const DEFAULT_BUDGET: Budget = { runs: 200, preemptions: undefined, explorer: "auto", seed: 1, crash: CRASH_BUDGET };

interface DepthFirstJob { readonly kind: "depth-first"; readonly runs: number; readonly preemptions: number }

/** A search that can be made anywhere: plain data. */
export type Job =
  | DepthFirstJob
  | { readonly kind: "pct" | "random"; readonly runs: number; readonly seed: number }
  | { readonly kind: "faults"; readonly runs: number; readonly seed: number; readonly schedules: number };

const CHUNK_RUNS = 50;
/** Of one kind: what is known of each is kept until the end. */
const CHUNKS_MAX = 10_000;
const PCT_DEPTH = 3;
const FAULT_SCHEDULES = 3;
/** One image in so many is shown to e2fsck. */
const FSCK_SHARE = 32;
/** Faults are counted one by one until there are no more; this is only so that it ends. */
const FAULT_RUNS_MAX = 3000;

export function jobsFor(scenario: Scenario, { runs, preemptions, explorer, seed }: Budget): Job[] {
  const jobs: Job[] = [];
  const depthFirst = (share: number, bound: number): void => { jobs.push({ kind: "depth-first", runs: Math.ceil(runs * share), preemptions: bound }); };
  const sample = (kind: "pct" | "random", share: number, first: number): void => {
    const wanted = Math.ceil(runs * share);
    const chunkRuns = Math.max(CHUNK_RUNS, Math.ceil(wanted / CHUNKS_MAX));
    for (let done = 0; done < wanted; done += chunkRuns) jobs.push({ kind, runs: Math.min(chunkRuns, wanted - done), seed: first + done });
  };
  if (explorer === "depth-first") depthFirst(1, preemptions ?? 2);
  else if (explorer !== "auto") sample(explorer, 1, seed);
  else {
    if (preemptions === undefined) depthFirst(0.35, 1);
    depthFirst(preemptions === undefined ? 0.25 : 0.6, preemptions ?? 2);
    sample("pct", 0.25, seed);
    sample("random", 0.15, seed + 1_000_000);
  }
  if (scenario.faults !== undefined) jobs.push({ kind: "faults", runs: FAULT_RUNS_MAX, seed, schedules: FAULT_SCHEDULES });
  return jobs;
}

/** What a job may use of the machine that it runs on. */
export interface JobContext {
  /** It takes long: asked of the first image, and of one in so many. */
  readonly fsck?: SearchTask["fsck"];
  readonly isOver?: SearchTask["isOver"];
}

export function runJob(scenario: Scenario, strategy: Partial<Strategy>, job: Job, crash: CrashBudget, { fsck, isOver }: JobContext = {}): SearchResult {
  forgetOthers(scenario);
  let imageCount = 0;
  const oneInSoMany: SearchTask["fsck"] = fsck === undefined ? undefined : (image) => (imageCount++ % FSCK_SHARE === 0 ? fsck(image) : undefined);
  const result = search({ scenario, strategy, runsMax: job.runs, crash: scenario.crash === true ? crash : undefined, fsck: oneInSoMany, isOver }, job);
  return { ...result, fsckImages: Math.ceil(imageCount / FSCK_SHARE) };
}

function search(task: SearchTask, job: Job): SearchResult {
  switch (job.kind) {
    case "depth-first": return searchDepthFirst(task, job.preemptions);
    case "faults": return searchFaults(task, job.seed, job.schedules);
    default: return searchBySampling(task, { kind: job.kind, seed: job.seed, depthMax: PCT_DEPTH });
  }
}

/** What lockdep has learned of other searches would be told of in this one's failures; and of the setup, in those of the first search alone. */
export function forgetOthers(scenario: Scenario): void {
  baseImage(scenario);
  resetLockdep();
}

export interface Verdict {
  readonly scenario: string;
  readonly strategy: string;
  /** Undefined: nothing was found. */
  readonly found: FoundFailure | undefined;
  readonly replay: string | undefined;
  /** Up to and with the job that found something: with their results. */
  readonly jobs: readonly { readonly job: Job; readonly result: SearchResult }[];
  readonly runs: number;
  readonly steps: number;
  readonly crash: CrashCounts;
  /** Images that e2fsck was shown. */
  readonly fsckImages: number;
}

/** @param results of all jobs up to the first that found something, in the order of the jobs. */
export function verdictOf(scenario: string, strategy: string, jobs: readonly Job[], results: readonly SearchResult[]): Verdict {
  const end = results.findIndex(({ found }) => found !== undefined);
  const counted = end < 0 ? results : results.slice(0, end + 1);
  const found = end < 0 ? undefined : results[end]!.found;
  const crash = noCrashCounts();
  for (const { crash: counts } of counted) for (const name of Object.keys(crash) as (keyof CrashCounts)[]) crash[name] += counts[name];
  return {
    scenario, strategy, found, replay: found === undefined ? undefined : replayOf(scenario, strategy, found), jobs: counted.map((result, index) => ({ job: jobs[index]!, result })),
    runs: counted.reduce((sum, { runs }) => sum + runs, 0), steps: counted.reduce((sum, { steps }) => sum + steps, 0), crash,
    fsckImages: counted.reduce((sum, { fsckImages }) => sum + fsckImages, 0),
  };
}

export function replayOf(scenario: string, strategy: string, { choices, fault, failure }: FoundFailure): string {
  return encodeReplay({ scenario, strategy, choices, fault, cuts: failure.cuts });
}

/** All jobs, one after the other, here. */
export function explore(scenario: Scenario, strategyName: string, strategy: Partial<Strategy>, budget: Budget, context: JobContext = {}): Verdict {
  const jobs = jobsFor(scenario, budget);
  const results: SearchResult[] = [];
  for (const job of jobs) {
    results.push(runJob(scenario, strategy, job, budget.crash, context));
    if (results.at(-1)!.found !== undefined) break;
  }
  return verdictOf(scenario.name, strategyName, jobs, results);
}

/** What was looked at and what was left out, in sentences. @param isInterrupted by whoever waits for it. */
export function describeVerdict({ scenario, strategy, found, jobs, runs, crash, fsckImages }: Verdict, isInterrupted = false): string {
  const lines = [`${scenario} with ${strategy === "default" ? "the engine as it ships" : strategy}: ${found === undefined ? "nothing found" : `${found.failure.kind}, found in run ${runs}`}${isInterrupted ? ", interrupted" : ""}`];
  for (const text of groupJobs(jobs, isInterrupted)) lines.push(`  ${text}`);
  if (crash.moments > 0) {
    lines.push(`  ${crash.states} states after power cuts at ${crash.moments} moments (${crash.recoveryStates} of them after a second cut, during recovery; ${crash.equalStates} more were equal to one of these)`);
    if (crash.sampledMoments > 0) lines.push(`  cut off: ${crash.sampledMoments} moments had more states than the bound, of which only some were looked at`);
  }
  if (fsckImages > 0) lines.push(`  ${count(fsckImages, "image")} shown to e2fsck: one in ${FSCK_SHARE}, from the first of each search on`);
  return lines.join("\n");
}

function groupJobs(jobs: Verdict["jobs"], isInterrupted: boolean): string[] {
  const lines: string[] = [];
  const sampled = new Map<string, number>();
  for (const { job, result } of jobs) {
    if (job.kind === "depth-first") lines.push(describeDepthFirst(job, result, isInterrupted));
    else if (job.kind === "faults") lines.push(describeFaults(job.schedules, result));
    else sampled.set(job.kind, (sampled.get(job.kind) ?? 0) + result.runs);
  }
  for (const [kind, runs] of sampled) lines.push(kind === "pct" ? `${count(runs, "run")} by PCT, for bugs of depth 1 to ${PCT_DEPTH} in turn` : `${count(runs, "run")} by chance`);
  return lines;
}

function describeFaults(schedules: number, { runs, isExhaustive, faults = {} }: SearchResult): string {
  const { requests, blocks, pages } = faults;
  const kinds = [
    ...(requests === undefined ? [] : [`requests 1 to ${requests}, failing once and for good`]),
    ...(blocks === undefined ? [] : [`0 to ${blocks} free blocks`]),
    ...(pages === undefined ? [] : [`a cache of 1 to ${count(pages, "page")}`]),
  ];
  return `${count(runs, "run")} with a fault from outside each, in ${schedules} interleavings of each: ${kinds.join("; ")}${isExhaustive ? "" : "; cut off"}`;
}

function describeDepthFirst({ preemptions, runs: runsMax }: DepthFirstJob, { runs, equalRuns, boundedTurns, isExhaustive, found }: SearchResult, isInterrupted: boolean): string {
  const ending = isInterrupted && runs < runsMax ? "interrupted" : "cut off by the budget";
  const left = isExhaustive ? (boundedTurns > 0 ? `; cut off: ${boundedTurns} turns beyond that bound` : "") : found === undefined ? `; ${ending}` : "";
  return `${isExhaustive ? "every interleaving" : "interleavings"} with ${boundInWords(preemptions)}, depth first: ${count(runs, "run")} (${equalRuns} dropped where they met an equal state)${left}`;
}

const boundInWords = (preemptions: number): string => (preemptions === Infinity ? "any number of preemptions" : `at most ${count(preemptions, "preemption")}`);

/** A search by name, whatever became of it. */
export function describeJob(job: Job): string {
  switch (job.kind) {
    case "depth-first": return `interleavings with ${boundInWords(job.preemptions)}, depth first`;
    case "faults": return "runs with a fault from outside each";
    default: return `${count(job.runs, "run")} by ${job.kind === "pct" ? "PCT" : "chance"}, from seed ${job.seed} on`;
  }
}
