/** Names that two tasks make, move and remove at once: no race of the path walk, of open, link, unlink and rename comes to what Linux never says, deletes what somebody has, or ends in a deadlock. */
import { expect, test } from "vitest";
import { NAME_SCENARIOS } from "../../src/sim/scenarios/names.js";
import { searchDepthFirst } from "../../src/sim/search/depth-first.js";

/** What shows only where two tasks are left, of which there is more to look at. */
const TWICE_LEFT = ["names/open-unlink", "names/rename-into-moved"];

test.each(NAME_SCENARIOS.map((scenario) => [scenario.name, scenario] as const))("%s", (name, scenario) => {
  const isTwice = TWICE_LEFT.includes(name);
  const { found } = searchDepthFirst({ scenario, strategy: {}, runsMax: isTwice ? 250 : 80, crash: undefined }, isTwice ? 2 : 1);
  expect(found?.failure).toBeUndefined();
});
