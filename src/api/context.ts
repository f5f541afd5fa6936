/** What the operations of a volume stand on: the host around them, and the words that an error is given on its way out. */
import { FsError, type ErrorContext } from "../lib/errno.js";
import type { Task } from "../sched/task.js";

/** What the host adds: Node wants its own Buffers. */
export interface Host {
  /** Gives bytes to the program, without copying them. */
  wrapBytes(bytes: Uint8Array): Uint8Array;
}

/** Names call and path in whatever error comes out of `task`. */
export function* inContext<T>(context: ErrorContext, task: Task<T>): Task<T> {
  try {
    return yield* task;
  } catch (error) {
    throw error instanceof FsError ? error.addContext(context) : error;
  }
}
