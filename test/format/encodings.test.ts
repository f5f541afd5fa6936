/** Values that the disk writes in ways of its own: times, device numbers, the length of directory entries. */
import { describe, expect, test } from "vitest";
import { recLenFromDisk, recLenToDisk } from "../../src/format/dir-entry.js";
import { decodeDevice, decodeTime, encodeDevice, encodeTime, ext4_inode, inodeUid } from "../../src/format/inode.js";
import { setSuperblockTime, superblockTime } from "../../src/format/superblock.js";
import { viewOf } from "../../src/lib/view.js";
import { Prng } from "../../src/lib/prng.js";

describe("times", () => {
  // Documentation/filesystems/ext4/inodes.rst: the epoch bits, the sign of the 32-bit seconds, and what they mean together.
  test.each<[string, number, number]>([
    ["1901-12-13T20:45:52Z", -(2 ** 31), 0], ["1969-12-31T23:59:59Z", -1, 0], ["1970-01-01T00:00:00Z", 0, 0], ["2038-01-19T03:14:07Z", 2 ** 31 - 1, 0],
    ["2038-01-19T03:14:08Z", -(2 ** 31), 1], ["2106-02-07T06:28:15Z", -1, 1], ["2106-02-07T06:28:16Z", 0, 1], ["2174-02-25T09:42:23Z", 2 ** 31 - 1, 1],
    ["2174-02-25T09:42:24Z", -(2 ** 31), 2], ["2242-03-16T12:56:31Z", -1, 2], ["2242-03-16T12:56:32Z", 0, 2], ["2310-04-04T16:10:39Z", 2 ** 31 - 1, 2],
    ["2310-04-04T16:10:40Z", -(2 ** 31), 3], ["2378-04-22T19:24:47Z", -1, 3], ["2378-04-22T19:24:48Z", 0, 3], ["2446-05-10T22:38:55Z", 2 ** 31 - 1, 3],
  ])("%s is %d with epoch %d", (date, seconds, epoch) => {
    const sec = Date.parse(date) / 1000;
    for (const nsec of [0, 1, 123_456_789, 999_999_999]) {
      const extra = nsec * 4 + epoch;
      expect(decodeTime(seconds, extra)).toEqual({ sec, nsec });
      expect(encodeTime({ sec, nsec })).toEqual({ seconds, extra });
    }
  });

  test("without the extra word there are seconds only", () => {
    expect(decodeTime(-5, 0)).toEqual({ sec: -5, nsec: 0 });
  });

  test("any time in the range comes back", () => {
    const prng = new Prng(11);
    for (let round = 0; round < 2000; round++) {
      const time = { sec: -(2 ** 31) + Math.floor((prng.next() / 2 ** 32) * 2 ** 34), nsec: prng.below(1_000_000_000) };
      const { seconds, extra } = encodeTime(time);
      expect(seconds).toBe(seconds | 0);
      expect(decodeTime(seconds, extra)).toEqual(time);
    }
  });

  test("the superblock's times have 40 bits and no sign", () => {
    const view = viewOf(new Uint8Array(1024));
    for (const seconds of [0, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 15_032_385_535, 2 ** 40 - 1]) {
      setSuperblockTime("s_wtime", view, 0, seconds);
      expect(superblockTime("s_wtime", view, 0)).toBe(seconds);
    }
    setSuperblockTime("s_wtime", view, 0, 0x12_3456_789a);
    expect([view.getUint32(0x30, true), view.getUint8(0x274)]).toEqual([0x3456789a, 0x12]);
  });
});

describe("device numbers", () => {
  const inode = (first: number, second: number): DataView => {
    const view = viewOf(new Uint8Array(ext4_inode.$.size));
    view.setUint32(0x28, first, true);
    view.setUint32(0x2c, second, true);
    return view;
  };
  // Old: 8 and 8 bits. New: minor's lowest 8, 12 of major, minor's other 12 (include/linux/kdev_t.h, new_encode_dev).
  test.each([
    [5, 1, 0x0501, 0], [8, 255, 0x08ff, 0], [255, 255, 0xffff, 0], [0, 1, 1, 0], [4, 70, 0x0446, 0],
    [256, 0, 0, 0x10000], [0, 256, 0, 0x100000], [8, 256, 0, 0x100800], [300, 70_000, 0, 0x11112c70], [4095, 1_048_575, 0, 0xffffffff], [255, 256, 0, 0x10ff00], [259, 70_000, 0, 0x11110370],
  ])("%d, %d", (major, minor, first, second) => {
    expect(decodeDevice(inode(first, second), 0)).toEqual({ major, minor });
    const view = inode(0x5555_5555, 0x5555_5555);
    encodeDevice(view, 0, { major, minor });
    expect([view.getUint32(0x28, true), view.getUint32(0x2c, true)]).toEqual([first, second]);
  });
});

test("owners have 32 bits in two halves, the upper far from the lower", () => {
  const view = viewOf(new Uint8Array(ext4_inode.$.size));
  view.setUint16(0x02, 0xfffe, true);
  view.setUint16(0x78, 0xffff, true);
  expect(inodeUid(view, 0)).toBe(2 ** 32 - 2);
});

describe("the length of directory entries", () => {
  test("is itself in blocks up to 32 KiB", () => {
    for (const blockBytes of [1024, 4096, 32768]) for (const length of [12, 16, 264, blockBytes - 12, blockBytes]) {
      expect([recLenToDisk(length, blockBytes), recLenFromDisk(length, blockBytes)]).toEqual([length, length]);
    }
    expect(recLenFromDisk(0xffff, 4096)).toBe(0xffff);
    expect(recLenFromDisk(0, 4096)).toBe(0);
  });

  // fs/ext4/ext4.h, ext4_rec_len_from_disk.
  test.each([[65536, 0xffff], [12, 12], [65532, 0xfffc], [65524, 0xfff4], [264, 264], [32768, 0x8000], [4, 4]])("%d in a block of 64 KiB is %d", (length, stored) => {
    expect(recLenToDisk(length, 65536)).toBe(stored);
    expect(recLenFromDisk(stored, 65536)).toBe(length);
  });

  test("a whole block of 64 KiB may also be written as 0, and bits 16 and 17 stand lowest", () => {
    expect(recLenFromDisk(0, 65536)).toBe(65536);
    expect(recLenFromDisk(1, 65536)).toBe(65536);
    expect(recLenFromDisk(0xd, 65536)).toBe(65536 + 12);
    for (let length = 4; length <= 65536; length += 4) expect(recLenFromDisk(recLenToDisk(length, 65536), 65536)).toBe(length);
  });
});
