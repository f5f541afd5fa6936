/** The block translation table: its layout to the byte, sizes, arenas, errors, damage, and tasks that meet. Power cuts are in btt-crash.test.ts. */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { readBytes, writeBytes } from "../../src/block/device.js";
import { MemoryDevice } from "../../src/block/memory.js";
import { OverlayDevice } from "../../src/block/overlay.js";
import type { CorruptionError } from "../../src/format/corruption.js";
import { btt_sb, log_entry, sealInfoBlock } from "../../src/format/nvdimm.js";
import { viewOf, type Field } from "../../src/format/layout.js";
import { fletcher64 } from "../../src/lib/fletcher64.js";
import { parseUuid } from "../../src/lib/uuid.js";
import { byteStoreOn, type ByteStore } from "../../src/nvdimm/byte-store.js";
import { openBtt } from "../../src/nvdimm/btt.js";
import { BTT_SECTOR_SIZES, planArenas } from "../../src/nvdimm/btt-info.js";
import { PmemDevice } from "../../src/nvdimm/pmem.js";
import { runSync, Scheduler } from "../../src/sched/scheduler.js";
import type { Task } from "../../src/sched/task.js";
import { WaitQueue } from "../../src/sched/wait-queue.js";
import { Prng } from "../../src/lib/prng.js";
import { MIB, newTable, openTable, readSector, sectorOf, SMALL_BYTES, UUID, versionOf, writeVersion } from "./btt-world.js";

interface Failure { readonly code?: string; readonly kind?: string; readonly where?: { readonly field?: string | undefined } }

function failureOf(work: () => unknown): Failure {
  try {
    work();
    return {};
  } catch (error) {
    return error as CorruptionError;
  }
}

test("fletcher64 of words counted by hand", () => {
  expect(fletcher64(Uint8Array.of(1, 0, 0, 0, 2, 0, 0, 0))).toEqual({ lo: 3, hi: 4 });
  expect(fletcher64(Uint8Array.of(255, 255, 255, 255, 2, 0, 0, 0))).toEqual({ lo: 1, hi: 0 });
});

describe("layout", () => {
  // Computed by hand from the specification: available = size - 2 * 4096 - 256 * 64; internal = (available - 4096) / (block + 4); external = internal - 256.
  test.each([
    { version: "1.1", sizeBytes: 16 * MIB + 4096, sectorBytes: 512, internal: 32458, external: 32202, mapBytes: 131072 },
    { version: "1.1", sizeBytes: 16 * MIB + 4096, sectorBytes: 4096, internal: 4085, external: 3829, mapBytes: 16384 },
    { version: "2.0", sizeBytes: 16 * MIB, sectorBytes: 520, internal: 28876, external: 28620, mapBytes: 114688 },
    { version: "1.1", sizeBytes: 64 * MIB, sectorBytes: 4224, internal: 15864, external: 15608, mapBytes: 65536 },
  ] as const)("$version, $sizeBytes bytes, sectors of $sectorBytes", ({ version, sizeBytes, sectorBytes, internal, external, mapBytes }) => {
    const [arena, ...others] = planArenas(sizeBytes, { version, sectorBytes, uuid: UUID });
    const start = version === "1.1" ? 4096 : 0;
    expect(others).toEqual([]);
    expect(arena).toMatchObject({ startBytes: start, dataAt: start + 4096, internalBlocks: internal, externalBlocks: external, laneCount: 256, infoCopyAt: sizeBytes - 4096, logAt: sizeBytes - 4096 - 16384, isLast: true });
    expect(arena!.logAt - arena!.mapAt).toBe(mapBytes);
  });

  test("a large namespace has arenas of 512 GiB, and a rest below 16 MiB stays unused", () => {
    const arenas = planArenas(2 ** 40 + 2 ** 30, { sectorBytes: 4096, uuid: UUID });
    expect(arenas.map(({ startBytes, sizeBytes, isLast }) => [startBytes - 4096, sizeBytes, isLast])).toEqual([[0, 2 ** 39, false], [2 ** 39, 2 ** 39, false], [2 ** 40, 2 ** 30 - 4096, true]]);
    expect(planArenas(2 ** 39 + 15 * MIB, { sectorBytes: 4096, uuid: UUID }).map(({ isLast }) => isLast)).toEqual([true]);
    expect(failureOf(() => planArenas(16 * MIB, { sectorBytes: 512, uuid: UUID })).code).toBe("ENXIO");
    expect(failureOf(() => planArenas(64 * MIB, { sectorBytes: 1024, uuid: UUID })).code).toBe("EINVAL");
  });

  test("info blocks, log and map of a new table, byte by byte", () => {
    const bytes = newTable({ laneCount: 256 });
    const view = viewOf(bytes);
    expect(Buffer.from(bytes.subarray(4096, 4112)).toString("latin1")).toBe("BTT_ARENA_INFO\0\0");
    expect([...bytes.subarray(4112, 4128)]).toEqual([...UUID]);
    const words = (at: number, count: number): number[] => Array.from({ length: count }, (_, index) => view.getUint32(at + index * 4, true));
    // flags, version, external_lbasize, external_nlba, internal_lbasize, internal_nlba, nfree, infosize
    expect(words(4096 + 48, 8)).toEqual([0, 0x10001, 512, 32202, 512, 32458, 256, 4096]);
    // nextoff, dataoff, mapoff, logoff, info2off
    expect(words(4096 + 80, 10)).toEqual([0, 0, 4096, 0, 16 * MIB - 4096 - 16384 - 131072, 0, 16 * MIB - 4096 - 16384, 0, 16 * MIB - 4096, 0]);
    expect(Buffer.compare(bytes.subarray(4096, 8192), bytes.subarray(16 * MIB, 16 * MIB + 4096))).toBe(0);
    const logAt = 16 * MIB - 16384;
    for (const lane of [0, 1, 255]) expect(words(logAt + lane * 64, 16)).toEqual([lane, 32202 + lane, 32202 + lane, 1, ...new Array(12).fill(0)]);
    const { btt } = openTable(bytes);
    runSync(writeVersion(btt, 5, 1, 512));
    expect(words(logAt, 8)).toEqual([0, 32202, 32202, 1, 5, 5, 32202, 2]);
    expect(words(logAt - 131072 + 20, 1)).toEqual([(0xc0000000 + 32202) >>> 0]);
    expect(versionOf(5, bytes.slice(8192 + 32202 * 512, 8192 + 32203 * 512))).toBe(1);
  });
});

describe("the same bytes as Linux", () => {
  // SHA-256 of a region of 18 MiB after Linux 6.1.0-56 (Debian, QEMU's nvdimm, nothing in the region before) made a sector namespace of it through /sys/bus/nd/devices/btt0.1.
  const LINUX_UUID = parseUuid("42e1d574-76ac-402c-9132-5436e31528c0")!;
  const make = (sectorBytes: number): Uint8Array => newTable({ sectorBytes, uuid: LINUX_UUID, laneCount: 256 }, 18 * MIB);
  const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
  test.each([
    [512, "d5db534261505764b6ae15ac2e07ccb75feede65eeaba844c028c686bf5d8ce5"], [520, "16d7b2af6fafae37c99376b587dd5b2f2c03cfa90a5634a26bd7ca9a1bc833c6"],
    [528, "32849e79bb963872d041226211010be008618a34d276d8f4b41ffe37bf0c744e"], [4096, "2b1ad5a26c5f93b3fde987363b1b51b5f945a88a5a77bfc0faefa41ed3e7cd75"],
    [4104, "539a67975a62dbbad4c32c1622964dfe8912b983e7fb73f07b4d73a6e65efb83"], [4160, "50134e9272960acb024bc94eff81e573499b66939f6203ae17287505d89742ee"],
    [4224, "60fe2643320a1d85489377b0834341fc2ece80da7de335b5d4df7b9cae18ce7b"],
  ])("a new table of sectors of %i", (sectorBytes, expected) => {
    expect(sha256(make(sectorBytes))).toBe(expected);
  });

  test("a table after writes", () => {
    const bytes = make(4096);
    const { btt } = openTable(bytes);
    // Linux did so with dd to /dev/pmem0s, from a file whose words are their index times 2654435761: [from sector of the file, to sector, count].
    const file = viewOf(new Uint8Array(64 * 4096));
    for (let index = 0; index < 65536; index++) file.setUint32(index * 4, Math.imul(index, 2654435761), true);
    for (const [from, to, count] of [[0, 3, 8], [5, 4, 2], [9, 60, 4], [20, 3, 1], [21, 3, 1], [22, 3, 1]] as const) {
      runSync(writeBytes(btt, to * 4096, new Uint8Array(file.buffer, from * 4096, count * 4096)));
    }
    expect(sha256(bytes)).toBe("66c1d0593bd4ad2fd99cd1dc70ae85661e124162444e3adcf03c212bb80b2acd");
  });
});

describe.each(BTT_SECTOR_SIZES)("blocks of %i", (blockBytes) => {
  test("what is written is read, in any batch, also after opening anew", () => {
    const bytes = newTable({ sectorBytes: blockBytes });
    const { btt } = openTable(bytes);
    const sectorBytes = blockBytes < 4096 ? 512 : 4096;
    expect([btt.sectorBytes, btt.sizeBytes % sectorBytes]).toEqual([sectorBytes, 0]);
    const model = new Uint8Array(128 * 1024);
    const prng = new Prng(blockBytes);
    for (let step = 0; step < 60; step++) {
      const length = 512 * (1 + prng.below(24));
      const at = 512 * prng.below((model.length - length) / 512);
      const data = Uint8Array.from({ length }, () => prng.below(256));
      model.set(data, at);
      runSync(writeBytes(btt, at, data));
    }
    for (const device of [btt, openTable(bytes).btt]) {
      const read = new Uint8Array(model.length);
      runSync(readBytes(device, 0, read));
      expect(Buffer.compare(read, model)).toBe(0);
      const part = new Uint8Array(1000);
      runSync(readBytes(device, 777, part));
      expect(Buffer.compare(part, model.subarray(777, 1777))).toBe(0);
      expect(runSync(device.check())).toEqual([]);
    }
    const last = btt.sizeBytes / sectorBytes - 1;
    runSync(writeVersion(btt, last, 3, sectorBytes));
    expect(versionOf(last, runSync(readSector(btt, last, sectorBytes)))).toBe(3);
    expect(failureOf(() => runSync(readBytes(btt, btt.sizeBytes, new Uint8Array(1)))).code).toBe("EIO");
  });
});

test("several arenas are one device", () => {
  const bytes = newTable({ arenaBytesMax: 16 * MIB }, 40 * MIB + 4096);
  const { btt } = openTable(bytes);
  expect(btt.arenas.map(({ info }) => [info.startBytes, info.isLast])).toEqual([[4096, false], [16 * MIB + 4096, true]]);
  expect(btt.arenas[1]!.info.sizeBytes).toBe(16 * MIB); // the last 8 MiB are too few for a third
  const first = btt.arenas[0]!.info.externalBlocks;
  runSync(writeBytes(btt, (first - 2) * 512, Buffer.concat([-2, -1, 0, 1].map((offset) => sectorOf(first + offset, 7, 512)))));
  const again = openTable(bytes).btt;
  for (const offset of [-2, -1, 0, 1]) expect(versionOf(first + offset, runSync(readSector(again, first + offset, 512)))).toBe(7);
  expect(runSync(again.check())).toEqual([]);
  bytes.fill(0, 16 * MIB + 4096, 16 * MIB + 8192);
  const repaired = openTable(bytes).btt;
  expect(repaired.damagedInfoAt).toEqual([16 * MIB + 4096]);
});

test("version 2.0 begins at 0", () => {
  const bytes = newTable({ version: "2.0" }, 16 * MIB);
  expect(Buffer.from(bytes.subarray(0, 14)).toString()).toBe("BTT_ARENA_INFO");
  expect(openTable(bytes).btt.arenas[0]!.info).toMatchObject({ versionMajor: 2, versionMinor: 0, startBytes: 0 });
});

test("on a block device, which has no smaller writes than sectors", () => {
  const bytes = newTable();
  const btt = runSync(openBtt(byteStoreOn(new MemoryDevice(bytes))))!;
  runSync(writeVersion(btt, 9, 4, 512));
  expect(versionOf(9, runSync(readSector(openTable(bytes).btt, 9, 512)))).toBe(4);
});

describe("the log's slots", () => {
  /** Moves each lane's second slot to the third, where kernels before 4.15 have it. */
  function withOldSlots(bytes: Uint8Array): { bytes: Uint8Array; logAt: number } {
    const { info } = openTable(bytes.slice()).btt.arenas[0]!;
    for (let lane = 0; lane < info.laneCount; lane++) {
      bytes.copyWithin(info.logAt + lane * 64 + 32, info.logAt + lane * 64 + 16, info.logAt + lane * 64 + 32);
      bytes.fill(0, info.logAt + lane * 64 + 16, info.logAt + lane * 64 + 32);
    }
    return { bytes, logAt: info.logAt };
  }
  function written(): Uint8Array {
    const bytes = newTable();
    const { btt } = openTable(bytes);
    for (let version = 1; version <= 5; version++) runSync(writeVersion(btt, 3, version, 512));
    return bytes;
  }

  test("of kernels before 4.15 are seen and kept", () => {
    const { bytes, logAt } = withOldSlots(written());
    const { btt } = openTable(bytes);
    expect(btt.arenas[0]!.hasOldLogSlots).toBe(true);
    for (let version = 6; version <= 9; version++) runSync(writeVersion(btt, 3, version, 512));
    expect(bytes.subarray(logAt + 16, logAt + 32).every((byte) => byte === 0)).toBe(true);
    expect(versionOf(3, runSync(readSector(openTable(bytes).btt, 3, 512)))).toBe(9);
  });

  test("of a new table are the current ones", () => {
    expect(openTable(newTable()).btt.arenas[0]!.hasOldLogSlots).toBe(false);
  });

  test("mixed, or others, are refused", () => {
    const { bytes, logAt } = withOldSlots(written());
    bytes[logAt + 64 + 16] = 1; // lane 1 has something in its second slot
    expect(failureOf(() => openTable(bytes))).toMatchObject({ code: "EUCLEAN", kind: "btt-log", where: { field: "slots" } });
    const other = written();
    other[logAt + 48] = 1;
    expect(failureOf(() => openTable(other)).kind).toBe("btt-log");
    const empty = written();
    empty.fill(0, logAt, logAt + 64);
    expect(failureOf(() => openTable(empty)).kind).toBe("btt-log");
  });

  test.each([[1, 2, 2], [2, 3, 3], [3, 1, 1], [2, 1, 2], [1, 3, 1], [3, 2, 3], [1, 0, 1], [0, 1, 1]])("sequence numbers %i and %i: the newer is %i", (first, second, newer) => {
    const bytes = newTable();
    const { info } = openTable(bytes.slice()).btt.arenas[0]!;
    const view = viewOf(bytes);
    [first, second].forEach((seq, slot) => {
      // Free blocks tell which one counts. Both entries are of a lane whose map entry is in order.
      const at = info.logAt + slot * 16;
      log_entry.lba.set(view, at, seq === 0 ? 0 : 1);
      log_entry.old_map.set(view, at, info.externalBlocks + seq);
      log_entry.new_map.set(view, at, info.externalBlocks + seq);
      log_entry.seq.set(view, at, seq);
    });
    expect(openTable(bytes).btt.arenas[0]!.freeBlocks[0]).toBe(info.externalBlocks + newer);
  });

  test.each([[1, 1], [2, 2], [0, 0], [4, 1], [1, 7]])("sequence numbers %i and %i are damage", (first, second) => {
    const bytes = newTable();
    const { info } = openTable(bytes.slice()).btt.arenas[0]!;
    log_entry.lba.set(viewOf(bytes), info.logAt, 1);
    log_entry.seq.set(viewOf(bytes), info.logAt, first);
    log_entry.lba.set(viewOf(bytes), info.logAt + 16, 1);
    log_entry.seq.set(viewOf(bytes), info.logAt + 16, second);
    expect(failureOf(() => openTable(bytes))).toMatchObject({ kind: "btt-log", where: { field: "seq" } });
  });

  test.each([["lba", 0], ["old_map", 4], ["new_map", 8]])("%s outside the arena is damage", (field, at) => {
    const bytes = newTable();
    const { info } = openTable(bytes.slice()).btt.arenas[0]!;
    viewOf(bytes).setUint32(info.logAt + at, 0x3fffffff, true);
    expect(failureOf(() => openTable(bytes))).toMatchObject({ kind: "btt-log", where: { field } });
  });
});

describe("sectors that were lost", () => {
  test("bad memory is remembered in the map, until the sector is written", () => {
    const bytes = newTable();
    const { btt, pmem } = openTable(bytes);
    runSync(writeVersion(btt, 4, 1, 512));
    const { info } = btt.arenas[0]!;
    const block = runSync(btt.mapEntryOf(4)).block;
    pmem.poison(info.dataAt + block * 512, 512);
    expect(failureOf(() => runSync(readSector(btt, 4, 512))).code).toBe("EIO");
    expect(runSync(btt.mapEntryOf(4))).toEqual({ block, isZero: false, isError: true });
    // Opened where the memory is good again, the sector stays lost: what it held is not there.
    const again = openTable(bytes).btt;
    expect(failureOf(() => runSync(readSector(again, 4, 512))).code).toBe("EIO");
    runSync(writeVersion(btt, 4, 2, 512));
    expect(versionOf(4, runSync(readSector(btt, 4, 512)))).toBe(2);
    expect(viewOf(bytes).getUint32(info.logAt + 4, true)).toBe((block | 0x40000000) >>> 0); // the log knows that the block it freed is bad
    // The bad block is free now: it is overwritten before it is used.
    runSync(writeVersion(btt, 5, 3, 512));
    expect([versionOf(5, runSync(readSector(btt, 5, 512))), pmem.badBlocks, runSync(btt.mapEntryOf(5)).block]).toEqual([3, [], block]);
    expect(runSync(btt.check())).toEqual([]);
  });

  test("an entry marked as zero reads as zeroes", () => {
    const bytes = newTable();
    const { btt } = openTable(bytes);
    const { info } = btt.arenas[0]!;
    bytes.fill(1, info.dataAt, info.dataAt + 512);
    viewOf(bytes).setUint32(info.mapAt, 0x80000000, true);
    expect(versionOf(0, runSync(readSector(btt, 0, 512)))).toBe(0);
    runSync(writeVersion(btt, 0, 1, 512));
    expect([versionOf(0, runSync(readSector(btt, 0, 512))), runSync(btt.check())]).toEqual([1, []]);
  });

  test("a map entry outside the data is damage, for reads and writes", () => {
    const bytes = newTable();
    const { btt } = openTable(bytes);
    viewOf(bytes).setUint32(btt.arenas[0]!.info.mapAt, 0xffffffff, true);
    expect(failureOf(() => runSync(readSector(btt, 0, 512))).kind).toBe("btt-map");
    expect(failureOf(() => runSync(writeVersion(btt, 0, 1, 512))).kind).toBe("btt-map");
    expect(runSync(btt.check())).toHaveLength(1);
    runSync(writeVersion(btt, 1, 1, 512)); // the others are as usable as before
  });

  test("a block that two sectors have is found by the check", () => {
    const bytes = newTable();
    const { btt } = openTable(bytes);
    viewOf(bytes).setUint32(btt.arenas[0]!.info.mapAt, 0xc0000001, true);
    expect(runSync(btt.check())).toEqual(["sector 1 has block 1, which belongs to another, too"]);
  });
});

describe("damaged info blocks", () => {
  test("each stands in for the other", () => {
    const bytes = newTable();
    runSync(writeVersion(openTable(bytes).btt, 1, 1, 512));
    const primary = bytes.slice();
    primary[4096 + 60]! ^= 1;
    const { btt } = openTable(primary);
    expect([btt.damagedInfoAt, versionOf(1, runSync(readSector(btt, 1, 512)))]).toEqual([[4096], 1]);
    const copy = bytes.slice();
    copy[16 * MIB + 60]! ^= 1;
    expect(openTable(copy).btt.damagedInfoAt).toEqual([16 * MIB]);
    primary[16 * MIB + 60]! ^= 1;
    expect(failureOf(() => openTable(primary))).toMatchObject({ code: "EBADMSG", kind: "btt-info-checksum" });
    bytes.fill(0, 4096, 8192);
    expect(runSync(openBtt(byteStoreOn(new PmemDevice(bytes))))).toBe(undefined); // no signature, no table
  });

  test("a poisoned one, too", () => {
    const pmem = new PmemDevice(newTable());
    pmem.poison(4096, 1);
    expect(runSync(openBtt(byteStoreOn(pmem)))!.damagedInfoAt).toEqual([4096]);
  });

  const FIELDS = btt_sb.$.fields.filter(([name]) => !["signature", "uuid", "parent_uuid", "flags", "padding", "checksum_lo", "checksum_hi", "version_minor"].includes(name));
  test.each(FIELDS.map(([name, field]) => [name, field as Field] as const))("%s at 0, at its greatest, off by one: an error or a table, nothing else", (_name, field) => {
    const bytes = newTable();
    const good = bytes.slice(4096, 8192);
    const value = field.get(viewOf(good), 0);
    for (const wrong of [0, 2 ** (8 * field.size) - 1, value + 1, Math.max(0, value - 1), value * 2]) {
      const block = good.slice();
      field.set(viewOf(block), 0, wrong);
      sealInfoBlock(btt_sb, block);
      bytes.set(block, 4096);
      bytes.set(block, 16 * MIB);
      const failure = failureOf(() => {
        const { btt } = openTable(bytes);
        runSync(readSector(btt, btt.sizeBytes / btt.sectorBytes - 1, btt.sectorBytes));
      });
      if (failure.kind !== undefined) expect(failure.kind).toMatch(/^btt-/);
      else expect(failure.code).toBe(undefined);
    }
  });

  test("the error flag allows reading only", () => {
    const bytes = newTable();
    const block = bytes.slice(4096, 8192);
    btt_sb.flags.set(viewOf(block), 0, 1);
    sealInfoBlock(btt_sb, block);
    bytes.set(block, 4096);
    const { btt } = openTable(bytes);
    expect(versionOf(0, runSync(readSector(btt, 0, 512)))).toBe(0);
    expect(failureOf(() => runSync(writeVersion(btt, 0, 1, 512))).code).toBe("EIO");
  });

  test("a byte changed anywhere in log or map: an error, lost sectors, or nothing; never a hang", () => {
    const bytes = newTable();
    const { btt } = openTable(bytes);
    for (let sector = 0; sector < 20; sector++) runSync(writeVersion(btt, sector % 7, sector + 1, 512));
    const { info } = btt.arenas[0]!;
    const prng = new Prng(5);
    for (let count = 0; count < 300; count++) {
      const at = count % 2 === 0 ? info.logAt + prng.below(256) : info.mapAt + prng.below(64);
      const spoiled = new OverlayDevice(new MemoryDevice(bytes, { readOnly: true }));
      const sector = bytes.slice(at - (at % 512), at - (at % 512) + 512);
      sector[at % 512]! ^= 1 << prng.below(8);
      runSync(writeBytes(spoiled, at - (at % 512), sector));
      const failure = failureOf(() => {
        const device = runSync(openBtt(byteStoreOn(spoiled)))!;
        for (let read = 0; read < 10; read++) runSync(readSector(device, read, 512));
        runSync(writeVersion(device, 1, 99, 512));
      });
      if (failure.code !== undefined) expect(["EUCLEAN", "EIO"]).toContain(failure.code);
    }
  });
});

test("a table that must not be written is read as if it were repaired", () => {
  const bytes = newTable();
  const { btt } = openTable(bytes);
  runSync(writeVersion(btt, 3, 1, 512));
  const { info } = btt.arenas[0]!;
  const mapBefore = bytes.slice(info.mapAt, info.mapAt + 64);
  runSync(writeVersion(btt, 3, 2, 512));
  bytes.set(mapBefore, info.mapAt); // the power failed between log and map
  const before = bytes.slice();
  const readOnly = openTable(bytes, { readOnly: true }).btt;
  expect([versionOf(3, runSync(readSector(readOnly, 3, 512))), readOnly.arenas[0]!.recoveredCount, readOnly.readOnly]).toEqual([2, 1, true]);
  expect(runSync(readOnly.check())).toEqual([]);
  expect(failureOf(() => runSync(writeVersion(readOnly, 3, 3, 512))).code).toBe("EROFS");
  expect(Buffer.compare(bytes, before)).toBe(0);
});

describe("tasks that meet", () => {
  /** Waits `turns` times before each transfer, of which it keeps account. */
  class TurnStore implements ByteStore {
    readonly name = "turns";
    readonly readOnly = false;
    active = 0;
    activeMax = 0;
    failAfter = Infinity;
    constructor(private readonly below: ByteStore, private readonly prng: Prng) {}
    get sizeBytes(): number { return this.below.sizeBytes; }
    *read(offsetBytes: number, into: Uint8Array): Task<void> {
      yield* this.turn();
      yield* this.below.read(offsetBytes, into);
    }
    *write(offsetBytes: number, data: Uint8Array): Task<void> {
      this.active++;
      this.activeMax = Math.max(this.activeMax, this.active);
      yield* this.turn();
      this.active--;
      if (this.failAfter-- <= 0) throw Object.assign(new Error("EIO"), { code: "EIO" });
      yield* this.below.write(offsetBytes, data);
    }
    isBad(): boolean { return false; }
    *flush(): Task<void> {}
    *close(): Task<void> {}
    private *turn(): Task<void> {
      for (let count = this.prng.below(5); count > 0; count--) yield { op: "io", io: { description: "turn", runSync: () => undefined, runAsync: async () => undefined } };
    }
  }
  function together(tasks: readonly Task<void>[]): void {
    const scheduler = new Scheduler();
    const ended = new WaitQueue("ended");
    const failures: unknown[] = [];
    let running = tasks.length;
    tasks.forEach((task, index) => scheduler.spawn(`task ${index}`, (function* (): Task<void> {
      try {
        yield* task;
      } catch (error) {
        failures.push(error);
      }
      running--;
      ended.wakeAll();
    })()));
    scheduler.runSync(ended.wait(() => running === 0));
    if (failures.length > 0) throw failures[0];
  }

  test.each([1, 2, 3, 4, 5])("writers of one sector leave one of their versions, readers see whole ones (seed %i)", (seed) => {
    const bytes = newTable({ laneCount: 3 });
    const store = new TurnStore(byteStoreOn(new PmemDevice(bytes)), new Prng(seed));
    const btt = runSync(openBtt(store))!;
    const seen = new Set<number | undefined>();
    together([
      ...Array.from({ length: 6 }, (_, writer) => (function* (): Task<void> {
        for (let count = 0; count < 10; count++) yield* writeVersion(btt, 0, writer * 10 + count + 1, 512);
      })()),
      ...Array.from({ length: 4 }, () => (function* (): Task<void> {
        for (let count = 0; count < 40; count++) seen.add(versionOf(0, yield* readSector(btt, 0, 512)));
      })()),
    ]);
    expect(seen.has(undefined)).toBe(false);
    expect(seen.size).toBeGreaterThan(3);
    expect(store.activeMax).toBeLessThanOrEqual(3); // a lane each
    expect(store.activeMax).toBeGreaterThan(1);
    expect(runSync(btt.check())).toEqual([]);
    expect(runSync(openTable(bytes).btt.check())).toEqual([]);
  });

  test("parts of a sector of 4096 do not undo each other", () => {
    const bytes = newTable({ sectorBytes: 4096 });
    const btt = runSync(openBtt(new TurnStore(byteStoreOn(new PmemDevice(bytes)), new Prng(1))))!;
    together(Array.from({ length: 8 }, (_, part) => writeBytes(btt, part * 512, new Uint8Array(512).fill(part + 1))));
    const sector = runSync(readSector(btt, 0, 4096));
    expect(Array.from({ length: 8 }, (_, part) => [sector[part * 512], sector[part * 512 + 511]])).toEqual(Array.from({ length: 8 }, (_, part) => [part + 1, part + 1]));
  });

  test("a write that fails half-way makes the arena read-only; opening anew sorts it out", () => {
    for (let failAfter = 0; failAfter < 4; failAfter++) {
      const bytes = newTable();
      const store = new TurnStore(byteStoreOn(new PmemDevice(bytes)), new Prng(1));
      const btt = runSync(openBtt(store))!;
      runSync(writeVersion(btt, 1, 1, 512));
      store.failAfter = failAfter;
      expect(failureOf(() => runSync(writeVersion(btt, 1, 2, 512))).code).toBe("EIO");
      store.failAfter = Infinity;
      const goesOn = failureOf(() => runSync(writeVersion(btt, 2, 1, 512))).code === undefined;
      expect(goesOn).toBe(failAfter < 2); // data and the log's first half change nothing that counts
      const again = openTable(bytes).btt;
      expect(versionOf(1, runSync(readSector(again, 1, 512)))).toBe(failAfter < 3 ? 1 : 2);
      expect(runSync(again.check())).toEqual([]);
    }
  });
});

test("a namespace of the smallest size works to its end", () => {
  const { btt } = openTable(newTable({ laneCount: 256 }));
  expect(btt.sizeBytes).toBe(32202 * 512);
  expect(SMALL_BYTES).toBe(16 * MIB + 4096);
});
