/** A failure for people and programs. */
import { replayOf } from "../../sim/explore.js";
import { decodeReplay } from "../../sim/replay.js";
import { storyJson } from "../../sim/report/json.js";
import type { Story } from "../../sim/report/story.js";
import { storyTable } from "../../sim/report/table.js";
import type { FoundFailure } from "../../sim/search/searcher.js";
import type { Searchers } from "./searchers.js";
import type { Case } from "./work.js";

export const replayOptionsOf = (file: string | undefined): readonly string[] => (file === undefined ? [] : ["--file", file]);

/** What e2fsck alone sees needs it again; all else is judged before it is asked. */
export function withoutNeedlessFsck(tried: Case, { failure: { kind } }: FoundFailure): Case {
  return kind === "e2fsck" ? tried : { ...tried, folder: undefined };
}

/** Undefined: the run passes, as it is replayed. */
export async function storyOf(searchers: Searchers, tried: Case, found: FoundFailure): Promise<Story | undefined> {
  return (await searchers.tellAgain(withoutNeedlessFsck(tried, found), decodeReplay(replayOf(tried.scenario, tried.strategy, found)))).story;
}

export function storyLines(story: Story): string {
  return storyTable(story, { widthMax: process.stdout.columns ?? 120 });
}

export const storyRecord = (story: Story | undefined): unknown => (story === undefined ? null : storyJson(story));

export function failureRecord({ failure: { kind, message, step }, choices }: FoundFailure): Record<string, unknown> {
  return { kind, message, step, turns: choices.filter((choice) => choice > 0).length };
}
