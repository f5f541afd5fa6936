/** lab replay and lab shrink: a run again, from its string. */
import { CRASH_BUDGET } from "../../sim/crash/cutter.js";
import { replayOf } from "../../sim/explore.js";
import { decodeReplay } from "../../sim/replay.js";
import type { Told } from "../../sim/report/story-teller.js";
import type { FoundFailure } from "../../sim/search/searcher.js";
import { UsageError } from "../operand.js";
import type { Output } from "../output.js";
import { e2fsckIn, folderForE2fsck } from "./e2fsck.js";
import { scenarioFrom, strategyOf } from "./scenario-source.js";
import { failureRecord, simpler, storyLines, storyOf, storyRecord, tellCase, writeHtml, type Case } from "./telling.js";

export interface ReplayOptions {
  /** Where the scenario is, if it is none of the lab's. */
  readonly file?: string;
  readonly html?: string;
  readonly fsck?: boolean;
}

/** @throws UsageError the string does not fit; FsError ENOENT, EINVAL. Sets what the program ends with. */
export async function labReplay(text: string, options: ReplayOptions, out: Output): Promise<void> {
  const { tried, story, found } = await again(text, options);
  writeHtml(options.html, story);
  if (out.isJson) out.record({ ...nameRecord(tried), found: found === undefined ? null : failureRecord(found), replay: text, story: storyRecord(story) });
  else out.line(story === undefined ? `${tried.scenario.name} with ${tried.strategyName} passes` : storyLines(story));
  if (story !== undefined) process.exitCode = 1;
}

/** @throws UsageError the string does not fit; FsError ENOENT, EINVAL. Sets what the program ends with. */
export async function labShrink(text: string, options: ReplayOptions, out: Output): Promise<void> {
  const { tried, found } = await again(text, options);
  if (found === undefined) {
    if (out.isJson) out.record({ ...nameRecord(tried), found: null, replay: text, story: null });
    else out.line(`${tried.scenario.name} with ${tried.strategyName} passes: there is no failure to make simpler`);
    return;
  }
  const best = simpler(tried, found, CRASH_BUDGET, out);
  const story = storyOf(tried, best);
  const replay = replayOf(tried.scenario.name, tried.strategyName, best);
  writeHtml(options.html, story);
  out.clearProgress();
  if (out.isJson) out.record({ ...nameRecord(tried), found: failureRecord(best), replay, story: storyRecord(story) });
  else out.line(`${replay}\n\n${story === undefined ? best.failure.message : storyLines(story)}`);
  process.exitCode = 1;
}

interface Again extends Told {
  readonly tried: Case;
  /** Undefined: it passes. */
  readonly found: FoundFailure | undefined;
}

const MISFIT = "the list does not fit this run";

async function again(text: string, { file, fsck }: ReplayOptions): Promise<Again> {
  const replay = decodeReplay(text);
  const { scenario, source } = await scenarioFrom(replay.scenario, file);
  const tried: Case = { scenario, strategyName: replay.strategy, strategy: strategyOf(source, replay.strategy), file, fsck: fsck === true ? e2fsckIn(folderForE2fsck()) : undefined };
  const told = tellCase(tried, replay);
  const { failure } = told.result;
  if (failure?.message.includes(MISFIT) === true) throw new UsageError(`'${text}' was made for another scenario, strategy or engine: ${failure.message}`);
  return { ...told, tried, found: failure === undefined ? undefined : { failure, choices: replay.choices, fault: replay.fault, run: 1 } };
}

const nameRecord = ({ scenario, strategyName }: Case): Record<string, unknown> => ({ scenario: scenario.name, strategy: strategyName });
