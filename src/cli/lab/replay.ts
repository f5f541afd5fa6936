/** lab replay and lab shrink: a run again, from its string. */
import { CRASH_BUDGET } from "../../sim/crash/cutter.js";
import { replayOf } from "../../sim/explore.js";
import { decodeReplay } from "../../sim/replay.js";
import type { Story } from "../../sim/report/story.js";
import type { FoundFailure } from "../../sim/search/searcher.js";
import { UsageError } from "../operand.js";
import type { Output } from "../output.js";
import { folderForE2fsck } from "./e2fsck.js";
import { EXIT_FOUND, Interruption } from "./endings.js";
import { pageAt, writePage } from "./page.js";
import { sendPrintsToStderr } from "./prints.js";
import { scenarioFrom, strategyOf } from "./scenario-source.js";
import { Searchers } from "./searchers.js";
import { failureRecord, replayOptionsOf, storyLines, storyOf, storyRecord, withoutNeedlessFsck } from "./telling.js";
import type { Case } from "./work.js";

export interface ReplayOptions {
  /** Where the scenario is, if it is none of the lab's. */
  readonly file?: string;
  readonly html?: string;
  readonly fsck?: boolean;
}

/** @throws UsageError the string does not fit; FsError ENOENT, EINVAL. Sets what the program ends with. */
export async function labReplay(text: string, options: ReplayOptions, out: Output): Promise<void> {
  await withOneThread(async (searchers) => {
    const page = pageAt(options.html);
    const { tried, story, found } = await again(searchers, text, options);
    if (found !== undefined) process.exitCode = EXIT_FOUND;
    if (out.isJson) out.record({ ...nameRecord(tried), found: found === undefined ? null : failureRecord(found), replay: text, story: storyRecord(story) });
    else out.line(story === undefined ? `${tried.scenario} with ${tried.strategy} passes` : storyLines(story));
    writePage(page, story, out);
  });
}

/** @throws UsageError the string does not fit; FsError ENOENT, EINVAL. Sets what the program ends with. */
export async function labShrink(text: string, options: ReplayOptions, out: Output): Promise<void> {
  await withOneThread(async (searchers) => {
    const page = pageAt(options.html);
    const { tried, found } = await again(searchers, text, options);
    if (found === undefined) {
      if (out.isJson) out.record({ ...nameRecord(tried), found: null, replay: text, story: null, isInterrupted: false });
      else out.line(`${tried.scenario} with ${tried.strategy} passes: there is no failure to make simpler`);
      writePage(page, undefined, out);
      return;
    }
    const interruption = new Interruption(out, () => searchers.interrupt());
    const best = await searchers.simplify(withoutNeedlessFsck(tried, found), found, CRASH_BUDGET, Infinity, (runs) => out.progress(() => `made simpler: ${runs} runs`));
    const story = await storyOf(searchers, tried, best);
    const replay = replayOf(tried.scenario, tried.strategy, best);
    out.clearProgress();
    process.exitCode = EXIT_FOUND;
    if (out.isJson) out.record({ ...nameRecord(tried), found: failureRecord(best), replay, story: storyRecord(story), isInterrupted: searchers.isInterrupted });
    else out.line(`${replay}${searchers.isInterrupted ? " (interrupted: there may be a simpler one)" : ""}\n\n${story === undefined ? best.failure.message : storyLines(story)}`);
    writePage(page, story, out);
    if (interruption.exitCode !== undefined) process.exitCode = interruption.exitCode;
  });
}

async function withOneThread(work: (searchers: Searchers) => Promise<void>): Promise<void> {
  sendPrintsToStderr();
  const searchers = new Searchers(1, Infinity);
  try {
    await work(searchers);
  } finally {
    await searchers.close();
  }
}

interface Again {
  readonly tried: Case;
  /** Undefined: it passes. */
  readonly found: FoundFailure | undefined;
  readonly story: Story | undefined;
}

async function again(searchers: Searchers, text: string, { file, fsck }: ReplayOptions): Promise<Again> {
  const replay = decodeReplay(text);
  const { scenario: { name }, source } = await scenarioFrom(replay.scenario, file);
  strategyOf(source, replay.strategy);
  const tried: Case = { scenario: name, strategy: replay.strategy, file: source.file, folder: fsck === true ? folderForE2fsck() : undefined, replayOptions: replayOptionsOf(file) };
  const { story, result: { failure, misfit } } = await searchers.tellAgain(tried, replay);
  if (misfit !== undefined) throw new UsageError(`'${text}' was made for another scenario, strategy or engine: ${misfit}`);
  return { tried, story, found: failure === undefined ? undefined : { failure, choices: replay.choices, fault: replay.fault, run: 1 } };
}

const nameRecord = ({ scenario, strategy }: Case): Record<string, unknown> => ({ scenario, strategy });
