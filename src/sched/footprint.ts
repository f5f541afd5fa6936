/**
 * What a task touches between two waits, for the lab: steps of two tasks that touch nothing in common may be taken in either order, and one of the two is enough. Whoever gives access to something that
 * tasks share says so here: a lock, a queue, a block, an inode, a process's memory, the running transaction. What lies behind (fields of an inode, say) is covered by what leads to it.
 */
export type Recorder = (shared: object, isWrite: boolean) => void;

let recorder: Recorder | undefined;

/**
 * What tasks sleep on (it has `describeHolders`) is touched anew each time; all else a call may touch again, without a word, until it ends. Costs one comparison outside the lab.
 * @param isWrite two who only read do not get into each other's way.
 */
export function footprint(shared: object, isWrite = true): void {
  if (recorder !== undefined) recorder(shared, isWrite);
}

/** undefined: nobody wants to know. @returns who did. */
export function setRecorder(next: Recorder | undefined): Recorder | undefined {
  const before = recorder;
  recorder = next;
  return before;
}
