/**
 * device-dax: persistent memory as a character device, which can be mapped and nothing else. No filesystem, no page cache, no read or write; a fault gives memory of exactly the
 * device's alignment, and whoever cannot take it in that size gets a signal. These are the decisions, without a memory manager: mm asks them.
 * Source: drivers/dax/device.c (7.1: check_vma, __dev_dax_{pte,pmd,pud}_fault, dax_get_unmapped_area); dax-and-faults.md 12.4.
 */
import { FsError } from "../lib/errno.js";
import { VmFault, type Order } from "../lib/vm-fault.js";
import { PAGE_BYTES, type PmemDevice } from "./pmem.js";

/** Shared, or shared of a file that is open for reading only. */
const VM_MAYSHARE = 0x80;

/** What must be known of a mapping. Addresses and the offset are bytes. */
export interface DaxVma {
  readonly startAddress: number;
  readonly endAddress: number;
  /** In the device, of what stands at startAddress: vm_pgoff in bytes. */
  readonly offsetBytes: number;
  /** vm_flags. */
  readonly flags: number;
}

export interface DaxFault {
  /** VmFault.NOPAGE: map `lengthBytes` at `address` to the device's memory from `offsetBytes`. Anything else: do not. */
  readonly code: number;
  readonly address: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export class DeviceDax {
  constructor(
    /** The memory behind the device, without info block and page map. */
    readonly memory: PmemDevice,
    /** 4 KiB, 2 MiB or 1 GiB: what mappings and faults have to keep to. */
    readonly alignBytes: number,
  ) {}

  get sizeBytes(): number {
    return this.memory.sizeBytes;
  }

  /** MAP_SYNC is granted: there is no metadata that could be late. */
  get isSynchronous(): boolean {
    return this.memory.isSynchronous;
  }

  /** @throws FsError EINVAL the mapping is private, or begins or ends off the alignment. */
  checkMapping(startAddress: number, endAddress: number, flags: number): void {
    if ((flags & VM_MAYSHARE) === 0) throw new FsError("EINVAL", "device-dax cannot be mapped privately");
    this.checkSplit(startAddress);
    this.checkSplit(endAddress);
  }

  /** A mapping may be cut only on the alignment (munmap, mremap, mprotect of a part). @throws FsError EINVAL. */
  checkSplit(address: number): void {
    if (address % this.alignBytes !== 0) throw new FsError("EINVAL", `device-dax: the address 0x${address.toString(16)} is no multiple of ${this.alignBytes}`);
  }

  /**
   * The first address at or above `freeAddress` at which a mapping of [offsetBytes, offsetBytes + lengthBytes) can take huge pages; `freeAddress` itself, if the range has none.
   * @kernel dax_get_unmapped_area
   */
  placeMapping(freeAddress: number, offsetBytes: number, lengthBytes: number): number {
    const end = offsetBytes + lengthBytes;
    const firstAligned = Math.ceil(offsetBytes / this.alignBytes) * this.alignBytes;
    if (end <= firstAligned || end - firstAligned < this.alignBytes) return freeAddress;
    const behind = (((offsetBytes - freeAddress) % this.alignBytes) + this.alignBytes) % this.alignBytes;
    return freeAddress + behind;
  }

  /** What a fault at `address` in a mapping finds, tried with 2^order pages. */
  fault(order: Order, address: number, vma: DaxVma): DaxFault {
    const lengthBytes = PAGE_BYTES * 2 ** order;
    const from = Math.floor(address / lengthBytes) * lengthBytes;
    const offsetBytes = vma.offsetBytes + from - vma.startAddress;
    const answer = (code: number): DaxFault => ({ code, address: from, offsetBytes, lengthBytes });
    if (!this.isGoodMapping(vma)) return answer(VmFault.SIGBUS);
    // A smaller piece than the alignment is never mapped, not even if only it was asked for; a larger one is tried again smaller.
    if (lengthBytes < this.alignBytes) return answer(VmFault.SIGBUS);
    if (lengthBytes > this.alignBytes) return answer(VmFault.FALLBACK);
    if (from < vma.startAddress || from + lengthBytes > vma.endAddress) return answer(VmFault.SIGBUS);
    if (offsetBytes < 0 || offsetBytes + lengthBytes > this.sizeBytes) return answer(VmFault.SIGBUS);
    // Address and memory must be aligned alike, or the page table has no such entry.
    return answer((this.memory.physicalAddress + offsetBytes) % lengthBytes === 0 ? VmFault.NOPAGE : VmFault.SIGBUS);
  }

  private isGoodMapping({ startAddress, endAddress, flags }: DaxVma): boolean {
    return (flags & VM_MAYSHARE) !== 0 && startAddress % this.alignBytes === 0 && endAddress % this.alignBytes === 0;
  }
}
