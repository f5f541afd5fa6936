/**
 * A piece of a process's address space, what a file must offer to be mapped, and what a filesystem must answer when a page of a mapping is missing.
 * Source: struct vm_area_struct, vm_operations_struct, vm_fault (include/linux/mm.h).
 */
import { FaultFlag, PMD_ORDER, type Order } from "../lib/vm-fault.js";
import type { Task } from "../sched/task.js";
import type { AddressSpace } from "./address-space.js";
import { VM_MAYSHARE, VM_MAYWRITE, VM_SHARED, VM_WRITE } from "./constants.js";
import { PAGE_BYTES, type AnonymousPage, type Memory } from "./memory.js";
import type { MmStruct } from "./mm-struct.js";

/** An open file, as a mapping sees it. The mapping holds it: `get` and `put` count. */
export interface MappableFile {
  readonly f_mapping: AddressSpace;
  readonly isReadable: boolean;
  readonly isWritable: boolean;
  /** Whether the inode is append-only, and whether nothing of its filesystem may be executed. */
  readonly isAppendOnly: boolean;
  readonly isNoExec?: boolean;
  /** Where the kernel chooses the address, it agrees with the place in the file modulo this. Default 2 MiB. */
  readonly mapAlignBytes?: number;
  /** Gives the mapping its operations, as they are for good. Called with mmap_lock held. @throws FsError EOPNOTSUPP MAP_SYNC, EIO, ENODEV it cannot be mapped. */
  mmap(vma: Vma): Task<void>;
  /** What msync does to bytes from .. end - 1. */
  fsyncRange(fromBytes: number, endBytes: number, dataOnly: boolean): Task<void>;
  /** MADV_REMOVE: a hole. */
  punchHole(fromBytes: number, lengthBytes: number): Task<void>;
  get(): void;
  put(): Task<void>;
}

/** One fault, for the handler. */
export class Fault {
  /** The first byte of the page. */
  readonly address: number;
  readonly pgoff: number;
  /** A private mapping's copy, to be filled from what the file has. */
  cow_page: AnonymousPage | undefined;
  /** What the handler found: memory and where in it the page begins. */
  page: { readonly memory: Memory; readonly offsetBytes: number } | undefined;

  constructor(readonly vma: Vma, address: number, public flags: number) {
    this.address = address - (address % PAGE_BYTES);
    this.pgoff = (this.address - vma.vm_start) / PAGE_BYTES + vma.vm_pgoff;
  }

  get isWrite(): boolean { return (this.flags & FaultFlag.WRITE) !== 0; }
  /** Whether it will change the file: a write through a private mapping ends in a copy. Source: the rule of Linux 4.14, at every size. */
  get isFileWrite(): boolean { return this.isWrite && (this.vma.vm_flags & VM_SHARED) !== 0; }
}

/** Answers are bits of VmFault. */
export interface VmOperations {
  fault(fault: Fault): Task<number>;
  huge_fault?(fault: Fault, order: Order): Task<number>;
  /** Maps what is in memory of first .. last around the fault, and waits for nothing. Returns whether the page of the fault is mapped. */
  map_pages?(fault: Fault, firstPgoff: number, lastPgoff: number): boolean;
  page_mkwrite?(fault: Fault): Task<number>;
  pfn_mkwrite?(fault: Fault): Task<number>;
  /** Refuses to cut the mapping at an address. @throws FsError EINVAL. */
  may_split?(vma: Vma, address: number): void;
  /** Long-term pins are refused (fs-DAX). */
  readonly isFsDax?: boolean;
}

export class Vma {
  vm_ops: VmOperations | undefined;

  /** @param vm_start, vm_end page-aligned. @param vm_pgoff pages into the file. */
  constructor(readonly vm_mm: MmStruct, public vm_start: number, public vm_end: number, public vm_flags: number, public vm_pgoff: number, readonly vm_file: MappableFile | undefined) {}

  /** Whether a store ends in a copy of its own. */
  get isCowMapping(): boolean { return (this.vm_flags & (VM_SHARED | VM_MAYWRITE)) === VM_MAYWRITE; }
  get isShared(): boolean { return (this.vm_flags & (VM_SHARED | VM_MAYSHARE)) !== 0; }
  get isWritable(): boolean { return (this.vm_flags & VM_WRITE) !== 0; }

  addressOf(pgoff: number): number {
    return this.vm_start + (pgoff - this.vm_pgoff) * PAGE_BYTES;
  }

  contains(start: number, lengthBytes: number): boolean {
    return start >= this.vm_start && start + lengthBytes <= this.vm_end;
  }

  /** Clears a huge entry of a file, if there is one: what it mapped comes back by smaller faults. Source: __split_huge_pmd_locked, for what is not anonymous. */
  splitHuge(address: number, order: Order): void {
    const leaf = this.vm_mm.pageTables.find(address);
    if (leaf?.order !== order) return;
    leaf.clear();
    const { events } = this.vm_mm;
    events.listener?.("__split_huge_pmd", { address });
    events.count(order === PMD_ORDER ? "thp_split_pmd" : "thp_split_pud");
  }
}
