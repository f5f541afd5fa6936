/** A thread of the lab: makes one search after another, each as if it were the first. A program of its own, started by searchers.ts. */
import { runJob } from "../../sim/explore.js";
import { nothingYet, type SearchResult } from "../../sim/search/searcher.js";
import { e2fsckIn } from "./e2fsck.js";
import { scenarioFrom, strategyOf } from "./scenario-source.js";
import { FOUND, RUNS, type Work } from "./work.js";

export default async function search({ scenario: name, file, strategy: strategyName, job, index, crash, endsAtMs, folder, shared }: Work): Promise<SearchResult> {
  const isOver = (): boolean => Atomics.load(shared, FOUND) < index || Date.now() >= endsAtMs;
  if (isOver()) return nothingYet();
  const { scenario, source } = await scenarioFrom(name, file);
  const strategy = strategyOf(source, strategyName);
  const result = runJob(scenario, strategy, job, crash, {
    fsck: folder === undefined ? undefined : e2fsckIn(folder),
    isOver: () => {
      Atomics.add(shared, RUNS, 1);
      return isOver();
    },
  });
  if (result.found !== undefined) foundAt(shared, index);
  return result;
}

function foundAt(shared: Int32Array, index: number): void {
  for (let first = Atomics.load(shared, FOUND); index < first;) {
    const before = Atomics.compareExchange(shared, FOUND, first, index);
    if (before === first) return;
    first = before;
  }
}
