/**
 * Extended attributes of what a filesystem is filled with, where the filesystem itself would put them: into the inode, else into a block, which inodes with the same ones share, else a value
 * into an inode of its own, which holds it for all that have the same. Counts of who shares what stand when the last of them has come.
 */
import { xattrBlockChecksum } from "../format/checksum.js";
import { aclFromXattr, aclIsValid, aclMode, aclToDisk } from "../format/acl.js";
import { COMPAT } from "../format/features.js";
import { EXT4_EA_INODE_FL, EXT4_GOOD_OLD_INODE_BYTES, ext4_inode } from "../format/inode.js";
import {
  EXT4_XATTR_INDEX_POSIX_ACL_ACCESS, EXT4_XATTR_INDEX_POSIX_ACL_DEFAULT, EXT4_XATTR_INDEX_USER, EXT4_XATTR_MAGIC, EXT4_XATTR_REFCOUNT_MAX, ext4_xattr_header as H, ext4_xattr_ibody_header,
  xattrBlockHash, xattrEntryBytes, xattrEntryHash, xattrValueBytes,
} from "../format/xattr.js";
import { isAclIndex, parseXattrName } from "../ext4/xattr.js";
import { blockList, compareKeys, freeBytes, neededBytes, SYSTEM_DATA, writeEntries, type EntryList, type XattrEntry } from "../ext4/xattr-entries.js";
import { crc32c } from "../lib/crc32c.js";
import { bytesEqual } from "../lib/bytes.js";
import { FsError } from "../lib/errno.js";
import { TWO_32, type Ino, type Pblk } from "../lib/numbers.js";
import { viewOf } from "../lib/view.js";
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from "../vfs/inode.js";
import type { Draft } from "./draft.js";
import { allocateFile, blockOf, endOfMap } from "./file-map.js";
import { newInode } from "./inode.js";
import type { Xattr } from "./tree-source.js";

const LIST_END_BYTES = 4;
const NO_BYTES = new Uint8Array(0);
/** With ea_inode, so much of a block is kept for entries: no value may stand in it. */
const BLOCK_RESERVE_BYTES_MAX = 1024;
const BLOCK_RESERVE_DIVISOR = 8;
/** A value that leaves a block no room beside a name of so many letters is not tried there. */
const SHORT_NAME_LENGTH = 3;

/** Whose attributes they are. */
export interface Owner {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface PlacedAttributes {
  /** For writeIbody. */
  readonly ibody: readonly XattrEntry[];
  /** The block of the others, or 0. */
  readonly block: Pblk;
  /** What they add to the blocks of the inode. */
  readonly blocksUsed: number;
  /** Values in inodes of their own. */
  readonly heldCount: number;
}

interface SharedBlock {
  readonly block: Pblk;
  readonly data: Uint8Array;
  references: number;
}

interface Holder {
  readonly ino: Ino;
  readonly value: Uint8Array;
  references: number;
}

const NOTHING: PlacedAttributes = { ibody: [], block: 0, blocksUsed: 0, heldCount: 0 };

export class Attributes {
  /** The room in an inode's list; undefined: it has none. */
  private readonly ibodyRoom: Pick<EntryList, "entriesAt" | "end"> | undefined;
  /** By the hash of their entries, and of their values. */
  private readonly blocks = new Map<number, SharedBlock[]>();
  private readonly holders = new Map<number, Holder[]>();
  private readonly holderOf = new Map<Ino, Holder>();

  /** @param cursor where blocks are looked for; it moves on. @param generation numbers new inodes. */
  constructor(private readonly draft: Draft, private readonly cursor: { block: Pblk }, private readonly generation: () => number) {
    const entriesAt = ext4_inode.$.size + ext4_xattr_ibody_header.$.size;
    const end = draft.sb.inodeBytes;
    this.ibodyRoom = entriesAt + LIST_END_BYTES > end ? undefined : { entriesAt, end };
  }

  /** The longest value of the attribute that holds inline data: that may have 60 bytes more. -Infinity: not even an empty one. */
  get inlineCapacityBytes(): number {
    if (this.ibodyRoom === undefined) return -Infinity;
    const capacityBytes = freeBytes(this.ibodyRoom, []) - xattrEntryBytes(SYSTEM_DATA.name.length);
    return capacityBytes < 0 ? -Infinity : capacityBytes;
  }

  /**
   * Finds a place for each attribute, in their order.
   * @param inlineValue of the attribute that holds inline data: it comes first. @param leaveOut is called for each that the filesystem cannot have.
   * @throws FsError ENOSPC.
   */
  place(owner: Owner, xattrs: readonly Xattr[], inlineValue: Uint8Array | undefined, leaveOut: () => void): PlacedAttributes {
    const ibody: XattrEntry[] = inlineValue === undefined ? [] : [{ ...SYSTEM_DATA, hash: 0, sizeBytes: inlineValue.length, valueInum: 0, value: inlineValue }];
    if (xattrs.length === 0) return ibody.length === 0 ? NOTHING : { ...NOTHING, ibody };
    const inBlock: XattrEntry[] = [];
    for (const xattr of xattrs) {
      const stored = storedForm(owner, xattr);
      if (stored === undefined) leaveOut();
      else if (stored !== "in the mode") this.placeOne(owner, stored, ibody, inBlock);
    }
    inBlock.sort(compareKeys);
    const { sb } = this.draft;
    const held = [...ibody, ...inBlock].filter(({ valueInum }) => valueInum !== 0);
    const heldBlocks = held.reduce((sum, { sizeBytes }) => sum + Math.ceil(sizeBytes / sb.clusterBytes) * sb.clusterBlocks, 0);
    if (ibody.length + inBlock.length > 0 && !sb.has(COMPAT.ext_attr, "compat")) sb.setFeature("compat", COMPAT.ext_attr, true);
    return {
      ibody, block: inBlock.length === 0 ? 0 : this.shareBlock(inBlock), blocksUsed: heldBlocks + (inBlock.length === 0 ? 0 : sb.clusterBlocks), heldCount: held.length,
    };
  }

  /** The first place with room, in the filesystem's order of preference. */
  private placeOne(owner: Owner, stored: Stored, ibody: XattrEntry[], inBlock: XattrEntry[]): void {
    const { sb } = this.draft;
    const { name, value } = stored;
    const mayHold = sb.hasEaInode && value.length > 0;
    const isLarge = xattrValueBytes(value.length) > sb.blockBytes - H.$.size - xattrEntryBytes(SHORT_NAME_LENGTH) - LIST_END_BYTES;
    for (const isHeld of !mayHold ? [false] : isLarge ? [true] : [false, true]) {
      const hereBytes = isHeld ? 0 : value.length;
      const needed = neededBytes(name.length, hereBytes);
      if (this.ibodyRoom !== undefined && needed <= freeBytes(this.ibodyRoom, ibody)) return void ibody.push(this.entry(owner, stored, isHeld, true));
      const hasRoom = needed <= freeBytes({ entriesAt: H.$.size, end: sb.blockBytes }, inBlock);
      if (hasRoom && !(mayHold && hereBytes > 0 && this.eatsReserve(inBlock, hereBytes))) return void inBlock.push(this.entry(owner, stored, isHeld, false));
    }
    throw new FsError("ENOSPC", "an attribute fits neither the inode nor its block");
  }

  /** With ea_inode long values must not fill a block to which entries of other long values might still come. */
  private eatsReserve(inBlock: readonly XattrEntry[], valueBytes: number): boolean {
    const { blockBytes } = this.draft.sb;
    const valuesBytes = inBlock.reduce((sum, { value }) => sum + xattrValueBytes(value.length), xattrValueBytes(valueBytes));
    return blockBytes - valuesBytes < Math.min(blockBytes / BLOCK_RESERVE_DIVISOR, BLOCK_RESERVE_BYTES_MAX);
  }

  private entry(owner: Owner, stored: Stored, isHeld: boolean, isIbody: boolean): XattrEntry {
    const { name, value } = stored;
    if (!isHeld) return { ...stored, hash: isIbody ? 0 : xattrEntryHash(name, value), sizeBytes: value.length, valueInum: 0 };
    const hash = crc32c(this.draft.sb.csumSeed, value);
    const word = Uint8Array.of(hash, hash >>> 8, hash >>> 16, hash >>> 24);
    return { ...stored, hash: xattrEntryHash(name, word), sizeBytes: value.length, valueInum: this.hold(owner, value, hash), value: NO_BYTES };
  }

  /** The inode that holds the value, with one reference more. */
  private hold(owner: Owner, value: Uint8Array, hash: number): Ino {
    const known = listAt(this.holders, hash);
    const equal = known.find((holder) => bytesEqual(holder.value, value));
    if (equal !== undefined) {
      equal.references++;
      return equal.ino;
    }
    const { draft, cursor } = this;
    const { blockBytes } = draft.sb;
    const ino = draft.nextIno();
    const generation = this.generation();
    const map = allocateFile(draft, { ino, generation, blocks: Math.ceil(value.length / blockBytes), from: cursor.block, name: "extended attributes" });
    cursor.block = endOfMap(map);
    map.runs.forEach(({ lblk, count }) => {
      const data = new Uint8Array(count * blockBytes);
      data.set(value.subarray(lblk * blockBytes, (lblk + count) * blockBytes));
      draft.addContent(blockOf(map, lblk), data);
    });
    const record = newInode(draft, {
      mode: S_IFREG | 0o600, links: 1, uid: owner.uid, gid: owner.gid, sizeBytes: value.length, flags: EXT4_EA_INODE_FL, generation, map, atime: { sec: hash | 0, nsec: 0 },
    });
    draft.addInode(ino, record);
    const holder: Holder = { ino, value, references: 1 };
    known.push(holder);
    this.holderOf.set(ino, holder);
    return ino;
  }

  private shareBlock(entries: readonly XattrEntry[]): Pblk {
    const { draft, cursor } = this;
    const data = new Uint8Array(draft.sb.blockBytes);
    const view = viewOf(data);
    const hash = xattrBlockHash(entries.map((entry) => entry.hash));
    H.h_magic.set(view, 0, EXT4_XATTR_MAGIC);
    H.h_blocks.set(view, 0, 1);
    H.h_hash.set(view, 0, hash);
    writeEntries(blockList(data, view, {}), entries);
    const known = listAt(this.blocks, hash);
    // A hash of 0 says that the block is not to be shared.
    const equal = hash === 0 ? undefined : known.find((shared) => shared.references < EXT4_XATTR_REFCOUNT_MAX && bytesEqual(shared.data, data));
    if (equal !== undefined) {
      equal.references++;
      // A block refers to its values once, however many inodes share it.
      for (const { valueInum } of entries) if (valueInum !== 0) this.holderOf.get(valueInum)!.references--;
      return equal.block;
    }
    const { first: block } = draft.take(cursor.block, 1, "extended attributes");
    cursor.block = block + 1;
    draft.addContent(block, data);
    known.push({ block, data, references: 1 });
    return block;
  }

  /** Notes in blocks and holders how many share them. No more attributes come. */
  finish(): void {
    const { sb, inodes } = this.draft;
    for (const { block, data, references } of [...this.blocks.values()].flat()) {
      const view = viewOf(data);
      H.h_refcount.set(view, 0, references);
      if (sb.hasMetadataCsum) H.h_checksum.set(view, 0, xattrBlockChecksum(data, block, sb.csumSeed));
    }
    for (const { ino, references } of [...this.holders.values()].flat()) {
      const view = viewOf(inodes.record(ino));
      ext4_inode.i_ctime.set(view, 0, Math.floor(references / TWO_32));
      if (sb.inodeBytes > EXT4_GOOD_OLD_INODE_BYTES) ext4_inode.i_ctime_extra.set(view, 0, 0);
      ext4_inode.i_version.set(view, 0, references % TWO_32);
    }
  }
}

function listAt<Value>(map: Map<number, Value[]>, key: number): Value[] {
  let list = map.get(key);
  if (list === undefined) map.set(key, (list = []));
  return list;
}

/** Puts an inode's own list into its record. */
export function writeIbody(record: Uint8Array, entries: readonly XattrEntry[]): void {
  const view = viewOf(record);
  const headerAt = ext4_inode.$.size;
  const entriesAt = headerAt + ext4_xattr_ibody_header.$.size;
  ext4_xattr_ibody_header.h_magic.set(view, headerAt, EXT4_XATTR_MAGIC);
  writeEntries({ bytes: record, view, entriesAt, valueBase: entriesAt, end: record.length, place: {} }, entries);
}

interface Stored {
  readonly index: number;
  /** Without its prefix. */
  readonly name: Uint8Array;
  readonly value: Uint8Array;
}

/** As the filesystem stores the attribute; undefined: it does not take it. An ACL that says no more than the mode is not stored. */
function storedForm({ mode }: Owner, { name, value }: Xattr): Stored | "in the mode" | undefined {
  const key = parseXattrName(name);
  if (key === undefined) return undefined;
  const type = mode & S_IFMT;
  if (isAclIndex(key.index)) return storedAcl(type, key.index, value);
  if (key.index === EXT4_XATTR_INDEX_USER && type !== S_IFREG && type !== S_IFDIR) return undefined;
  return key.name.length === 0 || key.name.includes(0) ? undefined : { ...key, value };
}

function storedAcl(type: number, index: number, value: Uint8Array): Stored | "in the mode" | undefined {
  if (type === S_IFLNK || (index === EXT4_XATTR_INDEX_POSIX_ACL_DEFAULT && type !== S_IFDIR)) return undefined;
  const acl = aclOf(value);
  if (acl === undefined || !aclIsValid(acl)) return undefined;
  const isInMode = index === EXT4_XATTR_INDEX_POSIX_ACL_ACCESS && aclMode(acl).isExact;
  return isInMode ? "in the mode" : { index, name: NO_BYTES, value: aclToDisk(acl) };
}

function aclOf(value: Uint8Array): ReturnType<typeof aclFromXattr> | undefined {
  try {
    return aclFromXattr(value);
  } catch (error) {
    if (error instanceof FsError) return undefined;
    throw error;
  }
}
