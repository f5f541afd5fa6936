/** What the lab gives to its threads, and gets from them: plain data. */
import type { CrashBudget } from "../../sim/crash/cutter.js";
import type { Job } from "../../sim/explore.js";
import type { Replay } from "../../sim/replay.js";
import type { FoundFailure } from "../../sim/search/searcher.js";

/** Places in what all threads share: the first job that has found something, by its index; runs so far; and 1 if all shall end. */
export const FOUND = 0;
export const RUNS = 1;
export const STOP = 2;
export const PLACES = 3;

/** A scenario with what it is run with. */
export interface Case {
  readonly scenario: string;
  readonly strategy: string;
  /** Where the scenario is, if it is none of the lab's. Absolute. */
  readonly file: string | undefined;
  /** Where e2fsck finds images, if it is asked. */
  readonly folder: string | undefined;
  /** What a replay must be told besides the string: "--file", "mine.mjs". */
  readonly replayOptions: readonly string[];
}

interface Limits {
  /** By Date.now(). */
  readonly endsAtMs: number;
  readonly shared: Int32Array;
}

/** A search. */
export interface SearchWork extends Limits {
  readonly tried: Case;
  readonly job: Job;
  readonly index: number;
  readonly crash: CrashBudget;
}

/** A failure that is to be made simpler. */
export interface ShrinkWork extends Limits {
  readonly tried: Case;
  readonly found: FoundFailure;
  readonly crash: CrashBudget;
}

/** A run that is to be made again, and told. */
export interface TellWork {
  readonly tried: Case;
  readonly replay: Replay;
}

/** Errors lose their classes on the way from a thread: one that is the user's comes as its message. */
export type Answer<T> = { readonly value: T } | { readonly problem: string };
