/** What happened in a run, step by step: made when a failing run is run again with its eyes open. Reports (table, HTML, JSON) are made of it. */

/** One thing that happened. Steps count the stretches between two waits; within one, events stand in order. */
export interface StoryEvent {
  readonly step: number;
  /** Index into `tasks`; -1: nobody's (power). */
  readonly task: number;
  readonly kind: "call" | "return" | "acquire" | "wait" | "release" | "fault" | "handle" | "commit" | "io" | "warning" | "event" | "power" | "end" | "gap";
  /** What: "pwrite(3, 4096 bytes of 0x42, 0)", "= 4096", "i_rwsem (write)", "ext4_dax_huge_fault address=0x… code=…", "write 4096 at 12288". */
  readonly text: string;
  /** The system call under way, as "pwrite". */
  readonly call?: string;
  /** The innermost function of the engine, as "reserve". */
  readonly function?: string;
  /** Of acquire, wait and release: the lock's name. */
  readonly lock?: string;
  /** Of handle and commit: the transaction. */
  readonly tid?: number;
  /** Of a request that failed: its code. */
  readonly error?: string;
  /** Of gap: how many events are left out there, of a story that goes on and on. */
  readonly count?: number;
}

export interface Story {
  readonly scenario: string;
  readonly description: string;
  readonly strategy: string;
  readonly replay: string;
  /** What `ext4 lab replay` must be told besides: "--file", "mine.mjs". */
  readonly replayOptions: readonly string[];
  /** What was wrong from outside: "request 1 fails with EIO". */
  readonly fault?: string;
  readonly tasks: readonly string[];
  readonly events: readonly StoryEvent[];
  readonly failure: { readonly kind: string; readonly message: string; readonly step: number };
  /** What the engine warned of, as Linux prints it. */
  readonly warnings: readonly string[];
  /** Where each task stood when the failure was seen, or the power failed: its name, what it waits for or was about to do, and its stack there, if it is known. */
  readonly stacks: readonly { readonly task: string; readonly state: string; readonly stack: readonly string[] }[];
}
