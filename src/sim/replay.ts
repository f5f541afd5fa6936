/**
 * A run as a short string: "history/journal-switch:linux-4.13:z5.1". Scenario, strategy, and the choices; before them and a comma what was wrong from outside (f7: request 7 fails, F7: it and all later ones, s3: three blocks are
 * free, m2: the page cache has two pages), and after a "!" what a power cut left, after another what one during the recovery left.
 */
import { FsError } from "../lib/errno.js";
import { decodeChoices, encodeChoices } from "./choices.js";
import type { CutNumbers, RunFault } from "./run.js";

export interface Replay {
  readonly scenario: string;
  readonly strategy: string;
  readonly choices: readonly number[];
  readonly fault: RunFault | undefined;
  readonly cuts: CutNumbers | undefined;
}

const FAULT_LETTERS = { f: "request", F: "request", s: "space", m: "memory" } as const;

export function encodeReplay({ scenario, strategy, choices, fault, cuts }: Replay): string {
  const words = [encodeChoices(choices, cuts !== undefined), ...(cuts ?? []).map((cut) => encodeChoices(cut, true))];
  return `${scenario}:${strategy}:${fault === undefined ? "" : `${encodeFault(fault)}${words[0] === "" ? "" : ","}`}${words.join("!")}`;
}

function encodeFault(fault: RunFault): string {
  const letter = fault.kind === "request" ? (fault.forGood ? "F" : "f") : fault.kind === "space" ? "s" : "m";
  return letter + String(fault.number);
}

/** @throws FsError EINVAL. */
export function decodeReplay(text: string): Replay {
  const match = /^(.+):([^:]*):([^:]*)$/.exec(text);
  if (match === null) throw new FsError("EINVAL", `'${text}' is no replay string: it has scenario:strategy:choices`);
  const [, scenario, strategy, tail] = match as unknown as [string, string, string, string];
  const [first, ...cuts] = tail.split("!") as [string, ...string[]];
  const fault = /^([fFsm])(\d+)(?:,|$)/.exec(first);
  return {
    scenario, strategy: strategy === "" ? "default" : strategy,
    choices: decodeChoices(fault === null ? first : first.slice(fault[0].length)),
    fault: fault === null ? undefined : faultOf(fault[1] as keyof typeof FAULT_LETTERS, Number(fault[2])),
    cuts: cuts.length === 0 ? undefined : cuts.map(decodeCut),
  };
}

const FAULT_MAX = 1_000_000;

function faultOf(letter: keyof typeof FAULT_LETTERS, number: number): RunFault {
  if (number > FAULT_MAX || (number === 0 && letter !== "s")) throw new FsError("EINVAL", `'${letter}${number}' is no fault`);
  const kind = FAULT_LETTERS[letter];
  return kind === "request" ? { kind, number, forGood: letter === "F" } : { kind, number };
}

function decodeCut(text: string): number[] {
  const cut = decodeChoices(text);
  if (cut.length === 0) throw new FsError("EINVAL", "a power cut without a moment");
  return cut;
}
