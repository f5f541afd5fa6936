/**
 * The data of one file in memory, in folios: pieces of a page or of a block, whichever is larger. A folio is always whole; per block it knows what the disk does not have.
 * Source: struct address_space, struct folio (include/linux/fs.h, mm_types.h).
 */
import { footprint } from "../sched/footprint.js";
import { INVALIDATE_LOCK } from "../sched/lock-classes.js";
import { RwSem } from "../sched/locks.js";
import { PAGE_BYTES, type Memory } from "./memory.js";
import type { PageCache } from "./page-cache.js";
import { unmapMappingPages, writeProtectPages } from "./rmap.js";
import type { Vma } from "./vma.js";

/** Folios that are made together share memory of at most so many bytes: they are then written as one piece. */
const SLAB_BYTES_MAX = 128 * 1024;

export class Folio implements Memory {
  mapCount = 0;
  /** One bit per block: newer here than on disk. */
  dirtyBlocks = 0;
  /** Counts changes: who writes the folio back sees whether it was changed meanwhile. */
  version = 0;
  /** Who works on it and waits meanwhile: it is not to be let go for room. */
  holds = 0;

  constructor(readonly index: number, readonly data: Uint8Array) {}
}

/** Folios first .. end - 1 are being read. */
export interface Reading {
  readonly first: number;
  readonly end: number;
  /** What was read may be older than what was written meanwhile. */
  isStale: boolean;
}

export class AddressSpace {
  readonly folioBytes: number;
  readonly blocksPerFolio: number;
  /** Folios that have dirty blocks. */
  readonly dirtyFolios = new Set<Folio>();
  /** All mappings of this file, of all processes. */
  readonly i_mmap = new Set<Vma>();
  private faultLock: RwSem | undefined;
  private readonly folios = new Map<number, Folio>();
  private readonly readings = new Set<Reading>();

  /** @param host the inode, for who gets here from the cache's side. */
  constructor(private readonly cache: PageCache, blockBytes: number, readonly host?: unknown) {
    this.folioBytes = Math.max(PAGE_BYTES, blockBytes);
    this.blocksPerFolio = this.folioBytes / blockBytes;
  }

  /** Who fills a page from disk reads; who takes pages and their blocks away writes: so no fault brings back what is going. */
  get invalidate_lock(): RwSem { return this.faultLock ??= new RwSem(INVALIDATE_LOCK); }
  /** What those who work on the file's pages have in common. [footprint] */
  get shared(): object { return (this.host ?? this) as object; }
  get isMapped(): boolean { return this.i_mmap.size > 0; }
  get pagesPerFolio(): number { return this.folioBytes / PAGE_BYTES; }

  get isEmpty(): boolean { return this.folios.size === 0; }
  get isDirty(): boolean { return this.dirtyFolios.size > 0; }

  find(index: number): Folio | undefined {
    const folio = this.folios.get(index);
    if (folio !== undefined) this.cache.used(folio, this);
    return folio;
  }

  /** New folios `first` .. first + count - 1, all zeroes, with neighbouring memory. None of them is here yet. */
  create(first: number, count: number): Folio[] {
    const created: Folio[] = [];
    this.cache.makeRoom(count * this.folioBytes);
    const slabFolios = Math.max(1, SLAB_BYTES_MAX / this.folioBytes);
    for (let from = 0; from < count; from += slabFolios) {
      const inSlab = Math.min(slabFolios, count - from);
      const slab = new Uint8Array(inSlab * this.folioBytes);
      for (let index = 0; index < inSlab; index++) {
        created.push(this.add(new Folio(first + from + index, slab.subarray(index * this.folioBytes, (index + 1) * this.folioBytes))));
      }
    }
    return created;
  }

  private add(folio: Folio): Folio {
    this.folios.set(folio.index, folio);
    this.cache.added(folio, this);
    return folio;
  }

  /** The folio stays here until letGo, unless its blocks are taken away. */
  hold(folio: Folio): Folio {
    if (folio.holds++ === 0) this.cache.held(folio);
    return folio;
  }

  letGo(folio: Folio): void {
    if (--folio.holds === 0 && this.folios.get(folio.index) === folio) this.cache.letGo(folio, this);
  }

  /** Before folios are read that are not here, and after: who finds them changed meanwhile reads anew. */
  beginReading(first: number, count: number): Reading {
    const reading = { first, end: first + count, isStale: false };
    this.readings.add(reading);
    return reading;
  }

  endReading(reading: Reading): void {
    this.readings.delete(reading);
  }

  /** The disk has, or is about to get, something newer than a reader may have found. */
  changedOnDisk(index: number): void {
    for (const reading of this.readings) if (index >= reading.first && index < reading.end) reading.isStale = true;
  }

  /** The bits of blocks first .. first + count - 1 within a folio. */
  blockBits(first: number, count: number): number {
    return (2 ** count - 1) << first;
  }

  markDirty(folio: Folio, blockBits: number): void {
    footprint(this.cache, false); // those who make pages dirty are in the way of who looks for all that are, not of each other
    if (folio.dirtyBlocks === 0) {
      if (this.dirtyFolios.size === 0) this.cache.becameDirty(this);
      this.dirtyFolios.add(folio);
      this.cache.dirtied(folio);
    }
    folio.dirtyBlocks |= blockBits;
    folio.version++;
  }

  markClean(folio: Folio): void {
    if (folio.dirtyBlocks === 0) return;
    folio.dirtyBlocks = 0;
    this.dirtyFolios.delete(folio);
    if (this.dirtyFolios.size === 0) this.cache.dirtyMappings.delete(this);
    this.cache.cleaned(folio, this);
  }

  /** Blocks of a folio are dirty no more: they were cut off. */
  forgetBlocks(folio: Folio, blockBits: number): void {
    const left = folio.dirtyBlocks & ~blockBits;
    if (left === 0) this.markClean(folio);
    else folio.dirtyBlocks = left;
  }

  /** Pages first .. end - 1 are in no page table any more, private copies of them with `evenCows`. */
  unmapPages(first: number, end: number, evenCows = false): void {
    if (this.isMapped) unmapMappingPages(this, first, end, evenCows);
  }

  /** The next store through a mapping faults, and so tells that the folio is dirty again. */
  writeProtect(folio: Folio): void {
    if (folio.mapCount > 0) writeProtectPages(this, folio.index * this.pagesPerFolio, (folio.index + 1) * this.pagesPerFolio);
  }

  remove(folio: Folio): void {
    if (folio.mapCount > 0) this.unmapPages(folio.index * this.pagesPerFolio, (folio.index + 1) * this.pagesPerFolio);
    this.markClean(folio);
    if (folio.version > 0) this.changedOnDisk(folio.index);
    if (this.folios.delete(folio.index)) this.cache.removed(folio);
  }

  /** All folios from byte `fromBytes` on up to `endBytes` that lie in it whole. */
  within(fromBytes: number, endBytes: number): Folio[] {
    const first = Math.ceil(fromBytes / this.folioBytes);
    const end = Math.floor(endBytes / this.folioBytes);
    if (end - first < this.folios.size) {
      const found: Folio[] = [];
      for (let index = first; index < end; index++) {
        const folio = this.folios.get(index);
        if (folio !== undefined) found.push(folio);
      }
      return found;
    }
    return [...this.folios.values()].filter(({ index }) => index >= first && index < end);
  }

  /** The first folio at or behind `index` that has dirty blocks in it, up to `end`; undefined: there is none. For questions after data and holes. */
  nextDirty(index: number, end: number): Folio | undefined {
    let next: Folio | undefined;
    for (const folio of this.dirtyFolios) {
      if (folio.index >= index && folio.index < end && (next === undefined || folio.index < next.index)) next = folio;
    }
    return next;
  }

  /** Lets go of what nobody has mapped and the disk has, too. */
  dropClean(): void {
    for (const folio of [...this.folios.values()]) if (folio.dirtyBlocks === 0 && folio.mapCount === 0 && folio.holds === 0) this.remove(folio);
  }

  /** Lets go of what the disk has, too, mapped or not. */
  invalidate(): void {
    for (const folio of [...this.folios.values()]) if (folio.dirtyBlocks === 0 && folio.holds === 0) this.remove(folio);
  }

  /** Lets go of everything; what is dirty is lost. */
  drop(): void {
    for (const folio of [...this.folios.values()]) this.remove(folio);
  }
}
