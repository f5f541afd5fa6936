/**
 * The lab tested: every planted bug is found in its scenario within its budget, by searching from scratch, and the engine as it ships passes the same scenario with the same budget. What is found is replayed by its
 * string. The numbers are printed.
 */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { ALL_BUGS, ALL_SCENARIOS, scenarioNamed, strategyNamed } from "../../src/sim/catalogue.js";
import { Choices } from "../../src/sim/choices.js";
import { CRASH_BUDGET } from "../../src/sim/crash/cutter.js";
import { DEFAULT_BUDGET, explore } from "../../src/sim/explore.js";
import { runScenario } from "../../src/sim/run.js";
import { decodeReplay } from "../../src/sim/replay.js";
import { storyTable } from "../../src/sim/report/table.js";
import { tell } from "../../src/sim/report/story-teller.js";

test("there are at least fourteen, each in a scenario that exists, and no two names are the same", () => {
  expect(new Set(ALL_BUGS.map(({ name }) => name)).size).toBeGreaterThanOrEqual(14);
  for (const { scenario } of ALL_BUGS) expect(() => scenarioNamed(scenario)).not.toThrow();
  expect(new Set(ALL_BUGS.map(({ name, scenario }) => `${name} ${scenario}`)).size).toBe(ALL_BUGS.length);
  expect(new Set(ALL_SCENARIOS.map(({ name }) => name)).size).toBe(ALL_SCENARIOS.length);
});

const lines: string[] = [];

test.each(ALL_BUGS.map((bug) => [bug.name, bug.scenario, bug] as const))("%s is found in %s", (name, scenarioName, { strategy, budgetRuns }) => {
  const scenario = scenarioNamed(scenarioName);
  const budget = { ...DEFAULT_BUDGET, runs: budgetRuns, crash: CRASH_BUDGET };
  const verdict = explore(scenario, name, strategy, budget);
  expect(verdict.found, `${name} is not found in ${verdict.runs} runs`).toBeDefined();
  expect(verdict.runs).toBeLessThanOrEqual(budgetRuns + 3); // shares of it are rounded up
  const { story } = tell(scenario, name, strategy, decodeReplay(verdict.replay!));
  expect(story?.failure.kind, verdict.replay).toBe(verdict.found!.failure.kind);
  expect(storyTable(story!)).toContain(`ext4 lab replay '${verdict.replay!}'`);
  const right = explore(scenario, "default", {}, budget);
  expect(right.found?.failure.message, right.replay).toBeUndefined();
  lines.push(`${name.padEnd(32)} ${verdict.found!.failure.kind.padEnd(16)} run ${String(verdict.runs).padStart(3)} of ${budgetRuns}; the engine as it ships: ${right.runs} runs, ${right.crash.states} states after power cuts, nothing`);
});

const RECORDED = JSON.parse(readFileSync("docs/lab-results.json", "utf8")) as { bug: string; scenario: string; foundAs: string; replay: string }[];

test("what is recorded in the documents is replayed by its strings, and passes with the engine as it ships", () => {
  expect(RECORDED.map(({ bug, scenario }) => `${bug} ${scenario}`)).toEqual(ALL_BUGS.map(({ name, scenario }) => `${name} ${scenario}`));
  for (const { bug, scenario: name, foundAs, replay } of RECORDED) {
    const scenario = scenarioNamed(name);
    expect(tell(scenario, bug, strategyNamed(bug), decodeReplay(replay)).result.failure?.kind, replay).toBe(foundAs);
    expect(runScenario({ scenario, strategy: {}, choices: new Choices(decodeReplay(replay).choices, undefined, true) }).failure, replay).toBeUndefined();
  }
});

test("the numbers", () => {
  console.log(lines.join("\n"));
  expect(lines.length).toBe(ALL_BUGS.length);
});
