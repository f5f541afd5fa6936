/**
 * Who runs when: one scheduler per volume, with two drivers over the same tasks. `runSync` drives a task on the caller's stack, does its I/O on the spot, and runs
 * the other ready tasks while this one sleeps. `runAsync` awaits I/O and goes on with other tasks meanwhile, first come first run. Both set `current` before each
 * resume: lock ownership hangs on it. A sleep from which nobody can wake is reported with names, locks and stacks; one from which the program itself may wake is none.
 */
import { AssertionError, FsError } from "../lib/errno.js";
import { setRecorder } from "./footprint.js";
import type { LockClass } from "./lock-classes.js";
import type { LockChain } from "./lockdep.js";
import type { Io, Sleepable, Task, Wait } from "./task.js";

/** What drives tasks: the locks and queues on which they sleep tell it. */
export interface TaskDriver {
  /** Called by the task that is about to yield: it sleeps until `wake`. */
  sleep(context: TaskContext, on: Sleepable): void;
  wake(context: TaskContext): void;
}

/** A lock that a task holds, and where it took it. */
export interface HeldLock {
  readonly lock: Sleepable;
  /** The lock's own class, or the subclass under which it was taken. */
  readonly lockClass: LockClass;
  readonly mode: string;
  readonly stack: string | undefined;
  /** All that is held up to this one. [lockdep] */
  readonly chain: LockChain;
}

/** A task on its way: what the drivers, the locks and the reports know of it. */
export class TaskContext {
  readonly held: HeldLock[] = [];
  /** What it sleeps on; undefined: it runs, is ready, or awaits I/O. */
  sleepsOn: Sleepable | undefined;
  /** Thrown into the task at its next resume: a failed I/O, or the report of a deadlock. */
  pendingError: unknown;
  hasPendingError = false;

  constructor(
    readonly scheduler: TaskDriver | undefined,
    readonly name: string,
    readonly task: Task<unknown>,
    readonly settle: Settle | undefined,
  ) {}
}

interface Settle {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

let current: TaskContext | undefined;

/** The task that runs now; undefined in plain code. */
export function currentTask(): TaskContext | undefined {
  return current;
}

/** Every task sleeps, and nobody is left to wake one. */
export class DeadlockError extends FsError {
  override name = "DeadlockError";

  constructor(sleepers: readonly TaskContext[]) {
    super("EDEADLK", `every task waits for another:\n${sleepers.map(describe).join("\n")}`);
  }
}

function describe(sleeper: TaskContext): string {
  const lock = sleeper.sleepsOn!;
  const holders = lock.describeHolders().map((line) => `\n    held by ${line}`);
  const held = sleeper.held.map(({ lock: own, mode, stack }) => `\n    holds ${own.name} (${mode})${stack === undefined ? "" : ` taken at\n${stack}`}`);
  return `  ${sleeper.name} waits for ${lock.name}${holders.join("")}${held.join("")}`;
}

export type Outcome<T> = { readonly done: false; readonly wait: Wait } | { readonly done: true; readonly value: T };

/** Runs a task up to its next wait or its end. @throws what the task throws; AssertionError it ended holding a lock. */
export function resume<T>(context: TaskContext): Outcome<T> {
  current = context;
  try {
    const { hasPendingError, pendingError } = context;
    context.hasPendingError = false;
    context.pendingError = undefined;
    const result = hasPendingError ? context.task.throw(pendingError) : context.task.next();
    if (result.done !== true) return { done: false, wait: result.value };
    checkEnd(context);
    return { done: true, value: result.value as T };
  } finally {
    current = undefined;
  }
}

function checkEnd(context: TaskContext): void {
  const held = context.held[0];
  if (held !== undefined) throw new AssertionError(`${context.name} ended holding ${held.lock.name}${held.stack === undefined ? "" : `, taken at\n${held.stack}`}`);
}

/** True while the lab's driver runs a task: then every place where a task might have to wait is one where it lets others run. */
export let isExplored = false;

export function setExplored(explored: boolean): void {
  isExplored = explored;
}

/** Does something in another world in the midst of a task, as if there were none: the lab looks at what a power cut would leave here. */
export function aside<T>(work: () => T): T {
  const before = { current, isExplored, recorder: setRecorder(undefined) };
  current = undefined;
  isExplored = false;
  try {
    return work();
  } finally {
    ({ current, isExplored } = before);
    setRecorder(before.recorder);
  }
}

/** A place where others may come in between, though nothing is waited for: for the lab. Other drivers never see it. */
export function* racePoint(at: string): Task<void> {
  if (!isExplored) return;
  pauseListener?.();
  yield { op: "pause", at };
}

let pauseListener: (() => void) | undefined;

/** Hears, on the task's own stack, of each place where it may be left: for the lab's stories. */
export function setPauseListener(listener: (() => void) | undefined): void {
  pauseListener = listener;
}

export class Scheduler implements TaskDriver {
  /** Tasks that can go on, but for the one that runSync drives. */
  private readonly ready: TaskContext[] = [];
  private readonly sleepers = new Set<TaskContext>();
  private inFlightCount = 0;
  private isPumping = false;
  private isPumpDue = false;
  private backgroundError: { error: unknown } | undefined;

  /** Drives `task` to its end on the caller's stack. @throws DeadlockError; FsError EBUSY what it waits for is held by a promise-based call in progress. */
  runSync<T>(task: Task<T>, name = "sync call"): T {
    this.checkEntry(name);
    const context = new TaskContext(this, name, task, undefined);
    for (;;) {
      const outcome = resume<T>(context);
      if (outcome.done) return outcome.value;
      if (outcome.wait.op === "io") this.runIo(context, outcome.wait.io);
      else this.sleepSync(context);
    }
  }

  /** Drives `task`, awaiting its I/O. The first steps run before this returns. */
  runAsync<T>(task: Task<T>, name = "async call"): Promise<T> {
    this.checkEntry(name);
    return new Promise<T>((resolve, reject) => {
      this.ready.push(new TaskContext(this, name, task, { resolve: resolve as (value: unknown) => void, reject }));
      this.pump();
    });
  }

  /** Starts a task that runs whenever another waits: a commit thread, writeback. An error that ends it is thrown by the next call. */
  spawn(name: string, task: Task<void>): void {
    this.ready.push(new TaskContext(this, name, task, undefined));
  }

  sleep(context: TaskContext, on: Sleepable): void {
    context.sleepsOn = on;
    this.sleepers.add(context);
  }

  wake(context: TaskContext): void {
    if (!this.sleepers.delete(context)) return;
    context.sleepsOn = undefined;
    this.ready.push(context);
    // Who woke it may be a synchronous call, or no task at all: then nobody is there to run it.
    if (context.settle !== undefined && !this.isPumping) this.pumpSoon();
  }

  private pumpSoon(): void {
    if (this.isPumpDue) return;
    this.isPumpDue = true;
    void Promise.resolve().then(() => {
      this.isPumpDue = false;
      this.pump();
    });
  }

  private checkEntry(name: string): void {
    if (current !== undefined) throw new AssertionError(`${name} was started inside the running task ${current.name}`);
    if (this.backgroundError === undefined) return;
    const { error } = this.backgroundError;
    this.backgroundError = undefined;
    throw error;
  }

  private runIo(context: TaskContext, io: Io): void {
    try {
      io.runSync();
    } catch (error) {
      context.pendingError = error;
      context.hasPendingError = true;
    }
  }

  /** Runs the others until `context` is awake. */
  private sleepSync(context: TaskContext): void {
    while (this.sleepers.has(context)) {
      const other = this.ready.shift();
      if (other !== undefined) this.stepSync(other);
      else if (this.inFlightCount > 0) this.fail(context, new FsError("EBUSY", "a promise-based call in progress holds what this call waits for"));
      else this.fail(context, this.outsiderError() ?? new DeadlockError([...this.sleepers]));
    }
    const index = this.ready.indexOf(context);
    if (index >= 0) this.ready.splice(index, 1);
  }

  /** Where the wait, or that of another whose locks are waited for, is ended by the program itself, which is waiting for this call. */
  private outsiderError(): FsError | undefined {
    const outsider = this.waitForOutsider();
    return outsider === undefined ? undefined : new FsError("EBUSY", `${outsider.name} must come first, and while a synchronous call waits for it the program cannot bring it about`);
  }

  private waitForOutsider(): Sleepable | undefined {
    for (const { sleepsOn } of this.sleepers) if (sleepsOn?.isWokenFromOutside === true) return sleepsOn;
    return undefined;
  }

  private fail(context: TaskContext, error: unknown): void {
    context.pendingError = error;
    context.hasPendingError = true;
    this.wake(context);
  }

  private stepSync(context: TaskContext): void {
    const wait = this.step(context);
    if (wait?.op !== "io") return;
    this.runIo(context, wait.io);
    this.ready.push(context);
  }

  /** One resume of a task that has its own settlement; undefined: it ended. */
  private step(context: TaskContext): Wait | undefined {
    try {
      const outcome = resume(context);
      if (!outcome.done) return outcome.wait;
      context.settle?.resolve(outcome.value);
    } catch (error) {
      if (context.settle !== undefined) context.settle.reject(error);
      else this.backgroundError ??= { error };
    }
    return undefined;
  }

  private pump(): void {
    const wasPumping = this.isPumping;
    this.isPumping = true;
    for (let context = this.ready.shift(); context !== undefined; context = this.ready.shift()) this.stepAsync(context);
    this.isPumping = wasPumping;
    // The caller may be about to start the task that wakes the sleepers, so the look for a deadlock waits until it is done.
    if (this.sleepers.size > 0 && this.inFlightCount === 0) void Promise.resolve().then(() => this.reportDeadlock());
  }

  private reportDeadlock(): void {
    const stuck = [...this.sleepers].filter(({ settle }) => settle !== undefined);
    if (stuck.length === 0 || this.inFlightCount > 0 || this.ready.length > 0 || this.waitForOutsider() !== undefined) return;
    const report = new DeadlockError([...this.sleepers]);
    for (const context of stuck) this.fail(context, report);
    this.pump();
  }

  private stepAsync(context: TaskContext): void {
    const wait = this.step(context);
    if (wait?.op !== "io") return;
    this.inFlightCount++;
    const landed = (): void => {
      this.inFlightCount--;
      this.ready.push(context);
      this.pump();
    };
    wait.io.runAsync().then(landed, (error: unknown) => {
      context.pendingError = error;
      context.hasPendingError = true;
      landed();
    });
  }
}

/** Drives one task with a scheduler of its own. */
export function runSync<T>(task: Task<T>): T {
  return new Scheduler().runSync(task);
}

export function runAsync<T>(task: Task<T>): Promise<T> {
  return new Scheduler().runAsync(task);
}
