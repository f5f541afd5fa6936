/** The ready scenarios for the engine itself: nothing is found in any, and the numbers of schedules and crash states are printed. e2fsck sees a share of the images. EXT4_RUNS makes it a longer search. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ALL_SCENARIOS } from "../../src/sim/catalogue.js";
import { DEFAULT_BUDGET, describeVerdict, explore } from "../../src/sim/explore.js";
import { attempt, temporaryFolder, writeImage } from "../support/host.js";

const RUNS = Number(process.env["EXT4_RUNS"] ?? 40);
/** A run with power cuts has some hundred states, each of which is recovered and judged. */
const CRASH_SHARE = 5;
const CRASH = { statesMax: 8, recoveryStatesMax: 1 };
const folder = temporaryFolder();
/** Of the images that the lab shows, one in so many is seen by e2fsck, beside the first. */
const FSCK_SHARE = 8;
let imageCount = 0;
let fsckCount = 0;

function fsck(image: Uint8Array): string | undefined {
  if (imageCount++ % FSCK_SHARE !== 0) return undefined;
  const path = join(folder, "lab.img");
  writeImage(path, image);
  const { status, stdout } = attempt("e2fsck", ["-fn", path]);
  rmSync(path);
  fsckCount++;
  return status === 0 ? undefined : stdout;
}

// Those of planted bugs are run with the engine as it ships beside each bug, and those of names have a test of their own.
const SCENARIOS = ALL_SCENARIOS.filter(({ name }) => !/^(?:bugs|names)\//.test(name));
const lines: string[] = [];

test.each(SCENARIOS.map((scenario) => [scenario.name, scenario] as const))("%s", (_name, scenario) => {
  const startedMs = performance.now();
  const verdict = explore(scenario, "default", {}, { ...DEFAULT_BUDGET, runs: scenario.crash === true ? RUNS / CRASH_SHARE : RUNS, crash: CRASH }, { fsck });
  const seconds = (performance.now() - startedMs) / 1000;
  lines.push(`${describeVerdict(verdict)}\n  ${verdict.runs} runs, ${verdict.crash.states} crash states in ${seconds.toFixed(1)} s`);
  expect(verdict.found?.failure.message, verdict.replay).toBeUndefined();
});

test("the numbers", () => {
  console.log(`${lines.join("\n")}\ne2fsck saw ${fsckCount} images`);
  expect(lines.length).toBe(SCENARIOS.length);
  expect(fsckCount).toBeGreaterThan(SCENARIOS.length);
});
