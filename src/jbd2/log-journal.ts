/**
 * The journal with a log: a ring of blocks between tail and head. A commit writes a transaction's copy behind the head; a checkpoint writes the blocks of the oldest transactions home and moves
 * the tail on. What holds on the medium: log blocks before the commit block; home blocks, flushed, before the tail that gives their copies up.
 *
 * Locks: the checkpoint mutex is taken without a handle, and may commit. Source: fs/jbd2/commit.c, fs/jbd2/checkpoint.c, fs/jbd2/journal.c; journal.md section 7.
 */
import type { BufferCache, BufferHead } from "../block/buffer-cache.js";
import {
  JBD2_CRC32C_CHKSUM, JBD2_FEATURE_COMPAT_CHECKSUM, JBD2_FEATURE_INCOMPAT_64BIT, JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT, JBD2_FEATURE_INCOMPAT_CSUM_V2, JBD2_FEATURE_INCOMPAT_CSUM_V3,
  JBD2_FEATURE_INCOMPAT_FAST_COMMIT, JBD2_FEATURE_INCOMPAT_REVOKE, JBD2_SUPERBLOCK_V2, journal_superblock_s as JS, journalShape, journalSuperblockChecksum, type JournalShape,
} from "../format/jbd2.js";
import { ERRNO, type FsError } from "../lib/errno.js";
import type { LogBlk, Pblk, Tid } from "../lib/numbers.js";
import type { Clock } from "../sched/clock.js";
import { footprint } from "../sched/footprint.js";
import { J_CHECKPOINT_MUTEX } from "../sched/lock-classes.js";
import { Mutex } from "../sched/locks.js";
import type { Task } from "../sched/task.js";
import { WaitQueue } from "../sched/wait-queue.js";
import { Journal } from "./journal.js";
import type { JournalBlocks, JournalGeometry } from "./log.js";
import { encodeCommitBlock, encodeTransaction, logBlocksOf } from "./log-record.js";
import type { Transaction } from "./transaction.js";

/** A journal's blocks, to be written as well. */
export interface WritableJournalBlocks extends JournalBlocks {
  write(first: LogBlk, data: Uint8Array, fua: boolean): Task<void>;
  /** Makes durable what was written to the log and, if it is on the same device, home. */
  flush(): Task<void>;
  /** The filesystem's device, where that is another one: flushed before a commit block, as file data was written there. */
  flushHome: (() => Task<void>) | undefined;
}

/** A transaction takes at most a quarter of the log, so that one can run while another is written and older ones wait for their checkpoint; and a bounded share of memory. */
const LOG_SHARE = 4;
const TRANSACTION_BYTES_MAX = 32 * 2 ** 20;

/** Where a sector may be torn a commit block is written first without the word that makes it one: that word alone then decides. */
function withoutFirstWord(commitBlock: Uint8Array): Uint8Array {
  const headless = commitBlock.slice();
  headless.fill(0, 0, 8);
  return headless;
}

export interface LogOptions {
  /** The filesystem has metadata checksums: so has the log. */
  readonly hasChecksums: boolean;
  readonly is64bit: boolean;
  /** The first transaction, and where the log goes on. */
  readonly tid: Tid;
  readonly head: LogBlk;
}

export class LogJournal extends Journal {
  readonly hasLog = true;
  readonly transactionBlocksMax: number;
  private readonly shape: JournalShape;
  private readonly first: LogBlk;
  private readonly last: LogBlk;
  /** Where the next block goes, and the first that is still needed. [single-threaded between waits] */
  private head: LogBlk;
  private tail: LogBlk;
  private freeBlocks: number;
  /** Transactions with blocks to be written home, oldest first. */
  private readonly checkpoints: Transaction[] = [];
  private readonly checkpointMutex = new Mutex(J_CHECKPOINT_MUTEX);
  private readonly writingHome = new Set<BufferHead>();
  private readonly wroteHome = new WaitQueue("checkpoint write");
  /** s_start is 0 on disk: recovery would not look at the log. */
  private isFlushed = true;

  constructor(
    cache: BufferCache, clock: Clock, private readonly blocks: WritableJournalBlocks, private readonly geometry: JournalGeometry, options: LogOptions,
  ) {
    super(cache, clock, options.tid);
    this.setFeatures(options);
    this.shape = journalShape(blocks.blockBytes, JS.s_feature_incompat.get(geometry.superblock, 0), JS.s_uuid.get(geometry.superblock, 0));
    this.first = geometry.first;
    this.last = geometry.maxlen; // no fast commits are written, so the log has their area, too
    this.head = options.head >= this.first && options.head < this.last ? options.head : this.first;
    this.tail = this.head;
    this.freeBlocks = this.last - this.first;
    this.transactionBlocksMax = Math.min(Math.floor(this.freeBlocks / LOG_SHARE), Math.max(256, Math.floor(TRANSACTION_BYTES_MAX / blocks.blockBytes)));
  }

  /** What Linux sets at a mount: checksums as the filesystem has them, and never the modes that are not used here. */
  private setFeatures({ hasChecksums, is64bit }: LogOptions): void {
    const { superblock } = this.geometry;
    const dropped = JBD2_FEATURE_INCOMPAT_CSUM_V2 | JBD2_FEATURE_INCOMPAT_CSUM_V3 | JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT | JBD2_FEATURE_INCOMPAT_FAST_COMMIT;
    const incompat = (JS.s_feature_incompat.get(superblock, 0) & ~dropped) | (hasChecksums ? JBD2_FEATURE_INCOMPAT_CSUM_V3 : 0) | (is64bit ? JBD2_FEATURE_INCOMPAT_64BIT : 0);
    // A superblock of the first version has no words for features: it becomes one of the second.
    JS.h_blocktype.set(superblock, 0, JBD2_SUPERBLOCK_V2);
    JS.s_feature_incompat.set(superblock, 0, incompat | JBD2_FEATURE_INCOMPAT_REVOKE);
    JS.s_feature_compat.set(superblock, 0, JS.s_feature_compat.get(superblock, 0) & ~JBD2_FEATURE_COMPAT_CHECKSUM);
    JS.s_checksum_type.set(superblock, 0, hasChecksums ? JBD2_CRC32C_CHKSUM : 0);
  }

  protected *makeRoom(): Task<void> {
    const needed = logBlocksOf(this.shape, this.transactionBlocksMax, this.transactionBlocksMax);
    while (this.freeBlocks < needed) yield* this.checkpoint(needed);
  }

  protected *write(transaction: Transaction): Task<void> {
    yield* this.writeRecord(transaction);
    yield* this.flushRecord();
    yield* this.writeCommitBlock(transaction);
  }

  /** All of the transaction but its commit block. */
  protected *writeRecord(transaction: Transaction): Task<void> {
    const record = encodeTransaction(this.shape, transaction.t_tid, [...transaction.dirtyBuffers], [...transaction.revokes]);
    transaction.t_log_start = this.head;
    yield* this.append(record, false);
    if (!this.isFlushed) return;
    yield* this.writeSuperblock(this.tail, transaction.t_tid);
    this.isFlushed = false;
  }

  /** What the commit block vouches for is on the medium before it: the record, and file data that the transaction leads to. */
  protected *flushRecord(): Task<void> {
    const { blocks } = this;
    if (blocks.flushHome !== undefined) yield* blocks.flushHome();
    yield* blocks.flush();
  }

  protected *writeCommitBlock({ t_tid }: Transaction): Task<void> {
    const { blocks } = this;
    const commitBlock = encodeCommitBlock(this.shape, t_tid, this.clock.now());
    if (blocks.tearsSectors) yield* blocks.write(this.head, withoutFirstWord(commitBlock), true);
    yield* this.append(commitBlock, true);
  }

  revoke(block: Pblk, transaction: Transaction): void {
    transaction.revokes.add(block);
  }

  /** Writes blocks behind the head, and around the ring's end. The head moves before the first wait. */
  private *append(data: Uint8Array, fua: boolean): Task<void> {
    const { blockBytes } = this.blocks;
    const count = data.length / blockBytes;
    const { head } = this;
    const beforeEnd = Math.min(count, this.last - head);
    this.freeBlocks -= count;
    this.head = beforeEnd === this.last - head ? this.first + count - beforeEnd : head + count;
    if (beforeEnd > 0) yield* this.blocks.write(head, data.subarray(0, beforeEnd * blockBytes), fua);
    if (beforeEnd < count) yield* this.blocks.write(this.first, data.subarray(beforeEnd * blockBytes), fua);
  }

  protected *settle(transaction: Transaction): Task<void> {
    // Blocks that are free from now on may be used for data at once: no older home write of them may still be on its way.
    yield* this.wroteHome.wait(() => ![...transaction.forgotten].some((buffer) => this.writingHome.has(buffer)));
    for (const buffer of transaction.forgotten) this.release(buffer, transaction);
    for (const buffer of transaction.dirtyBuffers) {
      const filing = this.filings.get(buffer)!;
      filing.checkpoint?.checkpointBuffers.delete(buffer);
      filing.checkpoint = transaction;
      transaction.checkpointBuffers.add(buffer);
      if (filing.transaction === transaction) filing.transaction = undefined;
    }
    this.checkpoints.push(transaction);
  }

  /** A freed block's buffer: nothing of it is needed any more. */
  protected release(buffer: BufferHead, transaction: Transaction): void {
    const filing = this.filings.get(buffer);
    if (filing === undefined || filing.transaction !== transaction) return;
    filing.checkpoint?.checkpointBuffers.delete(buffer);
    filing.checkpoint = undefined;
    this.unfile(buffer, transaction);
    this.cache.invalidate(buffer.b_blocknr);
  }

  /** Writes the oldest transactions home until `wanted` log blocks are free, or all of them. Called without a handle. */
  *checkpoint(wanted = Infinity): Task<void> {
    footprint(this);
    if (!this.checkpointMutex.tryLock()) yield* this.checkpointMutex.lock();
    try {
      while (this.freeBlocks < wanted) {
        this.checkUsable();
        const oldest = this.checkpoints[0];
        if (oldest !== undefined) yield* this.writeHome(oldest);
        else if (this.committing !== undefined) yield* this.commit(this.committing.t_tid);
        else break;
        if (wanted !== Infinity && this.gainedBlocks() + this.freeBlocks >= wanted) break;
      }
      yield* this.advanceTail();
    } catch (error) {
      yield* this.abort(error);
      throw error;
    } finally {
      this.checkpointMutex.unlock();
    }
  }

  /** Writes home what `transaction` still has to. A buffer that a newer transaction has changed goes with that one. */
  private *writeHome(transaction: Transaction): Task<void> {
    const ready: BufferHead[] = [];
    let newer: Transaction | undefined;
    for (const buffer of transaction.checkpointBuffers) {
      const owner = this.filings.get(buffer)!.transaction;
      if (owner === undefined) ready.push(buffer);
      else newer = owner;
    }
    for (const buffer of ready) this.writingHome.add(buffer);
    try {
      yield* this.cache.write(ready);
    } finally {
      for (const buffer of ready) this.writingHome.delete(buffer);
      this.wroteHome.wakeAll();
    }
    for (const buffer of ready) {
      const filing = this.filings.get(buffer);
      if (filing?.checkpoint !== transaction) continue;
      filing.checkpoint = undefined;
      transaction.checkpointBuffers.delete(buffer);
      this.dropIfIdle(buffer, filing);
    }
    if (newer !== undefined) yield* this.commit(newer.t_tid);
    if (transaction.checkpointBuffers.size === 0 && this.checkpoints[0] === transaction) this.checkpoints.shift();
  }

  /** Where the log would begin if the tail moved now, and the transaction there. */
  private nextTail(): { at: LogBlk; tid: Tid } {
    const oldest = this.checkpoints[0] ?? this.committing;
    return oldest === undefined ? { at: this.head, tid: this.running?.t_tid ?? this.nextTid } : { at: oldest.t_log_start, tid: oldest.t_tid };
  }

  /** Log blocks that nobody needs any more and that the tail still keeps. */
  private gainedBlocks(): number {
    const size = this.last - this.first;
    if (this.checkpoints.length === 0 && this.committing === undefined) return size - this.freeBlocks;
    return (this.nextTail().at - this.tail + size) % size;
  }

  /** Gives up log blocks whose content is safely home: flushed first, or a power cut would lose both copies. */
  private *advanceTail(): Task<void> {
    const gained = this.gainedBlocks();
    if (gained === 0) return;
    const { at, tid } = this.nextTail();
    yield* this.flushHome();
    yield* this.writeSuperblock(at, tid);
    this.tail = at;
    this.freeBlocks += gained;
  }

  /** What a checkpoint wrote home is on the medium. */
  protected *flushHome(): Task<void> {
    yield* (this.blocks.flushHome ?? this.blocks.flush)();
  }

  /** Commits and checkpoints everything and marks the log empty. Nobody may start a handle meanwhile, or it will not stay so. */
  *flush(): Task<void> {
    yield* this.commitAll();
    yield* this.checkpoint();
    this.running = undefined; // it has no changes
    JS.s_head.set(this.geometry.superblock, 0, this.head);
    yield* this.writeSuperblock(0, this.nextTid);
    this.tail = this.head;
    this.freeBlocks = this.last - this.first;
    this.isFlushed = true;
  }

  protected *recordAbort(error: FsError): Task<void> {
    JS.s_errno.set(this.geometry.superblock, 0, -ERRNO[error.code][0] >>> 0);
    try {
      yield* this.writeSuperblock(JS.s_start.get(this.geometry.superblock, 0), JS.s_sequence.get(this.geometry.superblock, 0));
    } catch {
      // The device is what failed: then the log stays as it is, and the next mount recovers from it.
    }
  }

  /** Where it fails nobody knows where the log begins: whether the disk has the new place or the old one. @kernel jbd2_write_superblock */
  private *writeSuperblock(start: LogBlk, sequence: Tid): Task<void> {
    const { superblock } = this.geometry;
    JS.s_start.set(superblock, 0, start);
    JS.s_sequence.set(superblock, 0, sequence);
    const block = new Uint8Array(this.blocks.blockBytes);
    block.set(new Uint8Array(superblock.buffer, superblock.byteOffset, superblock.byteLength));
    if (this.shape.hasCsum) JS.s_checksum.set(new DataView(block.buffer), 0, journalSuperblockChecksum(block));
    try {
      yield* this.blocks.write(this.blocks.superblockAt, block, true);
    } catch (error) {
      yield* this.abort(error);
      throw error;
    }
  }
}
