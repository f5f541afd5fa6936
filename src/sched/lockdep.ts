/**
 * Lockdep: whoever takes B while holding A is held against the declared order (lock-classes.ts), and teaches the order A before B, with both places. What contradicts the one or the other is an
 * error the first time that it runs, even if no deadlock comes of it. So is a lock taken twice by one task, for reading too: a writer who came in between would wait for the first and be waited
 * for by the second (a class may say that its readers go past writers). So are two locks of one class without a subclass.
 *
 * What a task holds is a chain of classes. Each chain is checked once, when it first comes about, and then is a node of a tree; after that taking a lock costs a look at what is held and one step in
 * the tree. Source of the idea: kernel/locking/lockdep.c, lock chains.
 */
import { AssertionError } from "../lib/errno.js";
import { declaredPath, isDeclared, type LockClass } from "./lock-classes.js";
import { currentTask, type HeldLock } from "./scheduler.js";
import type { Sleepable } from "./task.js";

/** What lockdep must know of a lock. */
export interface ClassedLock extends Sleepable {
  readonly lockClass: LockClass;
  /** Its place among others of its class, where a task may hold many of them. */
  readonly ordinal?: number | undefined;
}

export class LockOrderError extends AssertionError {
  override name = "LockOrderError";
}

/** Classes in the order in which a task took them; the last one is this node's. */
export class LockChain {
  /** One class more, by its id: those that somebody may wait for, which were checked, and those that nobody waits for, which were not. */
  readonly checked: (LockChain | undefined)[] = [];
  readonly unchecked: (LockChain | undefined)[] = [];

  /** @param stack where this chain came about first. */
  constructor(readonly stack: string) {}
}

/** `to` was taken while `from` was held. */
export interface ObservedEdge {
  readonly from: LockClass;
  readonly to: LockClass;
  /** Where `from` had been taken, the first time that what was held then was held, and where `to` was. */
  readonly fromStack: string;
  readonly toStack: string;
}

let order = new Map<LockClass, Map<LockClass, ObservedEdge>>();
let root = new LockChain("");
/** Locks taken by plain code, which no task owns. */
const plainHeld: HeldLock[] = [];

const STACK_FRAMES = 40;
/** Frames that say only that a lock is taken. */
const OWN_FRAMES = /\bat (?:\w+\.)?(?:here|checkChain|uncheckedChain|beforeAcquire|afterAcquire|tryAcquire|acquireIfFree|addHolder|mightWait)\b/;

function here(): string {
  const limits = Error as { stackTraceLimit?: number };
  const { stackTraceLimit: limit } = limits;
  limits.stackTraceLimit = STACK_FRAMES;
  const stack = new Error().stack ?? "";
  if (limit !== undefined) limits.stackTraceLimit = limit;
  return stack.split("\n").slice(1).filter((line) => !OWN_FRAMES.test(line)).join("\n");
}

function heldNow(): HeldLock[] {
  return currentTask()?.held ?? plainHeld;
}

/** Called before a lock is taken, whether or not it must wait. @throws LockOrderError. */
export function beforeAcquire(lock: ClassedLock, mode: string, lockClass = lock.lockClass): void {
  const held = heldNow();
  for (const before of held) {
    if (before.lock === lock) checkAgain(before, mode, lockClass);
    else if (before.lockClass === lockClass) checkSameClass(before, lock, lockClass);
  }
  const chain = held.length === 0 ? root : held[held.length - 1]!.chain;
  if (chain.checked[lockClass.id] === undefined) chain.checked[lockClass.id] = checkChain(held, lock, lockClass);
}

function checkAgain(before: HeldLock, mode: string, lockClass: LockClass): void {
  if (mode === "read" && before.mode === "read" && lockClass.options.isReadRecursive === true) return;
  const why = mode === "read" && before.mode === "read" ? ": a writer that comes in between would wait for the first and be waited for by the second" : "";
  throw new LockOrderError(`${before.lock.name} is taken twice by ${currentTask()?.name ?? "plain code"}${why}, at\n${here()}\nand before, at\n${takenAt(before)}`);
}

function checkSameClass(before: HeldLock, lock: ClassedLock, lockClass: LockClass): void {
  const ordinalBefore = (before.lock as ClassedLock).ordinal;
  if (lockClass.options.isOrderedSet === true && ordinalBefore !== undefined && lock.ordinal !== undefined && lock.ordinal > ordinalBefore) return;
  const rule = lockClass.options.isOrderedSet === true ? `locks of the class ${lockClass.name} are taken by ascending ordinal` : `two locks of the class ${lockClass.name} need a subclass`;
  throw new LockOrderError(`${lock.name} is taken while ${before.lock.name} is held: ${rule}, at\n${here()}\nand before, at\n${takenAt(before)}`);
}

const takenAt = ({ stack, chain }: HeldLock): string => stack ?? chain.stack;

/** The first time that this class is taken under these. */
function checkChain(held: readonly HeldLock[], lock: ClassedLock, lockClass: LockClass): LockChain {
  const stack = here();
  for (const before of held) if (before.lockClass !== lockClass) learn(before, lock, lockClass, stack);
  return new LockChain(stack);
}

function learn(before: HeldLock, after: ClassedLock, afterClass: LockClass, stack: string): void {
  let successors = order.get(before.lockClass);
  if (successors?.has(afterClass) === true) return;
  const known = findPath(afterClass, before.lockClass);
  if (known !== undefined || isForbidden(before.lockClass, afterClass)) throw new LockOrderError(inversion(before, after, afterClass, stack, known));
  if (successors === undefined) order.set(before.lockClass, successors = new Map());
  successors.set(afterClass, { from: before.lockClass, to: afterClass, fromStack: takenAt(before), toStack: stack });
}

function isForbidden(outer: LockClass, inner: LockClass): boolean {
  return isDeclared(outer) && isDeclared(inner) && declaredPath(outer, inner) === undefined;
}

function inversion(before: HeldLock, after: ClassedLock, afterClass: LockClass, stack: string, known: readonly ObservedEdge[] | undefined): string {
  const parts = [`${after.name} is taken while ${before.lock.name} is held, at\n${stack}\nwhere ${before.lock.name} had been taken at\n${takenAt(before)}`];
  const rules = declaredPath(afterClass, before.lockClass);
  if (rules !== undefined) parts.push(`but the order is ${rules.map(({ outer, inner, why }) => `${outer.name} before ${inner.name} (${why})`).join(", ")}`);
  else if (isForbidden(before.lockClass, afterClass)) parts.push(`but the order knows nothing of ${afterClass.name} under ${before.lockClass.name}`);
  for (const { from, to, fromStack, toStack } of known ?? []) parts.push(`but ${from.name} before ${to.name} was seen, ${to.name} at\n${toStack}\nwith ${from.name} taken at\n${fromStack}`);
  return parts.join("\n");
}

/** The steps by which `to` is known to come after `from`. */
function findPath(from: LockClass, to: LockClass, visited = new Set<LockClass>()): ObservedEdge[] | undefined {
  visited.add(from);
  const direct = order.get(from)?.get(to);
  if (direct !== undefined) return [direct];
  for (const [next, edge] of order.get(from) ?? []) {
    if (visited.has(next)) continue;
    const rest = findPath(next, to, visited);
    if (rest !== undefined) return [edge, ...rest];
  }
  return undefined;
}

/** Whether the stack is kept for each lock taken, for reports; costly, so off: a report then tells where the same locks were first taken in the same order. */
export const settings: {
  keepStacks: boolean;
  /** Hears of each lock that is taken and let go, in the lab's stories. */
  listener: ((event: "acquire" | "release", lock: ClassedLock, mode: string) => void) | undefined;
} = { keepStacks: false, listener: undefined };

export function afterAcquire(lock: ClassedLock, mode: string, lockClass = lock.lockClass): void {
  settings.listener?.("acquire", lock, mode);
  const held = heldNow();
  const above = held.length === 0 ? root : held[held.length - 1]!.chain;
  held.push({ lock, lockClass, mode, stack: settings.keepStacks ? here() : undefined, chain: above.checked[lockClass.id] ?? uncheckedChain(above, lockClass) });
}

/** What was taken without a wait, or is held on after something before it was let go, is held as any lock, and says nothing of the order in which it may be waited for. */
function uncheckedChain(above: LockChain, lockClass: LockClass): LockChain {
  return above.unchecked[lockClass.id] ??= new LockChain(here());
}

/** @throws AssertionError who releases does not hold it. */
export function release(lock: ClassedLock, mode: string): void {
  settings.listener?.("release", lock, mode);
  const held = heldNow();
  for (let index = held.length - 1; index >= 0; index--) {
    if (held[index]!.lock !== lock || held[index]!.mode !== mode) continue;
    held.splice(index, 1);
    if (index < held.length) rechain(held, index);
    return;
  }
  throw new AssertionError(`${currentTask()?.name ?? "plain code"} releases ${lock.name} (${mode}) without holding it`);
}

/** What was taken after a lock that is let go before it stands in a shorter chain now. */
function rechain(held: HeldLock[], first: number): void {
  for (let index = first; index < held.length; index++) {
    const { lockClass, chain: { stack }, ...rest } = held[index]!;
    const above = index === 0 ? root : held[index - 1]!.chain;
    held[index] = { ...rest, lockClass, chain: above.checked[lockClass.id] ?? (above.unchecked[lockClass.id] ??= new LockChain(stack)) };
  }
}

/** Backs the word Requires in a function's comment. A lock held for writing is held for reading, too. */
export function assertHeld(lock: ClassedLock, mode?: "read" | "write"): void {
  const holds = heldNow().some((entry) => entry.lock === lock && (mode !== "write" || entry.mode === "write"));
  if (!holds) throw new AssertionError(`${lock.name} must be held${mode === undefined ? "" : ` for ${mode === "read" ? "reading" : "writing"}`}`);
}

/** What was learned so far. */
export function observedOrder(): ObservedEdge[] {
  return [...order.values()].flatMap((successors) => [...successors.values()]);
}

/** Forgets what was learned: each test, each world of the lab begins anew. */
export function resetLockdep(): void {
  order = new Map();
  root = new LockChain("");
  plainHeld.length = 0;
}

/** Something that is held and has an order, but never waits by itself, as a started journal handle. Who takes it for writing stands for who waits until nobody has it. */
export class PseudoLock implements ClassedLock {
  constructor(readonly lockClass: LockClass, readonly name: string = lockClass.name) {}

  describeHolders(): string[] {
    return [];
  }

  acquire(): void {
    beforeAcquire(this, "held");
    afterAcquire(this, "held");
  }

  release(): void {
    release(this, "held");
  }

  /** For who is about to wait for the end of all: lockdep sees it as one who takes the lock and lets it go. */
  mightWait(): void {
    beforeAcquire(this, "wait");
  }
}
