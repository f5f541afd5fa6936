/**
 * Partitions of a disk image: GPT (its backup where the first copy is damaged) or MBR with logical partitions. Each field is checked before it is used,
 * and the chain of logical partitions is bounded.
 */
import { CorruptionError } from "../format/corruption.js";
import {
  formatGuid, gpt_entry, gpt_header, GPT_SIGNATURE, MBR_ENTRIES, MBR_ENTRIES_AT, mbr_partition, MBR_SIGNATURE, mbr_signature, MBR_TYPE_GPT, MBR_TYPES_EXTENDED,
} from "../format/partition.js";
import { isAllZero } from "../lib/bytes.js";
import { crc32 } from "../lib/crc32.js";
import { FsError } from "../lib/errno.js";
import { decode } from "../lib/utf8.js";
import { viewOf } from "../lib/view.js";
import type { Task } from "../sched/task.js";
import { readBytes, SECTOR_BYTES, type Bio, type BlockDevice } from "./device.js";
import { checkBio } from "./leaf.js";

export interface Partition {
  /** As Linux numbers it: 1 and up; logical partitions of an MBR begin at 5. */
  readonly number: number;
  readonly startBytes: number;
  readonly sizeBytes: number;
  /** GPT: the type's GUID. MBR: the type as two hexadecimal digits. */
  readonly type: string;
  /** GPT only. */
  readonly name: string;
}

const ALL_ONES = 0xffff_ffff;
const LOGICAL_MAX = 128;
const GPT_ENTRIES_MAX = 1024;
const GPT_ENTRY_BYTES_MAX = 4096;
/** GPT counts in the disk's own sectors, which the image does not tell. */
const GPT_SECTOR_BYTES = [512, 4096];

/**
 * The partitions, by number; none, if the disk has no partition table.
 * @throws CorruptionError partition-table; FsError EIO.
 */
export function* readPartitions(device: BlockDevice): Task<Partition[]> {
  if (device.sizeBytes < 2 * SECTOR_BYTES) return [];
  const mbr = yield* readAt(device, 0, SECTOR_BYTES);
  if (mbr_signature.signature.get(mbr, SECTOR_BYTES - 2) !== MBR_SIGNATURE) return [];
  const isProtective = [0, 1, 2, 3].some((index) => mbrEntry(mbr, index).type === MBR_TYPE_GPT);
  return isProtective ? yield* readGpt(device) : yield* readMbr(device, mbr);
}

/** A device that is one partition of another. @throws FsError ENXIO there is no such partition. */
export function* openPartition(device: BlockDevice, number: number): Task<BlockDevice> {
  const partitions = yield* readPartitions(device);
  const partition = partitions.find((candidate) => candidate.number === number);
  if (partition !== undefined) return device.range?.(partition.startBytes, partition.sizeBytes, { name: `${device.name}#${number}` }) ?? new PartitionDevice(device, partition);
  const known = partitions.length === 0 ? "it has none" : `it has ${partitions.map((candidate) => candidate.number).join(", ")}`;
  throw new FsError("ENXIO", `${device.name} has no partition ${number}; ${known}`);
}

export class PartitionDevice implements BlockDevice {
  readonly name: string;
  readonly sizeBytes: number;

  constructor(private readonly disk: BlockDevice, private readonly partition: Partition) {
    this.name = `${disk.name}#${partition.number}`;
    this.sizeBytes = partition.sizeBytes;
  }

  get readOnly(): boolean {
    return this.disk.readOnly;
  }

  *submit(bios: readonly Bio[]): Task<void> {
    const { startBytes } = this.partition;
    for (const bio of bios) checkBio(this, bio);
    yield* this.disk.submit(bios.map((bio) => (bio.op === "flush" ? bio : { ...bio, offsetBytes: bio.offsetBytes + startBytes })));
  }

  *close(): Task<void> {
    yield* this.disk.close();
  }
}

function* readAt(device: BlockDevice, offsetBytes: number, lengthBytes: number): Task<DataView> {
  const bytes = new Uint8Array(lengthBytes);
  yield* readBytes(device, offsetBytes, bytes);
  return viewOf(bytes);
}

function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** @throws CorruptionError the partition passes the disk's end. */
function checked(device: BlockDevice, partition: Partition): Partition {
  if (partition.sizeBytes > 0 && partition.startBytes + partition.sizeBytes <= device.sizeBytes) return partition;
  throw new CorruptionError("partition-table", { field: `partition ${partition.number}`, found: `${partition.sizeBytes} bytes at ${partition.startBytes}`, expected: `within ${device.sizeBytes}` });
}

interface MbrEntry { readonly type: number; readonly lba: number; readonly count: number }

function mbrEntry(view: DataView, index: number): MbrEntry {
  const at = MBR_ENTRIES_AT + index * mbr_partition.$.size;
  return { type: mbr_partition.os_type.get(view, at), lba: mbr_partition.starting_lba.get(view, at), count: mbr_partition.size_in_lba.get(view, at) };
}

const mbrPartition = (number: number, { type, lba, count }: MbrEntry): Partition =>
  ({ number, startBytes: lba * SECTOR_BYTES, sizeBytes: count * SECTOR_BYTES, type: type.toString(16).padStart(2, "0"), name: "" });

function* readMbr(device: BlockDevice, mbr: DataView): Task<Partition[]> {
  // A filesystem's boot sector ends in the same signature: its code does not look like four entries.
  const looksLikeTable = [0, 1, 2, 3].every((index) => (mbr.getUint8(MBR_ENTRIES_AT + index * mbr_partition.$.size) & 0x7f) === 0);
  if (!looksLikeTable) return [];
  const partitions: Partition[] = [];
  for (let index = 0; index < MBR_ENTRIES; index++) {
    const entry = mbrEntry(mbr, index);
    if (entry.type === 0 || entry.count === 0) continue;
    partitions.push(checked(device, mbrPartition(index + 1, entry)));
    if (MBR_TYPES_EXTENDED.has(entry.type)) partitions.push(...(yield* readLogical(device, entry)));
  }
  return partitions.sort((a, b) => a.number - b.number);
}

/** Each record of the chain has one partition, counted from the record, and the next record, counted from the extended partition. */
function* readLogical(device: BlockDevice, extended: MbrEntry): Task<Partition[]> {
  const partitions: Partition[] = [];
  const visited = new Set<number>();
  for (let lba = extended.lba; ;) {
    const isBad = visited.has(lba) || visited.size === LOGICAL_MAX || (lba + 1) * SECTOR_BYTES > device.sizeBytes;
    if (isBad) throw new CorruptionError("partition-table", { field: "logical partition", offset: lba * SECTOR_BYTES });
    visited.add(lba);
    const record = yield* readAt(device, lba * SECTOR_BYTES, SECTOR_BYTES);
    if (mbr_signature.signature.get(record, SECTOR_BYTES - 2) !== MBR_SIGNATURE) {
      throw new CorruptionError("partition-table", { field: "signature", offset: lba * SECTOR_BYTES });
    }
    const own = mbrEntry(record, 0);
    if (own.type !== 0 && own.count !== 0) partitions.push(checked(device, mbrPartition(5 + partitions.length, { ...own, lba: own.lba + lba })));
    const next = mbrEntry(record, 1);
    if (next.type === 0 || next.lba === 0) return partitions;
    lba = extended.lba + next.lba;
  }
}

function* readGpt(device: BlockDevice): Task<Partition[]> {
  let damage: CorruptionError | undefined;
  for (const sectorBytes of GPT_SECTOR_BYTES) {
    const lastLba = Math.floor(device.sizeBytes / sectorBytes) - 1;
    for (const lba of [1, lastLba]) {
      if (lba < 1 || (lba + 1) * sectorBytes > device.sizeBytes) continue;
      const result = yield* readGptCopy(device, lba, sectorBytes);
      if (!(result instanceof CorruptionError)) return result;
      damage ??= result;
    }
  }
  throw damage ?? new CorruptionError("partition-table", { field: "signature" });
}

/** One copy of the table, or what is wrong with it. */
function* readGptCopy(device: BlockDevice, lba: number, sectorBytes: number): Task<Partition[] | CorruptionError> {
  const offset = lba * sectorBytes;
  const bad = (field: string, found?: number | string): CorruptionError => new CorruptionError("partition-table", { offset, field, found });
  const header = yield* readAt(device, offset, sectorBytes);
  if (decode(gpt_header.signature.get(header, 0)) !== GPT_SIGNATURE) return bad("signature");
  const headerBytes = gpt_header.header_size.get(header, 0);
  if (headerBytes < gpt_header.$.size || headerBytes > sectorBytes) return bad("header_size", headerBytes);
  if (crcWithout(bytesOf(header).subarray(0, headerBytes), gpt_header.header_crc32.at) !== gpt_header.header_crc32.get(header, 0)) return bad("header_crc32");
  if (gpt_header.my_lba.get(header, 0) !== lba) return bad("my_lba", gpt_header.my_lba.get(header, 0));
  const count = gpt_header.num_partition_entries.get(header, 0);
  const entryBytes = gpt_header.sizeof_partition_entry.get(header, 0);
  const entriesAt = gpt_header.partition_entry_lba.get(header, 0) * sectorBytes;
  if (count > GPT_ENTRIES_MAX) return bad("num_partition_entries", count);
  if (entryBytes < gpt_entry.$.size || entryBytes > GPT_ENTRY_BYTES_MAX) return bad("sizeof_partition_entry", entryBytes);
  if (entriesAt + count * entryBytes > device.sizeBytes) return bad("partition_entry_lba", entriesAt / sectorBytes);
  const entries = yield* readAt(device, entriesAt, count * entryBytes);
  if ((~crc32(ALL_ONES, bytesOf(entries)) >>> 0) !== gpt_header.partition_entry_array_crc32.get(header, 0)) return bad("partition_entry_array_crc32");
  const partitions: Partition[] = [];
  for (let index = 0; index < count; index++) {
    const at = index * entryBytes;
    const type = gpt_entry.partition_type_guid.get(entries, at);
    if (isAllZero(type)) continue;
    const first = gpt_entry.starting_lba.get(entries, at);
    const last = gpt_entry.ending_lba.get(entries, at);
    const partition = { number: index + 1, startBytes: first * sectorBytes, sizeBytes: (last - first + 1) * sectorBytes, type: formatGuid(type), name: utf16(gpt_entry.partition_name.get(entries, at)) };
    partitions.push(checked(device, partition));
  }
  return partitions;
}

/** The CRC of bytes whose own checksum's four bytes count as zeroes. */
function crcWithout(bytes: Uint8Array, fieldAt: number): number {
  const before = crc32(ALL_ONES, bytes, 0, fieldAt);
  return ~crc32(crc32(before, new Uint8Array(4)), bytes, fieldAt + 4) >>> 0;
}

function utf16(bytes: Uint8Array): string {
  const view = viewOf(bytes);
  let text = "";
  for (let at = 0; at + 2 <= bytes.length; at += 2) {
    const unit = view.getUint16(at, true);
    if (unit === 0) break;
    text += String.fromCharCode(unit);
  }
  return text;
}
