/**
 * A fault of a file on persistent memory: what is mapped is the device itself. Nothing is read, and a store goes where the file's bytes are. The caller holds invalidate_lock for reading. A private
 * copy changes neither file nor entry. Whenever a size is declined, a huge entry that may stand there is cleared first. Source: dax_iomap_pte_fault, dax_iomap_pmd_fault, dax_insert_pfn_mkwrite
 * (fs/dax.c).
 */
import { FsError } from "../lib/errno.js";
import { PMD_ORDER, PTE_ORDER, VmFault } from "../lib/vm-fault.js";
import { VM_SYNC } from "../mm/constants.js";
import { copyPage, finishCow } from "../mm/fault.js";
import { HUGE_ZERO_PAGE, PAGE_BYTES, PMD_BYTES, ZERO_PAGE, type Memory } from "../mm/memory.js";
import { ACCESSED, DIRTY, orderBytes, WRITABLE } from "../mm/page-table.js";
import type { Fault } from "../mm/vma.js";
import type { Task } from "../sched/task.js";
import { PAGES_PER_PMD, type DaxEntry } from "./entries.js";
import type { DaxHost, Iomap } from "./iomap.js";

type DaxOrder = typeof PTE_ORDER | typeof PMD_ORDER;

/** @returns bits of VmFault. With NEEDDSYNC the caller syncs the file's metadata and calls finishSyncFault. @throws FsError what iomapFault throws for a page (ENOSPC: try again after a commit). */
export function* daxFault(fault: Fault, order: number, host: DaxHost): Task<number> {
  if (order === PTE_ORDER) return yield* pageFault(fault, host);
  if (order !== PMD_ORDER) return VmFault.FALLBACK;
  const code = yield* hugeFault(fault, host);
  if ((code & VmFault.FALLBACK) !== 0) {
    fault.vma.splitHuge(fault.address, PMD_ORDER);
    fault.vma.vm_mm.events.count("thp_fault_fallback");
  }
  return code;
}

/** A page in part behind the file's end is mapped whole. */
function* pageFault(fault: Fault, host: DaxHost): Task<number> {
  const positionBytes = fault.pgoff * PAGE_BYTES;
  if (positionBytes >= host.i_size) return VmFault.SIGBUS;
  const entry = (yield* host.i_dax.grab(fault.pgoff, PTE_ORDER))!;
  try {
    if (isMappedHuge(fault)) return VmFault.NOPAGE;
    if (fault.cow_page !== undefined) return yield* copyFault(fault, host);
    const iomap = fault.isFileWrite ? (yield* host.iomapFault(positionBytes, PAGE_BYTES))! : yield* host.iomapRead(positionBytes, PAGE_BYTES);
    return mapEntry(fault, host, entry, iomap, PTE_ORDER);
  } finally {
    entry.lock.unlock();
  }
}

function isMappedHuge(fault: Fault): boolean {
  const leaf = fault.vma.vm_mm.pageTables.find(fault.address);
  return leaf !== undefined && leaf.order !== PTE_ORDER;
}

/** Fills a private copy with what the file has. */
function* copyFault(fault: Fault, host: DaxHost): Task<number> {
  const { type, addressBytes } = yield* host.iomapRead(fault.pgoff * PAGE_BYTES, PAGE_BYTES);
  if (type === "mapped" && !copyPage(fault.cow_page!, host.daxDevice, addressBytes)) return VmFault.HWPOISON;
  return finishCow(fault);
}

function* hugeFault(fault: Fault, host: DaxHost): Task<number> {
  const { vma } = fault;
  const start = fault.address - (fault.address % PMD_BYTES);
  const index = fault.pgoff - (fault.pgoff % PAGES_PER_PMD);
  const filePages = Math.ceil(host.i_size / PAGE_BYTES);
  if (index >= filePages) return VmFault.SIGBUS;
  const hasSameColour = fault.pgoff - index === (fault.address - start) / PAGE_BYTES;
  // A private copy is made page by page. All of the 2 MiB must be the file's and the mapping's.
  if (!hasSameColour || (fault.isWrite && !fault.isFileWrite) || !vma.contains(start, PMD_BYTES) || index + PAGES_PER_PMD > filePages) return VmFault.FALLBACK;
  const entry = yield* host.i_dax.grab(index, PMD_ORDER);
  if (entry === undefined) return VmFault.FALLBACK;
  try {
    if (vma.vm_mm.pageTables.stateOf(fault.address, PMD_ORDER) === "table") return VmFault.NOPAGE;
    const iomap = yield* hugeIomap(fault, host, index * PAGE_BYTES);
    if (iomap === undefined) return VmFault.FALLBACK;
    return mapEntry(fault, host, entry, iomap, PMD_ORDER);
  } finally {
    entry.lock.unlock();
  }
}

/** The 2 MiB in one piece that can be mapped so; undefined: they are not, or an error says so. */
function* hugeIomap(fault: Fault, host: DaxHost, offsetBytes: number): Task<Iomap | undefined> {
  try {
    const iomap = fault.isFileWrite ? yield* host.iomapFault(offsetBytes, PMD_BYTES) : yield* host.iomapRead(offsetBytes, PMD_BYTES);
    if (iomap === undefined || iomap.lengthBytes < PMD_BYTES) return undefined;
    const { daxDevice: device } = host;
    const isFit = iomap.type !== "mapped" || (device.isAligned(iomap.addressBytes, PMD_BYTES) && device.isReadable(iomap.addressBytes, PMD_BYTES));
    return isFit ? iomap : undefined;
  } catch (error) {
    if (error instanceof FsError) return undefined;
    throw error;
  }
}

/** Fills the entry and maps it. A synchronous mapping gets no right to store before the metadata is durable. */
function mapEntry(fault: Fault, host: DaxHost, entry: DaxEntry, iomap: Iomap, order: DaxOrder): number {
  const { daxDevice: device } = host;
  if (iomap.type !== "mapped") {
    insertMappingEntry(host, entry, "zero", 0, false);
    return insert(fault, order === PMD_ORDER ? HUGE_ZERO_PAGE : ZERO_PAGE, 0, order, false);
  }
  if (!device.isReadable(iomap.addressBytes, orderBytes(order))) return VmFault.HWPOISON;
  const isWrite = fault.isFileWrite;
  const isMajor = iomap.isNew && order === PTE_ORDER;
  if (isMajor) fault.vma.vm_mm.events.count("pgmajfault");
  if (isWrite && (fault.vma.vm_flags & VM_SYNC) !== 0 && iomap.isDirty) {
    insertMappingEntry(host, entry, "real", iomap.addressBytes, false);
    return VmFault.NEEDDSYNC;
  }
  insertMappingEntry(host, entry, "real", iomap.addressBytes, isWrite);
  return insert(fault, device, iomap.addressBytes, order, isWrite) | (isMajor ? VmFault.MAJOR : 0);
}

/** Says what the entry maps. A page of the page cache in its place would be a second copy of the file's bytes. @kernel dax_insert_mapping_entry */
function insertMappingEntry(host: DaxHost, entry: DaxEntry, kind: "zero" | "real", addressBytes: number, isDirty: boolean): void {
  host.clearForDax(entry.index, entry.pages);
  host.i_dax.fill(entry, kind, addressBytes, isDirty);
}

/** Makes the entry in the page table, or gives the one that is there the right to store. */
function insert(fault: Fault, memory: Memory, addressBytes: number, order: DaxOrder, isWrite: boolean): number {
  const { pageTables } = fault.vma.vm_mm;
  const start = fault.address - (fault.address % orderBytes(order));
  const bits = ACCESSED | (isWrite ? WRITABLE | DIRTY : 0);
  const there = pageTables.find(start);
  if (there === undefined) pageTables.set(start, order, memory, addressBytes, bits);
  else if (there.order === order && there.memory === memory && there.offsetBytes === addressBytes) there.mark(bits);
  else if (isWrite && there.order === order && (there.memory === ZERO_PAGE || there.memory === HUGE_ZERO_PAGE)) {
    there.clear();
    pageTables.set(start, order, memory, addressBytes, bits);
  }
  return VmFault.NOPAGE;
}

/** After the metadata is durable: the entry is dirty from now on, and may be stored through. An entry that changed meanwhile is left to the next fault. */
export function* finishSyncFault(fault: Fault, order: DaxOrder, host: DaxHost): Task<number> {
  fault.vma.vm_mm.events.listener?.("dax_finish_sync_fault", { address: fault.address, order });
  const index = order === PMD_ORDER ? fault.pgoff - (fault.pgoff % PAGES_PER_PMD) : fault.pgoff;
  const entry = host.i_dax.find(index);
  if (entry === undefined || (order === PMD_ORDER && entry.order !== PMD_ORDER) || !(yield* host.i_dax.lockCurrent(entry))) return VmFault.NOPAGE;
  try {
    if (entry.kind !== "real") return VmFault.NOPAGE;
    entry.isDirty = true;
    const address = entry.addressBytes + (index - entry.index) * PAGE_BYTES;
    return insert(fault, host.daxDevice, address, order, true);
  } finally {
    entry.lock.unlock();
  }
}
