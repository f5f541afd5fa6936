/** Namespaces: what is made is found again and used, to the byte as ndctl and the kernel make it; a filesystem inside each kind; damage. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { flush, readBytes, type BlockDevice } from "../../src/block/device.js";
import { MemoryDevice } from "../../src/block/memory.js";
import type { CorruptionError } from "../../src/format/corruption.js";
import { nd_pfn_sb, sealInfoBlock } from "../../src/format/nvdimm.js";
import { viewOf, type Field } from "../../src/format/layout.js";
import { formatUuid, parseUuid, randomUuid } from "../../src/lib/uuid.js";
import { planMkfs } from "../../src/mkfs/mkfs.js";
import { createNamespace, deviceInside, openNamespace, planPfn, readNamespace, type NamespaceOptions } from "../../src/nvdimm/namespace.js";
import { PmemDevice } from "../../src/nvdimm/pmem.js";
import { Ext4 } from "../../src/platform/node/index.js";
import { runSync } from "../../src/sched/scheduler.js";
import { attempt, hasCommand, notTestedHere, run, temporaryFolder } from "../support/host.js";
import { MIB } from "./btt-world.js";

const UUID_TEXT = "42e1d574-76ac-402c-9132-5436e31528c0";
const uuid = parseUuid(UUID_TEXT)!;
const KINDS: readonly NamespaceOptions[] = [
  { mode: "raw", uuid }, { mode: "fsdax", uuid }, { mode: "fsdax", uuid, map: "dev", alignBytes: 4096 }, { mode: "devdax", uuid, map: "dev" }, { mode: "sector", uuid, sectorBytes: 512 }, { mode: "sector", uuid },
];

function failureOf(work: () => unknown): Partial<CorruptionError> {
  try {
    work();
    return {};
  } catch (error) {
    return error as CorruptionError;
  }
}

test("uuids", () => {
  expect(formatUuid(uuid)).toBe(UUID_TEXT);
  expect([parseUuid(UUID_TEXT.slice(1)), parseUuid(UUID_TEXT.replace("4", "g"))]).toEqual([undefined, undefined]);
  expect(formatUuid(randomUuid(() => 0xffffffff))).toBe("ffffffff-ffff-4fff-bfff-ffffffffffff");
});

describe.each(KINDS)("$mode $map $sectorBytes $alignBytes", (options) => {
  test("is made over any other, found, and used", () => {
    const region = new PmemDevice(new Uint8Array(32 * MIB), { name: "region" });
    for (const before of KINDS) {
      if (before === options) continue;
      runSync(createNamespace(region, before));
      runSync(createNamespace(region, options));
      const info = runSync(readNamespace(region));
      expect(info.mode).toBe(options.mode);
      if (info.mode === "fsdax" || info.mode === "devdax") {
        expect(info.pfn).toEqual({ uuid, parentUuid: new Uint8Array(16), versionMinor: 4, dataAt: 2 * MIB, dataBytes: 30 * MIB, alignBytes: options.alignBytes ?? 2 * MIB, map: options.map ?? "mem" });
      }
    }
  });

  test("a filesystem inside it", () => {
    const bytes = new Uint8Array(32 * MIB);
    for (const region of [new PmemDevice(bytes), new MemoryDevice(bytes)]) {
      bytes.fill(0);
      runSync(createNamespace(region, options));
      if (options.mode === "devdax") {
        expect(failureOf(() => runSync(deviceInside(region))).code).toBe("EINVAL");
        continue;
      }
      const inside = runSync(openNamespace(region)).device!;
      makeFilesystem(inside);
      // From here on the region is enough: what is in it is found by its info block.
      const volume = Ext4.openSync(region, { readOnly: false });
      volume.mkdirSync("/a");
      volume.writeFileSync("/a/file", "hello ".repeat(5000));
      volume.closeSync();
      expect(Ext4.openSync(region).readFileSync("/a/file", "utf8")).toBe("hello ".repeat(5000));
      checkWithE2fsck(runSync(deviceInside(region)));
      if (options.mode !== "sector" && region instanceof PmemDevice) expect(inside).toBeInstanceOf(PmemDevice);
    }
  });
});

function makeFilesystem(device: BlockDevice): void {
  runSync(planMkfs({ uuid, hashSeed: uuid, timeSec: 1_700_000_000, blockBytes: 4096, deviceIsZero: true }, device.sizeBytes).write(device));
  runSync(flush(device));
}

const hasE2fsck = attempt("e2fsck", ["-V"]).status === 0;
if (!hasE2fsck) notTestedHere("filesystems in namespaces beside e2fsck", "needs e2fsprogs");

function checkWithE2fsck(device: BlockDevice): void {
  if (!hasE2fsck) return;
  const bytes = new Uint8Array(device.sizeBytes);
  runSync(readBytes(device, 0, bytes));
  const path = join(temporaryFolder(), "image");
  writeFileSync(path, bytes);
  expect(run("e2fsck", ["-fn", path])).toContain("/image");
}

describe("the info block of fsdax and devdax", () => {
  // As ndctl 76.1 (write-infoblock) computes them.
  test.each([
    { sizeBytes: 64 * MIB, alignBytes: 4096, map: "mem", dataAt: 2 * MIB, pages: 15872, endTrunc: 0 },
    { sizeBytes: 67112960, alignBytes: 4096, map: "mem", dataAt: 2 * MIB, pages: 15872, endTrunc: 4096 },
    { sizeBytes: 100 * MIB, alignBytes: 2 ** 21, map: "dev", dataAt: 2 * MIB, pages: 25088, endTrunc: 0 },
    { sizeBytes: 3 * 2 ** 30, alignBytes: 2 ** 21, map: "dev", dataAt: 52428800, pages: 773632, endTrunc: 0 },
    { sizeBytes: 3 * 2 ** 30, alignBytes: 2 ** 30, map: "mem", dataAt: 2 ** 30, pages: 524288, endTrunc: 0 },
  ] as const)("$sizeBytes bytes aligned to $alignBytes, map in $map", ({ sizeBytes, alignBytes, map, dataAt, pages, endTrunc }) => {
    const region = { name: "region", sizeBytes, readOnly: false } as BlockDevice;
    expect(planPfn(region, { uuid, alignBytes, map })).toMatchObject({ dataAt, dataBytes: pages * 4096 });
    expect(sizeBytes - dataAt - pages * 4096).toBe(endTrunc);
  });

  test("the region's place in the address space counts", () => {
    const region = new PmemDevice(new Uint8Array(8 * MIB), { physicalAddress: 2 ** 30 - 4 * MIB });
    expect(failureOf(() => planPfn(region, { uuid, alignBytes: 2 ** 30, map: "mem" })).code).toBe("ENXIO");
    expect(planPfn(region, { uuid, alignBytes: 2 ** 21, map: "mem" })).toMatchObject({ dataAt: 2 * MIB, dataBytes: 6 * MIB });
    expect(failureOf(() => planPfn(new PmemDevice(new Uint8Array(8 * MIB), { physicalAddress: 4096 }), { uuid, alignBytes: 4096, map: "mem" })).code).toBe("EOPNOTSUPP");
    expect(failureOf(() => planPfn(region, { uuid, alignBytes: 8192, map: "mem" })).code).toBe("EINVAL");
    expect(failureOf(() => planPfn(new PmemDevice(new Uint8Array(MIB)), { uuid, alignBytes: 4096, map: "mem" })).code).toBe("ENXIO");
  });

  const canCompare = hasCommand("ndctl") && attempt("ndctl", ["write-infoblock", "--help"]).status !== null;
  if (!canCompare) notTestedHere("info blocks beside ndctl", "needs ndctl");
  test.runIf(canCompare).each(["fsdax", "devdax"] as const)("%s: the same bytes as ndctl's", (mode) => {
    const folder = temporaryFolder();
    for (const alignBytes of [4096, 2 ** 21]) {
      for (const map of ["mem", "dev"] as const) {
        const path = join(folder, `${mode}-${alignBytes}-${map}`);
        run("ndctl", ["write-infoblock", "-m", mode, "-a", String(alignBytes), "-M", map, "-s", String(36 * MIB + 4096), "-u", UUID_TEXT, "-o", path]);
        const theirs = readFileSync(path).subarray(4096, 8192);
        const bytes = new Uint8Array(36 * MIB + 4096);
        runSync(createNamespace(new PmemDevice(bytes), { mode, uuid, alignBytes, map }));
        expect(Buffer.compare(theirs, bytes.subarray(4096, 8192))).toBe(0);
      }
    }
  });

  test.runIf(canCompare)("ndctl reads the info block of our sector namespaces", () => {
    const bytes = new Uint8Array(17 * MIB);
    runSync(createNamespace(new PmemDevice(bytes), { mode: "sector", uuid, sectorBytes: 4096 }));
    const path = join(temporaryFolder(), "sector");
    writeFileSync(path, bytes);
    const [block] = JSON.parse(run("ndctl", ["read-infoblock", "-i", path, "-j"])) as Record<string, unknown>[];
    expect(block).toMatchObject({ signature: "BTT_ARENA_INFO", uuid: UUID_TEXT, version: "1.1", external_lbasize: 4096, internal_lbasize: 4096, nfree: 256, infosize: 4096, nextoff: 0, dataoff: 4096 });
    expect(attempt("ndctl", ["read-infoblock", "-i", path, "-V", "-j"]).stdout).toContain("BTT_ARENA_INFO"); // which looks at the checksum, too
  });

  test("older versions know fewer fields", () => {
    const bytes = new Uint8Array(16 * MIB);
    const region = new PmemDevice(bytes);
    runSync(createNamespace(region, { mode: "fsdax", uuid }));
    const change = (minor: number, field: Field, value: number): void => {
      const block = bytes.subarray(4096, 8192);
      nd_pfn_sb.version_minor.set(viewOf(block), 0, minor);
      field.set(viewOf(block), 0, value);
      sealInfoBlock(nd_pfn_sb, block);
    };
    change(0, nd_pfn_sb.align, 12345);
    expect(runSync(readNamespace(region))).toMatchObject({ pfn: { alignBytes: 2 * MIB, dataAt: 2 * MIB, dataBytes: 14 * MIB } });
    change(1, nd_pfn_sb.start_pad, 2 * MIB);
    expect(runSync(readNamespace(region))).toMatchObject({ pfn: { dataAt: 4 * MIB, dataBytes: 12 * MIB } });
  });

  const FIELDS = nd_pfn_sb.$.fields.filter(([name]) => !["signature", "uuid", "parent_uuid", "flags", "padding", "checksum_lo", "checksum_hi"].includes(name));
  test.each(FIELDS.map(([name, field]) => [name, field as Field] as const))("%s at 0, at its greatest, off by one: an error or a namespace, nothing else", (_name, field) => {
    const bytes = new Uint8Array(16 * MIB);
    const region = new PmemDevice(bytes);
    runSync(createNamespace(region, { mode: "fsdax", uuid, map: "dev" }));
    const good = bytes.slice(4096, 8192);
    const value = field.get(viewOf(good), 0);
    for (const wrong of [0, 2 ** (8 * field.size) - 1, value + 1, Math.max(0, value - 1), value * 2]) {
      const block = good.slice();
      field.set(viewOf(block), 0, wrong);
      sealInfoBlock(nd_pfn_sb, block);
      bytes.set(block, 4096);
      const failure = failureOf(() => {
        const inside = runSync(openNamespace(region)).device!;
        runSync(readBytes(inside, inside.sizeBytes - 512, new Uint8Array(512)));
      });
      if (failure.code !== undefined) expect([failure.code, failure.kind]).toEqual(failure.code === "EOPNOTSUPP" ? ["EOPNOTSUPP", undefined] : ["EUCLEAN", "namespace-info"]);
    }
    good[4095]! ^= 1;
    bytes.set(good, 4096);
    expect(failureOf(() => runSync(readNamespace(region)))).toMatchObject({ code: "EBADMSG", kind: "namespace-checksum" });
  });
});

test("a small or empty device is raw", () => {
  for (const sizeBytes of [0, 512, 8192, 65536]) expect(runSync(readNamespace(new PmemDevice(new Uint8Array(sizeBytes))))).toEqual({ mode: "raw", sizeBytes });
});
