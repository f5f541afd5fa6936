/**
 * The lab's driver of tasks: the third beside the scheduler's two. One step of a task goes from one wait to the next; between any two steps it is a choice who goes on. Requests to a device are carried out when
 * their task is chosen again, so others may come in between. A task goes on until it is left: leaving one that could go on is a preemption.
 */
import { AssertionError } from "../lib/errno.js";
import { setRecorder } from "../sched/footprint.js";
import { DeadlockError, resume, setExplored, TaskContext, type TaskDriver } from "../sched/scheduler.js";
import type { Io, Sleepable, Task, Wait } from "../sched/task.js";
import { HappensBefore } from "./happens-before.js";
import { ScenarioError } from "./scenario.js";

export class LabTask {
  readonly context: TaskContext;
  isDone = false;
  /** What its next step begins with. */
  pendingIo: Io | undefined;
  /** Where it waits, or may be left. undefined: it runs, has ended, or has not begun. */
  wait: Wait | undefined;
  /** What ended it, if it did not come to its end. */
  thrown: { readonly error: unknown } | undefined;
  /** What the call under way has touched, and may touch again whenever it goes on. */
  readonly inHand = new Map<object, boolean>();

  constructor(driver: TaskDriver, readonly index: number, readonly name: string, task: Task<void>) {
    this.context = new TaskContext(driver, name, task, undefined);
  }

  get isEnabled(): boolean { return !this.isDone && this.context.sleepsOn === undefined; }
}

/** A choice of who goes on. */
export interface Turn {
  /** More than one. The one that ran last comes first, if it can go on. */
  readonly enabled: readonly LabTask[];
  /** Leaving the first is a preemption. */
  readonly canStay: boolean;
  /** What was done so far, but for the order of what has nothing in common. */
  readonly state: number;
  readonly step: number;
}

export interface DriverListener {
  /** A step is about to begin. */
  stepBegins?(task: LabTask, step: number): void;
  /** The request that its task had made was carried out. */
  ioDone?(task: LabTask, io: Io): void;
  /** The step under way is about to end in a sleep. */
  sleeps?(): void;
  stepEnded?(task: LabTask, step: number): void;
}

/** Stands for the order of calls. */
const CALLS = {};

/** More steps than any run needs that gets anywhere. */
const STEPS_MAX = 20_000;

/** Tasks that go on and on. */
export class LivelockError extends AssertionError {
  override name = "LivelockError";
}

export class ExploringDriver implements TaskDriver {
  readonly tasks: LabTask[] = [];
  readonly happensBefore = new HappensBefore();
  stepCount = 0;
  current: LabTask | undefined;
  /** What else was chosen in the step under way. */
  private readonly chosen: number[] = [];
  /** Locks and queues that the step under way has touched: each time anew, unlike all else, which a call may keep in hand. */
  private readonly locks = new Map<object, boolean>();
  private readonly recorder = (shared: object, isWrite: boolean): void => {
    this.note("describeHolders" in shared ? this.locks : this.current!.inHand, shared, isWrite);
  };
  private isCallOver = false;
  private isStopped = false;

  private readonly listeners: DriverListener[] = [];

  addListener(listener: DriverListener): void {
    this.listeners.push(listener);
  }

  add(name: string, task: Task<void>): LabTask {
    const added = new LabTask(this, this.tasks.length, name, task);
    this.tasks.push(added);
    return added;
  }

  sleep(context: TaskContext, on: Sleepable): void {
    context.sleepsOn = on;
    for (const listener of this.listeners) listener.sleeps?.();
  }

  wake(context: TaskContext): void {
    context.sleepsOn = undefined;
  }

  /** A choice that was made within a step makes it another step. */
  chose(value: number): void {
    this.chosen.push(value);
  }

  /** Calls have an order in time, which linearizability asks for: who begins after another has ended comes after it. */
  began(): void {
    this.note(this.locks, CALLS, false);
  }

  /** What the call had in hand it has no more after this step. */
  ended(): void {
    this.note(this.locks, CALLS, true);
    this.isCallOver = true;
  }

  /** Everything is dropped as it stands, after the step under way. */
  stop(): void {
    this.isStopped = true;
  }

  private note(touched: Map<object, boolean>, shared: object, isWrite: boolean): void {
    if (isWrite || !touched.has(shared)) touched.set(shared, isWrite);
  }

  /**
   * Runs all tasks to their ends. @param choose returns an index into `enabled`, or undefined: enough, everything is dropped as it stands.
   * @returns whether all ended. @throws DeadlockError, LivelockError, and what a task throws.
   */
  run(choose: (turn: Turn) => number | undefined): boolean {
    while (!this.isStopped) {
      const enabled = this.enabled();
      if (enabled.length === 0) {
        const sleepers = this.tasks.filter(({ isDone }) => !isDone).map(({ context }) => context);
        if (sleepers.length === 0) return true;
        throw new DeadlockError(sleepers);
      }
      const canStay = enabled[0] === this.current;
      const index = enabled.length === 1 ? 0 : choose({ enabled, canStay, state: this.happensBefore.state, step: this.stepCount });
      if (index === undefined) return false;
      this.current = enabled[index]!;
      this.step(this.current);
    }
    return false;
  }

  private enabled(): LabTask[] {
    const enabled = this.tasks.filter(({ isEnabled }) => isEnabled);
    const at = this.current === undefined ? -1 : enabled.indexOf(this.current);
    if (at > 0) enabled.unshift(...enabled.splice(at, 1));
    return enabled;
  }

  private step(task: LabTask): void {
    const step = ++this.stepCount;
    if (step > STEPS_MAX) throw new LivelockError(`after ${STEPS_MAX} steps nobody has come to an end: ${task.name} goes on and on`);
    for (const listener of this.listeners) listener.stepBegins?.(task, step);
    setExplored(true);
    setRecorder(this.recorder);
    try {
      this.finishIo(task);
      task.wait = undefined;
      const outcome = resume<void>(task.context);
      task.isDone = outcome.done;
      task.wait = outcome.done ? undefined : outcome.wait;
      if (!outcome.done && outcome.wait.op === "io") task.pendingIo = outcome.wait.io;
      if (!outcome.done && (outcome.wait as Partial<Wait> | undefined)?.op === undefined) throw new ScenarioError(`task ${task.name} yields what is no wait: calls are made with yield*`);
    } catch (error) {
      task.isDone = true;
      task.thrown = { error };
      throw error;
    } finally {
      setRecorder(undefined);
      setExplored(false);
    }
    this.happensBefore.step(task.index, [task.inHand, this.locks], this.chosen);
    this.chosen.length = 0;
    this.locks.clear();
    if (this.isCallOver) task.inHand.clear();
    this.isCallOver = false;
    for (const listener of this.listeners) listener.stepEnded?.(task, step);
  }

  private finishIo(task: LabTask): void {
    const { pendingIo: io, context } = task;
    if (io === undefined) return;
    task.pendingIo = undefined;
    try {
      io.runSync();
    } catch (error) {
      context.pendingError = error;
      context.hasPendingError = true;
      return;
    }
    for (const listener of this.listeners) listener.ioDone?.(task, io);
  }
}
