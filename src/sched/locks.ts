/**
 * The two locks that tasks sleep on: a read-write semaphore and a mutex. Who comes first is served first: a waiting writer holds later readers back,
 * and readers that wait side by side get in together. A lock is handed over when it is released, so nobody overtakes the one that was woken.
 * Hot paths try first and wait second: `if (!lock.tryRead()) yield* lock.read();`.
 */
import { AssertionError } from "../lib/errno.js";
import type { LockClass } from "./lock-classes.js";
import { afterAcquire, beforeAcquire, release, type ClassedLock } from "./lockdep.js";
import { footprint } from "./footprint.js";
import { currentTask, isExplored, racePoint, type TaskContext } from "./scheduler.js";
import type { Task } from "./task.js";

type Mode = "read" | "write";

interface Waiter {
  readonly context: TaskContext;
  readonly mode: Mode;
  isGranted: boolean;
}

abstract class QueuedLock implements ClassedLock {
  readonly name: string;
  private readonly waiters: Waiter[] = [];
  private readonly holders: { context: TaskContext | undefined; mode: Mode }[] = [];

  /** @param ordinal its place among locks of its class, where a task may hold many. */
  constructor(readonly lockClass: LockClass, name?: string, readonly ordinal?: number) {
    this.name = name ?? lockClass.name;
  }

  describeHolders(): string[] {
    return this.holders.map(({ context, mode }) => {
      const stack = context?.held.find(({ lock }) => lock === this)?.stack;
      return `${context?.name ?? "plain code"} (${mode})${stack === undefined ? "" : `, taken at\n${stack}`}`;
    });
  }

  protected tryAcquire(mode: Mode, lockClass: LockClass = this.lockClass): boolean {
    beforeAcquire(this, mode, lockClass);
    // In the lab others may come first, though the lock is free: `acquire` lets them.
    return !isExplored && this.acquireIfFree(mode, lockClass);
  }

  protected acquireIfFree(mode: Mode, lockClass: LockClass = this.lockClass): boolean {
    footprint(this, mode === "write" || this.waiters.length > 0);
    if ((this.waiters.length > 0 && !this.isReadAgain(mode)) || !this.isFreeFor(mode)) return false;
    this.holders.push({ context: currentTask(), mode });
    afterAcquire(this, mode, lockClass);
    return true;
  }

  /** Who reads already, of a class where that is allowed, must not wait for a writer who waits for him. */
  private isReadAgain(mode: Mode): boolean {
    if (mode !== "read" || this.lockClass.options.isReadRecursive !== true) return false;
    const context = currentTask();
    return this.holders.some((holder) => holder.context === context && holder.mode === "read");
  }

  protected *acquire(mode: Mode, lockClass: LockClass = this.lockClass): Task<void> {
    if (isExplored) {
      beforeAcquire(this, mode, lockClass);
      yield* racePoint(this.name);
      if (this.acquireIfFree(mode, lockClass)) return;
    } else if (this.tryAcquire(mode, lockClass)) return;
    const context = currentTask();
    if (context?.scheduler === undefined) throw new AssertionError(`${this.name}: only a task can wait`);
    footprint(this);
    const waiter: Waiter = { context, mode, isGranted: false };
    this.waiters.push(waiter);
    context.scheduler.sleep(context, this);
    try {
      yield { op: "lock", lock: this };
    } finally {
      // Thrown awake by a deadlock report: it waits no longer.
      if (!waiter.isGranted) this.waiters.splice(this.waiters.indexOf(waiter), 1);
    }
    footprint(this);
    afterAcquire(this, mode, lockClass);
  }

  protected releaseAs(mode: Mode): void {
    footprint(this, mode === "write" || this.waiters.length > 0);
    release(this, mode);
    this.removeHolder(mode);
    this.handOver();
  }

  protected removeHolder(mode: Mode): void {
    const context = currentTask();
    this.holders.splice(this.holders.findIndex((holder) => holder.context === context && holder.mode === mode), 1);
  }

  protected addHolder(mode: Mode): void {
    this.holders.push({ context: currentTask(), mode });
    afterAcquire(this, mode);
  }

  protected handOver(): void {
    while (this.waiters.length > 0 && this.isFreeFor(this.waiters[0]!.mode)) {
      const waiter = this.waiters.shift()!;
      waiter.isGranted = true;
      this.holders.push({ context: waiter.context, mode: waiter.mode });
      waiter.context.scheduler!.wake(waiter.context);
    }
  }

  private isFreeFor(mode: Mode): boolean {
    return this.holders.length === 0 || (mode === "read" && this.holders[0]!.mode === "read");
  }
}

export class RwSem extends QueuedLock {
  // A subclass is given where two locks of one class are held at a time. tryRead and tryWrite are the first half of a wait, and checked as such.
  tryRead(lockClass?: LockClass): boolean { return this.tryAcquire("read", lockClass); }
  *read(lockClass?: LockClass): Task<void> { yield* this.acquire("read", lockClass); }
  unlockRead(): void { this.releaseAs("read"); }
  tryWrite(lockClass?: LockClass): boolean { return this.tryAcquire("write", lockClass); }
  *write(lockClass?: LockClass): Task<void> { yield* this.acquire("write", lockClass); }
  unlockWrite(): void { this.releaseAs("write"); }

  // For who goes another way if it is taken: he waits for nobody, so the order does not bind him.
  readIfFree(lockClass?: LockClass): boolean { return this.acquireIfFree("read", lockClass); }
  writeIfFree(lockClass?: LockClass): boolean { return this.acquireIfFree("write", lockClass); }

  /** From writing to reading, without letting another writer in between. */
  downgrade(): void {
    footprint(this);
    release(this, "write");
    this.removeHolder("write");
    this.addHolder("read");
    this.handOver();
  }
}

export class Mutex extends QueuedLock {
  tryLock(): boolean { return this.tryAcquire("write"); }
  *lock(): Task<void> { yield* this.acquire("write"); }
  lockIfFree(): boolean { return this.acquireIfFree("write"); }
  /** Of a lock that nobody else knows yet: it is free, and held against the order. */
  lockNew(): void {
    beforeAcquire(this, "write");
    this.acquireIfFree("write");
  }
  unlock(): void { this.releaseAs("write"); }
}
