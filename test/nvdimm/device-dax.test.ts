/** device-dax: which mappings are let in, and what each fault gets, as a table of sizes and alignments. */
import { describe, expect, test } from "vitest";
import { PMD_ORDER, PTE_ORDER, PUD_ORDER, VmFault, type Order } from "../../src/lib/vm-fault.js";
import { parseUuid } from "../../src/lib/uuid.js";
import { DeviceDax, type DaxVma } from "../../src/nvdimm/device-dax.js";
import { createNamespace, openNamespace } from "../../src/nvdimm/namespace.js";
import { PmemDevice } from "../../src/nvdimm/pmem.js";
import { runSync } from "../../src/sched/scheduler.js";

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const SHARED = 0x88; // VM_SHARED | VM_MAYSHARE
const READ_ONLY_SHARED = 0x80;
const PRIVATE = 0x10;

/** Memory of any size, of which nothing is touched. */
const memory = (sizeBytes: number, physicalAddress = 0): PmemDevice => ({ sizeBytes, physicalAddress, isSynchronous: true }) as unknown as PmemDevice;
const codeOf = (work: () => void): string | undefined => {
  try {
    work();
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  }
};
const vma = (startAddress: number, lengthBytes: number, offsetBytes = 0, flags = SHARED): DaxVma => ({ startAddress, endAddress: startAddress + lengthBytes, offsetBytes, flags });

describe("mappings", () => {
  const dax = new DeviceDax(memory(64 * MIB), 2 * MIB);
  test.each([
    [4 * MIB, 8 * MIB, SHARED, undefined], [4 * MIB, 8 * MIB, READ_ONLY_SHARED, undefined], [4 * MIB, 8 * MIB, PRIVATE, "EINVAL"],
    [4 * MIB + 4096, 8 * MIB, SHARED, "EINVAL"], [4 * MIB, 8 * MIB - 4096, SHARED, "EINVAL"],
  ])("0x%x to 0x%x with flags 0x%x: %s", (start, end, flags, code) => {
    expect(codeOf(() => dax.checkMapping(start, end, flags))).toBe(code);
  });

  test("are cut on the alignment only", () => {
    expect([codeOf(() => dax.checkSplit(6 * MIB)), codeOf(() => dax.checkSplit(6 * MIB + 4096))]).toEqual([undefined, "EINVAL"]);
  });

  test.each([
    [0x1000, 0, 4 * MIB, 2 * MIB], [4 * MIB, 0, 4 * MIB, 4 * MIB], [0x1000, MIB, 4 * MIB, MIB], [3 * MIB, MIB, 4 * MIB, 3 * MIB], [0x1000, 0, MIB, 0x1000], [0x1000, MIB, 2 * MIB, 0x1000],
  ])("free from 0x%x, of [%i, +%i): at 0x%x", (freeAddress, offsetBytes, lengthBytes, expected) => {
    expect(dax.placeMapping(freeAddress, offsetBytes, lengthBytes)).toBe(expected);
  });
});

describe("faults", () => {
  const { NOPAGE, SIGBUS, FALLBACK } = VmFault;
  test.each<[align: number, order: Order, code: number]>([
    [4096, PTE_ORDER, NOPAGE], [4096, PMD_ORDER, FALLBACK], [4096, PUD_ORDER, FALLBACK],
    [2 * MIB, PTE_ORDER, SIGBUS], [2 * MIB, PMD_ORDER, NOPAGE], [2 * MIB, PUD_ORDER, FALLBACK],
    [GIB, PTE_ORDER, SIGBUS], [GIB, PMD_ORDER, SIGBUS], [GIB, PUD_ORDER, NOPAGE],
  ])("alignment %i, order %i: 0x%x", (align, order, code) => {
    const dax = new DeviceDax(memory(4 * GIB), align);
    const lengthBytes = 4096 * 2 ** order;
    expect(dax.fault(order, 8 * GIB + GIB + 5000, vma(8 * GIB, 2 * GIB, GIB))).toEqual({ code, lengthBytes, address: 9 * GIB + (order === PTE_ORDER ? 4096 : 0), offsetBytes: 2 * GIB + (order === PTE_ORDER ? 4096 : 0) });
  });

  const dax = new DeviceDax(memory(8 * MIB, 32 * MIB), 2 * MIB);
  test.each<[string, number, DaxVma, number]>([
    ["in the last piece", 15 * MIB, vma(8 * MIB, 8 * MIB), NOPAGE],
    ["beyond the device", 17 * MIB, vma(8 * MIB, 10 * MIB), SIGBUS],
    ["beyond it by the offset", 15 * MIB, vma(8 * MIB, 8 * MIB, 2 * MIB), SIGBUS],
    ["a private mapping", 9 * MIB, vma(8 * MIB, 8 * MIB, 0, PRIVATE), SIGBUS],
    ["a mapping off the alignment", 11 * MIB, vma(9 * MIB, 8 * MIB), SIGBUS],
    ["an offset off the alignment", 9 * MIB, vma(8 * MIB, 4 * MIB, 4096), SIGBUS],
    ["outside the mapping", 7 * MIB, vma(8 * MIB, 8 * MIB), SIGBUS],
  ])("%s", (_name, address, mapping, code) => {
    expect(dax.fault(PMD_ORDER, address, mapping).code).toBe(code);
  });
});

test("of a namespace: the data, without what is before it", () => {
  const region = new PmemDevice(new Uint8Array(16 * MIB), { physicalAddress: 4 * GIB });
  runSync(createNamespace(region, { mode: "devdax", uuid: parseUuid("42e1d574-76ac-402c-9132-5436e31528c0")! }));
  const { dax, device } = runSync(openNamespace(region));
  expect(device).toBe(undefined);
  expect([dax!.sizeBytes, dax!.alignBytes, dax!.memory.physicalAddress, dax!.isSynchronous]).toEqual([14 * MIB, 2 * MIB, 4 * GIB + 2 * MIB, true]);
  const fault = dax!.fault(PMD_ORDER, 5 * MIB, vma(4 * MIB, 4 * MIB, 2 * MIB));
  expect(fault).toEqual({ code: VmFault.NOPAGE, address: 4 * MIB, offsetBytes: 2 * MIB, lengthBytes: 2 * MIB });
  dax!.memory.directAccess(fault.offsetBytes, fault.lengthBytes)[0] = 1;
  expect(region.bytes[4 * MIB]).toBe(1);
});
