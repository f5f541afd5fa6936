/** A thread of the lab: all runs are made in one, so that whoever waits for them can be answered, and they can be ended. Each piece of work is done as if it were the first. A program of its own, started by searchers.ts. */
import type { Strategy } from "../../ext4/strategy.js";
import { Choices } from "../../sim/choices.js";
import { runJob } from "../../sim/explore.js";
import { baseImage } from "../../sim/image.js";
import { tell, type Told } from "../../sim/report/story-teller.js";
import { runScenario, type RunPlan } from "../../sim/run.js";
import { ScenarioError, type Scenario } from "../../sim/scenario.js";
import { nothingYet, type FoundFailure, type SearchResult } from "../../sim/search/searcher.js";
import { shrink } from "../../sim/shrink.js";
import { UsageError } from "../operand.js";
import { e2fsckIn } from "./e2fsck.js";
import { sendPrintsToStderr } from "./prints.js";
import { scenarioFrom, strategyOf } from "./scenario-source.js";
import { FOUND, RUNS, STOP, type Answer, type Case, type SearchWork, type ShrinkWork, type TellWork } from "./work.js";

sendPrintsToStderr();

/** One plain run with the engine as it ships: what it shows of the engine is found again, what it shows of the scenario is said before anything else. */
export function rehearse(tried: Case): Promise<Answer<void>> {
  return answered(tried, ({ scenario }) => {
    runScenario({ scenario, strategy: {}, choices: new Choices([]) });
  });
}

export function search({ tried, job, index, crash, endsAtMs, shared }: SearchWork): Promise<Answer<SearchResult>> {
  const isOver = (): boolean => Atomics.load(shared, STOP) === 1 || Atomics.load(shared, FOUND) < index || Date.now() >= endsAtMs;
  return answered(tried, ({ scenario, strategy, fsck }) => {
    if (isOver()) return nothingYet();
    const result = runJob(scenario, strategy, job, crash, { fsck, isOver: () => { Atomics.add(shared, RUNS, 1); return isOver(); } });
    if (result.found !== undefined) foundAt(shared, index);
    return result;
  });
}

export function simplify({ tried, found, crash, endsAtMs, shared }: ShrinkWork): Promise<Answer<FoundFailure>> {
  const isOver = (): boolean => {
    Atomics.add(shared, RUNS, 1);
    return Atomics.load(shared, STOP) === 1 || Date.now() >= endsAtMs;
  };
  return answered(tried, ({ scenario, strategy, fsck }) => shrink(scenario, strategy, found, { crash, fsck, isOver }));
}

export function tellAgain({ tried, replay }: TellWork): Promise<Answer<Told>> {
  const replayOptions = [...tried.replayOptions, ...(tried.folder === undefined ? [] : ["--fsck"])];
  return answered(tried, ({ scenario, strategy, fsck }) => tell(scenario, tried.strategy, strategy, replay, { fsck, replayOptions }));
}

interface Loaded {
  readonly scenario: Scenario;
  readonly strategy: Partial<Strategy>;
  readonly fsck: RunPlan["fsck"];
}

async function answered<T>(tried: Case, work: (loaded: Loaded) => T): Promise<Answer<T>> {
  try {
    return { value: work(await load(tried)) };
  } catch (error) {
    if (error instanceof ScenarioError || error instanceof UsageError) return { problem: error.message };
    throw error;
  }
}

async function load({ scenario: name, file, strategy: strategyName, folder }: Case): Promise<Loaded> {
  const { scenario, source } = await scenarioFrom(name, file);
  try {
    baseImage(scenario);
  } catch (error) {
    if (error instanceof ScenarioError) throw error;
    throw new UsageError(`${name}: its setup fails: ${error instanceof Error ? error.stack ?? error.message : String(error)}`);
  }
  return { scenario, strategy: strategyOf(source, strategyName), fsck: folder === undefined ? undefined : e2fsckIn(folder) };
}

function foundAt(shared: Int32Array, index: number): void {
  for (let first = Atomics.load(shared, FOUND); index < first;) {
    const before = Atomics.compareExchange(shared, FOUND, first, index);
    if (before === first) return;
    first = before;
  }
}
