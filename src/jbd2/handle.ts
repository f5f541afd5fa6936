/**
 * A handle: one operation's part of a transaction. Blocks that it changes are asked for by number, so that everybody changes the same buffer; what it changed reaches the disk together
 * with everything else of the transaction, or not at all. A handle counts as a lock (lockdep): its owner may not wait for what a commit waits for. Source: fs/jbd2/transaction.c.
 */
import type { BufferHead } from "../block/buffer-cache.js";
import { assert } from "../lib/errno.js";
import type { Pblk } from "../lib/numbers.js";
import { footprint } from "../sched/footprint.js";
import { JBD2_HANDLE } from "../sched/lock-classes.js";
import { PseudoLock } from "../sched/lockdep.js";
import type { Task } from "../sched/task.js";
import type { Journal } from "./journal.js";
import type { Sealable, Transaction } from "./transaction.js";

export class Handle {
  private readonly lock = new PseudoLock(JBD2_HANDLE);
  private isOpen = true;

  /** @param credits blocks that this handle may still put into the transaction: counted there as outstanding. */
  constructor(private readonly journal: Journal, private current: Transaction, private credits: number) {
    this.lock.acquire();
    this.join();
  }

  get transaction(): Transaction {
    return this.current;
  }

  /** The block's buffer, to be changed in place until stop. @throws FsError EIO, EROFS the journal is aborted. */
  *getWriteAccess(block: Pblk): Task<BufferHead> {
    const known = this.tryWriteAccess(block);
    if (known !== undefined) return known;
    const buffer = yield* this.journal.cache.read(block);
    this.take(buffer);
    return buffer;
  }

  /** The same without a wait; undefined: the block is not in memory. */
  tryWriteAccess(block: Pblk): BufferHead | undefined {
    const buffer = this.journal.cache.peek(block);
    if (buffer !== undefined) this.take(buffer);
    return buffer;
  }

  /** The buffer of a block that was just allocated: all zeroes, nothing is read. */
  getCreateAccess(block: Pblk): BufferHead {
    const buffer = this.journal.cache.create(block);
    this.take(buffer);
    return buffer;
  }

  /** Says that the buffer was changed. `seal` computes its checksum when the transaction is sealed; the last one given stays. */
  dirty(buffer: BufferHead, seal?: (buffer: BufferHead) => void): void {
    assert(this.isOpen && this.current.buffers.has(buffer), `block ${buffer.b_blocknr} is changed without write access`);
    this.current.dirtyBuffers.add(buffer);
    if (seal !== undefined) buffer.seal = seal;
  }

  sealLater(object: Sealable): void {
    this.current.sealables.add(object);
  }

  /** A block of metadata (or journaled data) is freed: what the transaction has of it is dropped, and older copies in the log are revoked. */
  forget(block: Pblk): void {
    const buffer = this.journal.cache.peek(block);
    this.journal.revoke(block, this.current);
    if (buffer === undefined) return;
    buffer.seal = undefined;
    this.current.dirtyBuffers.delete(buffer);
    this.journal.file(buffer, this.current);
    this.current.forgotten.add(buffer);
  }

  /** Asks for more credits; false: the transaction has no room for them, and the caller must restart. */
  tryExtend(credits: number): boolean {
    if (this.current.state !== "running" || !this.journal.hasRoom(this.current, credits)) return false;
    this.credits += credits;
    this.current.t_outstanding_credits += credits;
    return true;
  }

  /** Ends this handle's share and joins the next transaction. What was changed so far may reach the disk alone, so it must be consistent by itself. */
  *restart(credits: number): Task<void> {
    const { current } = this;
    this.stop();
    // From here to the next join there is nothing to stop: a journal that is aborted gives no second transaction.
    this.journal.requestCommit(current.t_tid);
    this.current = yield* this.journal.reserve(credits);
    this.credits = credits;
    this.lock.acquire();
    this.isOpen = true;
    this.join();
  }

  /** Ends it. A handle whose restart failed has ended already. */
  stop(): void {
    if (!this.isOpen) return;
    footprint(this.journal);
    this.isOpen = false;
    this.lock.release();
    this.current.t_outstanding_credits -= this.credits;
    this.credits = 0;
    if (--this.current.t_updates === 0) this.journal.updatesDone.wakeAll();
  }

  private join(): void {
    this.current.t_updates++;
  }

  /** Puts the buffer into the transaction, at the price of one credit if it is new there. */
  private take(buffer: BufferHead): void {
    footprint(buffer);
    assert(this.isOpen, "a handle is used after its stop");
    this.journal.checkUsable();
    const { current } = this;
    current.revokes.delete(buffer.b_blocknr);
    current.forgotten.delete(buffer);
    if (current.buffers.has(buffer)) return;
    if (this.credits > 0) {
      this.credits--;
      current.t_outstanding_credits--;
    } else {
      // The estimate was too low: as long as the transaction has room this harms nobody.
      assert(this.journal.hasRoom(current, 1), `a handle needs more blocks than it asked for, and transaction ${current.t_tid} is full`);
    }
    current.buffers.add(buffer);
    this.journal.file(buffer, current);
  }
}
