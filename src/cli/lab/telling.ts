/** A failure for people and programs: made simpler, run again, and told. */
import { writeFileSync } from "node:fs";
import type { Strategy } from "../../ext4/strategy.js";
import type { CrashBudget } from "../../sim/crash/cutter.js";
import { replayOf } from "../../sim/explore.js";
import { decodeReplay } from "../../sim/replay.js";
import { storyHtml } from "../../sim/report/html.js";
import { storyJson } from "../../sim/report/json.js";
import type { Story } from "../../sim/report/story.js";
import { tell } from "../../sim/report/story-teller.js";
import { storyTable } from "../../sim/report/table.js";
import type { Scenario } from "../../sim/scenario.js";
import type { FoundFailure } from "../../sim/search/searcher.js";
import { shrink } from "../../sim/shrink.js";
import type { Output } from "../output.js";

/** A scenario with the strategy that it is run with. */
export interface Case {
  readonly scenario: Scenario;
  readonly strategyName: string;
  readonly strategy: Partial<Strategy>;
}

export function simpler({ scenario, strategy }: Case, found: FoundFailure, crash: CrashBudget, out: Output): FoundFailure {
  if (!comesAgain(found)) return found;
  return shrink(scenario, strategy, found, { crash, onProgress: ({ choices }) => out.progress(() => `a simpler run: ${choices.filter((choice) => choice > 0).length} turns in ${choices.length} choices`) });
}

/** A run that goes elsewhere each time has no simpler one; nor is what e2fsck alone sees looked for. */
const comesAgain = ({ failure: { kind, message } }: FoundFailure): boolean => kind !== "nondeterminism" && !message.includes("e2fsck says:");

/** Undefined: the run passes, as it is replayed. */
export function storyOf({ scenario, strategyName, strategy }: Case, found: FoundFailure): Story | undefined {
  return tell(scenario, strategyName, strategy, decodeReplay(replayOf(scenario.name, strategyName, found))).story;
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
