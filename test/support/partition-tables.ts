/** Disks with partition tables, made byte by byte after the UEFI specification, chapter 5: nothing of ours takes part. */
import { crc32 } from "node:zlib";

export interface Part {
  /** In sectors. */
  readonly first: number;
  readonly count: number;
  readonly content?: Uint8Array;
  readonly name?: string;
  /** GPT: the type's GUID in the order of its bytes on disk, in hexadecimal. MBR: one byte. */
  readonly type?: string;
}

const MBR_ENTRIES_AT = 446;
/** Linux filesystem data, 0FC63DAF-8483-4772-8E79-3D69D8477DE4. */
const LINUX_DATA = "af3dc60f838472478e793d69d8477de4";
const ENTRIES_COUNT = 128;
const ENTRY_BYTES = 128;

function putMbrEntry(sector: Buffer, index: number, type: number, first: number, count: number): void {
  const at = MBR_ENTRIES_AT + index * 16;
  sector.set([0, 0, 2, 0, type, 0xff, 0xff, 0xff], at);
  sector.writeUInt32LE(first, at + 8);
  sector.writeUInt32LE(count, at + 12);
  sector.writeUInt16LE(0xaa55, 510);
}

const fill = (disk: Buffer, parts: readonly (Part | undefined)[], sectorBytes: number): void => {
  for (const part of parts) if (part?.content !== undefined) disk.set(part.content, part.first * sectorBytes);
};

/** @param parts in the order of their entries; undefined leaves one unused. */
export function gptDisk(parts: readonly (Part | undefined)[], sectors: number, sectorBytes = 512): Buffer {
  const disk = Buffer.alloc(sectors * sectorBytes);
  putMbrEntry(disk.subarray(0, 512), 0, 0xee, 1, Math.min(sectors - 1, 0xffff_ffff));
  const entries = Buffer.alloc(ENTRIES_COUNT * ENTRY_BYTES);
  parts.forEach((part, index) => {
    if (part === undefined) return;
    const entry = entries.subarray(index * ENTRY_BYTES, (index + 1) * ENTRY_BYTES);
    entry.set(Buffer.from(part.type ?? LINUX_DATA, "hex"));
    entry.fill(index + 1, 16, 32);
    entry.writeBigUInt64LE(BigInt(part.first), 32);
    entry.writeBigUInt64LE(BigInt(part.first + part.count - 1), 40);
    entry.set(Buffer.from(part.name ?? "", "utf16le"), 56);
  });
  const entriesSectors = Math.ceil(entries.length / sectorBytes);
  const header = (lba: number, otherLba: number, entriesLba: number): Buffer => {
    const bytes = Buffer.alloc(sectorBytes);
    bytes.write("EFI PART", 0, "latin1");
    bytes.writeUInt32LE(0x10000, 8);
    bytes.writeUInt32LE(92, 12);
    bytes.writeBigUInt64LE(BigInt(lba), 24);
    bytes.writeBigUInt64LE(BigInt(otherLba), 32);
    bytes.writeBigUInt64LE(BigInt(2 + entriesSectors), 40);
    bytes.writeBigUInt64LE(BigInt(sectors - 2 - entriesSectors), 48);
    bytes.fill(0x5a, 56, 72);
    bytes.writeBigUInt64LE(BigInt(entriesLba), 72);
    bytes.writeUInt32LE(ENTRIES_COUNT, 80);
    bytes.writeUInt32LE(ENTRY_BYTES, 84);
    bytes.writeUInt32LE(crc32(entries), 88);
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 92)), 16);
    return bytes;
  };
  const last = sectors - 1;
  disk.set(header(1, last, 2), sectorBytes);
  disk.set(entries, 2 * sectorBytes);
  disk.set(entries, (last - entriesSectors) * sectorBytes);
  disk.set(header(last, 1, last - entriesSectors), last * sectorBytes);
  fill(disk, parts, sectorBytes);
  return disk;
}

/** Primary partitions, and if there are any logical ones, a fourth that holds them: each begins one sector behind its record. */
export function mbrDisk(primary: readonly Part[], sectors: number, logical: readonly Part[] = []): Buffer {
  const disk = Buffer.alloc(sectors * 512);
  const type = (part: Part): number => parseInt(part.type ?? "83", 16);
  primary.forEach((part, index) => putMbrEntry(disk.subarray(0, 512), index, type(part), part.first, part.count));
  if (logical.length > 0) {
    const extended = logical[0]!.first - 1;
    putMbrEntry(disk.subarray(0, 512), 3, 0x0f, extended, sectors - extended);
    logical.forEach((part, index) => {
      const record = disk.subarray((part.first - 1) * 512, part.first * 512);
      putMbrEntry(record, 0, type(part), 1, part.count);
      const next = logical[index + 1];
      if (next !== undefined) putMbrEntry(record, 1, 0x05, next.first - 1 - extended, next.count + 1);
    });
  }
  fill(disk, [...primary, ...logical], 512);
  return disk;
}
