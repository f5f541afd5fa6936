/** Bad partition tables: every field of an MBR with logical partitions and of a GPT, disks cut short, and chains that loop. */
import { describe, expect, test } from "vitest";
import { Ext4, MemoryDevice, runSync, readPartitions } from "../../src/platform/node/index.js";
import { MBR_ENTRIES_AT, mbr_partition } from "../../src/format/partition.js";
import { viewOf } from "../../src/lib/view.js";
import { fixtureImage } from "../support/fixtures.js";
import { gptDisk, mbrDisk } from "./disks.js";
import { spoilEachField, Tally } from "./each-field.js";
import { contentsOf } from "./exercise.js";

const SECTOR_BYTES = 512;
const image = fixtureImage("extents-unchecked");
const tally = new Tally();

describe.each([
  ["MBR", mbrDisk(image)],
  ["GPT", gptDisk(image, true)],
  ["GPT without its backup", gptDisk(image, false)],
] as const)("%s", (name, { bytes, partition, targets }) => {
  test("each field of each structure", { timeout: 600_000 }, () => {
    const volume = Ext4.openSync(new MemoryDevice(bytes, { readOnly: true }), { partition });
    spoilEachField({
      pristine: bytes, contents: contentsOf(volume), ways: [["as it is", { partition }]],
      // The first copy of a GPT is covered by checksums, and nobody looks at the backup as long as it is right.
      mayDiffer: ({ layout }) => !layout.$.name.startsWith("gpt"),
    }, targets, tally);
  });

  test("cut short at every sector up to where the filesystem begins", () => {
    const end = Math.floor((bytes.length - image.length) / SECTOR_BYTES);
    for (let sectors = 0; sectors <= end; sectors++) {
      const device = new MemoryDevice(bytes.subarray(0, sectors * SECTOR_BYTES), { readOnly: true });
      const expected = expect.objectContaining(sectors < 2 ? { code: "ENXIO" } : { kind: "partition-table" });
      expect(() => Ext4.openSync(device, { partition }), `${name}, ${sectors} sectors`).toThrow(expected);
    }
  });
});

test("a chain of logical partitions that comes back to itself", () => {
  const { bytes } = mbrDisk(image);
  // The second record's second entry leads to the next record, counted from the extended partition: to itself.
  const at = (16 + 8) * SECTOR_BYTES + MBR_ENTRIES_AT + mbr_partition.$.size;
  mbr_partition.os_type.set(viewOf(bytes), at, 0x05);
  mbr_partition.starting_lba.set(viewOf(bytes), at, 8);
  expect(() => runSync(readPartitions(new MemoryDevice(bytes)))).toThrow(expect.objectContaining({
    code: "EUCLEAN", kind: "partition-table", where: { field: "logical partition", offset: 24 * SECTOR_BYTES },
  }));
});

tally.printAtEnd("spoiled fields of partition tables");
