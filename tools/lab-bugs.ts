/**
 * npm run lab:bugs [-- NAME …]: has the lab look for each planted bug within its budget, and for anything at all in the engine as it ships, in the same scenario with the same budget; what came out is kept in
 * docs/lab-results.json, from which `ext4 lab list` tells it. It measures what is built. Exit code 1: a bug was not found, or something else was.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import type { BugResult } from "../src/cli/lab/list.js";

const RESULTS = "docs/lab-results.json";

interface ListedBug { readonly type: string; readonly name: string; readonly scenario: string; readonly budgetRuns: number }
interface RunRecord { readonly found: { readonly kind: string } | null; readonly replay: string | null; readonly runs: number; readonly seconds: number }

function lab<T>(...args: string[]): T[] {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["bin/ext4", "--json", "lab", ...args], { encoding: "utf8", maxBuffer: 1 << 28 });
  if (status !== 0 && status !== 1) throw new Error(`ext4 lab ${args.join(" ")}: status ${status}\n${stderr}`);
  return stdout.trimEnd().split("\n").map((line) => JSON.parse(line) as T);
}

const ofDefault = new Map<string, RunRecord>();

/** Several bugs may share a scenario. */
function runDefault(scenario: string, runs: number): RunRecord {
  const key = `${scenario} ${runs}`;
  let record = ofDefault.get(key);
  if (record === undefined) {
    [record] = lab<RunRecord>("run", scenario, "--runs", String(runs)) as [RunRecord];
    ofDefault.set(key, record);
  }
  return record;
}

function measure({ name, scenario, budgetRuns }: ListedBug): BugResult {
  const [bug] = lab<RunRecord>("run", scenario, "--strategy", name, "--runs", String(budgetRuns)) as [RunRecord];
  const plain = runDefault(scenario, budgetRuns);
  return {
    bug: name, scenario, budgetRuns, foundAs: bug.found?.kind ?? null, runs: bug.runs, seconds: rounded(bug.seconds), replay: bug.replay,
    defaultPasses: plain.found === null, defaultRuns: plain.runs, defaultSeconds: rounded(plain.seconds),
  };
}

const rounded = (seconds: number): number => Math.round(seconds * 10) / 10;

const wanted = process.argv.slice(2);
const known = existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS, "utf8")) as BugResult[] : [];
const bugs = lab<ListedBug>("list").filter(({ type }) => type === "bug");
const results: BugResult[] = [];
for (const bug of bugs) {
  const before = known.find((result) => result.bug === bug.name && result.scenario === bug.scenario);
  if (wanted.length > 0 && !wanted.includes(bug.name)) {
    if (before !== undefined) results.push(before);
    continue;
  }
  const result = measure(bug);
  results.push(result);
  const right = result.foundAs === null ? "NOT FOUND" : `${result.foundAs} in run ${result.runs} of ${result.budgetRuns}, ${result.seconds} s`;
  process.stdout.write(`${result.bug} in ${result.scenario}: ${right}; the engine as it ships ${result.defaultPasses ? "passes" : "FAILS"} in ${result.defaultRuns} runs, ${result.defaultSeconds} s\n`);
  if (result.foundAs === null || !result.defaultPasses) process.exitCode = 1;
}
writeFileSync(RESULTS, `[\n${results.map((result) => `  ${JSON.stringify(result)}`).join(",\n")}\n]\n`);
