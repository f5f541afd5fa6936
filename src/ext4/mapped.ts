/**
 * What ext4 answers when a page of a mapping is missing or may not be stored into: through the page cache, or with the device's own pages. A store that ends in a private copy is no store into the
 * file: it starts no handle, changes no time, allocates nothing, and works on a filesystem that is only read, frozen or aborted.
 *
 * Locks, outer first: mmap_lock(r), sb_pagefaults(r), invalidate_lock(r), dax_entry_lock, i_writeback, jbd2_handle, i_data_sem(r).
 * Source: ext4_file_mmap, ext4_dax_huge_fault (fs/ext4/file.c), ext4_page_mkwrite (fs/ext4/inode.c).
 */
import { daxFault, finishSyncFault } from "../dax/fault.js";
import { CorruptionError } from "../format/corruption.js";
import { EXT4_ENCRYPT_FL, EXT4_IMMUTABLE_FL, EXT4_INLINE_DATA_FL } from "../format/inode.js";
import { FsError } from "../lib/errno.js";
import { PTE_ORDER, PUD_ORDER, VmFault, type Order, type PMD_ORDER } from "../lib/vm-fault.js";
import type { Folio } from "../mm/address-space.js";
import { VM_HUGEPAGE, VM_SYNC } from "../mm/constants.js";
import { filemapFault, filemapMapPages } from "../mm/filemap.js";
import { PAGE_BYTES } from "../mm/memory.js";
import { orderBytes } from "../mm/page-table.js";
import type { Fault, Vma, VmOperations } from "../mm/vma.js";
import { DeadlockError } from "../sched/scheduler.js";
import type { Task } from "../sched/task.js";
import { endPagefault, startPagefault } from "../vfs/freeze.js";
import { stampFault } from "./dax.js";
import { handleCorruption } from "./error.js";
import { reserveBlocks } from "./file-write.js";
import { growOut } from "./inline-write.js";
import type { Ext4Inode } from "./inode.js";
import { withSpaceRetry } from "./space.js";
import type { Ext4 } from "./super.js";
import { writebackSome } from "./writeback.js";

/** Gives a mapping its operations: they stay as they are now, whatever becomes of the inode. @throws FsError ENODEV, ENOKEY, EIO, EOPNOTSUPP MAP_SYNC without persistent memory. */
export function mmapFile(fs: Ext4, inode: Ext4Inode, vma: Vma): void {
  if (!inode.isRegular()) throw new FsError("ENODEV");
  if ((inode.i_flags & EXT4_ENCRYPT_FL) !== 0) throw new FsError("ENOKEY", "the file is encrypted, and its key is not here");
  fs.checkNotShutdown();
  if ((vma.vm_flags & VM_SYNC) !== 0 && !(inode.isDax && fs.daxDevice!.isSynchronous)) throw new FsError("EOPNOTSUPP");
  giveOperations(fs, inode, vma);
}

export function giveOperations(fs: Ext4, inode: Ext4Inode, vma: Vma): void {
  vma.vm_ops = inode.isDax ? daxOperations(fs, inode) : cacheOperations(fs, inode);
  if (inode.isDax) vma.vm_flags = (vma.vm_flags | VM_HUGEPAGE) >>> 0;
}

function daxOperations(fs: Ext4, inode: Ext4Inode): VmOperations {
  return {
    isFsDax: true,
    fault: (fault) => daxHugeFault(fs, inode, fault, PTE_ORDER),
    huge_fault: (fault, order) => daxHugeFault(fs, inode, fault, order),
    pfn_mkwrite: (fault) => daxHugeFault(fs, inode, fault, PTE_ORDER),
  };
}

function cacheOperations(fs: Ext4, inode: Ext4Inode): VmOperations {
  return {
    fault: (fault) => filemapFault(fault, inode, (error) => noteDamage(fs, error)),
    map_pages: (fault, first, last) => filemapMapPages(fault, inode, first, last),
    *page_mkwrite(fault) {
      const code = yield* pageMkwrite(fs, inode, fault);
      fault.vma.vm_mm.events.listener?.("ext4_page_mkwrite", { flags: fault.flags, code });
      return code;
    },
  };
}

/** Every size of a fault of a DAX file, and every write fault of it. */
function* daxHugeFault(fs: Ext4, inode: Ext4Inode, fault: Fault, order: Order): Task<number> {
  const { events } = fault.vma.vm_mm;
  // ext4 maps no 1 GiB: that is known before anything is locked or changed.
  const code = order === PUD_ORDER ? VmFault.FALLBACK : fs.strategy.isFileWrite(fault) ? yield* storeFault(fs, inode, fault, order) : yield* unlessDamaged(fs, inode, () => daxFault(fault, order, inode));
  events.listener?.("ext4_dax_huge_fault", { order, flags: fault.flags, code });
  return code;
}

function* storeFault(fs: Ext4, inode: Ext4Inode, fault: Fault, order: typeof PTE_ORDER | typeof PMD_ORDER): Task<number> {
  yield* startPagefault(fs);
  try {
    return yield* unlessDamaged(fs, inode, function* () {
      fs.checkWritable();
      fs.journal.checkUsable();
      const code = yield* daxFault(fault, order, inode);
      if ((code & VmFault.NEEDDSYNC) === 0) return code;
      // The entry is let go and no handle is held: the commit that this asks for waits for others.
      const start = fault.pgoff * PAGE_BYTES - (order === PTE_ORDER ? 0 : (fault.pgoff * PAGE_BYTES) % orderBytes(order));
      yield* inode.fsyncRange(start, start + orderBytes(order), true);
      return yield* finishSyncFault(fault, order, inode);
    });
  } finally {
    endPagefault(fs);
  }
}

/** Runs a handler under invalidate_lock; its error is the fault's answer. */
function* unlessDamaged(fs: Ext4, inode: Ext4Inode, handler: () => Task<number>): Task<number> {
  const { invalidate_lock: lock } = inode.i_mapping;
  if (!lock.tryRead()) yield* lock.read();
  let failed: FsError;
  try {
    return yield* handler();
  } catch (error) {
    // That nobody can go on is told to the program as it is, not by a signal.
    if (!(error instanceof FsError) || error instanceof DeadlockError) throw error;
    failed = error;
  } finally {
    lock.unlockRead();
  }
  yield* noteDamage(fs, failed);
  return faultCode(failed);
}

function* noteDamage(fs: Ext4, error: FsError): Task<void> {
  if (error instanceof CorruptionError) yield* handleCorruption(fs, error);
}

/** @kernel vmf_error */
function faultCode({ code }: FsError): number {
  return code === "EHWPOISON" ? VmFault.HWPOISON : code === "ENOMEM" ? VmFault.OOM : VmFault.SIGBUS;
}

/** Before a page of the cache may be stored into: its blocks have space, and it counts as dirty. @returns LOCKED, or NOPAGE: it is not the file's page any more. */
function* pageMkwrite(fs: Ext4, inode: Ext4Inode, fault: Fault): Task<number> {
  if ((inode.i_flags & EXT4_IMMUTABLE_FL) !== 0) return VmFault.SIGBUS;
  if (fs.pageCache.hasTooMuchDirty) yield* relievePageCache(fs);
  yield* startPagefault(fs);
  try {
    return yield* unlessDamaged(fs, inode, function* () {
      fs.checkWritable();
      fs.journal.checkUsable();
      yield* stampFault(fs, inode);
      if ((inode.i_flags & EXT4_INLINE_DATA_FL) !== 0) yield* growOut(fs, inode);
      const folio = fault.page!.memory as Folio;
      const fromBytes = fault.pgoff * PAGE_BYTES;
      if (!isFilePage(inode, folio, fromBytes)) return VmFault.NOPAGE;
      const { i_mapping: mapping } = inode;
      mapping.hold(folio);
      let endBytes: number;
      try {
        // The file may grow meanwhile: then what it has now is asked for, too.
        do {
          endBytes = Math.min(fromBytes + PAGE_BYTES, inode.i_size);
          yield* withSpaceRetry(fs, () => reserveBlocks(fs, inode, fromBytes, endBytes));
        } while (endBytes < Math.min(fromBytes + PAGE_BYTES, inode.i_size));
      } finally {
        mapping.letGo(folio);
      }
      const firstBlock = Math.floor((fromBytes % mapping.folioBytes) / fs.blockBytes);
      const endBlock = Math.ceil((endBytes - folio.index * mapping.folioBytes) / fs.blockBytes);
      mapping.markDirty(folio, mapping.blockBits(firstBlock, endBlock - firstBlock));
      return VmFault.LOCKED;
    });
  } finally {
    endPagefault(fs);
  }
}

/** Who makes too much dirty helps to write it; what goes wrong with other files there is not his business, and stays dirty. @kernel balance_dirty_pages */
function* relievePageCache(fs: Ext4): Task<void> {
  try {
    yield* writebackSome(fs);
  } catch (error) {
    if (!(error instanceof FsError) || error instanceof CorruptionError) throw error;
  }
}

function isFilePage(inode: Ext4Inode, folio: Folio, fromBytes: number): boolean {
  return inode.i_mapping.find(folio.index) === folio && fromBytes < inode.i_size;
}
