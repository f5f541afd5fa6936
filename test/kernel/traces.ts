/** What a real Linux answered: one file for each scenario, with a header, a record for each operation, and a last record. tools/kernel-recorder makes them. */
import { readdirSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

export interface Operation {
  readonly op: string;
  readonly [argument: string]: unknown;
}

/** A call of ext4's fault handler for one size, or of its page_mkwrite. */
export interface HandlerStep {
  readonly size?: string;
  readonly mkwrite?: 1;
  readonly flags: string;
  readonly ret?: string;
  readonly handles?: readonly string[];
  readonly steps?: readonly Step[];
}

/** Or the name of a function of the memory management. */
export type Step = string | HandlerStep;

export interface TracedFault {
  readonly addr: string;
  readonly flags: string;
  readonly ret?: string;
  readonly steps: readonly Step[];
}

export interface TraceRecord {
  /** From ASYNC_RECORDS on: what became of an operation that another process was left alone with. */
  readonly i: number;
  readonly op: Operation;
  readonly ret: number;
  readonly errno?: string;
  readonly kmsg?: readonly string[];
  readonly vm?: Readonly<Record<string, number>>;
  readonly sum?: { readonly handles?: Readonly<Record<string, number>>; readonly async_handles?: Readonly<Record<string, number>>; readonly nfaults?: number; readonly faults?: readonly TracedFault[] };
  readonly evc?: Readonly<Record<string, number>>;
  readonly [field: string]: unknown;
}

export const ASYNC_RECORDS = 10_000;

export interface ScenarioHeader {
  readonly name: string;
  readonly desc: string;
  /** Of the mount that comes before the operations. */
  readonly mount?: string;
  readonly size?: string;
  readonly mkfs?: readonly string[];
  readonly tune2fs?: readonly string[];
  /** The scenario whose image this one starts from. */
  readonly after?: string;
}

export interface Trace {
  readonly scenario: ScenarioHeader;
  readonly records: readonly TraceRecord[];
  /** e2fsck's exit code for the image that Linux left, its journal replayed. */
  readonly fsck: number;
}

const TRACES = new URL("traces/", import.meta.url);
const SCENARIOS = new URL("../../tools/kernel-recorder/scenarios/", import.meta.url);

export const traceNames: readonly string[] = readdirSync(TRACES).map((file) => file.replace(".jsonl.gz", "")).sort();

export const scenarioNames: readonly string[] = readdirSync(SCENARIOS).map((file) => file.replace(".jsonl", "")).sort();

export function readTrace(name: string): Trace {
  const lines = gunzipSync(readFileSync(new URL(`${name}.jsonl.gz`, TRACES))).toString().trim().split("\n").map((line) => JSON.parse(line) as Record<string, unknown>);
  const final = lines.at(-1) as { fsck: number; fsck_after_replay?: number };
  const records = (lines.slice(1, -1) as unknown as TraceRecord[]).sort((a, b) => a.i - b.i);
  return { scenario: lines[0]!.scenario as ScenarioHeader, records, fsck: final.fsck_after_replay ?? final.fsck };
}

/** A scenario of which only the image that it leaves is wanted. */
export function readScenario(name: string): { readonly scenario: ScenarioHeader; readonly operations: readonly Operation[] } {
  const lines = readFileSync(new URL(`${name}.jsonl`, SCENARIOS), "utf8").split("\n").filter((line) => line.trim() !== "" && !line.startsWith("#")).map((line) => JSON.parse(line) as Record<string, unknown>);
  return { scenario: lines[0]!.scenario as ScenarioHeader, operations: lines.slice(1) as unknown as Operation[] };
}
