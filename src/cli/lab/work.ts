/** What an exploration gives to its threads. */
import type { CrashBudget } from "../../sim/crash/cutter.js";
import type { Job } from "../../sim/explore.js";

/** Places in what all threads of an exploration share: the first job that has found something, by its index; and runs so far. */
export const FOUND = 0;
export const RUNS = 1;

/** One search, as plain data. */
export interface Work {
  readonly scenario: string;
  readonly file: string | undefined;
  readonly strategy: string;
  readonly job: Job;
  readonly index: number;
  readonly crash: CrashBudget;
  /** By Date.now(). */
  readonly endsAtMs: number;
  /** For --fsck. */
  readonly folder: string | undefined;
  readonly shared: Int32Array;
}
