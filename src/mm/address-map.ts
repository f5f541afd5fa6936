/** The VMAs of a process: ascending, none over another. Cutting and finding room are here; what a cut means for pages is the business of mm_struct. */
import { FsError } from "../lib/errno.js";
import { ADDRESS_END } from "./page-table.js";
import { PAGE_BYTES } from "./memory.js";
import { Vma } from "./vma.js";

/** Mappings without a wish are put below this, each below the one before. */
const MMAP_BASE = ADDRESS_END - 2 ** 30;
/** Nothing is mapped below, so that a null pointer faults. */
const MMAP_MIN_ADDRESS = 65536;

export class AddressMap {
  private readonly vmas: Vma[] = [];

  [Symbol.iterator](): Iterator<Vma> {
    return this.vmas[Symbol.iterator]();
  }

  /** The VMA that `address` lies in. */
  find(address: number): Vma | undefined {
    const vma = this.vmas[this.indexAfter(address)];
    return vma !== undefined && address >= vma.vm_start ? vma : undefined;
  }

  /** The index of the first VMA that ends behind `address`. */
  private indexAfter(address: number): number {
    let low = 0;
    let high = this.vmas.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.vmas[middle]!.vm_end <= address) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  overlapping(start: number, end: number): Vma[] {
    const found: Vma[] = [];
    for (let index = this.indexAfter(start); index < this.vmas.length && this.vmas[index]!.vm_start < end; index++) found.push(this.vmas[index]!);
    return found;
  }

  /** The end of what is mapped before, and the start of what is mapped behind: the page tables between belong to nobody else. */
  gapAround(start: number, end: number): { from: number; to: number } {
    const index = this.indexAfter(start);
    return { from: this.vmas[index - 1]?.vm_end ?? 0, to: this.vmas.find((vma) => vma.vm_start >= end)?.vm_start ?? ADDRESS_END };
  }

  insert(vma: Vma): void {
    this.vmas.splice(this.indexAfter(vma.vm_start), 0, vma);
    vma.vm_file?.get();
    vma.vm_file?.f_mapping.i_mmap.add(vma);
  }

  remove(vma: Vma): void {
    this.vmas.splice(this.vmas.indexOf(vma), 1);
    vma.vm_file?.f_mapping.i_mmap.delete(vma);
  }

  /** Cuts VMAs at both ends of a range, and returns those that lie in it. @throws FsError EINVAL a mapping that may not be cut there: nothing was cut. */
  isolate(start: number, end: number): Vma[] {
    const touched = this.overlapping(start, end);
    for (const vma of touched) for (const at of [start, end]) if (at > vma.vm_start && at < vma.vm_end) vma.vm_ops?.may_split?.(vma, at);
    for (const at of [start, end]) {
      const vma = this.find(at);
      if (vma !== undefined && at > vma.vm_start) this.split(vma, at);
    }
    return this.overlapping(start, end);
  }

  private split(vma: Vma, at: number): void {
    const back = new Vma(vma.vm_mm, at, vma.vm_end, vma.vm_flags, vma.vm_pgoff + (at - vma.vm_start) / PAGE_BYTES, vma.vm_file);
    back.vm_ops = vma.vm_ops;
    vma.vm_end = at;
    this.insert(back);
  }

  /** Room for `lengthBytes`, as high as there is, where address - `colour` is a multiple of `alignBytes`. @throws FsError ENOMEM. */
  findRoom(lengthBytes: number, alignBytes: number, colour: number): number {
    let top = MMAP_BASE;
    for (let index = this.vmas.length - 1; index >= -1; index--) {
      const vma = this.vmas[index];
      const bottom = vma?.vm_end ?? MMAP_MIN_ADDRESS;
      if (top - lengthBytes >= bottom) {
        const highest = top - lengthBytes;
        const start = highest - ((((highest - colour) % alignBytes) + alignBytes) % alignBytes);
        if (start >= bottom) return start;
      }
      if (vma !== undefined) top = Math.min(top, vma.vm_start);
    }
    throw new FsError("ENOMEM");
  }
}
