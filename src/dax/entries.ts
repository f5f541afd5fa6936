/**
 * What a DAX file has in the place of a page cache: for each page or 2 MiB that was touched an entry, which says what it maps and whether processors may have newer bytes in their caches than the
 * device. Who works on an entry locks it. An entry that was removed while somebody waited for its lock is not there any more, so the waiter looks again.
 * Source: the comments on DAX entries in fs/dax.c, grab_mapping_entry, dax_insert_entry.
 */
import { PMD_ORDER, PTE_ORDER } from "../lib/vm-fault.js";
import type { AddressSpace } from "../mm/address-space.js";
import { PAGE_BYTES } from "../mm/memory.js";
import { writeProtectPages } from "../mm/rmap.js";
import { DAX_ENTRY_LOCK } from "../sched/lock-classes.js";
import { Mutex } from "../sched/locks.js";
import type { Task } from "../sched/task.js";
import type { DaxDevice } from "./device.js";

export const PAGES_PER_PMD = 512;

export class DaxEntry {
  readonly lock = new Mutex(DAX_ENTRY_LOCK);
  /** A placeholder, a hole's zeroes, or pages of the device. [lock] */
  kind: "empty" | "zero" | "real" = "empty";
  /** On the device; of a real entry. [lock] */
  addressBytes = 0;
  /** It may have been stored into since it was last written back. [lock] */
  isDirty = false;

  /** @param index the first page of the file that it is for. */
  constructor(readonly index: number, readonly order: typeof PTE_ORDER | typeof PMD_ORDER) {}

  get pages(): number { return this.order === PMD_ORDER ? PAGES_PER_PMD : 1; }
}

/** Pages first .. end - 1 of a file. */
export interface PageRange {
  readonly first: number;
  readonly end: number;
}

export class DaxMapping {
  private readonly small = new Map<number, DaxEntry>();
  private readonly huge = new Map<number, DaxEntry>();
  /** Small entries in each 2 MiB. */
  private readonly smallCounts = new Map<number, number>();
  /** What is held for views (held-pages.ts). */
  private readonly held = new Set<PageRange>();

  /** @param mapping whose page tables are told. */
  constructor(private readonly mapping: AddressSpace) {}

  get isEmpty(): boolean { return this.small.size === 0 && this.huge.size === 0; }

  /** Whether processors may have bytes in their caches that the device has not. */
  get isDirty(): boolean {
    for (const entries of [this.huge, this.small]) for (const entry of entries.values()) if (entry.isDirty) return true;
    return false;
  }

  /** The entry that covers a page. */
  find(index: number): DaxEntry | undefined {
    return this.small.get(index) ?? this.huge.get(Math.floor(index / PAGES_PER_PMD));
  }

  /** All entries that cover pages first .. end - 1, ascending. */
  within(first: number, end: number): DaxEntry[] {
    if (end - first < this.small.size + this.huge.size) return this.withinShort(first, end);
    return [...this.huge.values(), ...this.small.values()].filter(({ index, pages }) => index < end && index + pages > first).sort((a, b) => a.index - b.index);
  }

  /** The same, page by page: for a range that is small beside all that there is. */
  private withinShort(first: number, end: number): DaxEntry[] {
    const entries: DaxEntry[] = [];
    for (let page = first; page < end;) {
      const entry = this.find(page);
      if (entry !== undefined) entries.push(entry);
      page = entry === undefined ? page + 1 : entry.index + entry.pages;
    }
    return entries;
  }

  /** Pages first .. end - 1 stay the file's, at their place, until letGo. Requires: invalidate_lock(r). */
  hold(first: number, end: number): PageRange {
    const range = { first, end };
    this.held.add(range);
    return range;
  }

  letGo(range: PageRange): void {
    this.held.delete(range);
  }

  isHeld(first: number, end: number): boolean {
    for (const range of this.held) if (range.first < end && range.end > first) return true;
    return false;
  }

  private isCurrent(entry: DaxEntry): boolean {
    return (entry.order === PMD_ORDER ? this.huge.get(entry.index / PAGES_PER_PMD) : this.small.get(entry.index)) === entry;
  }

  /** Locks an entry; false: it was removed meanwhile, and nothing is locked. */
  *lockCurrent(entry: DaxEntry): Task<boolean> {
    if (!entry.lock.tryLock()) yield* entry.lock.lock();
    if (this.isCurrent(entry)) return true;
    entry.lock.unlock();
    return false;
  }

  /** A locked entry for a fault at `index`. Undefined: 2 MiB were wanted, and there are smaller ones. A huge entry of zeroes makes way for a small one; one of pages serves small faults, too. */
  *grab(index: number, order: typeof PTE_ORDER | typeof PMD_ORDER): Task<DaxEntry | undefined> {
    const region = Math.floor(index / PAGES_PER_PMD);
    for (;;) {
      if (order === PMD_ORDER && this.smallCounts.has(region)) return undefined;
      const found = this.find(index);
      if (found === undefined) return this.insert(order === PMD_ORDER ? region * PAGES_PER_PMD : index, order);
      // What was found a moment ago and is not locked is there still.
      if (!found.lock.tryLock() && !(yield* this.lockCurrent(found))) continue;
      if (order === PMD_ORDER || found.order === PTE_ORDER || found.kind === "real") return found;
      this.unmapZeroes(found);
      this.remove(found);
      found.lock.unlock();
    }
  }

  /** The new entry is locked. */
  private insert(index: number, order: typeof PTE_ORDER | typeof PMD_ORDER): DaxEntry {
    const entry = new DaxEntry(index, order);
    entry.lock.lockNew();
    if (order === PMD_ORDER) this.huge.set(index / PAGES_PER_PMD, entry);
    else {
      const region = Math.floor(index / PAGES_PER_PMD);
      this.small.set(index, entry);
      this.smallCounts.set(region, (this.smallCounts.get(region) ?? 0) + 1);
    }
    return entry;
  }

  /** Requires: the entry's lock. */
  remove(entry: DaxEntry): void {
    if (entry.order === PMD_ORDER) {
      this.huge.delete(entry.index / PAGES_PER_PMD);
      return;
    }
    const region = Math.floor(entry.index / PAGES_PER_PMD);
    this.small.delete(entry.index);
    const left = this.smallCounts.get(region)! - 1;
    if (left > 0) this.smallCounts.set(region, left);
    else this.smallCounts.delete(region);
  }

  /** Says what an entry maps from now on. An entry that has pages keeps them: a small fault in 2 MiB of them makes all of the 2 MiB dirty. Requires: the entry's lock. */
  fill(entry: DaxEntry, kind: "zero" | "real", addressBytes: number, isDirty: boolean): void {
    if (kind === "real") this.unmapZeroes(entry);
    if (entry.kind !== "real") {
      entry.kind = kind;
      entry.addressBytes = addressBytes;
    }
    if (isDirty) entry.isDirty = true;
  }

  /** Before something else comes in the place of zeroes: whoever maps them faults anew, so that nobody goes on reading them. Requires: the entry's lock. */
  unmapZeroes(entry: DaxEntry): void {
    if (entry.kind === "zero") this.mapping.unmapPages(entry.index, entry.index + entry.pages);
  }

  /** The device has what was stored, and who stores again faults, and waits for the entry's lock: only then is it clean. Requires: the entry's lock. */
  clean(entry: DaxEntry, { pmem }: DaxDevice): void {
    writeProtectPages(this.mapping, entry.index, entry.index + entry.pages);
    pmem.flush(entry.addressBytes, entry.pages * PAGE_BYTES);
    entry.isDirty = false;
  }
}
