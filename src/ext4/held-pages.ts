/**
 * A DAX file's pages for views: what of a range is mapped where on the device. With the right to store all of the range is first made written, as store faults would, so that every run has bytes.
 *
 * Locks, outer first: sb_pagefaults(r), invalidate_lock(r), dax_entry_lock, i_writeback, jbd2_handle, i_data_sem(r).
 */
import type { HeldPages, HeldRun } from "../dax/held-pages.js";
import type { Iomap } from "../dax/iomap.js";
import { FsError } from "../lib/errno.js";
import { PMD_ORDER, PTE_ORDER } from "../lib/vm-fault.js";
import { PAGE_BYTES, PMD_BYTES } from "../mm/memory.js";
import type { Task } from "../sched/task.js";
import { endPagefault, startPagefault } from "../vfs/freeze.js";
import { iomapFault, iomapRead, stampFault } from "./dax.js";
import type { Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";
import { syncFile } from "./sync.js";

interface Range { readonly fromBytes: number; readonly endBytes: number }

/**
 * Holds bytes fromBytes .. fromBytes + lengthBytes - 1, less at the end of the file. If it throws nothing is held; blocks that were allocated before that stay.
 * @throws FsError EINVAL fromBytes is no multiple of a page, or not in the file, or the length is 0; EOPNOTSUPP no DAX; ENODEV no regular file; EHWPOISON; ENOSPC, EROFS, EIO.
 */
export function* holdPages(fs: Ext4, inode: Ext4Inode, fromBytes: number, lengthBytes: number, isWritable: boolean): Task<HeldPages> {
  if (!inode.isRegular()) throw new FsError("ENODEV");
  fs.checkNotShutdown();
  if (!inode.isDax) throw new FsError("EOPNOTSUPP", "the file's pages are not those of a persistent memory (DAX)");
  if (!(fromBytes >= 0) || fromBytes % PAGE_BYTES !== 0 || !(lengthBytes > 0)) throw new FsError("EINVAL");
  if (isWritable) yield* startPagefault(fs);
  try {
    const { invalidate_lock: lock } = inode.i_mapping;
    if (!lock.tryRead()) yield* lock.read();
    try {
      const endBytes = Math.min(fromBytes + lengthBytes, inode.i_size);
      if (fromBytes >= endBytes) throw new FsError("EINVAL", `the file ends at ${inode.i_size}`);
      const range = { fromBytes, endBytes };
      const runs = yield* findRuns(fs, inode, range, isWritable);
      checkPoison(inode, runs);
      if (isWritable) yield* stampFault(fs, inode);
      return hold(fs, inode, range, runs, isWritable);
    } finally {
      lock.unlockRead();
    }
  } finally {
    if (isWritable) endPagefault(fs);
  }
}

function hold(fs: Ext4, inode: Ext4Inode, { fromBytes, endBytes }: Range, runs: readonly HeldRun[], isWritable: boolean): HeldPages {
  const { i_dax: entries, daxDevice: device } = inode;
  const held = entries.hold(fromBytes / PAGE_BYTES, Math.ceil(endBytes / PAGE_BYTES));
  return {
    device, runs,
    *sync(from, end) {
      if (isWritable) {
        fs.checkNotShutdown();
        writeBack(runs, device, from, end);
        yield* stampFault(fs, inode);
      }
      yield* syncFile(fs, inode, true, from, end);
    },
    release() {
      entries.letGo(held);
      device.unpinned.wakeAll();
    },
  };
}

/** Nobody saw the stores, so all of the range counts as stored into. */
function writeBack(runs: readonly HeldRun[], { pmem }: Ext4Inode["daxDevice"], fromBytes: number, endBytes: number): void {
  for (const { offsetBytes, lengthBytes, addressBytes } of runs) {
    const from = Math.max(fromBytes, offsetBytes);
    const length = Math.min(endBytes, offsetBytes + lengthBytes) - from;
    if (length <= 0 || addressBytes === undefined) continue;
    pmem.stored(addressBytes + from - offsetBytes, length);
    pmem.flush(addressBytes + from - offsetBytes, length);
  }
}

function* findRuns(fs: Ext4, inode: Ext4Inode, { fromBytes, endBytes }: Range, isWritable: boolean): Task<HeldRun[]> {
  const runs: HeldRun[] = [];
  const pagesEnd = Math.ceil(endBytes / PAGE_BYTES) * PAGE_BYTES;
  for (let at = fromBytes; at < endBytes;) {
    let iomap = yield* iomapRead(fs, inode, at, pagesEnd - at);
    if (isWritable && iomap.type !== "mapped") iomap = yield* makeWritten(fs, inode, at, pagesEnd);
    addRun(runs, { offsetBytes: at, lengthBytes: Math.min(iomap.lengthBytes, endBytes - at), addressBytes: iomap.type === "mapped" ? iomap.addressBytes : undefined });
    at += iomap.lengthBytes;
  }
  return runs;
}

/** What touches on the device is one run. */
function addRun(runs: HeldRun[], run: HeldRun): void {
  const last = runs.at(-1);
  const continues = last !== undefined && run.addressBytes === (last.addressBytes === undefined ? undefined : last.addressBytes + last.lengthBytes);
  if (continues) runs[runs.length - 1] = { ...last, lengthBytes: last.lengthBytes + run.lengthBytes };
  else runs.push(run);
}

/** 2 MiB, if they can be had in one piece, else a page; by the entry, so that whoever maps zeroes there faults anew. */
function* makeWritten(fs: Ext4, inode: Ext4Inode, at: number, pagesEnd: number): Task<Iomap> {
  const isHuge = at % PMD_BYTES === 0 && at + PMD_BYTES <= pagesEnd;
  const huge = isHuge ? yield* makeWrittenBy(fs, inode, at, PMD_ORDER) : undefined;
  return huge ?? (yield* makeWrittenBy(fs, inode, at, PTE_ORDER))!;
}

function* makeWrittenBy(fs: Ext4, inode: Ext4Inode, at: number, order: typeof PTE_ORDER | typeof PMD_ORDER): Task<Iomap | undefined> {
  const { i_dax: entries } = inode;
  const entry = yield* entries.grab(at / PAGE_BYTES, order);
  if (entry === undefined) return undefined;
  try {
    const iomap = yield* unlessFull(order, iomapFault(fs, inode, at, order === PMD_ORDER ? PMD_BYTES : PAGE_BYTES));
    if (iomap !== undefined) entries.fill(entry, "real", iomap.addressBytes, false);
    return iomap;
  } finally {
    entry.lock.unlock();
  }
}

/** Where there is no room for 2 MiB there may be some for pages. */
function* unlessFull(order: number, work: Task<Iomap | undefined>): Task<Iomap | undefined> {
  try {
    return yield* work;
  } catch (error) {
    if (order === PMD_ORDER && error instanceof FsError && error.code === "ENOSPC") return undefined;
    throw error;
  }
}

/** @throws FsError EHWPOISON. */
function checkPoison({ daxDevice: device }: Ext4Inode, runs: readonly HeldRun[]): void {
  for (const { offsetBytes, lengthBytes, addressBytes } of runs) {
    if (addressBytes !== undefined && !device.isReadable(addressBytes, lengthBytes)) throw new FsError("EHWPOISON", `the file has bad memory between ${offsetBytes} and ${offsetBytes + lengthBytes}`);
  }
}
