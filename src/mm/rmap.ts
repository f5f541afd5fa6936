/**
 * From a range of a file to all the page tables that map it. Whoever takes pages of a file away unmaps them here first; whoever writes them back makes them read-only here first, so that the next
 * store is seen. Source: unmap_mapping_range (mm/memory.c), folio_mkclean (mm/rmap.c), pfn_mkclean_range.
 */
import { footprint } from "../sched/footprint.js";
import type { AddressSpace } from "./address-space.js";
import { VM_SHARED } from "./constants.js";
import { AnonymousPage, PAGE_BYTES } from "./memory.js";
import { WRITABLE, DIRTY, type Leaf } from "./page-table.js";
import type { Vma } from "./vma.js";

interface Part { readonly vma: Vma; readonly start: number; readonly end: number }

function overlapping(mapping: AddressSpace, firstPgoff: number, endPgoff: number): Part[] {
  const parts: Part[] = [];
  footprint(mapping.shared);
  for (const vma of mapping.i_mmap) {
    const start = Math.max(vma.vm_start, vma.addressOf(firstPgoff));
    const end = Math.min(vma.vm_end, vma.addressOf(endPgoff));
    if (start >= end) continue;
    footprint(vma.vm_mm);
    parts.push({ vma, start, end });
  }
  return parts;
}

/** Unmaps pages first .. end - 1 everywhere. `evenCows`: private copies go, too, as when the file is cut off. A huge entry that lies there in part goes as a whole: what is missed comes back by faults. */
export function unmapMappingPages(mapping: AddressSpace, firstPgoff: number, endPgoff: number, evenCows: boolean): void {
  for (const { vma, start, end } of overlapping(mapping, firstPgoff, endPgoff)) {
    vma.vm_mm.pageTables.forEach(start, end, (leaf, address) => {
      if (!evenCows && leaf.memory instanceof AnonymousPage) return;
      countSplit(vma, leaf, address, start, end);
      leaf.clear();
    });
  }
}

export function countSplit(vma: Vma, leaf: Leaf, address: number, start: number, end: number): void {
  if (leaf.lengthBytes > PAGE_BYTES && (address < start || address + leaf.lengthBytes > end)) vma.vm_mm.events.count("thp_split_pmd");
}

/** Takes away the right to store, so that the next store faults. */
export function writeProtectPages(mapping: AddressSpace, firstPgoff: number, endPgoff: number): void {
  for (const { vma, start, end } of overlapping(mapping, firstPgoff, endPgoff)) {
    if ((vma.vm_flags & VM_SHARED) === 0) continue;
    vma.vm_mm.pageTables.forEach(start, end, (leaf) => leaf.unmark(WRITABLE | DIRTY));
  }
}
