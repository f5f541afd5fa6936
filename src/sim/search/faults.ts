/**
 * Everything that may be wrong from outside, one thing at a time: the first request fails, the second, and so on until there are no more; no block is free, one, and so on until they suffice; the cache has a page, two, and so on. Each with
 * a few interleavings.
 */
import { alwaysFirst, Choices } from "../choices.js";
import type { RunFault, RunResult } from "../run.js";
import { Prng } from "../../lib/prng.js";
import { Runner, type FaultCounts, type SearchResult, type SearchTask } from "./searcher.js";

const PAGES_MAX = 8;

/** @param schedules interleavings for each fault: the plain one first, then random ones. */
export function searchFaults(task: SearchTask, seed: number, schedules: number): SearchResult {
  const runner = new Runner(task);
  const { faults = {} } = task.scenario;
  const counts: FaultCounts = (runner.result.faults = {});
  const tryAll = (fault: RunFault): RunResult | undefined => {
    let plain: RunResult | undefined;
    for (let schedule = 0; schedule < schedules && runner.mayGoOn; schedule++) {
      const prng = new Prng(seed + schedule);
      const ran = runner.run(new Choices([], schedule === 0 ? alwaysFirst : (count) => prng.below(count)), schedule === 0 ? undefined : ({ enabled }) => prng.below(enabled.length), fault);
      plain ??= ran;
    }
    return plain;
  };
  for (const forGood of faults.requests === true ? [false, true] : []) {
    for (let number = 1; runner.mayGoOn; number++) {
      const ran = tryAll({ kind: "request", number, forGood });
      if (ran === undefined || ran.requestCount < number) break;
      counts.requests = Math.max(counts.requests ?? 0, number);
    }
  }
  for (let number = 0; faults.space === true && runner.mayGoOn; number++) {
    const ran = tryAll({ kind: "space", number });
    counts.blocks = number;
    if (ran?.lacksSpace !== true) break;
  }
  for (let number = 1; faults.memory === true && number <= PAGES_MAX && runner.mayGoOn; number++) {
    tryAll({ kind: "memory", number });
    counts.pages = number;
  }
  runner.result.isExhaustive = runner.mayGoOn;
  return runner.result;
}
