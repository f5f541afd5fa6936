/** Names that two tasks make, move and remove at once: no race of the path walk, of open, link, unlink and rename comes to what Linux never says, deletes what somebody has, or ends in a deadlock. */
import { expect, test } from "vitest";
import { NAME_SCENARIOS } from "../../src/sim/scenarios/names.js";
import { searchDepthFirst } from "../../src/sim/search/depth-first.js";

/** Each race that was here shows with one preemption, within so many runs. */
const RUNS_MAX = 80;

test.each(NAME_SCENARIOS.map((scenario) => [scenario.name, scenario] as const))("%s", (_name, scenario) => {
  const { found } = searchDepthFirst({ scenario, strategy: {}, runsMax: RUNS_MAX, crash: undefined }, 1);
  expect(found?.failure).toBeUndefined();
});
