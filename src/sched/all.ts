import type { Task } from "./task.js";

/** Does all of the work, one after the other, whatever fails; then throws the first error that there was. For what must be let go of. */
export function* doAll(work: Iterable<() => Task<void>>): Task<void> {
  const errors: unknown[] = [];
  for (const each of work) {
    try {
      yield* each();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}
