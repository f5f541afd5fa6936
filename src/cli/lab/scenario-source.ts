/**
 * Scenarios by name, or from a file that exports them. What a file imports as "ext4" and "ext4/sim" is this very package, wherever the file lies and whatever is installed there: a second copy of the engine would have
 * tasks, locks and errors of its own, and know nothing of the ones that the lab runs.
 */
import { existsSync } from "node:fs";
import * as module from "node:module";
import { basename, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Strategy } from "../../ext4/strategy.js";
import { ALL_SCENARIOS, scenarioNamed, strategyNamed } from "../../sim/catalogue.js";
import { isScenario, type Scenario } from "../../sim/scenario.js";
import { UsageError } from "../operand.js";
import { bundleUrl } from "./place.js";

export interface ScenarioSource {
  readonly scenarios: readonly Scenario[];
  /** Strategies that the file brings along. */
  readonly strategies: Readonly<Record<string, Partial<Strategy>>>;
  /** Absolute; undefined: they are the lab's own. */
  readonly file: string | undefined;
}

const FILE = /\.[cm]?[jt]s$/;

/** @param text a name, a beginning as in "engine/*", "all", or a file. @throws UsageError; FsError ENOENT no such name. */
export async function scenariosOf(text: string): Promise<ScenarioSource> {
  if (FILE.test(text)) return await loadFile(text);
  const ownWords = { strategies: {}, file: undefined };
  if (text === "all") return { scenarios: ALL_SCENARIOS, ...ownWords };
  if (!text.endsWith("*")) return { scenarios: [scenarioNamed(text)], ...ownWords };
  const scenarios = ALL_SCENARIOS.filter(({ name }) => name.startsWith(text.slice(0, -1)));
  if (scenarios.length === 0) throw new UsageError(`no scenario's name begins with '${text.slice(0, -1)}'; ext4 lab list shows all`);
  return { scenarios, ...ownWords };
}

/** The one with that name: of a file, or of the lab. @throws UsageError; FsError ENOENT. */
export async function scenarioFrom(name: string, file: string | undefined): Promise<{ readonly scenario: Scenario; readonly source: ScenarioSource }> {
  if (file === undefined) return { scenario: scenarioNamed(name), source: { scenarios: [], strategies: {}, file } };
  const source = await loadFile(file);
  const scenario = source.scenarios.find((each) => each.name === name);
  if (scenario === undefined) throw new UsageError(`${file} has no scenario '${name}'`);
  return { scenario, source };
}

/** @throws FsError ENOENT. */
export function strategyOf({ strategies }: ScenarioSource, name: string): Partial<Strategy> {
  return Object.hasOwn(strategies, name) ? strategies[name]! : strategyNamed(name);
}

/** @throws UsageError whatever keeps the file from being loaded, or from being of use. */
export async function loadFile(path: string): Promise<ScenarioSource> {
  const file = resolve(path);
  if (!existsSync(file)) throw new UsageError(`${path}: no such file`);
  if (/\.c[jt]s$/.test(file)) throw new UsageError(`${path} is CommonJS, and scenarios are ES modules: name it ${basename(file).replace(/\.c([jt]s)$/, ".m$1")}, and import what it needs`);
  bringOurselves();
  let exports: Record<string, unknown>;
  try {
    exports = await import(pathToFileURL(file).href) as Record<string, unknown>;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ERR_UNKNOWN_FILE_EXTENSION") throw new UsageError(`${path}: this Node (${process.version}) loads no TypeScript; 22.18 and later do`);
    // A .js file may be CommonJS, too; its require knows nothing of us, and has a code of its own.
    if (code === "MODULE_NOT_FOUND") throw new UsageError(`${path}: ${(error as Error).message.split("\n")[0]}: scenarios are ES modules, which import "ext4/sim"`);
    throw new UsageError(`${path}: ${error instanceof Error ? error.stack ?? error.message : String(error)}`);
  }
  const scenarios = [...new Set(Object.values(exports).flat().filter(isScenario))];
  if (scenarios.length === 0) throw new UsageError(`${path} exports no scenario: make one with scenario(…) of "ext4/sim"`);
  const names = scenarios.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new UsageError(`${path} has two scenarios '${twice}'`);
  const { strategies = {} } = exports;
  if (!isObject(strategies) || !Object.values(strategies).every(isObject)) throw new UsageError(`${path}: its strategies are no strategies by name, as in { unflushed: { LogJournal: … } }`);
  return { scenarios, strategies, file };
}

const isObject = (value: unknown): value is Record<string, object> => typeof value === "object" && value !== null && !Array.isArray(value);

/** A resolver of a thread of its own, for a Node that has no other. */
const ASIDE = `let own;
export function initialize(data) { own = data; }
export function resolve(specifier, context, next) { return Object.hasOwn(own, specifier) ? { url: own[specifier], shortCircuit: true } : next(specifier, context); }`;

interface Resolved { readonly url: string; readonly shortCircuit?: boolean }
type Next = (specifier: string, context: unknown) => Resolved;
interface WithHooks { readonly registerHooks?: (hooks: { resolve: (specifier: string, context: unknown, next: Next) => Resolved }) => void }

let areBrought = false;

function bringOurselves(): void {
  if (areBrought) return;
  areBrought = true;
  const own: Readonly<Record<string, string>> = { ext4: bundleUrl("node.js"), "ext4/sim": bundleUrl("sim.js") };
  const { registerHooks } = module as WithHooks;
  if (registerHooks === undefined) module.register(`data:text/javascript,${encodeURIComponent(ASIDE)}`, { data: own });
  else registerHooks({ resolve: (specifier, context, next) => (Object.hasOwn(own, specifier) ? { url: own[specifier]!, shortCircuit: true } : next(specifier, context)) });
}
