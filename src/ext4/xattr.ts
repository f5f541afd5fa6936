/**
 * Extended attributes, read side. They stand behind the inode's fields (unsorted, values from the inode's end), in one block
 * that inodes may share (sorted), and large values in inodes of their own. Entries are checked whole before any is used.
 * Source: fs/ext4/xattr.c (check_xattrs, ext4_xattr_get, ext4_xattr_inode_get).
 */
import { aclToXattr } from "../format/acl.js";
import { crc32c } from "../lib/crc32c.js";
import { xattrBlockChecksum } from "../format/checksum.js";
import { CorruptionError, type CorruptionPlace } from "../format/corruption.js";
import { EXT4_EA_INODE_FL } from "../format/inode.js";
import {
  EXT4_XATTR_INDEX_POSIX_ACL_ACCESS, EXT4_XATTR_INDEX_POSIX_ACL_DEFAULT, EXT4_XATTR_INDEX_SYSTEM, EXT4_XATTR_MAGIC,
  ext4_xattr_entry, ext4_xattr_header, ext4_xattr_ibody_header, XATTR_PREFIXES,
} from "../format/xattr.js";
import { bytesEqual } from "../lib/bytes.js";
import type { Ino, Pblk } from "../lib/numbers.js";
import { encode } from "../lib/utf8.js";
import type { Task } from "../sched/task.js";
import { readBlocks } from "./file.js";
import { EXT4_GOOD_OLD_INODE_BYTES, type Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";

const ENTRY_HEAD_BYTES = 16;
const BLOCK_HEADER_BYTES = 32;
const IBODY_HEADER_BYTES = 4;
const LIST_END_BYTES = 4;
/** Largest value that Linux handles (EXT4_XATTR_SIZE_MAX). */
const VALUE_BYTES_MAX = 1 << 24;

export interface XattrEntry {
  readonly index: number;
  /** Without its prefix. */
  readonly name: Uint8Array;
  readonly hash: number;
  readonly sizeBytes: number;
  /** The inode that holds the value, or 0: then `value` has it. */
  readonly valueInum: Ino;
  /** A window on the inode or the block. */
  readonly value: Uint8Array;
}

/** Where a list of entries stands, and what its value offsets count from. */
interface EntryList {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly entriesAt: number;
  readonly valueBase: number;
  readonly end: number;
  readonly place: CorruptionPlace;
}

/** All attributes of an inode, those inside it first, as Linux lists them. */
export function* allXattrs(fs: Ext4, inode: Ext4Inode): Task<XattrEntry[]> {
  const entries = ibodyXattrs(fs, inode);
  if (inode.i_file_acl !== 0) entries.push(...(yield* blockXattrs(fs, inode, inode.i_file_acl)));
  return entries;
}

export function ibodyXattrs(fs: Ext4, inode: Ext4Inode): XattrEntry[] {
  const headerAt = EXT4_GOOD_OLD_INODE_BYTES + inode.i_extra_isize;
  const firstAt = headerAt + IBODY_HEADER_BYTES;
  if (inode.i_extra_isize === 0 || firstAt + LIST_END_BYTES > fs.sb.inodeBytes) return [];
  if (ext4_xattr_ibody_header.h_magic.get(inode.rawView, headerAt) !== EXT4_XATTR_MAGIC) return [];
  return readEntries(fs, {
    bytes: inode.raw, view: inode.rawView, entriesAt: firstAt, valueBase: firstAt, end: fs.sb.inodeBytes,
    place: { ino: inode.i_ino },
  });
}

function* blockXattrs(fs: Ext4, inode: Ext4Inode, block: Pblk): Task<XattrEntry[]> {
  const place = { ino: inode.i_ino, block };
  const buffer = fs.cache.peek(block) ?? (yield* fs.cache.read(block));
  const { view, data } = buffer;
  const magic = ext4_xattr_header.h_magic.get(view, 0);
  if (magic !== EXT4_XATTR_MAGIC) {
    throw new CorruptionError("xattr-block", { ...place, field: "h_magic", found: magic, expected: EXT4_XATTR_MAGIC });
  }
  const blocks = ext4_xattr_header.h_blocks.get(view, 0);
  if (blocks !== 1) throw new CorruptionError("xattr-block", { ...place, field: "h_blocks", found: blocks, expected: 1 });
  if (fs.sb.hasMetadataCsum && fs.verifyChecksums) {
    const found = ext4_xattr_header.h_checksum.get(view, 0);
    const expected = xattrBlockChecksum(data, block, fs.sb.csumSeed);
    if (found !== expected) throw new CorruptionError("xattr-checksum", { ...place, found, expected });
  }
  return readEntries(fs, { bytes: data, view, entriesAt: BLOCK_HEADER_BYTES, valueBase: 0, end: fs.blockBytes, place });
}

/** First the names, to where the list ends; then the values, which must lie behind it. */
function readEntries(fs: Ext4, list: EntryList): XattrEntry[] {
  const { view, bytes, end, place } = list;
  const damaged = (at: number, field: string, found: number): CorruptionError =>
    new CorruptionError("xattr-entry", { ...place, offset: at, field, found });
  const starts: number[] = [];
  let at = list.entriesAt;
  for (;;) {
    if (at + LIST_END_BYTES > end) throw damaged(at, "e_name_len", end - at);
    if (view.getUint32(at, true) === 0) break;
    const nameLength = at + ENTRY_HEAD_BYTES > end ? Infinity : ext4_xattr_entry.e_name_len.get(view, at);
    const next = at + ((ENTRY_HEAD_BYTES + nameLength + 3) & ~3);
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
    if (isHere && (valueAt < valuesAt || valueAt + ((sizeBytes + 3) & ~3) > end)) throw damaged(start, "e_value_offs", valueAt);
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

/** The value as stored: of an attribute with an inode of its own, that inode's data, whose hash must agree. */
export function* xattrValue(fs: Ext4, inode: Ext4Inode, entry: XattrEntry): Task<Uint8Array> {
  if (entry.valueInum === 0) return entry.value;
  const holder = yield* fs.igetForXattr(entry.valueInum);
  const place = { ino: entry.valueInum };
  if ((holder.i_flags & EXT4_EA_INODE_FL) === 0) throw new CorruptionError("xattr-entry", { ...place, field: "i_flags", found: holder.i_flags });
  if (holder.i_size !== entry.sizeBytes) {
    throw new CorruptionError("xattr-entry", { ...place, field: "i_size", found: holder.i_size, expected: entry.sizeBytes });
  }
  const value = new Uint8Array(entry.sizeBytes);
  yield* readBlocks(fs, holder, 0, value);
  // Lustre's ancestors of the feature name the owner where Linux has the hash, and have no hash.
  const isLustre = holder.i_generation === inode.i_generation && holder.i_mtime.sec === inode.i_ino;
  const expected = holder.i_atime.sec >>> 0;
  if (!isLustre && fs.verifyChecksums) {
    const found = crc32c(fs.sb.csumSeed, value);
    if (found !== expected) throw new CorruptionError("xattr-checksum", { ...place, found, expected });
  }
  return value;
}

/** The in-inode value of system.data; undefined: the inode has none. */
export function inlineDataValue(fs: Ext4, inode: Ext4Inode): Uint8Array | undefined {
  const entry = ibodyXattrs(fs, inode).find(({ index, name }) => index === EXT4_XATTR_INDEX_SYSTEM && bytesEqual(name, SYSTEM_DATA));
  if (entry !== undefined && entry.valueInum !== 0) {
    throw new CorruptionError("inline-data", { ino: inode.i_ino, field: "e_value_inum", found: entry.valueInum });
  }
  return entry?.value;
}

/** The full name, or undefined for what Linux does not list: inline data, encryption contexts, unknown prefixes. */
function fullName(entry: XattrEntry): Uint8Array | undefined {
  const prefix = PREFIX_BYTES.get(entry.index);
  if (prefix === undefined) return undefined;
  const name = new Uint8Array(prefix.length + entry.name.length);
  name.set(prefix);
  name.set(entry.name, prefix.length);
  return name;
}

export function* listXattrNames(fs: Ext4, inode: Ext4Inode): Task<Uint8Array[]> {
  return (yield* allXattrs(fs, inode)).map(fullName).filter((name) => name !== undefined);
}

/** The value in the form of Linux's getxattr: ACLs are stored in a shorter form than programs see. */
export function* getXattr(fs: Ext4, inode: Ext4Inode, name: Uint8Array): Task<Uint8Array | undefined> {
  for (const entry of yield* allXattrs(fs, inode)) {
    const full = fullName(entry);
    if (full === undefined || !bytesEqual(full, name)) continue;
    const value = yield* xattrValue(fs, inode, entry);
    const isAcl = entry.index === EXT4_XATTR_INDEX_POSIX_ACL_ACCESS || entry.index === EXT4_XATTR_INDEX_POSIX_ACL_DEFAULT;
    if (!isAcl) return value.slice();
    const acl = aclToXattr(value);
    if (acl === undefined) throw new CorruptionError("acl", { ino: inode.i_ino });
    return acl;
  }
  return undefined;
}

const NO_BYTES = new Uint8Array(0);
const SYSTEM_DATA = encode("data");
const LISTED = new Set([1, 2, 3, 4, 6, 10]);
const PREFIX_BYTES = new Map(Object.entries(XATTR_PREFIXES)
  .filter(([index]) => LISTED.has(Number(index)))
  .map(([index, prefix]) => [Number(index), encode(prefix)]));
