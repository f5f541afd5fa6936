/**
 * Faults of a file in the page cache. A page is read under invalidate_lock, so that nobody takes its block away meanwhile; a page that is there is mapped without it.
 * Source: filemap_fault, filemap_map_pages (mm/filemap.c).
 */
import { FsError } from "../lib/errno.js";
import { PTE_ORDER, VmFault } from "../lib/vm-fault.js";
import type { Task } from "../sched/task.js";
import type { AddressSpace, Folio } from "./address-space.js";
import { PAGE_BYTES } from "./memory.js";
import type { Fault } from "./vma.js";

/** What the page cache asks of a file's owner. */
export interface FilemapHost {
  readonly i_mapping: AddressSpace;
  /** Bytes. */
  readonly i_size: number;
  /** Brings a folio in, with neighbours if that is cheap. Called with invalidate_lock held for reading. */
  readFolio(index: number): Task<Folio>;
}

/** @throws what is no error of the file: CorruptionError and EIO are SIGBUS, and told to `failed`. */
export function* filemapFault(fault: Fault, host: FilemapHost, failed: (error: FsError) => Task<void>): Task<number> {
  const { i_mapping: mapping } = host;
  const { pagesPerFolio } = mapping;
  const index = Math.floor(fault.pgoff / pagesPerFolio);
  if (fault.pgoff * PAGE_BYTES >= host.i_size) return VmFault.SIGBUS;
  let folio = mapping.find(index);
  let code: number = VmFault.LOCKED;
  if (folio === undefined) {
    code |= VmFault.MAJOR;
    fault.vma.vm_mm.events.count("pgmajfault");
    if (!mapping.invalidate_lock.tryRead()) yield* mapping.invalidate_lock.read();
    try {
      folio = yield* host.readFolio(index);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      yield* failed(error);
      return VmFault.SIGBUS;
    } finally {
      mapping.invalidate_lock.unlockRead();
    }
    // Both may have changed while it was read.
    if (fault.pgoff * PAGE_BYTES >= host.i_size) return VmFault.SIGBUS;
  }
  fault.page = { memory: folio, offsetBytes: (fault.pgoff % pagesPerFolio) * PAGE_BYTES };
  return code;
}

/** Maps for reading what is in memory around a fault. */
export function filemapMapPages(fault: Fault, host: FilemapHost, firstPgoff: number, lastPgoff: number): boolean {
  const { i_mapping: mapping } = host;
  const { pagesPerFolio } = mapping;
  const { pageTables } = fault.vma.vm_mm;
  const last = Math.min(lastPgoff, Math.ceil(host.i_size / PAGE_BYTES) - 1);
  for (let pgoff = firstPgoff; pgoff <= last; pgoff++) {
    const folio = mapping.find(Math.floor(pgoff / pagesPerFolio));
    const address = fault.vma.addressOf(pgoff);
    if (folio !== undefined && pageTables.find(address) === undefined) pageTables.set(address, PTE_ORDER, folio, (pgoff % pagesPerFolio) * PAGE_BYTES, 0);
  }
  return pageTables.find(fault.address) !== undefined;
}
