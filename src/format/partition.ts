/**
 * Partition tables: the MBR with its chain of extended boot records, and GPT. Little-endian. Source: UEFI specification 2.10, chapter 5.
 */
import { bytes, hole, layout, le16, le32, le64, u8, viewOf } from "./layout.js";

export const MBR_SIGNATURE = 0xaa55;
export const MBR_ENTRIES_AT = 446;
export const MBR_ENTRIES = 4;
export const MBR_TYPE_GPT = 0xee;
/** Types of a partition that holds a chain of others. */
export const MBR_TYPES_EXTENDED: ReadonlySet<number> = new Set([0x05, 0x0f, 0x85]);

export const mbr_signature = layout("mbr_signature", 2, { signature: le16(0) });

export const mbr_partition = layout("mbr_partition", 16, {
  boot_indicator: u8(0),
  start_chs:      hole(1, 3),
  os_type:        u8(4), // 0: unused
  end_chs:        hole(5, 3),
  starting_lba:   le32(8),
  size_in_lba:    le32(12),
});

export const GPT_SIGNATURE = "EFI PART";

export const gpt_header = layout("gpt_header", 92, {
  signature:                   bytes(0, 8),
  revision:                    le32(8),
  header_size:                 le32(12),
  header_crc32:                le32(16),
  reserved1:                   hole(20, 4),
  my_lba:                      le64(24),
  alternate_lba:               le64(32),
  first_usable_lba:            le64(40),
  last_usable_lba:             le64(48),
  disk_guid:                   bytes(56, 16),
  partition_entry_lba:         le64(72),
  num_partition_entries:       le32(80),
  sizeof_partition_entry:      le32(84),
  partition_entry_array_crc32: le32(88),
});

export const gpt_entry = layout("gpt_entry", 128, {
  partition_type_guid:   bytes(0, 16), // all zero: unused
  unique_partition_guid: bytes(16, 16),
  starting_lba:          le64(32),
  ending_lba:            le64(40), // inclusive
  attributes:            bytes(48, 8),
  partition_name:        bytes(56, 72), // UTF-16
});

/** A GUID as text: its first three parts are little-endian numbers. */
export function formatGuid(guid: Uint8Array): string {
  const view = viewOf(guid);
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0");
  const tail = Array.from(guid.subarray(8), (byte) => hex(byte, 2)).join("");
  return [hex(view.getUint32(0, true), 8), hex(view.getUint16(4, true), 4), hex(view.getUint16(6, true), 4), tail.slice(0, 4), tail.slice(4)].join("-").toUpperCase();
}
