/** What /proc shows of a process's memory: how much of each mapping is there (smaps), and what each page points to (pagemap). Source: fs/proc/task_mmu.c. */
import { Folio } from "./address-space.js";
import { VM_EXEC, VM_HUGEPAGE, VM_LOCKED, VM_DONTCOPY, VM_MAYEXEC, VM_MAYREAD, VM_MAYSHARE, VM_MAYWRITE, VM_NOHUGEPAGE, VM_READ, VM_SHARED, VM_SYNC, VM_WRITE } from "./constants.js";
import { AnonymousPage, HUGE_ZERO_PAGE, PAGE_BYTES, ZERO_PAGE, type Memory } from "./memory.js";
import type { MmStruct } from "./mm-struct.js";
import type { Leaf } from "./page-table.js";
import type { Vma } from "./vma.js";

/** Two letters for each flag, in the order of smaps. */
const FLAG_NAMES: readonly (readonly [flag: number, name: string])[] = [
  [VM_READ, "rd"], [VM_WRITE, "wr"], [VM_EXEC, "ex"], [VM_SHARED, "sh"], [VM_MAYREAD, "mr"], [VM_MAYWRITE, "mw"], [VM_MAYEXEC, "me"], [VM_MAYSHARE, "ms"], [VM_LOCKED, "lo"], [VM_DONTCOPY, "dc"],
  [VM_SYNC, "sf"], [VM_HUGEPAGE, "hg"], [VM_NOHUGEPAGE, "nh"],
];

/** Bytes of each kind. Zeroes and pages of a device are nobody's memory: they do not count. */
export interface Smaps {
  readonly start: number;
  readonly end: number;
  /** As "rw-s". */
  readonly permissions: string;
  readonly vmFlags: readonly string[];
  rss: number;
  sharedClean: number;
  sharedDirty: number;
  privateClean: number;
  privateDirty: number;
  anonymous: number;
}

/** The mappings that have a part in an address range. */
export function smapsOf(mm: MmStruct, address: number, lengthBytes: number): Smaps[] {
  return mm.vmas.overlapping(address, address + lengthBytes).map((vma) => {
    const { vm_flags: flags } = vma;
    const permissions = `${(flags & VM_READ) === 0 ? "-" : "r"}${(flags & VM_WRITE) === 0 ? "-" : "w"}${(flags & VM_EXEC) === 0 ? "-" : "x"}${(flags & VM_MAYSHARE) === 0 ? "p" : "s"}`;
    const vmFlags = FLAG_NAMES.filter(([flag]) => (flags & flag) !== 0).map(([, name]) => name);
    const sums: Smaps = { start: vma.vm_start, end: vma.vm_end, permissions, vmFlags, rss: 0, sharedClean: 0, sharedDirty: 0, privateClean: 0, privateDirty: 0, anonymous: 0 };
    mm.pageTables.forEach(vma.vm_start, vma.vm_end, (leaf) => account(sums, leaf));
    return sums;
  });
}

function account(sums: Smaps, leaf: Leaf): void {
  const { memory, lengthBytes } = leaf;
  const isAnonymous = memory instanceof AnonymousPage;
  if (!isAnonymous && !(memory instanceof Folio)) return;
  sums.rss += lengthBytes;
  if (isAnonymous) sums.anonymous += lengthBytes;
  const isDirty = leaf.isDirty || isAnonymous || memory.dirtyBlocks !== 0;
  if (memory.mapCount > 1) sums[isDirty ? "sharedDirty" : "sharedClean"] += lengthBytes;
  else sums[isDirty ? "privateDirty" : "privateClean"] += lengthBytes;
}

export type PageKind = "none" | "anon" | "pagecache" | "zero" | "hugezero" | "device" | "shmem";

/** What one page of a process points to, and where in that it begins. */
export interface PageInfo {
  readonly kind: PageKind;
  readonly offsetBytes: number;
}

export function pagemapOf(mm: MmStruct, address: number): PageInfo {
  const leaf = mm.pageTables.find(address);
  if (leaf === undefined) return { kind: "none", offsetBytes: 0 };
  const page = address - (address % PAGE_BYTES);
  return { kind: kindOf(leaf.memory, mm.vmas.find(address)), offsetBytes: leaf.offsetBytes + (page % leaf.lengthBytes) };
}

function kindOf(memory: Memory, vma: Vma | undefined): PageKind {
  if (memory === ZERO_PAGE) return "zero";
  if (memory === HUGE_ZERO_PAGE) return "hugezero";
  if (memory instanceof AnonymousPage) return "anon";
  if (memory instanceof Folio) return "pagecache";
  return vma?.vm_file === undefined ? "shmem" : "device";
}
