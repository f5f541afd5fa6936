/** What a run can be found guilty of. */
import { CorruptionError } from "../format/corruption.js";
import { AssertionError, FsError } from "../lib/errno.js";
import { LockOrderError } from "../sched/lockdep.js";
import { DeadlockError } from "../sched/scheduler.js";
import { Signal } from "../vfs/signal.js";
import { LivelockError } from "./driver.js";

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

/** Of what ended a run. */
export function failureKindOf(error: unknown): FailureKind {
  if (error instanceof LockOrderError) return "lockdep";
  if (error instanceof DeadlockError) return "deadlock";
  if (error instanceof LivelockError || (error instanceof FsError && error.code === "EDEADLK")) return "livelock";
  if (error instanceof CorruptionError) return "corruption";
  if (error instanceof AssertionError) return error.message.includes("ended holding") ? "lockdep" : "assertion";
  return "error";
}

export function textOf(error: unknown): string {
  return error instanceof FsError || error instanceof Signal ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error);
}
