/** A failure for people and programs: made simpler, run again, and told. */
import { writeFileSync } from "node:fs";
import type { Strategy } from "../../ext4/strategy.js";
import type { CrashBudget } from "../../sim/crash/cutter.js";
import { replayOf } from "../../sim/explore.js";
import { decodeReplay, type Replay } from "../../sim/replay.js";
import { storyHtml } from "../../sim/report/html.js";
import { storyJson } from "../../sim/report/json.js";
import type { Story } from "../../sim/report/story.js";
import { tell, type Told } from "../../sim/report/story-teller.js";
import { storyTable } from "../../sim/report/table.js";
import type { RunPlan } from "../../sim/run.js";
import type { Scenario } from "../../sim/scenario.js";
import type { FoundFailure } from "../../sim/search/searcher.js";
import { shrink } from "../../sim/shrink.js";
import type { Output } from "../output.js";

/** A scenario with the strategy that it is run with. */
export interface Case {
  readonly scenario: Scenario;
  readonly strategyName: string;
  readonly strategy: Partial<Strategy>;
  /** Where the scenario is, if it is none of the lab's. */
  readonly file?: string | undefined;
  /** e2fsck, if it is asked. */
  readonly fsck?: RunPlan["fsck"];
}

/** A run that goes elsewhere each time has no simpler one. */
export function simpler({ scenario, strategy, fsck }: Case, found: FoundFailure, crash: CrashBudget, out: Output): FoundFailure {
  if (found.failure.kind === "nondeterminism") return found;
  return shrink(scenario, strategy, found, { crash, fsck: found.failure.kind === "e2fsck" ? fsck : undefined, onProgress: ({ choices }) => out.progress(() => `a simpler run: ${choices.filter((choice) => choice > 0).length} turns in ${choices.length} choices`) });
}

/** Undefined: the run passes, as it is replayed. */
export function storyOf(tried: Case, found: FoundFailure): Story | undefined {
  const fsck = found.failure.kind === "e2fsck" ? tried.fsck : undefined;
  return tellCase({ ...tried, fsck }, decodeReplay(replayOf(tried.scenario.name, tried.strategyName, found))).story;
}

/** Runs it again as the string says. */
export function tellCase({ scenario, strategyName, strategy, file, fsck }: Case, replay: Replay): Told {
  const replayOptions = [...(file === undefined ? [] : ["--file", file]), ...(fsck === undefined ? [] : ["--fsck"])];
  return tell(scenario, strategyName, strategy, replay, { fsck, replayOptions });
}

export function writeHtml(file: string | undefined, story: Story | undefined): void {
  if (file !== undefined && story !== undefined) writeFileSync(file, storyHtml(story));
}

export function storyLines(story: Story): string {
  return storyTable(story, { widthMax: process.stdout.columns ?? 120 });
}

export const storyRecord = (story: Story | undefined): unknown => (story === undefined ? null : storyJson(story));

export function failureRecord({ failure: { kind, message, step }, choices }: FoundFailure): Record<string, unknown> {
  return { kind, message, step, turns: choices.filter((choice) => choice > 0).length };
}
