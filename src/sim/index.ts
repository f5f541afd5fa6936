/**
 * The package's door for the lab, `ext4/sim`: what the author of a scenario needs, the explorers, replays and reports, and what the lab knows by name. Everything is repeatable and needs neither Node nor a browser.
 * docs/lab.md tells how it is used.
 */
export { scenario, type FaultPlan, type Scenario, type ScenarioDefinition, type WorldRecipe } from "./scenario.js";
export { Lab } from "./lab.js";
export { DEFAULT_STRATEGY, type FlushReason, type Strategy } from "../ext4/strategy.js";
export { LogJournal } from "../jbd2/log-journal.js";
export { FsError, type ErrnoCode } from "../lib/errno.js";
export type { Task } from "../sched/task.js";
export { racePoint } from "../sched/scheduler.js";
export type { Process } from "../vfs/process.js";
export { Signal } from "../vfs/signal.js";

// Constants of the calls that a scenario makes.
export * from "../mm/constants.js";
export * from "../vfs/flags.js";
export {
  FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE, RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT,
} from "../vfs/inode.js";
export {
  EXT4_APPEND_FL, EXT4_CASEFOLD_FL, EXT4_DAX_FL, EXT4_DIRSYNC_FL, EXT4_EXTENTS_FL, EXT4_IMMUTABLE_FL, EXT4_JOURNAL_DATA_FL, EXT4_NOATIME_FL, EXT4_NODUMP_FL, EXT4_PROJINHERIT_FL, EXT4_SYNC_FL, EXT4_TOPDIR_FL,
} from "../format/inode.js";

// Exploring.
export {
  DEFAULT_BUDGET, describeVerdict, explore, EXPLORERS, jobsFor, replayOf, runJob, verdictOf, type Budget, type Explorer, type Job, type JobContext, type Verdict,
} from "./explore.js";
export { CRASH_BUDGET, type CrashBudget, type CrashCounts } from "./crash/cutter.js";
export type { FoundFailure, SearchResult } from "./search/searcher.js";
export type { Failure, FailureKind } from "./failure.js";
export { shrink, type ShrinkOptions } from "./shrink.js";

// One run, and its string.
export { Choices, decodeChoices, encodeChoices, type Choose } from "./choices.js";
export { decodeReplay, encodeReplay, type Replay } from "./replay.js";
export { runScenario, type CutNumbers, type RunFault, type RunPlan, type RunResult } from "./run.js";

// Its story.
export { tell, type Told } from "./report/story-teller.js";
export type { Story, StoryEvent } from "./report/story.js";
export { storyTable, type StoryTableOptions } from "./report/table.js";
export { storyHtml } from "./report/html.js";
export { storyJson, storyStretches, type Stretch } from "./report/json.js";

// What has a name.
export { ALL_BUGS, ALL_SCENARIOS, scenarioNamed, strategyNamed, strategyNames } from "./catalogue.js";
export type { PlantedBug } from "./bugs/bug.js";
export { STRATEGIES, type StrategyName } from "./strategies.js";
