/** Disks with partition tables, made around an image, and where their structures stand. */
import {
  gpt_entry, gpt_header, GPT_SIGNATURE, MBR_ENTRIES, MBR_ENTRIES_AT, mbr_partition, MBR_SIGNATURE, mbr_signature, MBR_TYPE_GPT,
} from "../../src/format/partition.js";
import type { AnyLayout } from "../../src/format/layout.js";
import { crc32 } from "../../src/lib/crc32.js";
import { viewOf } from "../../src/lib/view.js";
import type { Target } from "./targets.js";

export interface Disk {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The partition that holds the image. */
  readonly partition: number;
  readonly targets: readonly Target[];
}

const SECTOR_BYTES = 512;
const LINUX_TYPE = 0x83;
const EXTENDED_TYPE = 0x05;
const GPT_ENTRIES = 8;
const GPT_FIRST_LBA = 34;

const target = (layout: AnyLayout, at: number): Target => ({ layout, at, sizeBytes: layout.$.size });

interface MbrEntry { readonly type: number; readonly lba: number; readonly count: number }

/** A boot record at sector `lba`. Returns its structures. */
function writeBootRecord(disk: Uint8Array, lba: number, entries: readonly MbrEntry[]): Target[] {
  const view = viewOf(disk);
  const base = lba * SECTOR_BYTES;
  mbr_signature.signature.set(view, base + SECTOR_BYTES - 2, MBR_SIGNATURE);
  const at = (index: number): number => base + MBR_ENTRIES_AT + index * mbr_partition.$.size;
  entries.forEach(({ type, lba: first, count }, index) => {
    mbr_partition.os_type.set(view, at(index), type);
    mbr_partition.starting_lba.set(view, at(index), first);
    mbr_partition.size_in_lba.set(view, at(index), count);
  });
  return [target(mbr_signature, base + SECTOR_BYTES - 2), ...Array.from({ length: MBR_ENTRIES }, (_, index) => target(mbr_partition, at(index)))];
}

/** An MBR with a primary partition of nothing, and an extended one with two logical partitions: nothing, and the image. */
export function mbrDisk(image: Uint8Array): Disk {
  const count = image.length / SECTOR_BYTES;
  const [extended, second] = [16, 8]; // the second record counts from the extended partition's start
  const bytes = new Uint8Array((extended + second + 2 + count) * SECTOR_BYTES);
  bytes.set(image, (extended + second + 1) * SECTOR_BYTES);
  const targets = [
    ...writeBootRecord(bytes, 0, [{ type: LINUX_TYPE, lba: 1, count: 8 }, { type: EXTENDED_TYPE, lba: extended, count: second + 2 + count }]),
    ...writeBootRecord(bytes, extended, [{ type: LINUX_TYPE, lba: 1, count: 4 }, { type: EXTENDED_TYPE, lba: second, count: 1 + count }]),
    ...writeBootRecord(bytes, extended + second, [{ type: LINUX_TYPE, lba: 1, count }]),
  ];
  return { bytes, partition: 6, targets };
}

/** A GPT whose second partition is the image. Without its backup nothing makes up for damage to the first copy. */
export function gptDisk(image: Uint8Array, hasBackup: boolean): Disk {
  const count = image.length / SECTOR_BYTES;
  const bytes = new Uint8Array((GPT_FIRST_LBA + 8 + count + 8) * SECTOR_BYTES);
  bytes.set(image, (GPT_FIRST_LBA + 8) * SECTOR_BYTES);
  const lastLba = bytes.length / SECTOR_BYTES - 1;
  const targets = writeBootRecord(bytes, 0, [{ type: MBR_TYPE_GPT, lba: 1, count: lastLba }]);
  const entries = new Uint8Array(GPT_ENTRIES * gpt_entry.$.size);
  writeGptEntry(entries, 0, GPT_FIRST_LBA, 8);
  writeGptEntry(entries, 1, GPT_FIRST_LBA + 8, count);
  const reseal = (disk: Uint8Array): void => sealGpt(disk, 1);
  targets.push({ ...target(gpt_header, SECTOR_BYTES), reseal });
  for (const index of [0, 1]) targets.push({ ...target(gpt_entry, 2 * SECTOR_BYTES + index * gpt_entry.$.size), reseal });
  writeGptCopy(bytes, { lba: 1, otherLba: lastLba, entriesLba: 2, lastLba }, entries);
  if (hasBackup) writeGptCopy(bytes, { lba: lastLba, otherLba: 1, entriesLba: lastLba - 2, lastLba }, entries);
  return { bytes, partition: 2, targets };
}

function writeGptEntry(entries: Uint8Array, index: number, lba: number, count: number): void {
  const view = viewOf(entries);
  const at = index * gpt_entry.$.size;
  gpt_entry.partition_type_guid.set(view, at, Uint8Array.from({ length: 16 }, (_, byte) => byte + 1));
  gpt_entry.unique_partition_guid.set(view, at, Uint8Array.from({ length: 16 }, (_, byte) => byte + index));
  gpt_entry.starting_lba.set(view, at, lba);
  gpt_entry.ending_lba.set(view, at, lba + count - 1);
}

function writeGptCopy(disk: Uint8Array, place: { lba: number; otherLba: number; entriesLba: number; lastLba: number }, entries: Uint8Array): void {
  const view = viewOf(disk);
  const at = place.lba * SECTOR_BYTES;
  gpt_header.signature.set(view, at, Buffer.from(GPT_SIGNATURE));
  gpt_header.revision.set(view, at, 0x10000);
  gpt_header.header_size.set(view, at, gpt_header.$.size);
  gpt_header.my_lba.set(view, at, place.lba);
  gpt_header.alternate_lba.set(view, at, place.otherLba);
  gpt_header.first_usable_lba.set(view, at, GPT_FIRST_LBA);
  gpt_header.last_usable_lba.set(view, at, place.lastLba - 3);
  gpt_header.partition_entry_lba.set(view, at, place.entriesLba);
  gpt_header.num_partition_entries.set(view, at, GPT_ENTRIES);
  gpt_header.sizeof_partition_entry.set(view, at, gpt_entry.$.size);
  disk.set(entries, place.entriesLba * SECTOR_BYTES);
  sealGpt(disk, place.lba);
}

/** Brings both checksums of a copy up to date: of the entries, as far as its header tells where they are, and of the header. */
function sealGpt(disk: Uint8Array, lba: number): void {
  const view = viewOf(disk);
  const at = lba * SECTOR_BYTES;
  const entriesAt = gpt_header.partition_entry_lba.get(view, at) * SECTOR_BYTES;
  const entriesBytes = gpt_header.num_partition_entries.get(view, at) * gpt_header.sizeof_partition_entry.get(view, at);
  gpt_header.partition_entry_array_crc32.set(view, at, crcOf(disk.subarray(entriesAt, entriesAt + entriesBytes)));
  gpt_header.header_crc32.set(view, at, 0);
  gpt_header.header_crc32.set(view, at, crcOf(disk.subarray(at, at + gpt_header.header_size.get(view, at))));
}

const crcOf = (bytes: Uint8Array): number => ~crc32(0xffff_ffff, bytes) >>> 0;
