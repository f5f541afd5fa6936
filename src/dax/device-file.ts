/**
 * A device-dax as a file that a process maps: persistent memory without a filesystem, in pieces of exactly the device's alignment, up to 1 GiB. It cannot be read or written, only mapped and shared.
 * What it decides stands in nvdimm/device-dax.ts; here it meets page tables. Source: drivers/dax/device.c.
 */
import { FsError } from "../lib/errno.js";
import { PTE_ORDER, VmFault, type Order } from "../lib/vm-fault.js";
import { AddressSpace } from "../mm/address-space.js";
import { VM_HUGEPAGE } from "../mm/constants.js";
import { PAGE_BYTES } from "../mm/memory.js";
import { PageCache } from "../mm/page-cache.js";
import { ACCESSED, DIRTY, WRITABLE } from "../mm/page-table.js";
import type { Fault, MappableFile, Vma, VmOperations } from "../mm/vma.js";
import type { DeviceDax } from "../nvdimm/device-dax.js";
import type { Task } from "../sched/task.js";
import { DaxDevice } from "./device.js";

export class DeviceDaxFile implements MappableFile {
  /** Nothing is ever cached: it only knows who maps the device. */
  readonly f_mapping = new AddressSpace(new PageCache(0), PAGE_BYTES);
  readonly isReadable = true;
  readonly isAppendOnly = false;
  readonly mapAlignBytes: number;
  private readonly memory: DaxDevice;
  private readonly operations: VmOperations;

  constructor(private readonly device: DeviceDax, readonly isWritable = true) {
    this.memory = new DaxDevice(device.memory);
    this.mapAlignBytes = device.alignBytes;
    this.operations = {
      fault: (fault) => this.fault(fault, PTE_ORDER),
      huge_fault: (fault, order) => this.fault(fault, order),
      pfn_mkwrite: (fault) => this.fault(fault, PTE_ORDER),
      may_split: (_vma, address) => device.checkSplit(address),
    };
  }

  /** @throws FsError EINVAL it is private, or off the alignment. */
  *mmap(vma: Vma): Task<void> {
    this.device.checkMapping(vma.vm_start, vma.vm_end, vma.vm_flags);
    vma.vm_ops = this.operations;
    vma.vm_flags = (vma.vm_flags | VM_HUGEPAGE) >>> 0;
  }

  private *fault({ vma, address, isWrite }: Fault, order: Order): Task<number> {
    const found = this.device.fault(order, address, { startAddress: vma.vm_start, endAddress: vma.vm_end, offsetBytes: vma.vm_pgoff * PAGE_BYTES, flags: vma.vm_flags });
    if (found.code !== VmFault.NOPAGE) return found.code;
    if (!this.memory.isReadable(found.offsetBytes, found.lengthBytes)) return VmFault.HWPOISON;
    const { pageTables } = vma.vm_mm;
    const bits = ACCESSED | (isWrite ? WRITABLE | DIRTY : 0);
    const there = pageTables.find(found.address);
    if (there === undefined) pageTables.set(found.address, order, this.memory, found.offsetBytes, bits);
    else there.mark(bits);
    return VmFault.NOPAGE;
  }

  /** There is no cache and no metadata: who stored flushes the lines himself. */
  *fsyncRange(): Task<void> {}

  *punchHole(): Task<void> {
    throw new FsError("EOPNOTSUPP");
  }

  get(): void {}
  *put(): Task<void> {}
}
