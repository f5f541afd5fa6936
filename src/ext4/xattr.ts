/**
 * Extended attributes, read side. They stand behind the inode's fields (unsorted), in one block that inodes may share (sorted), and large values in inodes of their own.
 * Locks: xattr_sem covers the inode's list, i_file_acl and the block's entries; a block that inodes share changes but for its reference count.
 * Source: fs/ext4/xattr.c (ext4_xattr_get, ext4_listxattr, ext4_xattr_inode_get).
 */
import type { BufferHead } from "../block/buffer-cache.js";
import { aclToXattr } from "../format/acl.js";
import { xattrBlockChecksum } from "../format/checksum.js";
import { CorruptionError, type CorruptionPlace } from "../format/corruption.js";
import { EXT4_EA_INODE_FL } from "../format/inode.js";
import {
  EXT4_XATTR_INDEX_POSIX_ACL_ACCESS, EXT4_XATTR_INDEX_POSIX_ACL_DEFAULT, EXT4_XATTR_MAGIC, ext4_xattr_header, ext4_xattr_ibody_header, XATTR_PREFIXES,
} from "../format/xattr.js";
import { bytesEqual } from "../lib/bytes.js";
import { crc32c } from "../lib/crc32c.js";
import type { Pblk } from "../lib/numbers.js";
import { encode } from "../lib/utf8.js";
import type { Task } from "../sched/task.js";
import { readBlocks } from "./file.js";
import type { Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";
import { blockList, ibodyList, isSameKey, readEntries, SYSTEM_DATA, type XattrEntry, type XattrKey } from "./xattr-entries.js";

/** What a buffer is marked with that was checked as a block of attributes: no inode's token is as low, and the check does not depend on who leads to it. */
const VERIFIED_AS_XATTR = 3;

/** All attributes of an inode, those inside it first, as Linux lists them. */
export function* allXattrs(fs: Ext4, inode: Ext4Inode): Task<XattrEntry[]> {
  if (!inode.xattr_sem.tryRead()) yield* inode.xattr_sem.read();
  try {
    return yield* allXattrsLocked(fs, inode);
  } finally {
    inode.xattr_sem.unlockRead();
  }
}

function* allXattrsLocked(fs: Ext4, inode: Ext4Inode): Task<XattrEntry[]> {
  return [...ibodyXattrs(fs, inode), ...(yield* blockXattrs(fs, inode))];
}

/** Requires xattr_sem, as the next one does. */
export function ibodyXattrs(fs: Ext4, inode: Ext4Inode): XattrEntry[] {
  const list = ibodyList(fs, inode);
  if (list === undefined || ext4_xattr_ibody_header.h_magic.get(list.view, list.entriesAt - ext4_xattr_ibody_header.$.size) !== EXT4_XATTR_MAGIC) return [];
  return readEntries(fs, list);
}

export function* blockXattrs(fs: Ext4, inode: Ext4Inode): Task<XattrEntry[]> {
  if (inode.i_file_acl === 0) return [];
  const buffer = fs.cache.peek(inode.i_file_acl) ?? (yield* fs.cache.read(inode.i_file_acl));
  return xattrBlockEntries(fs, buffer, inode);
}

/** The entries of a block of attributes. Its header and checksum are looked at when it came in: while a transaction changes it, the checksum lags behind. */
export function xattrBlockEntries(fs: Ext4, buffer: BufferHead, inode?: Ext4Inode): XattrEntry[] {
  const place = { ino: inode?.i_ino, block: buffer.b_blocknr };
  checkHeader(fs, buffer, place);
  return readEntries(fs, blockList(buffer.data, buffer.view, place));
}

function checkHeader(fs: Ext4, buffer: BufferHead, place: CorruptionPlace & { block: Pblk }): void {
  const { view, data } = buffer;
  if (buffer.verifiedAs === VERIFIED_AS_XATTR) return;
  const magic = ext4_xattr_header.h_magic.get(view, 0);
  if (magic !== EXT4_XATTR_MAGIC) throw new CorruptionError("xattr-block", { ...place, field: "h_magic", found: magic, expected: EXT4_XATTR_MAGIC });
  const blocks = ext4_xattr_header.h_blocks.get(view, 0);
  if (blocks !== 1) throw new CorruptionError("xattr-block", { ...place, field: "h_blocks", found: blocks, expected: 1 });
  if (fs.sb.hasMetadataCsum && fs.verifyChecksums) {
    const found = ext4_xattr_header.h_checksum.get(view, 0);
    const expected = xattrBlockChecksum(data, place.block, fs.sb.csumSeed);
    if (found !== expected) throw new CorruptionError("xattr-checksum", { ...place, found, expected });
  }
  buffer.verifiedAs = VERIFIED_AS_XATTR;
}

/** For a block that was made here. */
export function markXattrBlockVerified(buffer: BufferHead): void {
  buffer.verifiedAs = VERIFIED_AS_XATTR;
}

/** The inode that holds the entry's value, checked to be such an inode of the right size. */
export function* igetHolder(fs: Ext4, entry: XattrEntry): Task<Ext4Inode> {
  const holder = yield* fs.igetForXattr(entry.valueInum);
  const place = { ino: entry.valueInum };
  if ((holder.i_flags & EXT4_EA_INODE_FL) === 0) throw new CorruptionError("xattr-entry", { ...place, field: "i_flags", found: holder.i_flags });
  if (holder.i_size !== entry.sizeBytes) {
    throw new CorruptionError("xattr-entry", { ...place, field: "i_size", found: holder.i_size, expected: entry.sizeBytes });
  }
  return holder;
}

/** Lustre's ancestors of the feature name the owner where Linux has no meaning for the fields, and have neither hash nor reference count. */
export function isLustreHolder(holder: Ext4Inode, owner: Ext4Inode): boolean {
  return holder.i_generation === owner.i_generation && holder.i_mtime.sec === owner.i_ino;
}

/** What stands in the access time of the inode that holds `value`. */
export function heldValueHash(fs: Ext4, value: Uint8Array): number {
  return crc32c(fs.sb.csumSeed, value);
}

/** The value as stored: of an attribute with an inode of its own, that inode's data, whose hash must agree. */
export function* xattrValue(fs: Ext4, inode: Ext4Inode, entry: XattrEntry): Task<Uint8Array> {
  if (entry.valueInum === 0) return entry.value;
  const holder = yield* igetHolder(fs, entry);
  const value = new Uint8Array(entry.sizeBytes);
  yield* readBlocks(fs, holder, 0, value);
  if (!isLustreHolder(holder, inode) && fs.verifyChecksums) {
    const found = heldValueHash(fs, value);
    const expected = holder.i_atime.sec >>> 0;
    if (found !== expected) throw new CorruptionError("xattr-checksum", { ino: entry.valueInum, found, expected });
  }
  return value;
}

/** The value stored under `key`, the caller's own; undefined: there is none. */
export function* findXattr(fs: Ext4, inode: Ext4Inode, key: XattrKey): Task<Uint8Array | undefined> {
  if (!inode.xattr_sem.tryRead()) yield* inode.xattr_sem.read();
  try {
    const entry = (yield* allXattrsLocked(fs, inode)).find((each) => isSameKey(each, key));
    return entry === undefined ? undefined : (yield* xattrValue(fs, inode, entry)).slice();
  } finally {
    inode.xattr_sem.unlockRead();
  }
}

/** The in-inode value of system.data; undefined: the inode has none. */
export function inlineDataValue(fs: Ext4, inode: Ext4Inode): Uint8Array | undefined {
  const entry = ibodyXattrs(fs, inode).find((each) => isSameKey(each, SYSTEM_DATA));
  if (entry !== undefined && entry.valueInum !== 0) {
    throw new CorruptionError("inline-data", { ino: inode.i_ino, field: "e_value_inum", found: entry.valueInum });
  }
  return entry?.value;
}

/** The full name, or undefined for what Linux does not list: inline data, encryption contexts, unknown prefixes. */
function fullName(entry: XattrKey): Uint8Array | undefined {
  const prefix = PREFIX_BYTES.get(entry.index);
  if (prefix === undefined) return undefined;
  const name = new Uint8Array(prefix.length + entry.name.length);
  name.set(prefix);
  name.set(entry.name, prefix.length);
  return name;
}

/** A full name taken apart; undefined: no attribute that programs may see is called so. */
export function parseXattrName(name: Uint8Array): XattrKey | undefined {
  for (const [index, prefix] of PREFIX_BYTES) {
    const isWhole = isAclIndex(index);
    if (isWhole ? !bytesEqual(name, prefix) : !bytesEqual(name.subarray(0, prefix.length), prefix)) continue;
    return { index, name: name.slice(prefix.length) };
  }
  return undefined;
}

export function isAclIndex(index: number): boolean {
  return index === EXT4_XATTR_INDEX_POSIX_ACL_ACCESS || index === EXT4_XATTR_INDEX_POSIX_ACL_DEFAULT;
}

export function* listXattrNames(fs: Ext4, inode: Ext4Inode): Task<Uint8Array[]> {
  return (yield* allXattrs(fs, inode)).map(fullName).filter((name) => name !== undefined);
}

/** The value in the form of Linux's getxattr: ACLs are stored in a shorter form than programs see. */
export function* getXattr(fs: Ext4, inode: Ext4Inode, name: Uint8Array): Task<Uint8Array | undefined> {
  const key = parseXattrName(name);
  if (key === undefined) return undefined;
  const value = yield* findXattr(fs, inode, key);
  if (value === undefined || !isAclIndex(key.index)) return value;
  const acl = aclToXattr(value);
  if (acl === undefined) throw new CorruptionError("acl", { ino: inode.i_ino });
  return acl;
}

const LISTED = new Set([1, 2, 3, 4, 6, 10]);
const PREFIX_BYTES = new Map(Object.entries(XATTR_PREFIXES)
  .filter(([index]) => LISTED.has(Number(index)))
  .map(([index, prefix]) => [Number(index), encode(prefix)]));
