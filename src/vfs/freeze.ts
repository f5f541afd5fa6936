/**
 * Freezing: a filesystem stands still, whole on its device, until it is thawed. Whoever changes something says so before and after, at one of three levels; a freeze lets those in progress finish, keeps
 * new ones waiting, and does so level by level, since a system call may wait for a page fault and both for what the filesystem does of its own accord.
 *
 * Each level is a read-write semaphore, so that lockdep knows where in the order a wait for a thaw stands. The freeze itself outlives the task that made it: it lets go of the semaphores, and what
 * keeps others out is `frozen`. Source: struct sb_writers (include/linux/fs.h), freeze_super, thaw_super (fs/super.c).
 */
import { FsError } from "../lib/errno.js";
import { SB_INTERNAL, SB_PAGEFAULTS, SB_WRITERS } from "../sched/lock-classes.js";
import { RwSem } from "../sched/locks.js";
import { footprint } from "../sched/footprint.js";
import type { Task } from "../sched/task.js";
import { WaitQueue } from "../sched/wait-queue.js";
import type { SuperBlock } from "./inode.js";

export const SB_UNFROZEN = 0;
/** System calls are kept out. */
export const SB_FREEZE_WRITE = 1;
/** So are stores into shared mappings. */
export const SB_FREEZE_PAGEFAULT = 2;
/** So is what the filesystem does of its own accord. */
export const SB_FREEZE_FS = 3;
export const SB_FREEZE_COMPLETE = 4;

type Level = typeof SB_FREEZE_WRITE | typeof SB_FREEZE_PAGEFAULT | typeof SB_FREEZE_FS;

export class SbWriters {
  /** How far a freeze has come. */
  private level = SB_UNFROZEN;
  private readonly rw_sem: Record<Level, RwSem> = { [SB_FREEZE_WRITE]: new RwSem(SB_WRITERS), [SB_FREEZE_PAGEFAULT]: new RwSem(SB_PAGEFAULTS), [SB_FREEZE_FS]: new RwSem(SB_INTERNAL) };
  private readonly thawed = new WaitQueue("the thaw of a frozen filesystem");

  get frozen(): number {
    footprint(this, false);
    return this.level;
  }

  set frozen(level: number) {
    footprint(this);
    this.level = level;
  }

  tryStart(level: Level): boolean {
    return this.frozen < level && this.rw_sem[level].tryRead();
  }

  *start(level: Level): Task<void> {
    for (;;) {
      const sem = this.rw_sem[level];
      if (!sem.tryRead()) yield* sem.read();
      if (this.frozen < level) return;
      sem.unlockRead();
      yield* this.thawed.wait(() => this.frozen < level);
    }
  }

  end(level: Level): void {
    this.rw_sem[level].unlockRead();
  }

  /** Keeps new ones out, and waits for those in progress. */
  *freezeTo(level: Level): Task<void> {
    this.frozen = level;
    const sem = this.rw_sem[level];
    if (!sem.tryWrite()) yield* sem.write();
    sem.unlockWrite();
  }

  thaw(): void {
    this.frozen = SB_UNFROZEN;
    this.thawed.wakeAll();
  }
}

export function writersOf(sb: SuperBlock): SbWriters {
  return (sb.s_writers ??= new SbWriters());
}

/** Before a system call changes anything; waits while the filesystem is frozen. Not to be nested. */
export function* startWrite(sb: SuperBlock): Task<void> {
  const writers = writersOf(sb);
  if (!writers.tryStart(SB_FREEZE_WRITE)) yield* writers.start(SB_FREEZE_WRITE);
}

export function endWrite(sb: SuperBlock): void {
  writersOf(sb).end(SB_FREEZE_WRITE);
}

/** Before a fault of a shared mapping changes the file; mmap_lock may be held. */
export function* startPagefault(sb: SuperBlock): Task<void> {
  const writers = writersOf(sb);
  if (!writers.tryStart(SB_FREEZE_PAGEFAULT)) yield* writers.start(SB_FREEZE_PAGEFAULT);
}

export function endPagefault(sb: SuperBlock): void {
  writersOf(sb).end(SB_FREEZE_PAGEFAULT);
}

/** Around what nobody called for: the deletion of a file that was open when its last name went. */
export function* withInternalWrite<T>(sb: SuperBlock, work: () => Task<T>): Task<T> {
  const writers = writersOf(sb);
  if (!writers.tryStart(SB_FREEZE_FS)) yield* writers.start(SB_FREEZE_FS);
  try {
    return yield* work();
  } finally {
    writers.end(SB_FREEZE_FS);
  }
}

/** Runs what a system call changes. @throws FsError EROFS. */
export function* withWriteAccess<T>(sb: SuperBlock, work: () => Task<T>): Task<T> {
  sb.checkWritable(); // who cannot write need not wait
  yield* startWrite(sb);
  try {
    sb.checkWritable();
    return yield* work();
  } finally {
    endWrite(sb);
  }
}

/** @throws FsError EBUSY it is frozen, or on the way there; EIO what is in memory cannot be written, and nothing is frozen. */
export function* freezeSuper(sb: SuperBlock): Task<void> {
  const writers = writersOf(sb);
  if (writers.frozen !== SB_UNFROZEN) throw new FsError("EBUSY");
  if (!sb.isWritable) {
    writers.frozen = SB_FREEZE_COMPLETE;
    return;
  }
  try {
    yield* writers.freezeTo(SB_FREEZE_WRITE);
    // Now, and not under the last level alone: the more is written while faults still work, the shorter they wait.
    yield* sb.sync();
    yield* writers.freezeTo(SB_FREEZE_PAGEFAULT);
    yield* sb.sync();
    yield* writers.freezeTo(SB_FREEZE_FS);
    yield* sb.freeze?.() ?? nothing();
    writers.frozen = SB_FREEZE_COMPLETE;
  } catch (error) {
    writers.thaw();
    throw error;
  }
}

/** @throws FsError EINVAL it is not frozen. */
export function* thawSuper(sb: SuperBlock): Task<void> {
  const writers = writersOf(sb);
  if (writers.frozen !== SB_FREEZE_COMPLETE) throw new FsError("EINVAL");
  if (sb.isWritable) yield* sb.unfreeze?.() ?? nothing();
  writers.thaw();
}

function* nothing(): Task<void> {}
