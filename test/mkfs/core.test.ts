/** What the core promises of mkfs: errors that name the option, the same bytes every time, few requests, a superblock that comes last, and nothing left of what was there. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Bio, BlockDevice } from "../../src/block/device.js";
import { EXT4_SUPER_MAGIC, ext4_super_block as S } from "../../src/format/superblock.js";
import { encode } from "../../src/lib/utf8.js";
import { viewOf } from "../../src/lib/view.js";
import { mkfs, planMkfs } from "../../src/mkfs/mkfs.js";
import { MkfsOptionError, type MkfsOptions } from "../../src/mkfs/options.js";
import { findSignature } from "../../src/mkfs/signatures.js";
import { Ext4, FsError, MemoryDevice, OverlayDevice, runSync, type Task } from "../../src/platform/node/index.js";
import { attempt, hasCommand, temporaryFolder } from "../support/host.js";
import { byteDifferences, hasMke2fs, makeOurs, makeTheirs, TIME_SEC } from "./beside.js";

const MIB = 2 ** 20;
const FIXED = { timeSec: TIME_SEC, uuid: new Uint8Array(16).fill(7), hashSeed: new Uint8Array(16).fill(9) };

/** Reads as zeroes; written blocks stay in memory. */
function hugeDevice(sizeBytes: number): OverlayDevice {
  const zeroes: BlockDevice = {
    name: "zeroes", sizeBytes, readOnly: true,
    *submit(bios: readonly Bio[]): Task<void> { for (const { op, data } of bios) if (op === "read") data.fill(0); },
    *close(): Task<void> {},
  };
  return new OverlayDevice(zeroes);
}

function make(options: Partial<MkfsOptions>, sizeBytes: number, fill = 0): Uint8Array {
  const bytes = new Uint8Array(sizeBytes).fill(fill);
  runSync(mkfs(new MemoryDevice(bytes), { ...FIXED, ...options }));
  return bytes;
}

describe("errors name the option", () => {
  const BAD: readonly (readonly [keyof MkfsOptions, Partial<MkfsOptions>])[] = [
    ["blockBytes", { blockBytes: 512 }], ["blockBytes", { blockBytes: 131072 }], ["blockBytes", { blockBytes: 3000 }], ["blockBytesMin", { blockBytesMin: 100 }],
    ["clusterBytes", { clusterBytes: 16384 }], ["clusterBytes", { features: "bigalloc", clusterBytes: 1024 }], ["clusterBytes", { features: "bigalloc", clusterBytes: 2 ** 29 }],
    ["features", { features: "no_such_feature" }], ["features", { features: "dirdata" }], ["features", { features: "meta_bg" }], ["features", { features: "^extent" }], ["features", { features: "^sparse_super" }],
    ["features", { features: "^metadata_csum,metadata_csum_seed" }], ["features", { features: "^has_journal,orphan_file" }],
    ["type", { type: "ext5" }], ["type", { type: "constructor" }], ["usage", { usage: ["tiny"] }], ["revision", { revision: 2 }],
    ["inodeBytes", { inodeBytes: 100 }], ["inodeBytes", { inodeBytes: 8192 }], ["inodeBytes", { inodeBytes: 128, features: "inline_data" }], ["inodeBytes", { revision: 0, inodeBytes: 256 }],
    ["inodeRatioBytes", { inodeRatioBytes: 512 }], ["inodeRatioBytes", { inodeRatioBytes: 2 ** 27 }], ["inodesCount", { inodesCount: 0 }], ["inodesCount", { inodesCount: 10_000_000 }],
    ["groupBlocks", { groupBlocks: 100 }], ["groupBlocks", { groupBlocks: 1001 }], ["groupBlocks", { groupBlocks: 100_000 }],
    ["flexGroups", { flexGroups: 3 }], ["flexGroups", { flexGroups: 4, features: "^flex_bg" }], ["reservedPercent", { reservedPercent: 51 }], ["reservedPercent", { reservedPercent: NaN }],
    ["label", { label: "seventeen letters" }], ["lastMounted", { lastMounted: "/".repeat(65) }], ["uuid", { uuid: new Uint8Array(15) }], ["hashSeed", { hashSeed: new Uint8Array(4) }],
    ["journalBytes", { journalBytes: 1000 }], ["journalBytes", { journalBytes: 33 * MIB }], ["externalJournal", { externalJournal: { uuid: FIXED.uuid, blockBytes: 4096, deviceNumber: 0 } }],
    ["resizeMax", { resizeMax: { blocks: 1000 } }], ["backupSuperblocks", { backupSuperblocks: 3 }], ["encoding", { encoding: "latin1" }], ["strictEncoding", { strictEncoding: true }],
    ["mmpIntervalSec", { mmpIntervalSec: 301 }], ["orphanFile", { features: "orphan_file", orphanFile: { blocks: 513 } }], ["sizeBytes", { sizeBytes: 65 * MIB }], ["sizeBytes", { sizeBytes: 0 }],
    ["timeSec", { timeSec: -1 }], ["timeSec", { timeSec: 2 ** 34 }], ["strideBlocks", { strideBlocks: 65536 }], ["stripeWidthBlocks", { stripeWidthBlocks: -1 }], ["rootOwner", { rootOwner: { uid: 2 ** 32, gid: 0 } }],
    ["inodesCount", { inodesCount: 100.5 }],
  ];
  test.each(BAD)("%s: %o", (option, options) => {
    let caught: unknown;
    try {
      planMkfs({ ...FIXED, ...options }, 64 * MIB);
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(MkfsOptionError);
    expect(caught).toMatchObject({ option, code: "EINVAL" });
  });

  test.each([0.03, 0.05, 0.06])("a device of %f MiB is too small", (mib) => {
    expect(() => planMkfs(FIXED, mib * MIB)).toThrow(FsError);
    expect(() => planMkfs(FIXED, mib * MIB)).toThrow(/too small/);
  });
});

describe("bytes", () => {
  const RICH = { features: "quota,project,orphan_file,casefold,inline_data,ea_inode,metadata_csum_seed" };

  test("the same options give the same bytes", () => {
    expect(Buffer.compare(make(RICH, 16 * MIB), make(RICH, 16 * MIB))).toBe(0);
  });

  test.each([["timeSec", { timeSec: TIME_SEC + 1 }], ["uuid", { uuid: new Uint8Array(16) }], ["hashSeed", { hashSeed: new Uint8Array(16) }]] as const)("another %s gives others", (_name, options) => {
    expect(Buffer.compare(make(RICH, 8 * MIB), make({ ...RICH, ...options }, 8 * MIB))).not.toBe(0);
  });

  test("times after 2038 and 2106", () => {
    for (const timeSec of [2 ** 31 + 5, 2 ** 32 + 5]) {
      const volume = Ext4.openSync(new MemoryDevice(make({ timeSec }, 8 * MIB)));
      expect(volume.statSync("/").mtimeMs).toBe(timeSec * 1000);
      expect(volume.statSync("/lost+found").birthtimeMs).toBe(timeSec * 1000);
      volume.closeSync();
    }
  });

  test("an owner of the root", () => {
    const volume = Ext4.openSync(new MemoryDevice(make({ rootOwner: { uid: 100_000, gid: 200_000 } }, 8 * MIB)));
    expect(volume.statSync("/")).toMatchObject({ uid: 100_000, gid: 200_000 });
    expect(volume.statSync("/lost+found")).toMatchObject({ uid: 0, gid: 0 });
    volume.closeSync();
  });
});

describe("on a device with old bytes", () => {
  const folder = temporaryFolder();
  const KINDS = ["-t ext4", "-t ext4 -b 4096", "-t ext3 -b 4096", "-t ext4 -b 2048 -O quota,orphan_file,bigalloc,inline_data", "-t ext4 -E lazy_itable_init=0", "-t ext4 -E lazy_journal_init=1"];

  test.each(KINDS)("%s: nothing of them is taken for what is new", (options) => {
    const [ours, theirs] = ["ours", "theirs"].map((name) => join(folder, name)) as [string, string];
    const words = options.includes("-E") ? `${options},nodiscard` : `${options} -E nodiscard`;
    for (const image of [ours, theirs]) writeFileSync(image, Buffer.alloc(48 * MIB, 0xaa));
    const result = makeOurs(ours, words, false);
    const volume = Ext4.openSync(ours);
    expect(volume.readdirSync("/")).toEqual(["lost+found"]);
    volume.closeSync();
    if (hasCommand("e2fsck")) expect(attempt("e2fsck", ["-fn", ours])).toMatchObject({ status: 0 });
    if (!hasMke2fs) return;
    makeTheirs(theirs, words);
    // mke2fs leaves the rest of the blocks alone in which copies of the superblock stand.
    const differences = byteDifferences(theirs, ours, result).split("\n").filter((line) => line !== "");
    const restOfSuperblocks = result.backupSuperblocks.map((block) => block * result.blockBytes + 1024);
    expect(differences.filter((line) => !restOfSuperblocks.some((at) => Number(line.split(" ")[0]) >= at && Number(line.split(" ")[0]) < at + result.blockBytes - 1024))).toEqual([]);
  });

  test("marks of others are gone", () => {
    const bytes = new Uint8Array(8 * MIB);
    bytes.set(encode("XFSB"), 0);
    expect(runSync(findSignature(new MemoryDevice(bytes)))).toBe("XFS filesystem");
    runSync(mkfs(new MemoryDevice(bytes), FIXED));
    expect(runSync(findSignature(new MemoryDevice(bytes)))).toMatch("ext4");
  });
});

describe("writing", () => {
  test("10 GiB take few requests, and only what must be there", () => {
    const device = hugeDevice(10 * 2 ** 30);
    const bios: Bio[] = [];
    const counting: BlockDevice = { name: "counting", sizeBytes: device.sizeBytes, readOnly: false, submit: (batch) => { bios.push(...batch); return device.submit(batch); }, close: () => device.close() };
    runSync(mkfs(counting, { ...FIXED, deviceIsZero: true }));
    expect(bios.filter(({ op }) => op === "write").length).toBeLessThan(40);
    expect(bios.reduce((sum, { data }) => sum + data.length, 0)).toBeLessThan(8 * MIB);
  });

  test("the superblock comes last: until then the device is no filesystem", () => {
    const sizeBytes = 16 * MIB;
    for (let failing = 0; ; failing++) {
      const bytes = make({}, sizeBytes); // one filesystem was here
      let count = 0;
      const inner = new MemoryDevice(bytes);
      const breaking: BlockDevice = {
        name: "breaking", sizeBytes, readOnly: false,
        *submit(batch: readonly Bio[]): Task<void> {
          for (const bio of batch) {
            if (bio.op === "write" && count++ === failing) throw new FsError("EIO");
            yield* inner.submit([bio]);
          }
        },
        *close(): Task<void> {},
      };
      try {
        runSync(mkfs(breaking, { ...FIXED, blockBytes: 4096 }));
        break; // it was never reached
      } catch (error) {
        expect(error).toMatchObject({ code: "EIO" });
      }
      if (failing > 0) expect(S.s_magic.get(viewOf(bytes), 1024), `after ${failing} writes`).not.toBe(EXT4_SUPER_MAGIC);
    }
  });

  test("17 TiB: more blocks than 32 bits count", () => {
    const device = hugeDevice(17 * 2 ** 40);
    const result = runSync(mkfs(device, { ...FIXED, features: "^sparse_super,sparse_super2", deviceIsZero: true }));
    expect(result).toMatchObject({ blocksCount: 17 * 2 ** 28, groupsCount: 17 * 2 ** 13, backupSuperblocks: [32768, (17 * 2 ** 13 - 1) * 32768] });
    const volume = Ext4.openSync(device);
    expect(volume.readdirSync("/")).toEqual(["lost+found"]);
    expect(volume.statfsSync("/").blocks).toBeGreaterThan(2 ** 32);
    volume.closeSync();
  });
});
