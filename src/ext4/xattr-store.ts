/**
 * Where an attribute goes: into the inode if it fits there, else into its block, else its value into an inode of its own. Whatever can fail comes first; then the new lists are
 * written, whole. Locks: takes xattr_sem(w). Source: fs/ext4/xattr.c (ext4_xattr_set_handle).
 */
import { EXT4_GOOD_OLD_INODE_BYTES } from "../format/inode.js";
import { COMPAT } from "../format/features.js";
import { EXT4_XATTR_MAGIC, ext4_xattr_header, ext4_xattr_ibody_header, xattrEntryBytes, xattrEntryHash, xattrValueBytes } from "../format/xattr.js";
import type { Handle } from "../jbd2/handle.js";
import { bytesEqual } from "../lib/bytes.js";
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";
import { deleteHolders, dropReferences, holdValue, openExtraSpace } from "./ea-inode.js";
import type { Ext4Inode } from "./inode.js";
import { bitmapCredits } from "./map-credits.js";
import type { Ext4 } from "./super.js";
import { blockXattrs, heldValueHash, ibodyXattrs, igetHolder } from "./xattr.js";
import { changeBlock, sharesBlock, withoutReferencesOf } from "./xattr-block.js";
import { compareKeys, freeBytes, ibodyList, isSameKey, neededBytes, SYSTEM_DATA, writeEntries, type XattrEntry, type XattrKey } from "./xattr-entries.js";

/** With ea_inode, so much of a block is kept for entries: no value may stand in it. */
const BLOCK_RESERVE_BYTES_MAX = 1024;
const BLOCK_RESERVE_DIVISOR = 8;
/** A value that leaves a block no room beside a name of so many letters is not tried there. */
const SHORT_NAME_LENGTH = 3;
const LIST_END_BYTES = 4;
/** The inode, two blocks of attributes, a bitmap and a group descriptor for each, the superblock. */
const BLOCK_CREDITS = 8;
/** An inode bitmap, a group descriptor, the inode, and three blocks of the orphan list: for a holder that comes and for one that goes. */
const HOLDER_CREDITS = 12;
/** A holder's map has at most so many blocks outside of the inode. */
const MAP_BLOCKS = 2;
const SECTOR_BYTES = 512;
const NO_BYTES = new Uint8Array(0);

export interface XattrFlags {
  /** EEXIST if there is one. */
  readonly create?: boolean | undefined;
  /** ENODATA if there is none. */
  readonly replace?: boolean | undefined;
}

/** All attributes of an inode. */
interface Attributes {
  readonly ibody: readonly XattrEntry[];
  readonly block: readonly XattrEntry[];
}

/**
 * Sets an attribute, or removes it (undefined). Requires: xattrCredits. Where a value in another inode goes, the handle may be restarted at the very end.
 * @throws FsError ENOSPC, EEXIST, ENODATA, EIO; CorruptionError: the old value stays.
 */
export function* storeXattr(handle: Handle, fs: Ext4, inode: Ext4Inode, key: XattrKey, value: Uint8Array | undefined, flags: XattrFlags = {}): Task<void> {
  const dead: Ext4Inode[] = [];
  try {
    if (!inode.xattr_sem.tryWrite()) yield* inode.xattr_sem.write();
    try {
      yield* storeLocked(handle, fs, inode, key, value, flags, dead);
    } finally {
      inode.xattr_sem.unlockWrite();
    }
  } finally {
    yield* deleteHolders(handle, fs, dead);
  }
}

function* storeLocked(
  handle: Handle, fs: Ext4, inode: Ext4Inode, key: XattrKey, value: Uint8Array | undefined, flags: XattrFlags, dead: Ext4Inode[],
): Task<void> {
  const before: Attributes = { ibody: ibodyXattrs(fs, inode), block: yield* blockXattrs(fs, inode) };
  const old = [...before.ibody, ...before.block].find((entry) => isSameKey(entry, key));
  if (old === undefined && flags.replace === true) throw new FsError("ENODATA");
  if (old !== undefined && flags.create === true) throw new FsError("EEXIST");
  const isSame = old === undefined ? value === undefined : value !== undefined && hasValue(old, value);
  if (isSame) return;
  // A damaged holder is better met before anything is changed.
  if (old !== undefined && old.valueInum !== 0) yield* igetHolder(fs, old);
  if (inode.i_extra_isize === 0 && fs.sb.inodeBytes > EXT4_GOOD_OLD_INODE_BYTES) openExtraSpace(fs, inode);
  const others = withEntry(before, key, undefined, true);
  if (value === undefined) yield* changeAttributes(handle, fs, inode, before, others, [], dead);
  else yield* placeValue(handle, fs, inode, { before, others, key, value }, dead);
  if (!fs.sb.has(COMPAT.ext_attr, "compat")) {
    fs.sb.setFeature("compat", COMPAT.ext_attr, true);
    yield* fs.markSuperDirty(handle);
  }
  inode.i_ctime = fs.now();
  yield* inode.markDirty(handle);
}

function hasValue(entry: XattrEntry, value: Uint8Array): boolean {
  return entry.valueInum === 0 && bytesEqual(entry.value, value);
}

interface Placing {
  readonly before: Attributes;
  /** Without the attribute. */
  readonly others: Attributes;
  readonly key: XattrKey;
  readonly value: Uint8Array;
}

function* placeValue(handle: Handle, fs: Ext4, inode: Ext4Inode, { before, others, key, value }: Placing, dead: Ext4Inode[]): Task<void> {
  const place = findPlace(fs, inode, others, key.name.length, value.length);
  if (place === undefined) throw new FsError("ENOSPC", "the attribute fits neither the inode nor its block");
  const holder = place.isHeld ? yield* holdValue(handle, fs, inode, value, dead) : undefined;
  const entry: XattrEntry = {
    ...key,
    hash: holder !== undefined ? xattrEntryHash(key.name, leWord(heldValueHash(fs, value))) : place.isIbody ? 0 : xattrEntryHash(key.name, value),
    sizeBytes: value.length,
    valueInum: holder?.i_ino ?? 0,
    value: holder === undefined ? value : NO_BYTES,
  };
  try {
    yield* changeAttributes(handle, fs, inode, before, withEntry(before, key, entry, place.isIbody), holder === undefined ? [] : [entry], dead);
  } catch (error) {
    if (holder !== undefined) yield* dropReferences(handle, fs, inode, [entry], dead);
    throw error;
  }
}

function leWord(word: number): Uint8Array {
  return Uint8Array.of(word, word >>> 8, word >>> 16, word >>> 24);
}

/** The first place with room, in Linux's order of preference. */
function findPlace(fs: Ext4, inode: Ext4Inode, others: Attributes, nameLength: number, valueLength: number): { isIbody: boolean; isHeld: boolean } | undefined {
  const mayHold = fs.sb.hasEaInode && valueLength > 0;
  const isLarge = xattrValueBytes(valueLength) > fs.blockBytes - ext4_xattr_header.$.size - xattrEntryBytes(SHORT_NAME_LENGTH) - LIST_END_BYTES;
  for (const isHeld of !mayHold ? [false] : isLarge ? [true] : [false, true]) {
    const hereBytes = isHeld ? 0 : valueLength;
    const needed = neededBytes(nameLength, hereBytes);
    const list = ibodyList(fs, inode);
    if (list !== undefined && needed <= freeBytes(list, others.ibody)) return { isIbody: true, isHeld };
    const hasRoom = needed <= freeBytes({ entriesAt: ext4_xattr_header.$.size, end: fs.blockBytes }, others.block);
    if (hasRoom && !(mayHold && hereBytes > 0 && eatsReserve(fs, others.block, hereBytes))) return { isIbody: false, isHeld };
  }
  return undefined;
}

/** With ea_inode long values must not fill a block to which entries of other long values might still come. */
function eatsReserve(fs: Ext4, others: readonly XattrEntry[], valueLength: number): boolean {
  const valuesBytes = others.reduce((sum, { value }) => sum + xattrValueBytes(value.length), xattrValueBytes(valueLength));
  return fs.blockBytes - valuesBytes < Math.min(fs.blockBytes / BLOCK_RESERVE_DIVISOR, BLOCK_RESERVE_BYTES_MAX);
}

/** The attributes with `entry` in place of what they have under the key. A list that stays as it is is returned as the same one. */
function withEntry({ ibody, block }: Attributes, key: XattrKey, entry: XattrEntry | undefined, isIbody: boolean): Attributes {
  return {
    ibody: listWith(ibody, key, isIbody ? entry : undefined),
    block: listWith(block, key, isIbody ? undefined : entry, compareKeys),
  };
}

function listWith(list: readonly XattrEntry[], key: XattrKey, entry: XattrEntry | undefined, order?: (a: XattrKey, b: XattrKey) => number): readonly XattrEntry[] {
  const at = list.findIndex((each) => isSameKey(each, key));
  const added = entry === undefined ? [] : [entry];
  if (at >= 0) return [...list.slice(0, at), ...added, ...list.slice(at + 1)];
  if (entry === undefined) return list;
  const before = order === undefined ? -1 : list.findIndex((each) => order(each, entry) > 0);
  return before < 0 ? [...list, entry] : [...list.slice(0, before), entry, ...list.slice(before)];
}

/** Writes what differs between `before` and `after`. @param held the entry, if any, for which a reference was taken. @throws nothing is changed. */
function* changeAttributes(
  handle: Handle, fs: Ext4, inode: Ext4Inode, before: Attributes, after: Attributes, held: readonly XattrEntry[], dead: Ext4Inode[],
): Task<void> {
  // The inode's block joins the transaction now, while failing is still possible.
  yield* inode.markDirty(handle);
  const heldInBlock = held.filter((entry) => after.block.includes(entry));
  const heldInIbody = held.filter((entry) => after.ibody.includes(entry));
  const unneeded: XattrEntry[] = [];
  if (after.block !== before.block) unneeded.push(...(yield* changeBlock(handle, fs, inode, { before: before.block, after: after.block, held: heldInBlock }, dead)));
  if (after.ibody !== before.ibody) {
    unneeded.push(...withoutReferencesOf([...before.ibody, ...heldInIbody], after.ibody));
    writeIbody(fs, inode, after.ibody);
  }
  inode.i_blocks += heldSectors(fs, after) - heldSectors(fs, before);
  yield* dropReferences(handle, fs, inode, unneeded, dead);
}

/** Values in other inodes count in i_blocks, by the cluster, as if they were the owner's, shared or not. */
function heldSectors(fs: Ext4, { ibody, block }: Attributes): number {
  const { clusterBytes } = fs.sb;
  return [...ibody, ...block].filter(isHeld).reduce((sum, { sizeBytes }) => sum + Math.ceil(sizeBytes / clusterBytes) * (clusterBytes / SECTOR_BYTES), 0);
}

function writeIbody(fs: Ext4, inode: Ext4Inode, entries: readonly XattrEntry[]): void {
  const list = ibodyList(fs, inode)!;
  // An empty list has no header: what stands in its place might be anything.
  ext4_xattr_ibody_header.h_magic.set(list.view, list.entriesAt - ext4_xattr_ibody_header.$.size, entries.length === 0 ? 0 : EXT4_XATTR_MAGIC);
  writeEntries(list, entries);
}

/**
 * Sets or removes the attribute that holds what of inline data does not fit into i_block. It is stored in the inode or not at all. Requires: a handle. Takes: xattr_sem(w).
 * @throws FsError ENOSPC: the old value stays.
 */
export function* setInlineValue(handle: Handle, fs: Ext4, inode: Ext4Inode, value: Uint8Array | undefined): Task<void> {
  if (!inode.xattr_sem.tryWrite()) yield* inode.xattr_sem.write();
  try {
    if (value !== undefined && value.length > inlineCapacityBytes(fs, inode)) throw new FsError("ENOSPC", "the inode has no room for the data");
    yield* inode.markDirty(handle);
    const entry = value === undefined ? undefined : { ...SYSTEM_DATA, hash: 0, sizeBytes: value.length, valueInum: 0, value };
    const before = ibodyXattrs(fs, inode);
    const after = listWith(before, SYSTEM_DATA, entry);
    if (after !== before) writeIbody(fs, inode, after);
  } finally {
    inode.xattr_sem.unlockWrite();
  }
}

/** The longest value that setInlineValue would store now: inline data may have 60 bytes more. -Infinity: not even an empty one. Requires: i_rwsem, or xattr_sem. */
export function inlineCapacityBytes(fs: Ext4, inode: Ext4Inode): number {
  const list = ibodyList(fs, inode);
  if (list === undefined) return -Infinity;
  const others = listWith(ibodyXattrs(fs, inode), SYSTEM_DATA, undefined);
  const freeBytesForValue = freeBytes(list, others) - xattrEntryBytes(SYSTEM_DATA.name.length);
  return freeBytesForValue < 0 ? -Infinity : freeBytesForValue;
}

/**
 * Gives up what attributes of an inode have outside of it: the inode is being deleted. Where values stand in other inodes, the handle may be restarted, with this inode whole.
 * Requires: a handle with xattrCredits. Takes: xattr_sem(w), i_data_sem(w) of other inodes.
 */
export function* deleteXattrs(handle: Handle, fs: Ext4, inode: Ext4Inode): Task<void> {
  if (inode.i_file_acl === 0 && !fs.sb.hasEaInode) return;
  for (let isDone = false; !isDone;) {
    const dead: Ext4Inode[] = [];
    if (!inode.xattr_sem.tryWrite()) yield* inode.xattr_sem.write();
    try {
      isDone = yield* deleteNext(handle, fs, inode, dead);
    } finally {
      inode.xattr_sem.unlockWrite();
    }
    yield* deleteHolders(handle, fs, dead);
    if (!isDone && !handle.tryExtend(HOLDER_CREDITS)) yield* handle.restart(HOLDER_CREDITS);
  }
}

/** One value in another inode, entry and reference in one transaction, or, when none is left, the block. @returns whether that was all. */
function* deleteNext(handle: Handle, fs: Ext4, inode: Ext4Inode, dead: Ext4Inode[]): Task<boolean> {
  const before: Attributes = { ibody: ibodyXattrs(fs, inode), block: yield* blockXattrs(fs, inode) };
  // The references of a block go with its last owner.
  const entry = before.ibody.find(isHeld) ?? ((yield* sharesBlock(fs, inode)) ? undefined : before.block.find(isHeld));
  const after = entry === undefined ? { ibody: before.ibody, block: [] } : withEntry(before, entry, undefined, true);
  if (entry !== undefined || inode.i_file_acl !== 0) yield* changeAttributes(handle, fs, inode, before, after, [], dead);
  return entry === undefined;
}

const isHeld = ({ valueInum }: XattrEntry): boolean => valueInum !== 0;

/**
 * Blocks that setting or removing an attribute may change: the inode's, the old and the new block of attributes with bitmaps and group descriptors, the superblock; with ea_inode
 * also what a new holder of the value takes. The end of an old one extends the handle, and so may the references of a block that is copied.
 */
export function xattrCredits(fs: Ext4, valueLength: number): number {
  const runs = Math.ceil(valueLength / fs.blockBytes);
  return BLOCK_CREDITS + (fs.sb.hasEaInode ? HOLDER_CREDITS + bitmapCredits(fs, runs + MAP_BLOCKS) + MAP_BLOCKS : 0);
}
