/**
 * Stacks for people, as Linux prints a call trace: the engine's functions by name, innermost first, down to where the lab begins. Frames in a file of the scenario's author have their place as well, as he can look there.
 */

import { unbundled } from "../kernel-trace.js";

/** What stands between an event and the function that brought it about, and says nothing of it. */
const INFRASTRUCTURE = new Set([
  "stackHere", "lock", "acquire", "acquireIfFree", "tryAcquire", "releaseAs", "release", "afterAcquire", "beforeAcquire", "checkChain", "learn", "read", "write", "unlockRead", "unlockWrite", "tryRead", "tryWrite",
  "tryLock", "unlock", "note", "event", "wait", "wakeAll", "wakeOne", "wake", "handOver", "racePoint", "call", "began", "ended", "operation", "listener", "get", "runSync", "submit", "listen", "doAll", "addHolder", "takeIn", "append", "flush",
  "sleep", "onSubmit", "onBarrier", "countRequest", "aside", "withLongStacks", "leaves", "sleeps", "submitted", "stand", "failed", "powerFails", "<anonymous>",
]);
/** Below it is nothing of the engine's. */
const LAB = /^\s+at (?:_?Run\.|ExploringDriver\.(?:step|run) |(?:\w+\.)?(?:resume|finishIo) )/;
const FRAME = /^\s+at /;
const FRAMES_MAX = 60;

interface Frame {
  /** The function's, without its class. */
  readonly name: string;
  readonly isConstructor: boolean;
  /** Of this package: the engine's or the lab's. */
  readonly isOurs: boolean;
  /** "/home/me/append.mjs:17:7". */
  readonly place: string;
}

const OUR_FOLDER = /^(.*\/)(?:dist|src)\/[^:]*:\d+:\d+$/.exec(placeOf((new Error().stack ?? "").split("\n")[1] ?? ""))?.[1];

function placeOf(line: string): string {
  return (/\(([^()]*)\)$/.exec(line)?.[1] ?? line.replace(/^\s+at (?:async )?/, "")).replace(/^file:\/\//, "").replaceAll("%20", " ");
}

/** Undefined: it is no function's, but the resumption of a generator whose own line stands above, or JavaScript's own. */
function frameOf(line: string): Frame | undefined {
  const place = placeOf(line);
  if (!/:\d+:\d+$/.test(place) || place.startsWith("node:")) return undefined;
  const name = /^\s+at (?:async |new )?(?:\S+\.)?\*?([\w$#]+)(?: \[as [^\]]*\])? \(/.exec(line)?.[1] ?? "<anonymous>";
  return { name, place, isConstructor: /^\s+at new /.test(line), isOurs: OUR_FOLDER === undefined || place.startsWith(`${OUR_FOLDER}src/`) || place.startsWith(`${OUR_FOLDER}dist/`) || place.includes("/node_modules/") };
}

/** Functions of a stack that JavaScript tells, as "reserve", or "first (/home/me/append.mjs:17:7)". */
export function traceOf(stack: string): string[] {
  const trace: string[] = [];
  for (const line of stack.split("\n")) {
    const frame = FRAME.test(line) ? frameOf(line) : undefined;
    if (frame === undefined) continue;
    if (frame.isOurs && LAB.test(line)) break;
    // What a judge does in the midst of a task is not the task's.
    if (frame.isOurs && frame.name === "aside") trace.length = 0;
    if (frame.isOurs && (frame.isConstructor || INFRASTRUCTURE.has(unbundled(frame.name)))) continue;
    const text = frame.isOurs ? unbundled(frame.name) : `${frame.name} (${frame.place})`;
    if (trace.at(-1) !== text) trace.push(text);
  }
  return trace;
}

/** Of whoever asks. */
export function stackHere(): string[] {
  return withLongStacks(() => traceOf(new Error().stack ?? ""));
}

/** Errors that are made meanwhile know where they come from, however deep that is. */
export function withLongStacks<T>(work: () => T): T {
  const limits = Error as { stackTraceLimit?: number };
  const { stackTraceLimit: limit } = limits;
  limits.stackTraceLimit = FRAMES_MAX;
  try {
    return work();
  } finally {
    if (limit !== undefined) limits.stackTraceLimit = limit;
  }
}

/** Of an error: where it was thrown. Empty: that is not known. */
export function traceOfError(error: unknown): string[] {
  if (!(error instanceof Error)) return [];
  const lines = (error.stack ?? "").split("\n");
  return traceOf(lines.slice(lines.findLastIndex((line) => !FRAME.test(line)) + 1).join("\n"));
}

export const hasStacks = (text: string): boolean => text.split("\n").some((line) => FRAME.test(line));

/** With the stacks in it as call traces. */
export function withTraces(text: string): string {
  const told: string[] = [];
  let stack: string[] = [];
  const end = (): void => {
    told.push(...traceOf(stack.join("\n")).map((name) => ` ${name}`));
    stack = [];
  };
  for (const line of text.split("\n")) {
    if (FRAME.test(line)) stack.push(line);
    else {
      end();
      told.push(line);
    }
  }
  end();
  return told.join("\n");
}

/** What fits a line of its own: the first one, but for the word that leads over to a stack. */
export const headline = (text: string): string => text.split("\n")[0]!.replace(/,? (?:taken )?at$/, "");
