/**
 * Making durable what was stored through mappings, and taking entries away. Each dirty entry: no process may store through it any more, its lines are written back from the processors' caches, and
 * only then is it clean; a store in between faults, and waits for the entry's lock. The fence is the block layer's flush, which the caller of fsync makes.
 * Source: dax_writeback_mapping_range, dax_layout_busy_page, dax_delete_mapping_entry (fs/dax.c).
 */
import { PAGE_BYTES } from "../mm/memory.js";
import type { VmEvents } from "../mm/events.js";
import type { RwSem } from "../sched/locks.js";
import type { Task } from "../sched/task.js";
import type { DaxHost } from "./iomap.js";

/** Writes back what is dirty of bytes from .. end - 1; of an entry always all. */
export function* writebackDax(host: DaxHost, fromBytes: number, endBytes: number, events?: VmEvents): Task<void> {
  if (host.i_dax.isEmpty) return;
  for (const entry of host.i_dax.within(Math.floor(fromBytes / PAGE_BYTES), Math.ceil(endBytes / PAGE_BYTES))) {
    if (!entry.isDirty || !(yield* host.i_dax.lockCurrent(entry))) continue;
    try {
      if (!entry.isDirty) continue;
      host.i_dax.clean(entry, host.daxDevice);
      events?.listener?.("fs_dax:dax_writeback_one", { index: entry.index, pages: entry.pages });
    } finally {
      entry.lock.unlock();
    }
  }
}

/**
 * Before blocks are taken from a file: nobody has its pages in a page table, so every access faults and waits for invalidate_lock; and nobody works on the pages of the range past the page tables.
 * Requires: `lock` for writing, which is let go while somebody still holds a page.
 */
export function* breakLayouts(host: DaxHost, lock: RwSem, fromBytes: number, endBytes: number): Task<void> {
  const { i_mapping: mapping, i_dax: entries, daxDevice: device } = host;
  const first = Math.floor(fromBytes / PAGE_BYTES);
  const end = Math.ceil(endBytes / PAGE_BYTES);
  for (;;) {
    mapping.unmapPages(0, Infinity);
    const pinned = entries.within(first, end).find((entry) => entry.kind === "real" && device.isPinned(entry.addressBytes, entry.pages * PAGE_BYTES));
    if (pinned === undefined && !entries.isHeld(first, end)) return;
    lock.unlockWrite();
    try {
      yield* device.unpinned.wait(() => (pinned === undefined ? !entries.isHeld(first, end) : !device.isPinned(pinned.addressBytes, pinned.pages * PAGE_BYTES)));
    } finally {
      if (!lock.tryWrite()) yield* lock.write();
    }
  }
}

/** Takes away the entries that cover bytes from .. end - 1. What such an entry has outside the range and was stored there is written back first, else nobody would know of it. Requires: invalidate_lock(w). */
export function* removeEntries(host: DaxHost, fromBytes: number, endBytes: number): Task<void> {
  for (const entry of host.i_dax.within(Math.floor(fromBytes / PAGE_BYTES), Math.ceil(endBytes / PAGE_BYTES))) {
    if (!(yield* host.i_dax.lockCurrent(entry))) continue;
    try {
      const isInside = entry.index * PAGE_BYTES >= fromBytes && (entry.index + entry.pages) * PAGE_BYTES <= endBytes;
      if (entry.isDirty && !isInside) host.i_dax.clean(entry, host.daxDevice);
      host.i_dax.remove(entry);
    } finally {
      entry.lock.unlock();
    }
  }
}

/** After blocks came to a hole by write(2): whoever maps its zeroes faults anew. Entries that may be dirty stay: they are the only trace of lines in caches. */
export function* invalidateClean(host: DaxHost, fromBytes: number, endBytes: number): Task<void> {
  const { i_dax: entries } = host;
  if (entries.isEmpty) return;
  for (const entry of entries.within(Math.floor(fromBytes / PAGE_BYTES), Math.ceil(endBytes / PAGE_BYTES))) {
    if (!(yield* entries.lockCurrent(entry))) continue;
    try {
      // What has pages keeps them: no hole was there. They may be pinned, and without the entry a truncation would not wait.
      if (entry.isDirty || entry.kind === "real") continue;
      entries.unmapZeroes(entry);
      entries.remove(entry);
    } finally {
      entry.lock.unlock();
    }
  }
}
