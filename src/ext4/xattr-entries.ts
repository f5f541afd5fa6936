/**
 * A list of attributes' entries, read and written: names from the front, values from the back. The list in an inode and the one in a block are the same but for where they stand,
 * what value offsets count from, and the order: a block's is sorted, an inode's is not. Entries are checked whole before any is used, and a list is written whole: who changes it
 * makes a new list of entries, and nothing on the way can leave half of one. Source: fs/ext4/xattr.c (check_xattrs, ext4_xattr_set_entry).
 */
import { EXT4_GOOD_OLD_INODE_BYTES } from "../format/inode.js";
import { CorruptionError, type CorruptionPlace } from "../format/corruption.js";
import { EXT4_XATTR_INDEX_SYSTEM, ext4_xattr_entry, ext4_xattr_header, ext4_xattr_ibody_header, xattrEntryBytes, xattrValueBytes } from "../format/xattr.js";
import { bytesEqual, compareBytes } from "../lib/bytes.js";
import type { Ino } from "../lib/numbers.js";
import { encode } from "../lib/utf8.js";
import { viewOf } from "../lib/view.js";
import type { Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";

const ENTRY_HEAD_BYTES = ext4_xattr_entry.$.size;
const LIST_END_BYTES = 4;
/** Largest value that Linux reads (EXT4_XATTR_SIZE_MAX). */
const VALUE_BYTES_MAX = 1 << 24;
const NO_BYTES = new Uint8Array(0);

/** An attribute's name as on disk. */
export interface XattrKey {
  readonly index: number;
  /** Without its prefix. */
  readonly name: Uint8Array;
}

export interface XattrEntry extends XattrKey {
  readonly hash: number;
  readonly sizeBytes: number;
  /** The inode that holds the value, or 0: then `value` has it. */
  readonly valueInum: Ino;
  /** A window on the inode or the block, or what is to be written there. */
  readonly value: Uint8Array;
}

/** Inline data stands in an attribute of this name. It never leaves the inode. */
export const SYSTEM_DATA: XattrKey = { index: EXT4_XATTR_INDEX_SYSTEM, name: encode("data") };

/** Where a list of entries stands, and what its value offsets count from. */
export interface EntryList {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly entriesAt: number;
  readonly valueBase: number;
  readonly end: number;
  readonly place: CorruptionPlace;
}

/** The list inside an inode, behind its fields; undefined: there is no room for one. */
export function ibodyList(fs: Ext4, inode: Ext4Inode): EntryList | undefined {
  const entriesAt = EXT4_GOOD_OLD_INODE_BYTES + inode.i_extra_isize + ext4_xattr_ibody_header.$.size;
  if (inode.i_extra_isize === 0 || entriesAt + LIST_END_BYTES > fs.sb.inodeBytes) return undefined;
  return { bytes: inode.raw, view: inode.rawView, entriesAt, valueBase: entriesAt, end: fs.sb.inodeBytes, place: { ino: inode.i_ino } };
}

/** The list in a block of attributes. */
export function blockList(data: Uint8Array, view: DataView, place: CorruptionPlace): EntryList {
  return { bytes: data, view, entriesAt: ext4_xattr_header.$.size, valueBase: 0, end: data.length, place };
}

export function isSameKey(a: XattrKey, b: XattrKey): boolean {
  return a.index === b.index && bytesEqual(a.name, b.name);
}

/** The order of a block's list: by index, length of the name, name. */
export function compareKeys(a: XattrKey, b: XattrKey): number {
  return a.index - b.index || a.name.length - b.name.length || compareBytes(a.name, b.name);
}

/** First the names, to where the list ends; then the values, which must lie behind it. */
export function readEntries(fs: Ext4, list: EntryList): XattrEntry[] {
  const { view, bytes, end, place } = list;
  const damaged = (at: number, field: string, found: number): CorruptionError =>
    new CorruptionError("xattr-entry", { ...place, offset: at, field, found });
  const starts: number[] = [];
  let at = list.entriesAt;
  for (;;) {
    if (at + LIST_END_BYTES > end) throw damaged(at, "e_name_len", end - at);
    if (view.getUint32(at, true) === 0) break;
    const nameLength = at + ENTRY_HEAD_BYTES > end ? Infinity : ext4_xattr_entry.e_name_len.get(view, at);
    const next = at + xattrEntryBytes(nameLength);
    if (nameLength === Infinity || next + LIST_END_BYTES > end) throw damaged(at, "e_name_len", nameLength);
    if (bytes.subarray(at + ENTRY_HEAD_BYTES, at + ENTRY_HEAD_BYTES + nameLength).includes(0)) throw damaged(at, "e_name", 0);
    starts.push(at);
    at = next;
  }
  const valuesAt = at + LIST_END_BYTES;
  return starts.map((start): XattrEntry => {
    const sizeBytes = ext4_xattr_entry.e_value_size.get(view, start);
    const valueInum = ext4_xattr_entry.e_value_inum.get(view, start);
    const valueAt = list.valueBase + ext4_xattr_entry.e_value_offs.get(view, start);
    if (sizeBytes > VALUE_BYTES_MAX) throw damaged(start, "e_value_size", sizeBytes);
    if (valueInum !== 0 && !fs.sb.hasEaInode) throw damaged(start, "e_value_inum", valueInum);
    const isHere = valueInum === 0 && sizeBytes > 0;
    if (isHere && (valueAt < valuesAt || valueAt + xattrValueBytes(sizeBytes) > end)) throw damaged(start, "e_value_offs", valueAt);
    return {
      index: ext4_xattr_entry.e_name_index.get(view, start),
      name: bytes.subarray(start + ENTRY_HEAD_BYTES, start + ENTRY_HEAD_BYTES + ext4_xattr_entry.e_name_len.get(view, start)),
      hash: ext4_xattr_entry.e_hash.get(view, start),
      sizeBytes,
      valueInum,
      value: isHere ? bytes.subarray(valueAt, valueAt + sizeBytes) : NO_BYTES,
    };
  });
}

/** What an attribute takes of a list's room. */
export function neededBytes(nameLength: number, valueSizeHereBytes: number): number {
  return xattrEntryBytes(nameLength) + xattrValueBytes(valueSizeHereBytes);
}

/** Room for more entries and values in a list that has `entries`. */
export function freeBytes(list: Pick<EntryList, "entriesAt" | "end">, entries: readonly XattrEntry[]): number {
  const used = entries.reduce((sum, { name, value }) => sum + neededBytes(name.length, value.length), LIST_END_BYTES);
  return list.end - list.entriesAt - used;
}

/** Writes `entries` in place of all that the list has; they must fit. They may be windows on the list's own bytes. */
export function writeEntries(list: EntryList, entries: readonly XattrEntry[]): void {
  const image = new Uint8Array(list.end - list.entriesAt);
  const view = viewOf(image);
  let at = 0;
  let valueAt = image.length;
  for (const { index, name, hash, sizeBytes, valueInum, value } of entries) {
    valueAt -= xattrValueBytes(value.length);
    ext4_xattr_entry.e_name_len.set(view, at, name.length);
    ext4_xattr_entry.e_name_index.set(view, at, index);
    ext4_xattr_entry.e_value_offs.set(view, at, value.length === 0 ? 0 : list.entriesAt - list.valueBase + valueAt);
    ext4_xattr_entry.e_value_inum.set(view, at, valueInum);
    ext4_xattr_entry.e_value_size.set(view, at, sizeBytes);
    ext4_xattr_entry.e_hash.set(view, at, hash);
    image.set(name, at + ENTRY_HEAD_BYTES);
    image.set(value, valueAt);
    at += xattrEntryBytes(name.length);
  }
  list.bytes.set(image, list.entriesAt);
}

/** The inodes that hold values of these entries; one that holds two stands there twice. */
export function valueInums(entries: readonly XattrEntry[]): Ino[] {
  return entries.map(({ valueInum }) => valueInum).filter((ino) => ino !== 0);
}
