/** device-dax mapped by a process: exactly its alignment, 1 GiB entries included, and signals for what it does not serve. The cases are those of dax_and_faults.md 12.4, as drivers/dax/device.c has them. */
import { describe, expect, test } from "vitest";
import { DeviceDaxFile } from "../../src/dax/device-file.js";
import { FsError } from "../../src/lib/errno.js";
import { PMD_ORDER, PTE_ORDER, PUD_ORDER } from "../../src/lib/vm-fault.js";
import { load, store } from "../../src/mm/access.js";
import { MAP_FIXED, MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE, MAP_SYNC, MS_SYNC, PROT_READ, PROT_WRITE } from "../../src/mm/constants.js";
import { VmEvents } from "../../src/mm/events.js";
import { MmStruct } from "../../src/mm/mm-struct.js";
import { DeviceDax } from "../../src/nvdimm/device-dax.js";
import { PmemDevice } from "../../src/nvdimm/pmem.js";
import { Scheduler } from "../../src/sched/scheduler.js";
import type { Task } from "../../src/sched/task.js";

const KIB = 1024;
const MIB = 2 ** 20;
const GIB = 2 ** 30;
const scheduler = new Scheduler();
const run = <T>(task: Task<T>): T => scheduler.runSync(task);
const RW = PROT_READ | PROT_WRITE;

function codeOf(work: () => unknown): string {
  try {
    work();
    return "0";
  } catch (error) {
    if (error instanceof FsError) return error.code;
    throw error;
  }
}

// Memory that nobody touches takes none, so gigabytes are cheap here.
const world = (alignBytes: number, sizeBytes: number): { mm: MmStruct; file: DeviceDaxFile; pmem: PmemDevice } => {
  const pmem = new PmemDevice(new Uint8Array(sizeBytes));
  return { mm: new MmStruct(new VmEvents()), file: new DeviceDaxFile(new DeviceDax(pmem, alignBytes)), pmem };
};

describe.each([[4 * KIB, PTE_ORDER, 8 * MIB], [2 * MIB, PMD_ORDER, 8 * MIB], [GIB, PUD_ORDER, 2 * GIB]] as const)("alignment %i", (align, order, sizeBytes) => {
  test("a fault maps one piece of that size, loads and stores reach the memory", () => {
    const { mm, file, pmem } = world(align, sizeBytes);
    const address = run(mm.mmap({ lengthBytes: 2 * align, prot: RW, flags: MAP_SHARED, file }));
    expect(address % align).toBe(0);
    const bytes = new Uint8Array(3);
    expect(run(load(mm, address + align + 5, bytes)).failed).toBeUndefined();
    expect(mm.pageTables.find(address + align)?.order).toBe(order);
    expect(mm.pageTables.find(address + align)?.isWritable).toBe(false);
    expect(mm.pageTables.find(address)).toBeUndefined();
    expect(run(store(mm, address + align + 5, Uint8Array.of(1, 2, 3))).failed).toBeUndefined();
    expect([...pmem.bytes.subarray(align + 5, align + 8)]).toEqual([1, 2, 3]);
    expect(mm.pageTables.find(address + align)?.isWritable).toBe(true);
    expect(codeOf(() => run(mm.msync(address, 2 * align, MS_SYNC)))).toBe("0");
  });

  test("what is private or off the alignment is refused, and so is a cut inside a piece", () => {
    const { mm, file } = world(align, sizeBytes);
    expect(codeOf(() => run(mm.mmap({ lengthBytes: align, prot: RW, flags: MAP_PRIVATE, file })))).toBe("EINVAL");
    expect(codeOf(() => run(mm.mmap({ lengthBytes: align, prot: RW, flags: MAP_SHARED_VALIDATE | MAP_SYNC, file })))).toBe("0");
    if (align === 4 * KIB) return;
    expect(codeOf(() => run(mm.mmap({ lengthBytes: align + 4096, prot: RW, flags: MAP_SHARED, file })))).toBe("EINVAL");
    expect(codeOf(() => run(mm.mmap({ address: 2 ** 40 + 4096, lengthBytes: align, prot: RW, flags: MAP_SHARED | MAP_FIXED, file })))).toBe("EINVAL");
    const address = run(mm.mmap({ lengthBytes: 2 * align, prot: RW, flags: MAP_SHARED, file }));
    expect(codeOf(() => run(mm.munmap(address + 4096, 4096)))).toBe("EINVAL");
    expect(codeOf(() => run(mm.mprotect(address, 4096, PROT_READ)))).toBe("EINVAL");
    expect(codeOf(() => run(mm.munmap(address, align)))).toBe("0");
    expect(mm.vmas.find(address + align)).toBeDefined();
  });

  test("behind its end is SIGBUS, and so is bad memory", () => {
    const { mm, file, pmem } = world(align, sizeBytes);
    const address = run(mm.mmap({ lengthBytes: 2 * align, prot: RW, flags: MAP_SHARED, file, offsetBytes: sizeBytes - align }));
    const byte = new Uint8Array(1);
    expect(run(load(mm, address, byte)).failed).toBeUndefined();
    expect(run(load(mm, address + align, byte)).failed).toMatchObject({ address: address + align, isMapped: true });
    pmem.poison(0, 512);
    const bad = run(mm.mmap({ lengthBytes: align, prot: RW, flags: MAP_SHARED, file }));
    expect(run(load(mm, bad, byte)).failed?.code).toBe(0x10);
  });
});
