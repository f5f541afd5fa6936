/**
 * A page fault, from the largest size to the smallest: PUD, PMD, PTE. A handler that declines a size says FALLBACK, and has seen to it that no larger entry is left at that address, else the same
 * fault would come back for ever. Source: __handle_mm_fault, handle_pte_fault, do_fault, do_wp_page (mm/memory.c).
 *
 * All of it is called with mmap_lock held for reading. Between two waits nothing else runs, so entries are looked at again after each.
 */
import { FaultFlag, PMD_ORDER, PTE_ORDER, PUD_ORDER, VmFault, type Order } from "../lib/vm-fault.js";
import type { Task } from "../sched/task.js";
import { VM_MAYWRITE, VM_NOHUGEPAGE, VM_SHARED, VM_WRITE } from "./constants.js";
import { AnonymousPage, PAGE_BYTES, ZERO_PAGE, type Memory } from "./memory.js";
import { ACCESSED, DIRTY, WRITABLE, type Leaf } from "./page-table.js";
import { Fault, type Vma } from "./vma.js";

/** Bytes around a read fault that are mapped as well if they are in memory (fault_around_bytes). */
const FAULT_AROUND_BYTES = 65536;

/** @returns bits of VmFault; without ERROR the access is to be tried again. */
export function* handleMmFault(vma: Vma, address: number, flags: number): Task<number> {
  const { events } = vma.vm_mm;
  events.count("pgfault");
  events.listener?.("handle_mm_fault:enter", { address, flags });
  const isWrite = (flags & FaultFlag.WRITE) !== 0;
  let code: number;
  if (isWrite && (vma.vm_flags & VM_MAYWRITE) === 0) code = VmFault.SIGSEGV;
  else if (isWrite && !vma.isWritable && !vma.isCowMapping) code = VmFault.SIGSEGV;
  else code = yield* descend(new Fault(vma, address, flags));
  events.listener?.("handle_mm_fault", { address, flags, code });
  return code;
}

function* descend(fault: Fault): Task<number> {
  const { vma: { vm_mm: { pageTables } } } = fault;
  for (const order of [PUD_ORDER, PMD_ORDER] as const) {
    if (pageTables.stateOf(fault.address, order) === "table") continue;
    const code = yield* hugeFault(fault, order);
    if ((code & VmFault.FALLBACK) === 0) return code;
  }
  // A handler that declined has split what was there.
  const leaf = pageTables.find(fault.address);
  if (leaf === undefined) return yield* missingPage(fault);
  if (leaf.order !== PTE_ORDER) return 0;
  return yield* presentPage(fault, leaf);
}

/** One of the large sizes: FALLBACK, if it is not for this place. */
function* hugeFault(fault: Fault, order: Order): Task<number> {
  const { vma } = fault;
  const leaf = vma.vm_mm.pageTables.find(fault.address);
  if (leaf !== undefined && leaf.order !== order) return VmFault.FALLBACK;
  if (leaf === undefined) return isHugeAllowed(vma) ? yield* vma.vm_ops!.huge_fault!(fault, order) : VmFault.FALLBACK;
  if (!fault.isWrite || leaf.isWritable) {
    leaf.mark(fault.isWrite ? ACCESSED | DIRTY : ACCESSED);
    return 0;
  }
  if (vma.isShared && vma.vm_ops?.huge_fault !== undefined) {
    const code = yield* vma.vm_ops.huge_fault(fault, order);
    if ((code & VmFault.FALLBACK) === 0) return code;
  }
  vma.splitHuge(fault.address, order);
  return VmFault.FALLBACK;
}

function isHugeAllowed(vma: Vma): boolean {
  return vma.vm_ops?.huge_fault !== undefined && (vma.vm_flags & VM_NOHUGEPAGE) === 0;
}

function* missingPage(fault: Fault): Task<number> {
  const { vma } = fault;
  if (vma.vm_ops === undefined) return anonymousPage(fault);
  if (!fault.isWrite) return yield* readFault(fault);
  return (vma.vm_flags & VM_SHARED) === 0 ? yield* cowFault(fault) : yield* sharedFault(fault);
}

/** Memory without a file: zeroes until the first store. */
function anonymousPage(fault: Fault): number {
  const { vma } = fault;
  if (fault.isWrite) mapPage(fault, new AnonymousPage(), 0, mayWriteBits(vma) | DIRTY);
  else mapPage(fault, ZERO_PAGE, 0, 0);
  return 0;
}

const mayWriteBits = (vma: Vma): number => ((vma.vm_flags & VM_WRITE) !== 0 ? WRITABLE : 0);

function mapPage({ vma, address }: Fault, memory: Memory, offsetBytes: number, bits: number): void {
  vma.vm_mm.pageTables.set(address, PTE_ORDER, memory, offsetBytes, bits | ACCESSED);
}

function* readFault(fault: Fault): Task<number> {
  const { vma } = fault;
  if (faultAround(fault)) return VmFault.NOPAGE;
  const code = yield* vma.vm_ops!.fault(fault);
  if ((code & (VmFault.ERROR | VmFault.NOPAGE | VmFault.RETRY)) !== 0) return code;
  // What was read brought its neighbours along.
  if ((code & VmFault.MAJOR) !== 0 && faultAround(fault)) return code | VmFault.NOPAGE;
  return code | finishFault(fault, 0);
}

/** Maps for reading what is in memory around a fault; whether its own page was among that. */
function faultAround(fault: Fault): boolean {
  const { vma, address, pgoff } = fault;
  if (vma.vm_ops!.map_pages === undefined) return false;
  const start = address - (address % FAULT_AROUND_BYTES);
  const first = Math.max(start, vma.vm_start);
  const last = Math.min(start + FAULT_AROUND_BYTES, vma.vm_end) - PAGE_BYTES;
  const pgoffOf = (at: number): number => pgoff + (at - address) / PAGE_BYTES;
  return vma.vm_ops!.map_pages(fault, pgoffOf(first), pgoffOf(last));
}

/** A private copy, made at once: neither does the file change, nor is it asked to. */
function* cowFault(fault: Fault): Task<number> {
  const copy = fault.cow_page = new AnonymousPage();
  const code = yield* fault.vma.vm_ops!.fault(fault);
  if ((code & (VmFault.ERROR | VmFault.NOPAGE | VmFault.RETRY | VmFault.DONE_COW)) !== 0) return code;
  const { memory, offsetBytes } = fault.page!;
  if (!copyPage(copy, memory, offsetBytes)) return VmFault.HWPOISON;
  return code | finishFault(fault, mayWriteBits(fault.vma) | DIRTY);
}

function* sharedFault(fault: Fault): Task<number> {
  const code = yield* fault.vma.vm_ops!.fault(fault);
  if ((code & (VmFault.ERROR | VmFault.NOPAGE | VmFault.RETRY)) !== 0) return code;
  const allowed = yield* pageMkwrite(fault);
  if ((allowed & (VmFault.ERROR | VmFault.NOPAGE)) !== 0) return code | allowed;
  return code | finishFault(fault, WRITABLE | DIRTY);
}

/** Asks the file for the right to store into a page. NOPAGE: the page is not the file's any more. */
function* pageMkwrite(fault: Fault): Task<number> {
  const { vma, flags } = fault;
  if (vma.vm_ops!.page_mkwrite === undefined) return 0;
  fault.flags = FaultFlag.WRITE | FaultFlag.MKWRITE;
  const code = yield* vma.vm_ops!.page_mkwrite(fault);
  fault.flags = flags;
  return code;
}

/** Maps what the handler found, or the copy that was made of it, unless the place was filled meanwhile. Also called by handlers that made the copy themselves. */
export function finishFault(fault: Fault, bits: number): number {
  const { vma: { vm_mm: { pageTables } } } = fault;
  if (pageTables.find(fault.address) !== undefined) return VmFault.NOPAGE;
  if (fault.cow_page !== undefined) mapPage(fault, fault.cow_page, 0, bits);
  else mapPage(fault, fault.page!.memory, fault.page!.offsetBytes, bits);
  return 0;
}

/** What a handler does that filled cow_page itself. */
export function finishCow(fault: Fault): number {
  return VmFault.DONE_COW | finishFault(fault, mayWriteBits(fault.vma) | DIRTY);
}

/** @returns false: the source cannot be read. */
export function copyPage(copy: AnonymousPage, memory: Memory, offsetBytes: number): boolean {
  if (memory.isReadable?.(offsetBytes, PAGE_BYTES) === false) return false;
  copy.data.set(memory.data.subarray(offsetBytes, offsetBytes + PAGE_BYTES));
  return true;
}

function* presentPage(fault: Fault, leaf: Leaf): Task<number> {
  if (!fault.isWrite) {
    leaf.mark(ACCESSED);
    return 0;
  }
  if (leaf.isWritable) {
    leaf.mark(ACCESSED | DIRTY);
    return 0;
  }
  fault.vma.vm_mm.events.listener?.("do_wp_page", { address: fault.address });
  return fault.vma.isShared ? yield* writeProtectedShared(fault, leaf) : writeProtectedPrivate(fault, leaf);
}

/** A store into a page that is mapped for reading: the file is asked, as when it had not been mapped at all. */
function* writeProtectedShared(fault: Fault, leaf: Leaf): Task<number> {
  const { vma } = fault;
  const { vm_ops: ops } = vma;
  fault.page = { memory: leaf.memory, offsetBytes: leaf.offsetBytes };
  let code: number;
  if (ops?.pfn_mkwrite !== undefined) {
    const { flags } = fault;
    fault.flags |= FaultFlag.MKWRITE;
    code = yield* ops.pfn_mkwrite(fault);
    fault.flags = flags;
  } else if (ops !== undefined) code = yield* pageMkwrite(fault);
  else code = 0;
  if ((code & (VmFault.ERROR | VmFault.NOPAGE)) !== 0) return code;
  const again = vma.vm_mm.pageTables.find(fault.address);
  if (again?.memory !== fault.page.memory || again.offsetBytes !== fault.page.offsetBytes) return VmFault.NOPAGE;
  again.mark(WRITABLE | DIRTY | ACCESSED);
  return code;
}

/** The last owner of a copy keeps it; all others, and whoever has the file's own page, get one of their own. The filesystem hears nothing of it. */
function writeProtectedPrivate(fault: Fault, leaf: Leaf): number {
  const { vma } = fault;
  const { memory, offsetBytes } = leaf;
  if (memory instanceof AnonymousPage && memory.mapCount === 1) {
    leaf.mark(mayWriteBits(vma) | DIRTY | ACCESSED);
    vma.vm_mm.events.listener?.("wp_page_reuse", { address: fault.address });
    return 0;
  }
  const copy = new AnonymousPage();
  if (!copyPage(copy, memory, memory === ZERO_PAGE ? 0 : offsetBytes)) return VmFault.HWPOISON;
  leaf.clear();
  mapPage(fault, copy, 0, mayWriteBits(vma) | DIRTY);
  vma.vm_mm.events.listener?.("wp_page_copy", { address: fault.address });
  return 0;
}
