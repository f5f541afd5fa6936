/** lab run: explores scenarios within a budget, and tells the story of what fails. */
import { describeVerdict, replayOf, type Budget, type Verdict } from "../../sim/explore.js";
import { baseImage } from "../../sim/image.js";
import type { Scenario } from "../../sim/scenario.js";
import type { FoundFailure } from "../../sim/search/searcher.js";
import { UsageError } from "../operand.js";
import type { Output } from "../output.js";
import { e2fsckIn, folderForE2fsck } from "./e2fsck.js";
import { budgetOf, secondsOf, threadsOf, type RunOptions } from "./options.js";
import { scenariosOf, strategyOf } from "./scenario-source.js";
import { Searchers, type Explored } from "./searchers.js";
import { failureRecord, simpler, storyLines, storyOf, storyRecord, writeHtml, type Case } from "./telling.js";

/** @throws UsageError; FsError ENOENT no such name. Sets what the program ends with. */
export async function labRun(text: string, options: RunOptions, out: Output): Promise<void> {
  const budget = budgetOf(options);
  const secondsMax = secondsOf(options);
  const threadCount = threadsOf(options);
  const source = await scenariosOf(text);
  const strategy = strategyOf(source, options.strategy);
  if (options.html !== undefined && source.scenarios.length > 1) throw new UsageError(`--html is for one scenario, and ${text} is ${source.scenarios.length}`);
  for (const scenario of source.scenarios) checkSetup(scenario);
  const folder = options.fsck === true ? folderForE2fsck() : undefined;
  const searchers = new Searchers(threadCount);
  try {
    for (const scenario of source.scenarios) {
      const explored = await searchers.explore(
        { scenario, file: source.file, strategy: options.strategy, budget, secondsMax, isOpenEnded: options.seconds !== undefined && options.runs === undefined, folder },
        ({ jobsDone, jobCount, runs, states, seconds }) =>
          out.progress(() => `${scenario.name}: ${jobsDone} of ${jobCount} searches, ${runs} runs${states > 0 ? `, ${states} states after power cuts` : ""}, ${seconds.toFixed(0)} s`),
      );
      conclude({ scenario, strategyName: options.strategy, strategy, file: source.file === undefined ? undefined : text, fsck: folder === undefined ? undefined : e2fsckIn(folder) }, explored, { budget, options, threadCount }, out);
    }
  } finally {
    out.clearProgress();
    await searchers.close();
  }
}

/** Here, where errors have names. @throws UsageError. */
function checkSetup(scenario: Scenario): void {
  try {
    baseImage(scenario);
  } catch (error) {
    throw new UsageError(`${scenario.name}: its setup fails: ${error instanceof Error ? error.stack ?? error.message : String(error)}`);
  }
}

interface Asked {
  readonly budget: Budget;
  readonly options: RunOptions;
  readonly threadCount: number;
}

function conclude(tried: Case, explored: Explored, asked: Asked, out: Output): void {
  const { verdict, seconds, isOutOfTime } = explored;
  const { options, budget, threadCount } = asked;
  const found = verdict.found === undefined || !options.shrink ? verdict.found : simpler(tried, verdict.found, budget.crash, out);
  const story = found === undefined ? undefined : storyOf(tried, found);
  writeHtml(options.html, story);
  out.clearProgress();
  if (found !== undefined) process.exitCode = 1;
  if (out.isJson) {
    out.record({ ...verdictRecord(verdict, budget, options), ...foundRecord(tried, found), ...(options.story === true ? { story: storyRecord(story) } : {}), isOutOfTime, seconds });
    return;
  }
  out.line(describeVerdict(verdict));
  out.line(`  ${budgetInWords(budget, options)}; ${isOutOfTime ? "out of time after " : ""}${seconds.toFixed(1)} s, ${threadCount} worker${threadCount === 1 ? "" : "s"}`);
  if (story !== undefined) out.line(`\n${storyLines(story)}`);
  else if (found !== undefined) out.line(`\n${found.failure.kind}: ${found.failure.message}\nthe same choices again pass: ${replayOf(tried.scenario.name, tried.strategyName, found)}`);
}

function budgetInWords({ runs, explorer, seed, crash }: Budget, { seconds, runs: isGiven }: RunOptions): string {
  const size = seconds === undefined || isGiven !== undefined ? `${runs} runs` : "";
  const time = seconds === undefined ? "" : `${seconds} s`;
  return `budget: ${[size, time].filter((part) => part !== "").join(" and ")}, explorer ${explorer}, seed ${seed}, ${crash.statesMax} states for each power cut`;
}

function verdictRecord(verdict: Verdict, budget: Budget, { seconds }: RunOptions): Record<string, unknown> {
  const { scenario, strategy, runs, steps, crash, jobs } = verdict;
  return {
    scenario, strategy, runs, steps, crash, verdict: describeVerdict(verdict),
    budget: { ...budget, preemptions: boundOf(budget.preemptions), seconds: seconds === undefined ? null : Number(seconds) },
    searches: jobs.map(({ job, result: { found: _found, crash: _crash, ...counts } }) => ({ ...job, ...("preemptions" in job ? { preemptions: boundOf(job.preemptions) } : {}), runsMax: job.runs, ...counts })),
  };
}

/** JSON has no infinity. */
const boundOf = (preemptions: number | undefined): number | string | null => (preemptions === undefined ? null : preemptions === Infinity ? "none" : preemptions);

function foundRecord({ scenario, strategyName }: Case, found: FoundFailure | undefined): Record<string, unknown> {
  return found === undefined ? { found: null, replay: null } : { found: failureRecord(found), replay: replayOf(scenario.name, strategyName, found) };
}
