/** Everything the lab knows by name: scenarios, and strategies to run them with. */
import type { Strategy } from "../ext4/strategy.js";
import { FsError } from "../lib/errno.js";
import type { PlantedBug } from "./bugs/bug.js";
import { FAULT_BUGS } from "./bugs/fault-bugs.js";
import { HISTORY_BUGS } from "./bugs/history-bugs.js";
import { JOURNAL_BUGS } from "./bugs/journal-bugs.js";
import type { Scenario } from "./scenario.js";
import { canary } from "./scenarios/canary.js";
import { daxReadOnlyExec } from "./scenarios/dax-exec.js";
import { ENGINE_SCENARIOS } from "./scenarios/engine.js";
import { FAULT_SCENARIOS } from "./scenarios/faults.js";
import { journalSwitch } from "./scenarios/history.js";
import { JOURNAL_SCENARIOS } from "./scenarios/journal.js";
import { NAME_SCENARIOS } from "./scenarios/names.js";
import { STRATEGIES } from "./strategies.js";

export const ALL_SCENARIOS: readonly Scenario[] = [journalSwitch, daxReadOnlyExec, ...ENGINE_SCENARIOS, ...NAME_SCENARIOS, ...JOURNAL_SCENARIOS, ...FAULT_SCENARIOS];

export const ALL_BUGS: readonly PlantedBug[] = [...HISTORY_BUGS, ...JOURNAL_BUGS, ...FAULT_BUGS];

/** The canary is not among all, as it must fail. @throws FsError ENOENT. */
export function scenarioNamed(name: string): Scenario {
  const found = [...ALL_SCENARIOS, canary].find((scenario) => scenario.name === name);
  if (found === undefined) throw new FsError("ENOENT", `no scenario is called '${name}'; ext4 lab list shows all`);
  return found;
}

/** "default", the name of a kernel's way or of a planted bug. @throws FsError ENOENT. */
export function strategyNamed(name: string): Partial<Strategy> {
  if (name === "default") return {};
  const bug = ALL_BUGS.find((each) => each.name === name);
  const strategy = bug?.strategy ?? (Object.hasOwn(STRATEGIES, name) ? STRATEGIES[name as keyof typeof STRATEGIES] : undefined);
  if (strategy === undefined) throw new FsError("ENOENT", `no strategy is called '${name}': there are default, ${strategyNames().join(", ")}`);
  return strategy;
}

export function strategyNames(): string[] {
  return [...new Set([...Object.keys(STRATEGIES), ...ALL_BUGS.map(({ name }) => name)])];
}
