/**
 * How journaling and DAX of a live file were switched, might have been, and can be: each to be given to a mount as `options.strategy`. docs/strategies.md says what becomes of each in the scenarios of
 * switch-scenarios.ts. Source: fs/ext4/inode.c of Linux 4.13, 4.14.5 and 5.8, fs/xfs/xfs_ioctl.c of 4.13, the mails of September 2017; dax-and-faults.md sections 1.2, 1.4 and 10.3.
 */
import { EXT4_DAX_FL, EXT4_JOURNAL_DATA_FL } from "../format/inode.js";
import { FsError } from "../lib/errno.js";
import { isDaxFile } from "../ext4/dax.js";
import type { Ext4Inode } from "../ext4/inode.js";
import { changeJournalMode, recordFlags, setJournalFlag, settleFile, underBarrier, withFaultsLockedOut } from "../ext4/journal-mode.js";
import type { Strategy } from "../ext4/strategy.js";
import type { Ext4 } from "../ext4/super.js";
import { writebackInode } from "../ext4/writeback.js";
import type { Task } from "../sched/task.js";
import { rebuild } from "./rebuild.js";
import { warn } from "./warning.js";

/** Up to 4.14 a file that leaves its inode, or changes how its data is journaled, is asked again whether it is a DAX file. */
const DECIDES_AGAIN: Partial<Strategy> = {
  checkInlineData: () => {},
  leftInode: (_fs, inode) => inode.decideDax(),
  pageUnderDaxEntry(fs, inode, folio) {
    // What is stored here is nowhere else.
    if (folio.dirtyBlocks !== 0) warn(fs, "__delete_from_page_cache", "mm/filemap.c:262");
    inode.i_mapping.remove(folio);
  },
};

/**
 * Linux 4.13: pages are written back on the way into journaling, S_DAX changes with the flag on a mount with dax, and nobody takes a page away. Whoever has the file mapped goes on as he began: so it
 * has a page cache and none.
 */
const linux413: Partial<Strategy> = {
  ...DECIDES_AGAIN,
  isFileWrite: (fault) => fault.isWrite,
  *changeJournalMode(fs, inode, isJournaled) {
    if (!isSwitchable(fs)) return;
    const flip = (): Task<void> => underBarrier(fs, !isJournaled, () => {
      setJournalFlag(inode, isJournaled);
      inode.decideDax();
    });
    if (isJournaled) {
      yield* withFaultsLockedOut(inode, function* () {
        yield* writebackInode(fs, inode);
        yield* flip();
      });
    } else yield* flip();
    yield* recordFlags(fs, inode);
  },
};

/** @throws FsError EROFS. */
function isSwitchable(fs: Ext4): boolean {
  if (!fs.journal.hasLog) return false;
  fs.journal.checkUsable();
  return true;
}

/** Ross Zwisler's patch of 5 September 2017: lock faults out, write back, take the pages away, and then flip. Mappings keep the operations that they were given. */
const ross2017: Partial<Strategy> = { ...DECIDES_AGAIN, changeJournalMode: invalidateAndFlip };

function* invalidateAndFlip(fs: Ext4, inode: Ext4Inode, isJournaled: boolean): Task<void> {
  if (!isSwitchable(fs)) return;
  yield* withFaultsLockedOut(inode, function* () {
    yield* settleFile(fs, inode);
    yield* underBarrier(fs, !isJournaled, () => {
      setJournalFlag(inode, isJournaled);
      inode.decideDax();
    });
  });
  yield* recordFlags(fs, inode);
}

/** Jan Kara's answer: the same, and EBUSY as long as somebody maps a file whose S_DAX would change. */
const jan2017: Partial<Strategy> = {
  ...DECIDES_AGAIN,
  *changeJournalMode(fs, inode, isJournaled) {
    const flags = isJournaled ? inode.i_flags | EXT4_JOURNAL_DATA_FL : inode.i_flags & ~EXT4_JOURNAL_DATA_FL;
    if (inode.i_mapping.isMapped && isDaxFile(fs, inode, flags) !== inode.isDax) throw new FsError("EBUSY", "the file is mapped");
    yield* invalidateAndFlip(fs, inode, isJournaled);
  },
};

/** What was merged (4.15, and 4.14 by way of stable): on a mount with dax nobody changes the flag, of no file. */
const linux414: Partial<Strategy> = {
  *changeJournalMode(fs, inode, isJournaled) {
    if (fs.options.dax === "always") throw new FsError("EBUSY", "the mount has dax");
    yield* changeJournalMode(fs, inode, isJournaled);
  },
};

/** XFS of 4.13 for the DAX flag (xfs_ioctl_setattr_dax_invalidate): with readers, writers and faults locked out all is written back and taken away, and under the same locks the flag changes. */
const xfs413: Partial<Strategy> = {
  pageUnderDaxEntry: DECIDES_AGAIN.pageUnderDaxEntry!,
  *changeDaxFlag(fs, inode, isOn, commit) {
    if (isOn && fs.daxDevice === undefined) throw new FsError("EINVAL", "the device is no persistent memory");
    yield* withFaultsLockedOut(inode, function* () {
      yield* settleFile(fs, inode);
      yield* commit();
      inode.decideDax();
    });
  },
};

/** Ours: the mappings change with the file. */
const rebuilding: Partial<Strategy> = {
  *changeJournalMode(fs, inode, isJournaled) {
    if (!isSwitchable(fs)) return;
    const flags = isJournaled ? inode.i_flags | EXT4_JOURNAL_DATA_FL : inode.i_flags & ~EXT4_JOURNAL_DATA_FL;
    yield* rebuild(fs, inode, flags, (flip) => underBarrier(fs, !isJournaled, flip));
    yield* recordFlags(fs, inode);
  },
  *changeDaxFlag(fs, inode, isOn, commit) {
    const flags = isOn ? inode.i_flags | EXT4_DAX_FL : inode.i_flags & ~EXT4_DAX_FL;
    yield* rebuild(fs, inode, flags, (flip) => underBarrier(fs, false, flip));
    yield* commit();
  },
};

export const STRATEGIES = {
  "linux-4.13": linux413,
  "ross-2017": ross2017,
  "jan-2017": jan2017,
  "linux-4.14": linux414,
  "linux-5.8": {},
  "xfs-4.13": xfs413,
  rebuild: rebuilding,
} satisfies Record<string, Partial<Strategy>>;

export type StrategyName = keyof typeof STRATEGIES;
