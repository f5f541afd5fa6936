/** Shared memory without a file: processes that fork from one see the same pages. */
import { VmFault } from "../lib/vm-fault.js";
import { PAGE_BYTES, type Memory } from "./memory.js";
import type { Fault, VmOperations } from "./vma.js";

class SharedPage implements Memory {
  readonly data = new Uint8Array(PAGE_BYTES);
  mapCount = 0;
}

export class SharedMemory implements VmOperations {
  private readonly pages = new Map<number, SharedPage>();

  /** MADV_REMOVE: all who share the pages read zeroes. */
  clear(firstPgoff: number, endPgoff: number): void {
    for (const [pgoff, page] of this.pages) if (pgoff >= firstPgoff && pgoff < endPgoff) page.data.fill(0);
  }

  *fault(fault: Fault): Generator<never, number, void> {
    let page = this.pages.get(fault.pgoff);
    if (page === undefined) this.pages.set(fault.pgoff, page = new SharedPage());
    fault.page = { memory: page, offsetBytes: 0 };
    return VmFault.LOCKED;
  }
}
