/** What a run can be found guilty of. */
import { CorruptionError } from "../format/corruption.js";
import { AssertionError, FsError } from "../lib/errno.js";
import { LockOrderError } from "../sched/lockdep.js";
import { DeadlockError } from "../sched/scheduler.js";
import { Signal } from "../vfs/signal.js";
import { LivelockError } from "./driver.js";
import { hasStacks, traceOfError, withTraces } from "./report/call-trace.js";

export type FailureKind =
  /** A task ended in an error or a signal that the scenario does not expect. */
  | "error"
  /** The engine warned, as Linux does with WARN_ON. */
  | "warning"
  /** An assertion of the engine did not hold. */
  | "assertion"
  /** Locks taken against the order, or held at the end. */
  | "lockdep" | "deadlock"
  /** It goes on and on: a fault that repeats, tasks that never end. */
  | "livelock"
  /** The engine found its own filesystem damaged. */
  | "corruption"
  /** Calls saw what no order of them explains. */
  | "linearizability"
  /** The filesystem, counted again, is not what it says. */
  | "fsck"
  /** It is, and yet e2fsck finds something. */
  | "e2fsck"
  /** What the scenario itself knows to be true is not. */
  | "invariant"
  /** After a power cut something is lost, half done, or somebody else's. */
  | "durability"
  /** The same run went another way. */
  | "nondeterminism";

export interface Failure {
  readonly kind: FailureKind;
  readonly message: string;
  /** The step in which it was seen. */
  readonly step: number;
  /** Choices of a power cut, and of one during the recovery from it, that show it. */
  readonly cuts?: readonly (readonly number[])[];
}

/** Kinds whose messages say what is wrong, and not how it came about. */
const TELLING = new Set<FailureKind>(["error", "warning", "assertion", "corruption", "invariant"]);

/** Whether two runs show the same: of one kind, and in the same words, but for numbers. */
export function isSameFailure(a: Failure, b: Failure): boolean {
  const words = ({ message }: Failure): string => message.split("\n")[0]!.replace(/\d+/g, "0");
  return a.kind === b.kind && (!TELLING.has(a.kind) || words(a) === words(b));
}

/** Of what ended a run. */
export function failureKindOf(error: unknown): FailureKind {
  if (error instanceof LockOrderError) return "lockdep";
  if (error instanceof DeadlockError) return "deadlock";
  if (error instanceof LivelockError || (error instanceof FsError && error.code === "EDEADLK")) return "livelock";
  if (error instanceof CorruptionError) return "corruption";
  if (error instanceof AssertionError) return error.message.includes("ended holding") ? "lockdep" : "assertion";
  return "error";
}

/** What an error says, and, of what was not to happen at all, how one got there. */
export function textOf(error: unknown): string {
  const mayHappen = error instanceof FsError || error instanceof Signal;
  const text = mayHappen || error instanceof AssertionError ? error.message : String(error);
  // A report of lockdep's has the stacks that matter in its message.
  const trace = mayHappen || hasStacks(text) ? [] : traceOfError(error);
  return [withTraces(text), ...(trace.length === 0 ? [] : ["Call Trace:", ...trace.map((name) => ` ${name}`)])].join("\n");
}
