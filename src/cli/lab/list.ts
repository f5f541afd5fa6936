/** lab list: all scenarios, and all planted bugs with what tools/lab-bugs.ts has measured of them. */
import { existsSync, readFileSync } from "node:fs";
import type { PlantedBug } from "../../sim/bugs/bug.js";
import { ALL_BUGS, ALL_SCENARIOS, strategyNames } from "../../sim/catalogue.js";
import type { Scenario } from "../../sim/scenario.js";
import type { Output } from "../output.js";
import { table } from "../text.js";
import { RESULTS } from "./place.js";

/** How a planted bug was found, and that the engine as it ships passes the same. */
export interface BugResult {
  readonly bug: string;
  readonly scenario: string;
  readonly budgetRuns: number;
  /** A kind of failure; null: it was not found. */
  readonly foundAs: string | null;
  /** Until it was found. */
  readonly runs: number;
  readonly seconds: number;
  readonly replay: string | null;
  /** Of the engine as it ships, with the same budget. */
  readonly defaultPasses: boolean;
  readonly defaultRuns: number;
  readonly defaultSeconds: number;
}

export function labList(out: Output): void {
  const results = existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS, "utf8")) as BugResult[] : [];
  if (out.isJson) {
    for (const scenario of ALL_SCENARIOS) out.record({ type: "scenario", name: scenario.name, description: scenario.description, crash: scenario.crash === true, faults: faultsOf(scenario) });
    for (const bug of ALL_BUGS) out.record({ type: "bug", name: bug.name, description: bug.description, source: bug.source ?? null, scenario: bug.scenario, budgetRuns: bug.budgetRuns, measured: resultOf(bug, results) ?? null });
    for (const name of ["default", ...strategyNames()]) out.record({ type: "strategy", name });
    return;
  }
  out.line("Scenarios: ext4 lab run NAME");
  out.line();
  out.write(table(ALL_SCENARIOS.map((scenario) => [scenario.name, [...(scenario.crash === true ? ["power"] : []), ...faultsOf(scenario)].join(", "), scenario.description]), "  "));
  out.line();
  out.line("Planted bugs and old kernels: ext4 lab run SCENARIO --strategy NAME");
  for (const bug of ALL_BUGS) listBug(bug, resultOf(bug, results), out);
  out.line();
  out.line("Any scenario can be run with any strategy:");
  for (const line of inLines(["default", ...strategyNames()].join(", "))) out.line(`  ${line}`);
}

function listBug(bug: PlantedBug, result: BugResult | undefined, out: Output): void {
  out.line();
  out.line(`  ${bug.name} in ${bug.scenario}`);
  for (const line of inLines(bug.description + (bug.source === undefined ? "" : ` (${bug.source})`))) out.line(`    ${line}`);
  if (result === undefined) return out.line(`    to be found within ${bug.budgetRuns} runs`);
  if (result.foundAs === null) return out.line(`    not found in ${result.runs} runs`);
  out.line(`    found in run ${result.runs} of at most ${bug.budgetRuns}, after ${result.seconds} s: ${result.foundAs}`);
  out.line(`    the engine as it ships ${result.defaultPasses ? "passes" : "FAILS"}: ${result.defaultRuns} runs, ${result.defaultSeconds} s`);
  out.line(`    ext4 lab replay '${result.replay}'`);
}

function resultOf({ name, scenario }: PlantedBug, results: readonly BugResult[]): BugResult | undefined {
  return results.find((result) => result.bug === name && result.scenario === scenario);
}

function faultsOf({ faults }: Scenario): string[] {
  return [...(faults?.requests === true ? ["requests"] : []), ...(faults?.space === true ? ["space"] : []), ...(faults?.memory === true ? ["memory"] : [])];
}

const COLUMNS = 116;

const inLines = (text: string): string[] => text.match(new RegExp(`\\S.{0,${COLUMNS - 1}}(?=\\s|$)`, "g")) ?? [];
