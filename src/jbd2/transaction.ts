/**
 * A transaction: the blocks that are to change together. While it runs, handles come and go and change buffers in place. When it is committed nobody holds a handle, so what is in memory
 * is whole: then everything is sealed once (state in core into its blocks, checksums over them) and copied. Source: struct transaction_s (include/linux/jbd2.h).
 */
import type { BufferHead } from "../block/buffer-cache.js";
import type { LogBlk, Pblk, Tid } from "../lib/numbers.js";

/** State in core that is written into its buffers when the transaction is sealed, however often it changed. */
export interface Sealable {
  /** Plain code. The buffers are in the transaction already. */
  seal(): void;
}

export class Transaction {
  /** running: handles may join. locked: those that joined may end. After that it is on its way to disk. */
  state: "running" | "locked" | "committing" | "finished" = "running";
  /** Open handles. */
  t_updates = 0;
  /** What open handles may still add to `buffers`. */
  t_outstanding_credits = 0;
  /** Blocks that joined, changed or not. */
  readonly buffers = new Set<BufferHead>();
  readonly dirtyBuffers = new Set<BufferHead>();
  /** Freed blocks of metadata: older copies of them in the log must not be replayed. */
  readonly revokes = new Set<Pblk>();
  /** Buffers of such blocks. Until the commit an older copy in the log must stay, so they keep their place on a checkpoint list. */
  readonly forgotten = new Set<BufferHead>();
  readonly sealables = new Set<Sealable>();
  readonly callbacks: (() => void)[] = [];
  /** Logged and not yet written home. */
  readonly checkpointBuffers = new Set<BufferHead>();
  t_log_start: LogBlk = 0;

  constructor(readonly t_tid: Tid, readonly startSec: number) {}

  get hasChanges(): boolean {
    return this.dirtyBuffers.size > 0 || this.revokes.size > 0 || this.callbacks.length > 0 || this.sealables.size > 0;
  }

  /** Runs when the transaction is on stable storage; never, if it is aborted. */
  onCommit(callback: () => void): void {
    this.callbacks.push(callback);
  }

  /** What waits for its checkpoint is all that is needed of a finished one: inodes in core and their pages must not be kept by it. */
  forgetContent(): void {
    for (const set of [this.buffers, this.dirtyBuffers, this.revokes, this.forgotten, this.sealables]) set.clear();
    this.callbacks.length = 0;
  }

  /** Writes all state in core into its buffers, then computes their checksums. */
  seal(): void {
    for (const sealable of this.sealables) sealable.seal();
    for (const buffer of this.dirtyBuffers) buffer.seal?.(buffer);
  }
}
