/**
 * Checksums against values that are not ours: published check values of the CRCs, and structures as mke2fs and debugfs 1.47.0 wrote them, in a filesystem with the uuid 00112233-4455-6677-8899-aabbccddeeff.
 * Of each structure only the bytes that are not zero are written down.
 */
import { describe, expect, test } from "vitest";
import {
  bitmapChecksum, dirLeafChecksum, extentBlockChecksum, fsSeed, groupDescChecksum, groupDescChecksum16, inodeChecksum, inodeSeed, orphanBlockChecksum, superblockChecksum, xattrBlockChecksum,
} from "../../src/format/checksum.js";
import { dxNodeLimit, dxRootLimit, DX_ROOT_ENTRIES_AT } from "../../src/format/htree.js";
import { blockTailAgrees, commitBlockAgrees, journalShape, journalSuperblockChecksum, readRevokes, readTags, tagChecksum } from "../../src/format/jbd2.js";
import { crc16 } from "../../src/lib/crc16.js";
import { crc32, crc32Be } from "../../src/lib/crc32.js";
import { crc32c } from "../../src/lib/crc32c.js";
import { viewOf } from "../../src/lib/view.js";

const ALL_ONES = 0xffff_ffff;
const UUID = Buffer.from("00112233445566778899aabbccddeeff", "hex");
const SEED = 0xb720167d;

/** `size` bytes, zero but for the pieces given in hexadecimal by offset. */
function bytes(size: number, pieces: Readonly<Record<number, string>>): Buffer {
  const buffer = Buffer.alloc(size);
  for (const [at, hex] of Object.entries(pieces)) buffer.set(Buffer.from(hex.replaceAll(" ", ""), "hex"), Number(at));
  return buffer;
}

const invert = (value: number): number => ~value >>> 0;

describe("the CRCs' published check values", () => {
  const DIGITS = Buffer.from("123456789");
  test("CRC-32C (RFC 3720, appendix B.4), which inverts at the end where ext4 does not", () => {
    expect(invert(crc32c(ALL_ONES, DIGITS))).toBe(0xe3069283);
    expect(invert(crc32c(ALL_ONES, Buffer.alloc(32)))).toBe(0x8a9136aa);
    expect(invert(crc32c(ALL_ONES, Buffer.alloc(32, 0xff)))).toBe(0x62a8ab43);
    expect(invert(crc32c(ALL_ONES, Buffer.from(Array.from({ length: 32 }, (_, index) => index))))).toBe(0x46dd794e);
    expect(invert(crc32c(ALL_ONES, Buffer.from(Array.from({ length: 32 }, (_, index) => 31 - index))))).toBe(0x113fdb5c);
  });

  test("CRC-32, both ways round, and CRC-16", () => {
    expect(invert(crc32(ALL_ONES, DIGITS))).toBe(0xcbf43926);
    expect(crc32Be(ALL_ONES, DIGITS)).toBe(0x0376e6e7);
    expect(crc16(0, DIGITS)).toBe(0xbb3d);
    expect(crc16(0xffff, DIGITS)).toBe(0x4b37);
  });

  test("any range in any pieces", () => {
    const data = Buffer.from(Array.from({ length: 300 }, (_, index) => (index * 89) & 0xff));
    for (const [sum, width] of [[crc32c, 32], [crc32, 32], [crc32Be, 32], [crc16, 16]] as const) {
      const start = 2 ** width - 1;
      for (let from = 0; from < 20; from++) {
        const whole = sum(start, data, from, 250);
        for (const cut of [from, from + 1, from + 7, from + 8, from + 9, 249, 250]) expect(sum(sum(start, data, from, cut), data, cut, 250)).toBe(whole);
        expect(sum(start, data.subarray(from, 250))).toBe(whole);
      }
    }
  });
});

describe("structures that mke2fs and debugfs wrote", () => {
  test("the filesystem's seed", () => {
    expect(fsSeed(UUID)).toBe(SEED);
  });

  test("superblock", () => {
    const superblock = bytes(1024, {
      0: "200000000008000066000000e20300001400000001", 33: "2000000020000020", 49: "ca9a3b0000ffff53ef01000100000000ca9a3b",
      76: "01000000000000000b000000000100002c000000c20200006b04000000112233445566778899aabbccddeeff", 224: "08", 237: "112233445566778899aabbccddeeff010140000c", 265: "ca9a3b0af3030004",
      284: "0200000011000000020000000f0000001400000011000000ef0300002b", 334: "10", 348: "2000200001", 372: "0401000014", 584: "0d04", 1020: "2b9ec1f5",
    });
    expect(superblockChecksum(superblock)).toBe(0xf5c19e2b);
  });

  test("group descriptors: metadata_csum, and uninit_bg in both sizes", () => {
    const descriptor = bytes(64, { 0: "030000001300000023000000e2031400020000000000000013e0afce14008b7f", 56: "f61b2119" });
    expect(groupDescChecksum(descriptor, 0, 64, SEED, 0)).toBe(0x7f8b);
    expect(groupDescChecksum(Buffer.concat([Buffer.alloc(64), descriptor]), 64, 64, SEED, 0)).toBe(0x7f8b);
    expect(groupDescChecksum(descriptor, 0, 64, SEED, 1)).not.toBe(0x7f8b);
    const old = bytes(64, { 0: "030000001300000023000000e603150002000000000000000000000015000000" });
    expect(groupDescChecksum16(old, 0, 32, UUID, 0)).toBe(0xbbeb);
    expect(groupDescChecksum16(old, 0, 64, UUID, 0)).toBe(0x424b);
  });

  test("bitmaps: as many bytes as there are clusters or inodes", () => {
    const blocks = Buffer.alloc(1024);
    blocks.fill(0xff, 0, 131);
    blocks[131] = 0x1f;
    blocks[255] = 0x80;
    blocks.fill(0xff, 256);
    expect(bitmapChecksum(blocks, 1024, SEED)).toBe(0x1bf6e013);
    expect(bitmapChecksum(bytes(1024, { 0: "ff0f" }), 32 / 8, SEED)).toBe(0x1921ceaf);
  });

  test("inode, with attributes in its tail", () => {
    const inode = bytes(256, {
      0: "a4810000b80b000000ca9a3b00ca9a3b00ca9a3b00000000000001000800000000000800000000000af3010004", 56: "030000001a04", 104: "1d04", 124: "0cf7000020002f0b", 145: "ca9a3b",
      162: "02ea060158000000000002000000000000007365636f6e64", 252: "3232",
    });
    expect(inodeChecksum(inode, inodeSeed(SEED, 12, 0))).toBe(0x0b2ff70c);
  });

  test("a block of attributes, which has its own number in its checksum", () => {
    const block = bytes(1024, { 2: "02ea010000000100000000000000683c5999", 32: "0501d402000000002c0100008770f3326c61726765", 724: "76".repeat(300) });
    expect(xattrBlockChecksum(block, 1053, SEED)).toBe(0x99593c68);
    expect(xattrBlockChecksum(block, 1054, SEED)).not.toBe(0x99593c68);
  });

  test("a block of an extent tree: up to the last possible entry", () => {
    const entries = [1082, 1083, 1084, 1085, 1086, 1088, 1089, 1090, 1091, 1092];
    const block = bytes(1024, { 0: "0af30a0054000000" });
    entries.forEach((pblk, index) => {
      block.writeUInt32LE(index * 2, 12 + index * 12);
      block.writeUInt16LE(1, 16 + index * 12);
      block.writeUInt32LE(pblk, 20 + index * 12);
    });
    expect(extentBlockChecksum(block, inodeSeed(SEED, 13, 0))).toBe(0xaa7d7d6a);
    expect(12 + 84 * 12 + 4).toBe(1024);
  });

  test("a block of the orphan file", () => {
    expect(orphanBlockChecksum(bytes(1024, { 1016: "04ca100b05ca7242" }), 1050, inodeSeed(SEED, 12, 0))).toBe(0x4272ca05);
  });

  test("a leaf of a directory: the root of a new filesystem with blocks of 4 KiB", () => {
    const leaf = bytes(4096, {
      0: "02000000 0c00 01 02 2e000000", 12: "02000000 0c00 02 02 2e2e0000", 24: "0b000000 dc0f 0a 02 6c6f73742b666f756e64", 4084: "00000000 0c00 00 de 79c426f2",
    });
    expect(dirLeafChecksum(leaf, inodeSeed(SEED, 2, 0))).toEqual({ stored: 0xf226c479, computed: 0xf226c479 });
    leaf[4091] = 0;
    expect(dirLeafChecksum(leaf, inodeSeed(SEED, 2, 0))).toBeUndefined();
  });

  test("the entries of a hash tree leave room for a checksum behind them", () => {
    expect(dxRootLimit(4096, true)).toBe(507); // fb01 in the root that debugfs showed
    expect(DX_ROOT_ENTRIES_AT + 507 * 8).toBe(0xff8);
    expect([dxRootLimit(4096, false), dxNodeLimit(4096, true), dxNodeLimit(4096, false)]).toEqual([508, 510, 511]);
    expect(dxRootLimit(1024, true)).toBe(123);
  });
});

/** Written by debugfs: one transaction of two blocks, of which the first begins with the journal's magic number, and one revoke. */
describe("the journal", () => {
  const BLOCK = 4096;
  const shape = journalShape(BLOCK, 0x13, UUID);
  const escaped = Buffer.alloc(BLOCK, 0x41);
  escaped.writeUInt32BE(0, 0); // in the log the magic number is zero
  const plain = Buffer.alloc(BLOCK, 0x42);

  test("its shape: 64 bits, checksums of version 3", () => {
    expect(shape).toMatchObject({ is64bit: true, isCsumV3: true, hasCsum: true, tagBytes: 16, tailBytes: 4, csumSeed: SEED });
  });

  test("superblock", () => {
    const superblock = bytes(1024, {
      0: "c03b3998 00000004 00000000 00001000 00000400 00000001 00000001 00000001", 0x28: "00000013", 0x30: UUID.toString("hex"), 0x40: "00000001", 0x50: "04", 0xfc: "dce975de",
    });
    expect(journalSuperblockChecksum(superblock)).toBe(0xdce975de);
  });

  test("descriptor", () => {
    const descriptor = bytes(BLOCK, {
      0: "c03b3998 00000001 00000001", 12: "00000dac 00000001 00000000 b21b9ad6", 44: "00000dad 0000000a 00000000 231c9915",
      204: UUID.toString("hex"), // debugfs leaves what it had in memory
      4092: "f2fd4507",
    });
    expect(readTags(viewOf(descriptor), shape)).toEqual([{ block: 3500, flags: 1, checksum: 0xb21b9ad6 }, { block: 3501, flags: 10, checksum: 0x231c9915 }]);
    expect(blockTailAgrees(descriptor, viewOf(descriptor), shape)).toBe(true);
    expect(blockTailAgrees(Buffer.from(descriptor).fill(1, 100, 101), viewOf(descriptor), shape)).toBe(false);
  });

  test("logged blocks, as they stand in the log", () => {
    expect(tagChecksum(escaped, 1, shape)).toBe(0xb21b9ad6);
    expect(tagChecksum(plain, 1, shape)).toBe(0x231c9915);
    expect(tagChecksum(plain, 2, shape)).not.toBe(0x231c9915);
  });

  test("commit", () => {
    const commit = bytes(BLOCK, { 0: "c03b3998 00000002 00000001", 0x10: "bfccd14e", 0x30: "6b02796c00000000 1b49cb48" });
    expect(commitBlockAgrees(commit, viewOf(commit), shape)).toBe(true);
    commit[0x38] = 0;
    expect(commitBlockAgrees(commit, viewOf(commit), shape)).toBe(false);
  });

  test("revoke", () => {
    const revoke = bytes(BLOCK, { 0: "c03b3998 00000005 00000002 00000018", 16: "0000000000000dae", 4092: "74d757dd" });
    expect(readRevokes(viewOf(revoke), shape)).toEqual([3502]);
    expect(blockTailAgrees(revoke, viewOf(revoke), shape)).toBe(true);
    revoke.writeUInt32BE(5000, 12);
    expect(readRevokes(viewOf(revoke), shape)).toBeUndefined();
  });

  test("other shapes of tags", () => {
    const tagBytes = (incompat: number): number => journalShape(BLOCK, incompat, UUID).tagBytes;
    expect([tagBytes(0), tagBytes(0x2), tagBytes(0x8), tagBytes(0xa), tagBytes(0x10), tagBytes(0x12)]).toEqual([8, 12, 10, 14, 16, 16]);
    // Without checksums and 64 bits: a tag with a uuid behind it, then one without, then the last.
    const descriptor = bytes(1024, { 12: "00000064 0000 0000", 36: "00000065 0000 0002", 44: "00000066 0000 000a", 52: "00000067 0000 000a" });
    expect(readTags(viewOf(descriptor), journalShape(1024, 0, UUID)).map(({ block }) => block)).toEqual([100, 101, 102]);
    expect(tagChecksum(plain, 1, journalShape(BLOCK, 0x8, UUID))).toBe(0x231c9915 & 0xffff);
  });
});
