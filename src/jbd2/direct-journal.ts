/**
 * A filesystem without a journal: the same handles and transactions, but a commit writes the blocks home. After a power cut in its midst the filesystem needs e2fsck, as it does under Linux.
 */
import type { BufferCache } from "../block/buffer-cache.js";
import type { Clock } from "../sched/clock.js";
import type { Task } from "../sched/task.js";
import { Journal } from "./journal.js";
import type { Transaction } from "./transaction.js";

const TRANSACTION_BYTES_MAX = 32 * 2 ** 20;

export class DirectJournal extends Journal {
  readonly hasLog = false;
  readonly transactionBlocksMax: number;

  /** @param flushDevice makes what was written durable. */
  constructor(cache: BufferCache, clock: Clock, private readonly flushDevice: () => Task<void>) {
    super(cache, clock, 1);
    this.transactionBlocksMax = Math.max(1024, Math.floor(TRANSACTION_BYTES_MAX / cache.blockBytes));
  }

  protected *makeRoom(): Task<void> {}

  protected *write(transaction: Transaction): Task<void> {
    yield* this.cache.write([...transaction.dirtyBuffers]);
    yield* this.flushDevice();
  }

  protected *settle(transaction: Transaction): Task<void> {
    for (const buffer of transaction.forgotten) {
      if (this.filings.get(buffer)?.transaction !== transaction) continue;
      this.unfile(buffer, transaction);
      this.cache.invalidate(buffer.b_blocknr);
    }
    for (const buffer of transaction.dirtyBuffers) this.unfile(buffer, transaction);
  }

  protected *recordAbort(): Task<void> {}

  revoke(): void {}
}
