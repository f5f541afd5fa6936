/**
 * Bugs of the journal, of writeback, of orphans and of fsync. Each leaves out one step, or takes two in the wrong order; where Linux has had it the commit that ended it is named. What makes them
 * show is most often a power cut, at a moment when somebody else commits.
 */
import { applyPieces, writeOut } from "../../ext4/writeback.js";
import { forgetBuffers, recordFlags, setJournalFlag, settleFile, underBarrier, withFaultsLockedOut } from "../../ext4/journal-mode.js";
import { DEFAULT_STRATEGY } from "../../ext4/strategy.js";
import type { BufferHead } from "../../block/buffer-cache.js";
import { LogJournal } from "../../jbd2/log-journal.js";
import type { Transaction } from "../../jbd2/transaction.js";
import type { Task } from "../../sched/task.js";
import type { PlantedBug } from "./bug.js";

class NeverRevokes extends LogJournal {
  override revoke(): void {}
}

class CommitsUnflushed extends LogJournal {
  protected override *flushRecord(): Task<void> {}
}

class MovesTailUnflushed extends LogJournal {
  protected override *flushHome(): Task<void> {}
}

/** A freed block's buffer stays where an older transaction left it: on a checkpoint list. */
class KeepsFreedBuffers extends LogJournal {
  protected override release(buffer: BufferHead, transaction: Transaction): void {
    this.unfile(buffer, transaction);
  }
}

/** Each mount begins with the same number, at the log's first block. */
class RepeatsNumbers extends LogJournal {
  constructor(...[cache, clock, blocks, geometry, options]: ConstructorParameters<typeof LogJournal>) {
    super(cache, clock, blocks, geometry, { ...options, tid: 2, head: 0 });
  }
}

export const JOURNAL_BUGS: readonly PlantedBug[] = [
  {
    name: "missing-revoke",
    description: "a freed block of metadata is not revoked: it becomes another file's data, and replay puts the old metadata back over it",
    strategy: { LogJournal: NeverRevokes },
    scenario: "bugs/freed-metadata-block",
    budgetRuns: 10,
  },
  {
    name: "commit-before-blocks",
    description: "nothing is flushed before the commit block, which so may be on the medium without the blocks that it vouches for",
    source: "0e3d2a6313d0 and d4f761074353: what journal_async_commit left out",
    strategy: { LogJournal: CommitsUnflushed },
    scenario: "bugs/create-and-fsync",
    budgetRuns: 10,
  },
  {
    name: "commit-before-data",
    description: "blocks become the file's while its data is still on its way: a commit in between, and after a crash the file shows what stood there before",
    source: "06bd3c36a733, Linux 4.7",
    strategy: {
      *writeOut(fs, inode, { bios, pieces, endBytes }) {
        yield* applyPieces(fs, inode, pieces, endBytes);
        yield* fs.device.submit(bios);
      },
    },
    scenario: "bugs/new-blocks-and-commit",
    budgetRuns: 60,
  },
  {
    name: "tail-before-checkpoint",
    description: "the log's tail moves before the blocks that a checkpoint wrote home are on the medium: a power cut loses both copies",
    source: "cc3e1bea5d87; 353b67d8ced4 in jbd",
    strategy: { LogJournal: MovesTailUnflushed },
    scenario: "bugs/fsync-and-checkpoint",
    budgetRuns: 10,
  },
  {
    name: "early-conversion",
    description: "unwritten extents become written ones before their data has arrived: what is read after a crash is neither zeroes nor the data",
    strategy: {
      *writeOut(fs, inode, plan) {
        const isEarly = plan.pieces.length > 0 && plan.pieces.every(({ kind }) => kind === "convert");
        if (isEarly) yield* applyPieces(fs, inode, plan.pieces, 0);
        yield* writeOut(fs, inode, plan);
      },
    },
    scenario: "bugs/preallocated-and-commit",
    budgetRuns: 60,
  },
  {
    name: "lost-orphan",
    description: "a file that is unlinked while open, or cut off in several transactions, is not put among the orphans: after a crash its inode and blocks are nobody's",
    strategy: { *addOrphan() {} },
    scenario: "bugs/unlink-open",
    budgetRuns: 10,
  },
  {
    name: "fsync-without-flush",
    description: "fdatasync of data that was written over needs no commit, and leaves the data in the device's cache",
    source: "ext3 and others in August 2009 (C. Hellwig, notes on volatile write caches vs fdatasync)",
    strategy: {
      *flushDevice(fs, reason) {
        if (reason !== "fsync") yield* DEFAULT_STRATEGY.flushDevice(fs, reason);
      },
    },
    scenario: "bugs/overwrite-and-fdatasync",
    budgetRuns: 10,
  },
  {
    name: "fdatasync-forgets-size",
    description: "fdatasync commits nothing where only the size has changed, so that after a crash the file is shorter than what was synced",
    source: "ext4: fix fdatasync() for files with only i_size changes",
    strategy: {
      *writeOut(fs, inode, plan) {
        const tid = inode.i_datasync_tid;
        const isSizeAlone = plan.pieces.length === 0;
        yield* writeOut(fs, inode, plan);
        if (isSizeAlone) inode.i_datasync_tid = tid;
      },
    },
    scenario: "bugs/append-and-fdatasync",
    budgetRuns: 10,
  },
  {
    name: "log-remembers",
    description: "a file's data is no longer journaled, and the log keeps what it has of it: replay brings that back over newer data",
    strategy: {
      *changeJournalMode(fs, inode, isJournaled) {
        if (!fs.journal.hasLog) return;
        yield* withFaultsLockedOut(inode, function* () {
          yield* settleFile(fs, inode);
          yield* underBarrier(fs, false, () => setJournalFlag(inode, isJournaled));
          yield* forgetBuffers(fs, inode);
        });
        yield* recordFlags(fs, inode);
      },
    },
    scenario: "bugs/no-longer-journaled",
    budgetRuns: 10,
  },
  {
    name: "flag-before-data",
    description: "the journaling mode changes, in the transaction that runs, before what is dirty was written in the old mode: the log's older copies come home over it",
    source: "taught by 4c54659269ec",
    strategy: {
      *changeJournalMode(fs, inode, isJournaled) {
        if (!fs.journal.hasLog) return;
        yield* withFaultsLockedOut(inode, function* () {
          setJournalFlag(inode, isJournaled);
          yield* recordFlags(fs, inode);
          yield* settleFile(fs, inode);
          yield* underBarrier(fs, !isJournaled, () => {});
        });
      },
    },
    scenario: "bugs/dirty-and-no-longer-journaled",
    budgetRuns: 10,
  },
  {
    name: "recovery-without-flush",
    description: "recovery gives the log up before what it replayed is on the medium: a second power cut loses both copies",
    source: "353b67d8ced4 in jbd",
    strategy: {
      *flushDevice(fs, reason) {
        if (reason !== "recovery") yield* DEFAULT_STRATEGY.flushDevice(fs, reason);
      },
    },
    scenario: "bugs/create-and-fsync",
    budgetRuns: 10,
  },
  {
    name: "freed-block-comes-home",
    description: "the buffer of a freed block stays on a checkpoint list, and is written home over what the block holds by then",
    source: "904cdbd41d74",
    strategy: { LogJournal: KeepsFreedBuffers },
    scenario: "bugs/freed-metadata-block",
    budgetRuns: 10,
  },
  {
    name: "transaction-numbers-repeat",
    description: "a mount goes on with transaction numbers that the log has had: recovery takes what an earlier mount left behind the log's end for its continuation",
    source: "c0a2ad9b50dd",
    strategy: { LogJournal: RepeatsNumbers },
    scenario: "bugs/chmod-after-remount",
    budgetRuns: 10,
  },
];
