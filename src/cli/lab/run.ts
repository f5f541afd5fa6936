/** lab run: explores scenarios within a budget, and tells the story of what fails. */
import { describeJob, describeVerdict, replayOf, type Budget, type Verdict } from "../../sim/explore.js";
import { count } from "../../sim/report/table.js";
import type { FoundFailure } from "../../sim/search/searcher.js";
import { UsageError } from "../operand.js";
import type { Output } from "../output.js";
import { folderForE2fsck } from "./e2fsck.js";
import { EXIT_FAULT, EXIT_FOUND, Interruption } from "./endings.js";
import { budgetOf, graceOf, isOpenEnded, secondsOf, threadsOf, type RunOptions } from "./options.js";
import { pageAt, writePage, type Page } from "./page.js";
import { sendPrintsToStderr } from "./prints.js";
import { scenariosOf, strategyOf } from "./scenario-source.js";
import { Searchers, type Explored } from "./searchers.js";
import { failureRecord, replayOptionsOf, storyLines, storyOf, storyRecord, withoutNeedlessFsck } from "./telling.js";
import type { Case } from "./work.js";

/** @throws UsageError; FsError ENOENT no such name. Sets what the program ends with. */
export async function labRun(text: string, options: RunOptions, out: Output): Promise<void> {
  sendPrintsToStderr();
  const asked: Asked = { options, budget: budgetOf(options), secondsMax: secondsOf(options), threadCount: threadsOf(options), page: pageAt(options.html) };
  const { secondsMax } = asked;
  const graceSeconds = graceOf(options);
  const source = await scenariosOf(text);
  strategyOf(source, options.strategy);
  if (options.html !== undefined && source.scenarios.length > 1) throw new UsageError(`--html is for one scenario, and ${text} is ${source.scenarios.length}`);
  const searchers = new Searchers(asked.threadCount, graceSeconds);
  try {
    const cases = source.scenarios.map(({ name }): Case => ({ scenario: name, strategy: options.strategy, file: source.file, folder: undefined, replayOptions: replayOptionsOf(source.file === undefined ? undefined : text) }));
    for (const tried of cases) if (!await searchers.rehearse(tried, options.seconds !== undefined)) throw new UsageError(`${tried.scenario}: a plain run has not come to its end: a step of it goes on and on`);
    const folder = options.fsck === true ? folderForE2fsck() : undefined;
    const interruption = new Interruption(out, () => searchers.interrupt());
    for (const [at, scenario] of source.scenarios.entries()) {
      const tried = { ...cases[at]!, folder };
      const explored = await searchers.explore({ scenario, tried, budget: asked.budget, secondsMax, isOpenEnded: isOpenEnded(options) }, ({ jobsDone, jobCount, runs, states, seconds }) =>
        out.progress(() => `${scenario.name}: ${jobsDone} of ${jobCount} searches, ${runs} runs${states > 0 ? `, ${states} states after power cuts` : ""}, ${seconds.toFixed(0)} s`));
      await conclude(searchers, tried, explored, asked, out);
      if (explored.stuck.length > 0 || searchers.isInterrupted) break;
    }
    if (interruption.exitCode !== undefined) process.exitCode = interruption.exitCode;
  } finally {
    out.clearProgress();
    await searchers.close();
  }
}

interface Asked {
  readonly options: RunOptions;
  readonly budget: Budget;
  readonly secondsMax: number;
  readonly threadCount: number;
  readonly page: Page | undefined;
}

async function conclude(searchers: Searchers, tried: Case, explored: Explored, asked: Asked, out: Output): Promise<void> {
  const { verdict, stuck } = explored;
  const { options, budget, secondsMax, page } = asked;
  if (verdict.found !== undefined) process.exitCode = EXIT_FOUND;
  else if (stuck.length > 0) process.exitCode = EXIT_FAULT;
  if (!out.isJson) sayVerdict(explored, asked, out);
  for (const job of stuck) out.note(`${tried.scenario}: ${describeJob(job)}: a step of it does not end, and what it has seen is lost`);
  const first = verdict.found;
  const found = first === undefined || !options.shrink ? first
    : await searchers.simplify(withoutNeedlessFsck(tried, first), first, budget.crash, secondsMax, (runs) => out.progress(() => `${tried.scenario}: made simpler, ${runs} runs`));
  const story = found === undefined ? undefined : await storyOf(searchers, tried, found);
  out.clearProgress();
  const { isInterrupted } = searchers;
  if (out.isJson) {
    const { seconds, isOutOfTime } = explored;
    out.record({ ...verdictRecord(explored, asked), ...foundRecord(tried, found), ...(options.story === true ? { story: storyRecord(story) } : {}), stuck: stuck.map(describeJob), isOutOfTime, isInterrupted, seconds });
  } else {
    if (isInterrupted && !explored.isInterrupted) out.line("  interrupted: there may be a simpler run");
    if (story !== undefined) out.line(`\n${storyLines(story)}`);
    else if (found !== undefined) out.line(`\n${found.failure.kind}: ${found.failure.message}\nthe same choices again pass: ${replayOf(tried.scenario, tried.strategy, found)}`);
  }
  writePage(page, story, out);
}

/** At once: making a failure simpler may take long. */
function sayVerdict(explored: Explored, asked: Asked, out: Output): void {
  out.clearProgress();
  out.line(describeVerdict(explored.verdict, explored.isInterrupted));
  out.line(`  ${budgetInWords(asked)}; ${endingInWords(explored)}, ${count(asked.threadCount, "worker")}`);
  out.flush();
}

function endingInWords({ seconds, isOutOfTime, isInterrupted, stuck }: Explored): string {
  return `${isInterrupted ? "interrupted after " : isOutOfTime ? "out of time after " : ""}${seconds.toFixed(1)} s${stuck.length > 0 ? ` with ${count(stuck.length, "search")} that did not end` : ""}`;
}

function budgetInWords({ budget: { runs, explorer, seed, crash }, options }: Asked): string {
  const size = isOpenEnded(options) ? [] : [`${runs} runs`];
  const time = options.seconds === undefined ? [] : [`${options.seconds} s`];
  return `budget: ${[...size, ...time].join(" and ")}, explorer ${explorer}, seed ${seed}, ${crash.statesMax} states for each power cut${options.fsck === true ? ", e2fsck" : ""}`;
}

function verdictRecord({ verdict, isInterrupted }: Explored, { budget, options }: Asked): Record<string, unknown> {
  const { scenario, strategy, runs, steps, crash, fsckImages, jobs } = verdict;
  return {
    scenario, strategy, runs, steps, crash, fsckImages: options.fsck === true ? fsckImages : null, verdict: describeVerdict(verdict, isInterrupted),
    budget: { ...budget, runs: isOpenEnded(options) ? null : budget.runs, preemptions: boundOf(budget.preemptions), seconds: options.seconds === undefined ? null : Number(options.seconds) },
    searches: jobs.filter(wasBegun).map(({ job, result: { found: _found, crash: _crash, fsckImages: _fsckImages, ...counts } }) => ({ ...job, ...("preemptions" in job ? { preemptions: boundOf(job.preemptions) } : {}), runsMax: job.runs, ...counts })),
  };
}

/** A sample of which nothing was made is nothing to tell of, and there may be thousands. */
const wasBegun = ({ job: { kind }, result: { runs } }: Verdict["jobs"][number]): boolean => runs > 0 || kind === "depth-first" || kind === "faults";

/** JSON has no infinity. */
const boundOf = (preemptions: number | undefined): number | string | null => (preemptions === undefined ? null : preemptions === Infinity ? "none" : preemptions);

function foundRecord({ scenario, strategy }: Case, found: FoundFailure | undefined): Record<string, unknown> {
  return found === undefined ? { found: null, replay: null } : { found: failureRecord(found), replay: replayOf(scenario, strategy, found) };
}
