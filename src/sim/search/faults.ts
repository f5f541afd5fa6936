/**
 * Everything that may be wrong from outside, one thing at a time: the first request fails, the second, and so on until there are no more; no block is free, one, and so on until they suffice; the cache has a page, two, and so on. Each with
 * a few interleavings.
 */
import { alwaysFirst, Choices } from "../choices.js";
import type { RunFault, RunResult } from "../run.js";
import { Prng } from "../../lib/prng.js";
import { Runner, type FaultCounts, type SearchResult, type SearchTask } from "./searcher.js";

const PAGES_MAX = 8;

/** @param schedules interleavings for each fault: the plain one first, then random ones, each as far as the fault makes a difference to it. */
export function searchFaults(task: SearchTask, seed: number, schedules: number): SearchResult {
  const runner = new Runner(task);
  const { faults = {} } = task.scenario;
  const counts: FaultCounts = (runner.result.faults = {});
  const runOne = (schedule: number, fault: RunFault): RunResult => {
    const prng = new Prng(seed + schedule);
    return runner.run(new Choices([], schedule === 0 ? alwaysFirst : (count) => prng.below(count)), schedule === 0 ? undefined : ({ enabled }) => prng.below(enabled.length), fault);
  };
  const tryAll = (first: number, faultOf: (number: number) => RunFault, isFelt: (ran: RunResult, number: number) => boolean, counted: (number: number, anyFelt: boolean) => void): void => {
    let going = Array.from({ length: schedules }, (_, schedule) => schedule);
    for (let number = first; going.length > 0 && runner.mayGoOn; number++) {
      going = going.filter((schedule) => runner.mayGoOn && isFelt(runOne(schedule, faultOf(number)), number));
      counted(number, going.length > 0);
    }
  };
  for (const forGood of faults.requests === true ? [false, true] : []) {
    tryAll(1, (number) => ({ kind: "request", number, forGood }), ({ requestCount }, number) => requestCount >= number, (number, anyFelt) => {
      if (anyFelt) counts.requests = Math.max(counts.requests ?? 0, number);
    });
  }
  if (faults.space === true) tryAll(0, (number) => ({ kind: "space", number }), ({ lacksSpace }) => lacksSpace, (number) => { counts.blocks = number; });
  if (faults.memory === true) tryAll(1, (number) => ({ kind: "memory", number }), (_ran, number) => number < PAGES_MAX, (number) => { counts.pages = number; });
  runner.result.isExhaustive = runner.mayGoOn;
  return runner.result;
}
