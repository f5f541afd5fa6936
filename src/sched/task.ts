/**
 * The whole contract between blocking code and what drives it. A task is a generator that yields a Wait where it may have to wait,
 * and only `sched/` and `block/` write `yield`; everything else calls with `yield*`. A task does not know its driver: the sync driver does the
 * I/O on the spot, the async driver awaits it, the lab's explorer makes a choice of it.
 */

/** One transfer, or a batch of them, that somebody outside must do. It reports failure by throwing (sync) or rejecting (async). */
export interface Io {
  /** What it is, for reports: "read 4096 at 1024 of disk.img". */
  readonly description: string;
  /** Does it now, on the caller's stack. A device that only works asynchronously throws FsError EOPNOTSUPP. */
  runSync(): void;
  runAsync(): Promise<void>;
}

/** Something that tasks sleep on until another task wakes them: a lock or a wait queue. Its name and holders stand in a deadlock report. */
export interface Sleepable {
  readonly name: string;
  /** True: what wakes them may be no task, but the program that drives them. */
  readonly isWokenFromOutside?: boolean;
  /** One line per holder: task, mode, and where it took the lock. Empty for a queue. */
  describeHolders(): string[];
}

export type Wait =
  | { readonly op: "io"; readonly io: Io }
  | { readonly op: "lock"; readonly lock: Sleepable }
  | { readonly op: "event"; readonly queue: Sleepable }
  /** Nothing is waited for: the lab may let others run here. */
  | { readonly op: "pause"; readonly at: string };

/** Blocking code. The driver resumes it when the wait is over; a failed I/O is thrown into it at its `yield`. */
export type Task<T> = Generator<Wait, T, void>;
