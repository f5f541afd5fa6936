/**
 * A switch that Linux does not have: while a file is mapped, its pages go from the page cache to the device's own or back, and every mapping gets the operations that go with them. Nobody is refused,
 * no byte is lost, and nobody sees an old page.
 *
 * What makes it possible is the order of locks: i_rwsem(w) keeps readers and writers out; then the mmap_lock(w) of every process that maps the file, the oldest first, so that no fault is under way
 * with operations that are about to change; then invalidate_lock(w). Linux cannot do it from where it stands in the switch, as mmap_lock comes before invalidate_lock.
 * A process that maps the file meanwhile does so with the old operations, so at the moment of the flip, which waits for nothing, all mappings are looked at once more: if one belongs to a process that
 * is not locked, everything is let go and begun again. A mapping made later finds the new state.
 */
import { FsError } from "../lib/errno.js";
import { isDaxFile } from "../ext4/dax.js";
import type { Ext4Inode } from "../ext4/inode.js";
import { settleFile, withFaultsLockedOut } from "../ext4/journal-mode.js";
import { giveOperations } from "../ext4/mapped.js";
import type { Ext4 } from "../ext4/super.js";
import { VM_HUGEPAGE, VM_SYNC } from "../mm/constants.js";
import type { MmStruct } from "../mm/mm-struct.js";
import { MMAP_LOCK_ALL } from "../sched/lock-classes.js";
import type { Task } from "../sched/task.js";

/**
 * Gives the inode `flags`, the S_DAX that goes with them, and its mappings their operations. `around` calls what it is given once, with whatever else is to be locked out.
 * Requires: inode.i_rwsem(w), no handle. @throws FsError EOPNOTSUPP a MAP_SYNC mapping was promised what the page cache cannot give; EIO, ENOSPC: all is as before.
 */
export function* rebuild(fs: Ext4, inode: Ext4Inode, flags: number, around: (flip: () => void) => Task<void>): Task<void> {
  for (let isDone = false; !isDone;) {
    isDone = yield* withMappersLocked(inode, (locked) => withFaultsLockedOut(inode, function* () {
      yield* settleFile(fs, inode);
      let isFlipped = false;
      yield* around(() => {
        isFlipped = mappersOf(inode).every((mm) => locked.has(mm)) && !inode.hasPages && !inode.hasDaxEntries;
        if (isFlipped) flip(fs, inode, flags);
      });
      return isFlipped;
    }));
  }
}

function flip(fs: Ext4, inode: Ext4Inode, flags: number): void {
  const willBeDax = isDaxFile(fs, inode, flags);
  const { i_mmap: vmas } = inode.i_mapping;
  if (!willBeDax) for (const { vm_flags } of vmas) if ((vm_flags & VM_SYNC) !== 0) throw new FsError("EOPNOTSUPP", "a mapping is synchronous, which only persistent memory can be");
  inode.i_flags = flags >>> 0;
  inode.decideDax();
  for (const vma of vmas) {
    vma.vm_flags = (vma.vm_flags & ~VM_HUGEPAGE) >>> 0;
    giveOperations(fs, inode, vma);
  }
}

/** Oldest first. */
function mappersOf(inode: Ext4Inode): MmStruct[] {
  return [...new Set(Array.from(inode.i_mapping.i_mmap, ({ vm_mm }) => vm_mm))].sort((a, b) => a.mmap_lock.ordinal! - b.mmap_lock.ordinal!);
}

/** While it waits for one of them others may come: those that are younger than all that it has are locked as well, and the others are found at the flip. */
function* withMappersLocked<T>(inode: Ext4Inode, work: (locked: ReadonlySet<MmStruct>) => Task<T>): Task<T> {
  const locked = new Set<MmStruct>();
  let youngest = 0;
  try {
    for (;;) {
      const next = mappersOf(inode).find((mm) => mm.mmap_lock.ordinal! > youngest);
      if (next === undefined) break;
      if (!next.mmap_lock.tryWrite(MMAP_LOCK_ALL)) yield* next.mmap_lock.write(MMAP_LOCK_ALL);
      locked.add(next);
      youngest = next.mmap_lock.ordinal!;
    }
    return yield* work(locked);
  } finally {
    for (const mm of [...locked].reverse()) mm.mmap_lock.unlockWrite();
  }
}
