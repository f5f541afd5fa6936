/**
 * Lockdep: whoever takes B while holding A teaches the order A before B, with the place where it happened. A later attempt to take A while holding B is an
 * error with both places, even if no deadlock comes of it. So is a lock taken twice, or two locks of one class without a subclass.
 * Source of the idea: kernel/locking/lockdep.c.
 */
import { AssertionError } from "../lib/errno.js";
import type { LockClass } from "./lock-classes.js";
import { currentTask, type HeldLock } from "./scheduler.js";
import type { Sleepable } from "./task.js";

/** What lockdep must know of a lock. */
export interface ClassedLock extends Sleepable {
  readonly lockClass: LockClass;
}

export class LockOrderError extends AssertionError {
  override name = "LockOrderError";
}

/** Which classes were taken while this one was held, and where that was seen first. */
type Order = Map<LockClass, Map<LockClass, string>>;

let order: Order = new Map();
/** Locks taken by plain code, which no task owns. */
const plainHeld: HeldLock[] = [];

function here(): string {
  return new Error().stack?.split("\n").slice(3).join("\n") ?? "";
}

function heldNow(): HeldLock[] {
  return currentTask()?.held ?? plainHeld;
}

/** Called before a lock is taken, whether or not it must wait. @throws LockOrderError. */
export function beforeAcquire(lock: ClassedLock, lockClass = lock.lockClass): void {
  for (const before of heldNow()) {
    if (before.lock === lock) throw new LockOrderError(`${lock.name} is taken twice by ${currentTask()?.name ?? "plain code"}`);
    if (before.lockClass === lockClass) {
      throw new LockOrderError(`${lock.name} is taken while ${before.lock.name} is held: two locks of the class ${lockClass.name} need a subclass`);
    }
    learn(before, lock, lockClass);
  }
}

function learn(before: HeldLock, after: ClassedLock, afterClass: LockClass): void {
  let successors = order.get(before.lockClass);
  if (successors?.has(afterClass) === true) return;
  const path = findPath(afterClass, before.lockClass);
  const seen = here();
  if (path !== undefined) {
    const known = path.map(({ from, to, stack }) => `${from.name} before ${to.name}, seen at\n${stack}`).join("\n");
    throw new LockOrderError(`${after.name} is taken while ${before.lock.name} is held, at\n${seen}\nbut the order known is ${known}`);
  }
  if (successors === undefined) order.set(before.lockClass, successors = new Map());
  successors.set(afterClass, seen);
}

interface Step { readonly from: LockClass; readonly to: LockClass; readonly stack: string }

/** The steps by which `to` is known to come after `from`. */
function findPath(from: LockClass, to: LockClass, visited = new Set<LockClass>()): Step[] | undefined {
  visited.add(from);
  for (const [next, stack] of order.get(from) ?? []) {
    const step = { from, to: next, stack };
    if (next === to) return [step];
    if (visited.has(next)) continue;
    const rest = findPath(next, to, visited);
    if (rest !== undefined) return [step, ...rest];
  }
  return undefined;
}

/** Whether the stack is kept for each lock taken, for reports; costly, so off. */
export const settings = { keepStacks: false };

export function afterAcquire(lock: ClassedLock, mode: string, lockClass = lock.lockClass): void {
  heldNow().push({ lock, lockClass, mode, stack: settings.keepStacks ? here() : undefined });
}

/** @throws AssertionError who releases does not hold it. */
export function release(lock: ClassedLock, mode: string): void {
  const held = heldNow();
  for (let index = held.length - 1; index >= 0; index--) {
    if (held[index]!.lock !== lock || held[index]!.mode !== mode) continue;
    held.splice(index, 1);
    return;
  }
  throw new AssertionError(`${currentTask()?.name ?? "plain code"} releases ${lock.name} (${mode}) without holding it`);
}

/** Backs the word Requires in a function's comment. A lock held for writing is held for reading, too. */
export function assertHeld(lock: ClassedLock, mode?: "read" | "write"): void {
  const holds = heldNow().some((entry) => entry.lock === lock && (mode !== "write" || entry.mode === "write"));
  if (!holds) throw new AssertionError(`${lock.name} must be held${mode === undefined ? "" : ` for ${mode === "read" ? "reading" : "writing"}`}`);
}

/** Forgets what was learned: each test, each world of the lab begins anew. */
export function resetLockdep(): void {
  order = new Map();
  plainHeld.length = 0;
}

/** A pseudo lock: something that is held and has an order, but never waits by itself, as a started journal handle. */
export class PseudoLock implements ClassedLock {
  constructor(readonly lockClass: LockClass, readonly name: string = lockClass.name) {}

  describeHolders(): string[] {
    return [];
  }

  acquire(): void {
    beforeAcquire(this);
    afterAcquire(this, "held");
  }

  release(): void {
    release(this, "held");
  }
}
