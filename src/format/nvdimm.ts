/**
 * What stands on persistent memory below a filesystem: the info block of a namespace (fsdax, devdax), and the block translation table with its info block and log. Little-endian.
 * Both info blocks have 4096 bytes and end in a checksum over all of it, fed as zeroes. Source: drivers/nvdimm/{pfn.h,btt.h} (7.1), dax-and-faults.md 12.2 and 12.3; UEFI 2.10, 6.3.
 */
import { fletcher64 } from "../lib/fletcher64.js";
import { bytes, hole, layout, le16, le32, le64, viewOf } from "./layout.js";

export const INFO_BLOCK_BYTES = 4096;
/** Where the info block of an fsdax or devdax namespace stands, and the first one of a BTT 1.1. What is before it is free for a boot sector. */
export const INFO_BLOCK_AT = 4096;

export const PFN_SIGNATURE = "NVDIMM_PFN_INFO";
export const DAX_SIGNATURE = "NVDIMM_DAX_INFO";

/** mode of nd_pfn_sb: where the kernel keeps its array of struct page for the namespace. */
export const PFN_MODE_RAM = 1;
export const PFN_MODE_PMEM = 2;

export const nd_pfn_sb = layout("nd_pfn_sb", INFO_BLOCK_BYTES, {
  signature:        bytes(0, 16),
  uuid:             bytes(16, 16),
  parent_uuid:      bytes(32, 16), // of the namespace's label; zero: it has none
  flags:            le32(48),
  version_major:    le16(52),
  version_minor:    le16(54),
  dataoff:          le64(56), // from the namespace's start and start_pad
  npfns:            le64(64), // pages of data
  mode:             le32(72),
  start_pad:        le32(76), // from minor version 1
  end_trunc:        le32(80),
  align:            le32(84), // from minor version 2; 0: what dataoff is aligned to
  page_size:        le32(88), // from minor version 4
  page_struct_size: le16(92),
  padding:          hole(94, 3994),
  checksum_lo:      le32(4088), // one le64 on the medium
  checksum_hi:      le32(4092),
});

export const BTT_SIGNATURE = "BTT_ARENA_INFO";
export const BTT_ARENA_BYTES_MIN = 2 ** 24;
export const BTT_ARENA_BYTES_MAX = 2 ** 39;
/** flags: a map or log could not be written; the arena is to be read only. */
export const IB_FLAG_ERROR = 0x1;

export const btt_sb = layout("btt_sb", INFO_BLOCK_BYTES, {
  signature:        bytes(0, 16),
  uuid:             bytes(16, 16),
  parent_uuid:      bytes(32, 16),
  flags:            le32(48),
  version_major:    le16(52),
  version_minor:    le16(54),
  external_lbasize: le32(56), // what a sector holds
  external_nlba:    le32(60),
  internal_lbasize: le32(64), // what it takes
  internal_nlba:    le32(68), // nfree more than external_nlba
  nfree:            le32(72), // lanes, each with a block of its own
  infosize:         le32(76),
  nextoff:          le64(80), // of the next arena; 0: this is the last. All offsets from the arena's start
  dataoff:          le64(88),
  mapoff:           le64(96),
  logoff:           le64(104),
  info2off:         le64(112), // the copy of this block, at the arena's end
  padding:          hole(120, 3968),
  checksum_lo:      le32(4088),
  checksum_hi:      le32(4092),
});

/** An entry of the map: where a sector's data is, and two flags. Both set: in the normal way; none: never written, the sector is where its own number says. */
export const MAP_ENTRY_BYTES = 4;
export const MAP_ENT_ZERO = 0x8000_0000;
export const MAP_ENT_ERROR = 0x4000_0000;
export const MAP_ENT_NORMAL = 0xc000_0000;
export const MAP_LBA_MASK = 0x3fff_ffff;

export const btt_map_entry = layout("btt_map_entry", MAP_ENTRY_BYTES, { entry: le32(0) });

/** A write in a lane: sector `lba` moved from block old_map to new_map. Written as two halves of 8 bytes, the one with `seq` last. */
export const log_entry = layout("log_entry", 16, {
  lba:     le32(0),
  old_map: le32(4),
  new_map: le32(8),
  seq:     le32(12), // 1, 2, 3, 1 ...; 0: never used
});

export const LOG_SLOTS = 4;
/** A lane's entries take a line of the cache; two of the four are used. */
export const LOG_GROUP_BYTES = LOG_SLOTS * log_entry.$.size;
export const LOG_SEQ_INIT = 1;

type InfoLayout = typeof nd_pfn_sb | typeof btt_sb;

/** Sets the checksum of a whole info block. */
export function sealInfoBlock(table: InfoLayout, block: Uint8Array): void {
  const view = viewOf(block);
  table.checksum_lo.set(view, 0, 0);
  table.checksum_hi.set(view, 0, 0);
  const { lo, hi } = fletcher64(block);
  table.checksum_lo.set(view, 0, lo);
  table.checksum_hi.set(view, 0, hi);
}

export function hasGoodChecksum(table: InfoLayout, block: Uint8Array): boolean {
  const view = viewOf(block);
  const copy = block.slice();
  sealInfoBlock(table, copy);
  const sealed = viewOf(copy);
  return table.checksum_lo.get(view, 0) === table.checksum_lo.get(sealed, 0) && table.checksum_hi.get(view, 0) === table.checksum_hi.get(sealed, 0);
}

/** The signature's text, without the zeroes behind it. */
export function signatureOf(block: Uint8Array): string {
  const raw = block.subarray(0, 16);
  const end = raw.indexOf(0);
  return String.fromCharCode(...raw.subarray(0, end < 0 ? raw.length : end));
}

export function signatureBytes(text: string): Uint8Array {
  return Uint8Array.from({ length: 16 }, (_, index) => (index < text.length ? text.charCodeAt(index) : 0));
}
