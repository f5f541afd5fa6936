/** A device of persistent memory as page tables see it, and the pins of its pages. Source: drivers/dax/super.c, include/linux/dax.h. */
import type { BlockDevice } from "../block/device.js";
import { PAGE_BYTES, type Memory } from "../mm/memory.js";
import { PmemDevice } from "../nvdimm/pmem.js";
import { WaitQueue } from "../sched/wait-queue.js";

export class DaxDevice implements Memory {
  mapCount = 0;
  readonly data: Uint8Array;
  /** Somebody let go of a page. */
  readonly unpinned = new WaitQueue("the end of all views and pins of the file's pages", true);
  private readonly pins = new Map<number, number>();

  constructor(readonly pmem: PmemDevice) {
    this.data = pmem.bytes;
  }

  /** Whether stores can be made durable by the processor alone: without that no MAP_SYNC. */
  get isSynchronous(): boolean { return this.pmem.isSynchronous; }

  stored(offsetBytes: number, lengthBytes: number): void {
    this.pmem.stored(offsetBytes, lengthBytes);
  }

  isReadable(offsetBytes: number, lengthBytes: number): boolean {
    return !this.pmem.isPoisoned(offsetBytes, lengthBytes);
  }

  /** Whether a page of `bytes`, as large as a huge entry perhaps, can begin here: by its place in the machine's address space. */
  isAligned(offsetBytes: number, bytes: number): boolean {
    return (this.pmem.physicalAddress + offsetBytes) % bytes === 0;
  }

  pin(offsetBytes: number): void {
    const page = Math.floor(offsetBytes / PAGE_BYTES);
    this.pins.set(page, (this.pins.get(page) ?? 0) + 1);
  }

  unpin(offsetBytes: number): void {
    const page = Math.floor(offsetBytes / PAGE_BYTES);
    const left = this.pins.get(page)! - 1;
    if (left > 0) this.pins.set(page, left);
    else this.pins.delete(page);
    this.unpinned.wakeAll();
  }

  isPinned(offsetBytes: number, lengthBytes: number): boolean {
    const first = Math.floor(offsetBytes / PAGE_BYTES);
    const end = Math.ceil((offsetBytes + lengthBytes) / PAGE_BYTES);
    for (const page of this.pins.keys()) if (page >= first && page < end) return true;
    return false;
  }

  /** Zeroes bytes that may begin and end anywhere; durable after a fence. Whole pages lose their poison. */
  zero(offsetBytes: number, lengthBytes: number): void {
    const end = offsetBytes + lengthBytes;
    const firstPage = Math.ceil(offsetBytes / PAGE_BYTES) * PAGE_BYTES;
    const lastPage = Math.floor(end / PAGE_BYTES) * PAGE_BYTES;
    if (firstPage >= lastPage) return this.zeroPart(offsetBytes, end);
    this.zeroPart(offsetBytes, firstPage);
    this.pmem.zeroPages(firstPage, lastPage - firstPage);
    this.zeroPart(lastPage, end);
  }

  private zeroPart(from: number, end: number): void {
    if (from >= end) return;
    this.data.fill(0, from, end);
    this.pmem.stored(from, end - from);
    this.pmem.flush(from, end - from);
  }
}

/** The DAX side of a block device; undefined: it has none, or is not made of whole pages. */
export function daxDeviceOf(device: BlockDevice): DaxDevice | undefined {
  return device instanceof PmemDevice && device.physicalAddress % PAGE_BYTES === 0 && device.sizeBytes % PAGE_BYTES === 0 ? new DaxDevice(device) : undefined;
}
