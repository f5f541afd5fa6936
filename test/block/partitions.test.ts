/** Partition tables: those that are right, held against partx; those that are damaged; and partitions as devices. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { MemoryDevice } from "../../src/block/memory.js";
import { openPartition, readPartitions, type Partition } from "../../src/block/partition.js";
import { CorruptionError } from "../../src/format/corruption.js";
import { runSync, Scheduler } from "../../src/sched/scheduler.js";
import { Ext4 } from "../../src/platform/node/index.js";
import { fixtureImage } from "../support/fixtures.js";
import { hasCommand, notTestedHere, run, temporaryFolder } from "../support/host.js";
import { gptDisk, mbrDisk } from "../support/partition-tables.js";

const SECTORS = 8192;
const partitionsOf = (disk: Uint8Array): Partition[] => runSync(readPartitions(new MemoryDevice(disk, { readOnly: true })));

const gpt = (): Buffer => gptDisk([{ first: 64, count: 100, name: "boot" }, undefined, { first: 2048, count: 3000, name: "wurzel 漢字" }, { first: 164, count: 1, type: "6dfd5706aba4c44384e50933c84b4f4f" }], SECTORS);
const mbr = (): Buffer => mbrDisk([{ first: 64, count: 100 }, { first: 200, count: 50, type: "0c" }], SECTORS, [{ first: 1025, count: 500 }, { first: 1600, count: 40, type: "82" }, { first: 1700, count: 6000 }]);

const hasPartx = hasCommand("partx");
if (!hasPartx) notTestedHere("partition tables beside partx", "needs partx");

describe.runIf(hasPartx)("beside partx", () => {
  test.each([["GPT", gpt], ["MBR with logical partitions", mbr], ["MBR", () => mbrDisk([{ first: 1, count: 7 }, { first: 4000, count: 4192 }], SECTORS)]])("%s", (_name, make) => {
    const file = join(temporaryFolder(), "disk.img");
    writeFileSync(file, make());
    const theirs = run("partx", ["--noheadings", "--raw", "--bytes", "--output", "NR,START,SIZE,TYPE", file]).trim().split("\n").map((line) => line.split(" "));
    const ours = partitionsOf(make()).map(({ number, startBytes, sizeBytes, type }) => [String(number), String(startBytes / 512), String(sizeBytes), type]);
    const isExtended = (type: string): boolean => parseInt(type, 16) === 0x0f;
    // Linux shows of an extended partition its first sectors only, so that nothing overlaps.
    expect(ours.map(([number, start, size, type]) => [number, start, isExtended(type!) ? "" : size, type]))
      .toEqual(theirs.map(([number, start, size, type]) => [number, start, isExtended(type!) ? "" : size, type!.startsWith("0x") ? type!.slice(2).padStart(2, "0") : type!.toUpperCase()]));
  });
});

test("numbers, places, types and names of a GPT", () => {
  expect(partitionsOf(gpt())).toEqual([
    { number: 1, startBytes: 64 * 512, sizeBytes: 100 * 512, type: "0FC63DAF-8483-4772-8E79-3D69D8477DE4", name: "boot" },
    { number: 3, startBytes: 2048 * 512, sizeBytes: 3000 * 512, type: "0FC63DAF-8483-4772-8E79-3D69D8477DE4", name: "wurzel 漢字" },
    { number: 4, startBytes: 164 * 512, sizeBytes: 512, type: "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F", name: "" },
  ]);
});

test("a disk of sectors of 4096 bytes", () => {
  const disk = gptDisk([{ first: 40, count: 10, name: "large sectors" }], 200, 4096);
  expect(partitionsOf(disk)).toMatchObject([{ number: 1, startBytes: 40 * 4096, sizeBytes: 10 * 4096, name: "large sectors" }]);
  disk.fill(0xff, 4096, 4096 + 92);
  expect(partitionsOf(disk)).toMatchObject([{ number: 1, startBytes: 40 * 4096 }]);
});

describe("a damaged GPT", () => {
  const spoiled = (...places: readonly number[]): Buffer => {
    const disk = gpt();
    for (const at of places) disk[at] = disk[at]! ^ 0x10;
    return disk;
  };
  const LAST = (SECTORS - 1) * 512;
  test.each([
    ["signature", 512], ["header size", 512 + 12], ["header's checksum", 512 + 16], ["place of the header", 512 + 24], ["place of the entries", 512 + 72], ["count of entries", 512 + 80], ["size of an entry", 512 + 84],
    ["checksum of the entries", 512 + 88], ["an entry", 1024 + 33], ["a name", 1024 + 56], ["an unused entry", 1024 + 100 * 128],
  ])("%s: the backup is read, and without it the damage is named", (_name, at) => {
    expect(partitionsOf(spoiled(at))).toEqual(partitionsOf(gpt()));
    try {
      partitionsOf(spoiled(at, LAST));
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(CorruptionError);
      expect(error).toMatchObject({ kind: "partition-table", where: { offset: 512 } });
    }
  });

  test("a damaged backup does not matter", () => {
    expect(partitionsOf(spoiled(LAST))).toEqual(partitionsOf(gpt()));
  });

  test("a disk that was cut off, and one that grew: its backup is not at its end", () => {
    const grown = Buffer.concat([gpt(), Buffer.alloc(512 * 100)]);
    expect(partitionsOf(grown)).toEqual(partitionsOf(gpt()));
    expect(() => partitionsOf(gpt().subarray(0, 2048 * 512))).toThrow(expect.objectContaining({ kind: "partition-table", where: expect.objectContaining({ field: "partition 3" }) }));
  });

  test("a partition that passes the end, or ends before it begins", () => {
    expect(() => partitionsOf(gptDisk([{ first: 8000, count: 1000 }], SECTORS))).toThrow(CorruptionError);
    expect(() => partitionsOf(gptDisk([{ first: 100, count: -5 }], SECTORS))).toThrow(CorruptionError);
  });
});

describe("MBR", () => {
  test("a chain that leads back to itself, leaves the disk, or has no signature", () => {
    const chain = (change: (disk: Buffer, record: number) => void): Buffer => {
      const disk = mbr();
      change(disk, 1599 * 512); // the record of the second logical partition
      return disk;
    };
    const NEXT = 446 + 16 + 8;
    for (const disk of [
      chain((bytes, record) => bytes.writeUInt32LE(1599 - 1024, record + NEXT)), // itself
      chain((bytes, record) => bytes.writeUInt32LE(0xffff_0000, record + NEXT)),
      chain((bytes, record) => bytes.writeUInt16LE(0, record + 510)),
    ]) expect(() => partitionsOf(disk)).toThrow(expect.objectContaining({ kind: "partition-table" }));
  });

  test("partitions that pass the end", () => {
    expect(() => partitionsOf(mbrDisk([{ first: 8000, count: 1000 }], SECTORS))).toThrow(CorruptionError);
  });

  test("what has no table, or only looks as if it had one", () => {
    expect(partitionsOf(Buffer.alloc(SECTORS * 512))).toEqual([]);
    expect(partitionsOf(Buffer.alloc(100))).toEqual([]);
    expect(partitionsOf(fixtureImage("plain"))).toEqual([]);
    const bootSector = Buffer.alloc(SECTORS * 512, 0x90); // code, as of a boot loader in a filesystem's first block
    bootSector.writeUInt16LE(0xaa55, 510);
    expect(partitionsOf(bootSector)).toEqual([]);
  });
});

describe("a partition is a device", () => {
  const image = fixtureImage("plain");
  const disk = (): Buffer => gptDisk([{ first: 64, count: 8 }, { first: 128, count: image.length / 512, content: image }], SECTORS);

  test("of its own size, at its own place", async () => {
    const device = runSync(openPartition(new MemoryDevice(disk(), { name: "disk.img", readOnly: true }), 2));
    expect([device.name, device.sizeBytes, device.readOnly]).toEqual(["disk.img#2", image.length, true]);
    const bytes = new Uint8Array(image.length);
    await new Scheduler().runAsync(device.submit([{ op: "read", offsetBytes: 0, data: bytes }]));
    expect(Buffer.from(bytes).equals(Buffer.from(image))).toBe(true);
    expect(() => runSync(device.submit([{ op: "read", offsetBytes: image.length - 1, data: new Uint8Array(2) }]))).toThrow(expect.objectContaining({ code: "EIO" }));
    expect(() => runSync(device.submit([{ op: "read", offsetBytes: -1, data: new Uint8Array(1) }]))).toThrow(expect.objectContaining({ code: "EIO" }));
  });

  test("that is written in place", () => {
    const bytes = disk();
    const device = runSync(openPartition(new MemoryDevice(bytes), 1));
    runSync(device.submit([{ op: "write", offsetBytes: 512, data: new Uint8Array(512).fill(7) }, { op: "flush", offsetBytes: 0, data: new Uint8Array(0) }]));
    expect(bytes.subarray(64 * 512, 67 * 512)).toEqual(Buffer.concat([Buffer.alloc(512), Buffer.alloc(512, 7), Buffer.alloc(512)]));
    expect(() => runSync(device.submit([{ op: "write", offsetBytes: 7 * 512, data: new Uint8Array(1024) }]))).toThrow(expect.objectContaining({ code: "EIO" }));
  });

  test("that a volume is mounted from", () => {
    const volume = Ext4.openSync(new MemoryDevice(disk(), { readOnly: true }), { partition: 2 });
    expect(volume.readFileSync("/small", "utf8")).toBe("small file");
    expect(() => Ext4.openSync(new MemoryDevice(disk(), { name: "disk.img" }), { partition: 7 })).toThrow("ENXIO: disk.img has no partition 7; it has 1, 2");
    expect(() => Ext4.openSync(new MemoryDevice(Buffer.alloc(4096), { name: "empty" }), { partition: 1 })).toThrow("ENXIO: empty has no partition 1; it has none");
  });
});
