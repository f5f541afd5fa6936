/**
 * What a journal is to those who change metadata: it gives out handles, and puts whole transactions on disk, one after the other. Whoever needs a transaction to be durable commits it;
 * a second one who needs it waits for the first. How a transaction reaches the disk is the subclass's business: through a log, or, without one, straight home.
 *
 * A buffer that changed is pinned in the cache while it is `filed`: in a running or committing transaction, or logged and not yet written home.
 * Source: fs/jbd2/transaction.c, fs/jbd2/journal.c.
 */
import type { BufferCache, BufferHead } from "../block/buffer-cache.js";
import { FsError } from "../lib/errno.js";
import type { Pblk, Tid } from "../lib/numbers.js";
import type { Clock } from "../sched/clock.js";
import { J_BARRIER, JBD2_HANDLE } from "../sched/lock-classes.js";
import { footprint } from "../sched/footprint.js";
import { PseudoLock } from "../sched/lockdep.js";
import { Mutex } from "../sched/locks.js";
import { isExplored, racePoint } from "../sched/scheduler.js";
import type { Task } from "../sched/task.js";
import { WaitQueue } from "../sched/wait-queue.js";
import { Handle } from "./handle.js";
import { tidAtLeast } from "./tid.js";
import { Transaction } from "./transaction.js";

/** Where a filed buffer stands. */
export interface Filing {
  /** The running or committing transaction that it belongs to, the newest if both. */
  transaction: Transaction | undefined;
  /** The transaction whose copy in the log is needed until the buffer was written home. */
  checkpoint: Transaction | undefined;
}

/** Seconds after which a transaction is committed by itself (JBD2_DEFAULT_MAX_COMMIT_AGE). */
const COMMIT_INTERVAL_SEC = 5;
/** Objects in core that wait for the seal: with more of them, of which each must stay in memory, a transaction is committed. */
const SEALABLES_MAX = 2048;
/** Revoke records that fit a log block at least. */
const REVOKES_PER_BLOCK_MIN = 100;

export abstract class Journal {
  running: Transaction | undefined;
  committing: Transaction | undefined;
  readonly updatesDone = new WaitQueue("end of a transaction's handles");
  commitIntervalSec = COMMIT_INTERVAL_SEC;
  /** Why no more changes are taken. */
  abortError: FsError | undefined;
  protected readonly filings = new Map<BufferHead, Filing>();
  private isAbortRecorded = false;
  private readonly commitMap = new PseudoLock(JBD2_HANDLE, "j_trans_commit_map");
  private readonly moved = new WaitQueue("journal commit");
  /** Those who keep handles out, one at a time. */
  private readonly barrier = new Mutex(J_BARRIER);
  private barrierCount = 0;
  private readonly barrierDown = new WaitQueue("the barrier that keeps handles out");
  private requestedTid: Tid | undefined;

  /** There is a log: file data can be journaled, too. */
  abstract readonly hasLog: boolean;

  constructor(readonly cache: BufferCache, protected readonly clock: Clock, protected nextTid: Tid) {}

  /** Most blocks that a transaction may have. */
  abstract readonly transactionBlocksMax: number;
  /** Sees to it that a new transaction of any size fits. Called without a handle, may wait. */
  protected abstract makeRoom(): Task<void>;
  /** Puts a sealed transaction on disk. On return it is durable. The first part, up to the first wait, sees what was sealed. */
  protected abstract write(transaction: Transaction): Task<void>;
  /** After the transaction is durable: where its buffers go. */
  protected abstract settle(transaction: Transaction): Task<void>;
  protected abstract recordAbort(error: FsError): Task<void>;
  /** A block of metadata is freed in the transaction: no older copy of it may be brought back over what will stand there. */
  abstract revoke(block: Pblk, transaction: Transaction): void;

  /** Begins an operation that changes up to `credits` blocks. @throws FsError EROFS the journal is aborted; ENOSPC no transaction can hold so many. */
  *start(credits: number): Task<Handle> {
    const transaction = isExplored ? undefined : this.tryReserve(credits);
    return new Handle(this, transaction ?? (yield* this.reserve(credits)), credits);
  }

  private tryReserve(credits: number): Transaction | undefined {
    footprint(this);
    this.checkUsable();
    if (this.barrierCount > 0) return undefined;
    const { running } = this;
    if (running?.state !== "running" || this.isAged(running) || !this.hasRoom(running, credits)) return undefined;
    running.t_outstanding_credits += credits;
    return running;
  }

  /** A running transaction with room for the credits, which are counted there. */
  *reserve(credits: number): Task<Transaction> {
    if (credits > this.transactionBlocksMax) throw new FsError("ENOSPC", `the journal is too small for an operation on ${credits} blocks`);
    yield* racePoint(JBD2_HANDLE.name);
    for (;;) {
      const transaction = this.tryReserve(credits);
      if (transaction !== undefined) return transaction;
      if (this.barrierCount > 0) {
        yield* this.barrierDown.wait(() => this.barrierCount === 0);
        continue;
      }
      const { running } = this;
      if (running !== undefined) yield* this.commit(running.t_tid);
      else {
        yield* this.makeRoom();
        this.running ??= new Transaction(this.takeTid(), this.clock.now().sec);
      }
    }
  }

  /** Keeps new handles out and waits for the end of those that run. The caller has none. Source: jbd2_journal_lock_updates. */
  *lockUpdates(): Task<void> {
    this.commitMap.mightWait();
    footprint(this);
    this.barrierCount++;
    try {
      const { running } = this;
      if (running !== undefined) yield* this.updatesDone.wait(() => running.t_updates === 0);
      if (!this.barrier.tryLock()) yield* this.barrier.lock();
    } catch (error) {
      this.liftBarrier();
      throw error;
    }
  }

  unlockUpdates(): void {
    this.barrier.unlock();
    this.liftBarrier();
  }

  private liftBarrier(): void {
    footprint(this);
    if (--this.barrierCount === 0) this.barrierDown.wakeAll();
  }

  hasRoom(transaction: Transaction, credits: number): boolean {
    const revokeBlocks = Math.ceil(transaction.revokes.size / REVOKES_PER_BLOCK_MIN);
    return transaction.buffers.size + transaction.t_outstanding_credits + revokeBlocks + credits <= this.transactionBlocksMax;
  }

  private isAged(transaction: Transaction): boolean {
    return transaction.hasChanges && (transaction.sealables.size > SEALABLES_MAX || this.requestedTid === transaction.t_tid || this.clock.now().sec - transaction.startSec >= this.commitIntervalSec);
  }

  private takeTid(): Tid {
    const tid = this.nextTid;
    this.nextTid = (tid + 1) >>> 0;
    return tid;
  }

  /** The transaction is to be committed by whoever comes next. */
  requestCommit(tid: Tid): void {
    this.requestedTid = tid;
  }

  /** What the commit interval asks for: called from time to time. */
  *commitAged(): Task<void> {
    const { running } = this;
    if (running?.state === "running" && this.isAged(running)) yield* this.commit(running.t_tid);
  }

  /** Commits what is running, and waits for what is on its way. */
  *commitAll(): Task<void> {
    footprint(this);
    for (;;) {
      const transaction = this.running ?? this.committing;
      if (transaction === undefined || (transaction === this.running && !transaction.hasChanges && transaction.t_updates === 0 && this.committing === undefined)) return this.checkAborted();
      yield* this.commit(transaction.t_tid);
    }
  }

  /**
   * Returns when transaction `tid` is durable. The caller holds no handle.
   * @throws FsError EIO, if it could not be written: the journal is aborted then.
   */
  *commit(tid: Tid): Task<void> {
    // Lockdep: whoever waits here waits for the end of all handles, so it must not have one.
    this.commitMap.mightWait();
    yield* racePoint("jbd2_commit");
    footprint(this);
    for (;;) {
      const { running, committing } = this;
      if (!this.isPending(tid)) return this.checkAborted();
      if (committing !== undefined) yield* this.moved.wait(() => this.committing !== committing);
      else if (running!.state === "locked") yield* this.moved.wait(() => this.running !== running || running!.state !== "locked");
      else if (running!.t_updates === 0 && !running!.hasChanges) return this.checkAborted();
      else yield* this.commitRunning(running!);
    }
  }

  private *commitRunning(transaction: Transaction): Task<void> {
    transaction.state = "locked";
    yield* this.updatesDone.wait(() => transaction.t_updates === 0);
    transaction.seal();
    transaction.state = "committing";
    this.running = undefined;
    this.committing = transaction;
    try {
      this.checkAborted();
      for (const buffer of transaction.buffers) if (!transaction.dirtyBuffers.has(buffer) && !transaction.forgotten.has(buffer)) this.unfile(buffer, transaction);
      yield* this.write(transaction);
      yield* this.settle(transaction);
      for (const callback of transaction.callbacks) callback();
    } catch (error) {
      yield* this.abort(error);
    } finally {
      transaction.state = "finished";
      transaction.forgetContent();
      this.committing = undefined;
      this.moved.wakeAll();
    }
    this.checkAborted();
  }

  /** Whether what was done in transaction `tid` would be lost by a crash. */
  isPending(tid: Tid): boolean {
    footprint(this, false);
    const { running, committing } = this;
    return (running !== undefined && tidAtLeast(tid, running.t_tid)) || (committing !== undefined && tidAtLeast(tid, committing.t_tid));
  }

  /** Puts a buffer under a transaction, and pins it if it was under none. */
  file(buffer: BufferHead, transaction: Transaction): void {
    const filing = this.filings.get(buffer);
    if (filing !== undefined) filing.transaction = transaction;
    else {
      this.cache.pin(buffer);
      this.filings.set(buffer, { transaction, checkpoint: undefined });
    }
  }

  /** Takes the buffer from under `transaction`, if it has not gone on to a newer one. */
  protected unfile(buffer: BufferHead, transaction: Transaction): void {
    const filing = this.filings.get(buffer);
    if (filing === undefined) return;
    if (filing.transaction === transaction) filing.transaction = undefined;
    this.dropIfIdle(buffer, filing);
  }

  protected dropIfIdle(buffer: BufferHead, filing: Filing): void {
    if (filing.transaction !== undefined || filing.checkpoint !== undefined) return;
    this.filings.delete(buffer);
    this.cache.unpin(buffer);
  }

  /** No more changes: the disk stays as the last commit left it. */
  *abort(error: unknown): Task<void> {
    if (!(error instanceof FsError)) throw error;
    this.abortError ??= error;
    if (this.isAbortRecorded) return;
    this.isAbortRecorded = true;
    yield* this.recordAbort(this.abortError);
  }

  /** The same at once, for who holds a handle: the log hears of it with the next commit, which then writes nothing else. */
  fail(error: unknown): void {
    this.abortError ??= error instanceof FsError ? error : new FsError("EIO", `an operation failed in its midst: ${String(error)}`);
  }

  /** @throws FsError EROFS. */
  checkUsable(): void {
    if (this.abortError !== undefined) throw new FsError("EROFS", `the journal was aborted: ${this.abortError.message}`);
  }

  /** @throws FsError EIO. */
  private checkAborted(): void {
    if (this.abortError !== undefined) throw new FsError("EIO", `the journal was aborted: ${this.abortError.message}`);
  }
}
