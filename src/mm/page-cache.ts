/**
 * The page cache of a volume: all folios of all its files, up to a byte limit. Folios that the disk has, too, go when room is needed, those used longest ago first; dirty ones stay until they are
 * written, and whoever makes too many of them has to write some. Source: mm/filemap.c, mm/page-writeback.c.
 */
import { Sweep } from "../lib/sweep.js";
import { footprint } from "../sched/footprint.js";
import type { AddressSpace, Folio } from "./address-space.js";

/**
 * A smaller cache has all its users in common: who comes first decides who must make room, and what goes. In a larger one no world of the lab comes near a limit, and its order is nobody's business. [footprint]
 */
const CROWDED_BYTES = 16 * 2 ** 20;

export class PageCache {
  /** Bytes of all folios, and of those that the disk does not have. */
  sizeBytes = 0;
  dirtyBytes = 0;
  /** Files with dirty folios, those that became so first in front. */
  readonly dirtyMappings = new Set<AddressSpace>();
  /** Clean folios, in the order of their use. */
  private readonly clean = new Map<Folio, AddressSpace>();
  private readonly oldestClean = new Sweep(this.clean);
  /** Stands for the order of use and the sums: touched anew each time, as what tasks sleep on. [footprint] */
  private readonly crowd = { describeHolders: (): string[] => [] };
  /** The same for the order of `dirtyMappings`, in which files are written back. [footprint] */
  private readonly queue = { describeHolders: (): string[] => [] };

  constructor(readonly limitBytes: number) {}

  private touch(): void {
    if (this.limitBytes < CROWDED_BYTES) footprint(this.crowd);
  }

  /** Whether who writes must help to write back: half of the cache may be dirty. */
  get hasTooMuchDirty(): boolean {
    this.touch();
    return this.dirtyBytes > this.limitBytes / 2;
  }

  /** Lets go of clean folios until so many bytes have room: before they come, so that those that come together do not push each other out. */
  makeRoom(bytes: number): void {
    this.touch();
    while (this.sizeBytes + bytes > this.limitBytes) {
      const oldest = this.oldestClean.next();
      if (oldest === undefined) break;
      oldest[1].remove(oldest[0]);
    }
  }

  becameDirty(mapping: AddressSpace): void {
    footprint(this.queue);
    this.dirtyMappings.add(mapping);
  }

  added(folio: Folio, mapping: AddressSpace): void {
    this.sizeBytes += folio.data.length;
    this.setClean(folio, mapping);
  }

  used(folio: Folio, mapping: AddressSpace): void {
    this.touch();
    if (this.clean.delete(folio)) this.setClean(folio, mapping);
  }

  dirtied(folio: Folio): void {
    this.touch();
    this.clean.delete(folio);
    this.dirtyBytes += folio.data.length;
  }

  cleaned(folio: Folio, mapping: AddressSpace): void {
    this.touch();
    this.dirtyBytes -= folio.data.length;
    if (folio.holds === 0) this.setClean(folio, mapping);
  }

  /** It stays until it is let go, clean or not. */
  held(folio: Folio): void {
    this.touch();
    this.clean.delete(folio);
  }

  letGo(folio: Folio, mapping: AddressSpace): void {
    if (folio.dirtyBlocks === 0) this.setClean(folio, mapping);
  }

  private setClean(folio: Folio, mapping: AddressSpace): void {
    this.touch();
    this.clean.set(folio, mapping);
    this.oldestClean.changed();
  }

  removed(folio: Folio): void {
    this.touch();
    this.sizeBytes -= folio.data.length;
    this.clean.delete(folio);
  }
}
