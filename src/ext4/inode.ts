/**
 * Inodes in core: found in their group's table, checked, decoded once, kept. Order of the checks is Linux's: number, extra size, checksum, then each
 * field that something is computed from. Source: __ext4_iget (fs/ext4/inode.c).
 */
import type { BufferHead } from "../block/buffer-cache.js";
import { inodeChecksum, inodeSeed } from "../format/checksum.js";
import { CorruptionError, type CorruptionPlace } from "../format/corruption.js";
import {
  decodeDevice, decodeTime, EXT4_EA_INODE_FL, EXT4_ENCRYPT_FL, EXT4_EXTENTS_FL, EXT4_INDEX_FL, EXT4_INLINE_DATA_FL, EXT4_HUGE_FILE_FL, EXT4_ROOT_INO,
  ext4_inode, inodeBlocks, inodeFileAcl, inodeGid, inodeSize, inodeUid,
} from "../format/inode.js";
import { viewOf } from "../lib/view.js";
import type { Ino, Lblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import {
  Inode, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK, type DirContext, type FileExtent, type Timespec,
} from "../vfs/inode.js";
import { iterate } from "./dir.js";
import { checkRoot } from "./extents.js";
import { readData } from "./file.js";
import { listExtents } from "./map.js";
import { findEntry } from "./namei.js";
import type { Ext4 } from "./super.js";
import { isFastSymlink, readTarget } from "./symlink.js";
import { getXattr, listXattrNames } from "./xattr.js";

/** Where i_block stands in the inode, and how long it is: 15 pointers, an extent tree's root, a short symlink or inline data. */
export const I_BLOCK_AT = ext4_inode.i_block.at;
export const I_BLOCK_BYTES = ext4_inode.i_block.size;
/** The inode of ext2 and ext3; what is behind it counts as far as i_extra_isize says. */
export const EXT4_GOOD_OLD_INODE_BYTES = 128;

/** Kinds of blocks whose check depends on the inode that leads to them. */
const CHECKED_AS = { extent: 1, directory: 2 } as const;

export class Ext4Inode extends Inode {
  readonly i_sb: Ext4;
  /** The inode as on disk: [const] on a read-only volume. */
  readonly raw: Uint8Array;
  readonly rawView: DataView;
  i_file_acl = 0;
  i_extra_isize = 0;
  i_dtime = 0;
  /** Start value of the checksums of the inode and of all blocks that only it leads to. */
  readonly csumSeed: number;

  constructor(fs: Ext4, ino: Ino, raw: Uint8Array) {
    super();
    this.i_sb = fs;
    this.i_ino = ino;
    this.raw = raw;
    this.rawView = viewOf(raw);
    this.i_generation = ext4_inode.i_generation.get(this.rawView, 0);
    this.csumSeed = fs.sb.hasMetadataCsum ? inodeSeed(fs.sb.csumSeed, ino, this.i_generation) : 0;
  }

  /** What a buffer is marked with once it has passed its checks as this kind of block of this inode. */
  verifiedToken(kind: keyof typeof CHECKED_AS): number {
    return this.i_ino * 4 + CHECKED_AS[kind];
  }

  override *getattr(): Task<{ sizeBytes: number; blocks: number }> {
    let { i_size: sizeBytes, i_blocks: blocks } = this;
    // Linux reports inline data as blocks, lest the file be taken for all hole, and an encrypted link as long as it reads.
    if (this.isRegular() && (this.i_flags & EXT4_INLINE_DATA_FL) !== 0) blocks += Math.ceil(sizeBytes / 512);
    if (this.isSymlink() && (this.i_flags & EXT4_ENCRYPT_FL) !== 0) sizeBytes = (yield* this.readlink()).length;
    return { sizeBytes, blocks };
  }
  *lookup(name: Uint8Array): Task<Inode | undefined> {
    const ino = yield* findEntry(this.i_sb, this, name);
    return ino === undefined ? undefined : yield* this.i_sb.iget(ino);
  }
  *iterate(context: DirContext): Task<void> {
    return yield* iterate(this.i_sb, this, context);
  }
  *readlink(): Task<Uint8Array> {
    return yield* readTarget(this.i_sb, this);
  }
  *read(offsetBytes: number, into: Uint8Array): Task<number> {
    return yield* readData(this.i_sb, this, offsetBytes, into);
  }
  *getxattr(name: Uint8Array): Task<Uint8Array | undefined> {
    return yield* getXattr(this.i_sb, this, name);
  }
  *listxattr(): Task<Uint8Array[]> {
    return yield* listXattrNames(this.i_sb, this);
  }
  *fiemap(lblk: Lblk, count: number, limit?: number): Task<FileExtent[]> {
    return hasMap(this.i_sb, this) ? yield* listExtents(this.i_sb, this, lblk, count, limit) : [];
  }
}

/** Whether i_block is a map: not of devices, nor of links and files that are stored inside the inode. */
export function hasMap(fs: Ext4, inode: Ext4Inode): boolean {
  if ((inode.i_flags & EXT4_INLINE_DATA_FL) !== 0) return false;
  return inode.isRegular() || inode.isDirectory() || (inode.isSymlink() && !isFastSymlink(fs, inode));
}

/** Where inode `ino` stands in its group's table. @throws CorruptionError inode-number. */
export function* findInode(fs: Ext4, ino: Ino): Task<{ buffer: BufferHead; at: number }> {
  if (ino < 1 || ino > fs.sb.inodesCount) throw new CorruptionError("inode-number", { ino, expected: `1..${fs.sb.inodesCount}` });
  const index = (ino - 1) % fs.sb.inodesPerGroup;
  const { inodeTable } = yield* fs.groupDesc((ino - 1 - index) / fs.sb.inodesPerGroup);
  const { inodeBytes } = fs.sb;
  const perBlock = fs.blockBytes / inodeBytes;
  const blockIndex = Math.floor(index / perBlock);
  const block = inodeTable + blockIndex;
  let buffer = fs.cache.peek(block);
  if (buffer === undefined) {
    // As Linux does, fetch the neighbours as well: who stats one file of a directory stats the others.
    const tableBlocks = Math.ceil(fs.sb.inodesPerGroup / perBlock);
    const first = blockIndex - (blockIndex % fs.inodeReadaheadBlocks);
    yield* fs.cache.readAhead(inodeTable + first, Math.min(fs.inodeReadaheadBlocks, tableBlocks - first));
    buffer = yield* fs.cache.read(block);
  }
  return { buffer, at: (index % perBlock) * inodeBytes };
}

/** Reads inode `ino` from its table. What may be read so, reserved inodes included, is the caller's business. */
export function* readInode(fs: Ext4, ino: Ino): Task<Ext4Inode> {
  const { buffer, at } = yield* findInode(fs, ino);
  const inode = new Ext4Inode(fs, ino, buffer.data.slice(at, at + fs.sb.inodeBytes));
  decode(fs, inode);
  return inode;
}

function decode(fs: Ext4, inode: Ext4Inode): void {
  const { rawView: view } = inode;
  const damaged = (field: string, found: number | string, expected?: number): CorruptionError =>
    new CorruptionError("inode-field", placeOf(inode, { field, found, expected }));
  if (fs.sb.inodeBytes > EXT4_GOOD_OLD_INODE_BYTES) {
    const extra = ext4_inode.i_extra_isize.get(view, 0);
    if (extra % 4 !== 0 || EXT4_GOOD_OLD_INODE_BYTES + extra > fs.sb.inodeBytes) throw damaged("i_extra_isize", extra);
    inode.i_extra_isize = extra;
  }
  const isUsed = ext4_inode.i_mode.get(view, 0) !== 0 || ext4_inode.i_links_count.get(view, 0) !== 0;
  if (fs.sb.hasMetadataCsum && fs.verifyChecksums && isUsed) verifyChecksum(inode);
  inode.i_mode = ext4_inode.i_mode.get(view, 0);
  inode.i_nlink = ext4_inode.i_links_count.get(view, 0);
  inode.i_uid = inodeUid(view, 0);
  inode.i_gid = inodeGid(view, 0);
  inode.i_flags = ext4_inode.i_flags.get(view, 0);
  inode.i_dtime = ext4_inode.i_dtime.get(view, 0);
  inode.i_file_acl = inodeFileAcl(view, 0, fs.sb.has64bit);
  inode.i_size = inodeSize(view, 0, inode.isRegular() || fs.sb.hasLargeDir);
  inode.i_blocks = inodeBlocks(view, 0, fs.sb.hasHugeFile);
  if (fs.sb.hasHugeFile && (inode.i_flags & EXT4_HUGE_FILE_FL) !== 0) inode.i_blocks *= fs.blockBytes / 512;
  decodeTimes(inode);
  if (hasField(inode, ext4_inode.i_projid)) inode.i_projid = fs.sb.hasProject ? ext4_inode.i_projid.get(view, 0) : 0;
  checkFields(fs, inode, damaged);
}

function placeOf(inode: Ext4Inode, place: CorruptionPlace): CorruptionPlace {
  return { ino: inode.i_ino, ...place };
}

function hasField(inode: Ext4Inode, field: { at: number; size: number }): boolean {
  return field.at + field.size <= EXT4_GOOD_OLD_INODE_BYTES + inode.i_extra_isize;
}

function verifyChecksum(inode: Ext4Inode): void {
  const { rawView: view } = inode;
  const isWide = hasField(inode, ext4_inode.i_checksum_hi);
  const found = ext4_inode.i_checksum_lo.get(view, 0) + (isWide ? ext4_inode.i_checksum_hi.get(view, 0) * 0x1_0000 : 0);
  const full = inodeChecksum(inode.raw, inode.csumSeed);
  const expected = isWide ? full : full & 0xffff;
  if (found !== expected) throw new CorruptionError("inode-checksum", placeOf(inode, { found, expected }));
}

function decodeTimes(inode: Ext4Inode): void {
  const { rawView: view } = inode;
  const time = (seconds: { get(v: DataView, b: number): number }, extra: { at: number; size: number; get(v: DataView, b: number): number }): Timespec =>
    decodeTime(seconds.get(view, 0), hasField(inode, extra) ? extra.get(view, 0) : 0);
  inode.i_atime = time(ext4_inode.i_atime, ext4_inode.i_atime_extra);
  inode.i_mtime = time(ext4_inode.i_mtime, ext4_inode.i_mtime_extra);
  inode.i_ctime = time(ext4_inode.i_ctime, ext4_inode.i_ctime_extra);
  if (hasField(inode, ext4_inode.i_crtime)) inode.i_crtime = time(ext4_inode.i_crtime, ext4_inode.i_crtime_extra);
}

function checkFields(fs: Ext4, inode: Ext4Inode, damaged: (field: string, found: number | string, expected?: number) => CorruptionError): void {
  const { i_flags: flags, i_size: size } = inode;
  const type = inode.i_mode & S_IFMT;
  if (!isUsed(inode)) return;
  const isInline = (flags & EXT4_INLINE_DATA_FL) !== 0;
  if (isInline && (flags & EXT4_EXTENTS_FL) !== 0) throw damaged("i_flags", `0x${flags.toString(16)}`);
  if (isInline && !fs.sb.hasInlineData) throw damaged("i_flags", `0x${flags.toString(16)}`);
  if ((flags & EXT4_INDEX_FL) !== 0 && type === S_IFDIR && !fs.sb.hasDirIndex && fs.sb.hasMetadataCsum) throw damaged("i_flags", `0x${flags.toString(16)}`);
  if (size >= 2 ** 63 || (type === S_IFREG && size > fs.mapEnd(inode) * fs.blockBytes)) throw damaged("i_size", size);
  if (inode.i_file_acl !== 0 && !fs.sb.containsBlocks(inode.i_file_acl, 1)) throw damaged("i_file_acl", inode.i_file_acl);
  switch (type) {
    case S_IFDIR:
      // A directory has no holes, so it cannot be larger than the filesystem; this bounds every walk over its blocks.
      if (!isInline && (size === 0 || size % fs.blockBytes !== 0 || size / fs.blockBytes > fs.sb.blocksCount)) throw damaged("i_size", size);
      break;
    case S_IFREG:
    case S_IFLNK:
      break;
    case S_IFCHR:
    case S_IFBLK:
      inode.i_rdev = decodeDevice(inode.rawView, 0);
      return;
    case S_IFIFO:
    case S_IFSOCK:
      return;
    default:
      throw damaged("i_mode", `0${inode.i_mode.toString(8)}`);
  }
  if ((flags & EXT4_EXTENTS_FL) !== 0 && hasMap(fs, inode)) checkRoot(fs, inode);
}

/** Only an inode with a link, or one that waits on the orphan list, is in use. */
export function isUsed(inode: Ext4Inode): boolean {
  return inode.i_mode !== 0 && inode.i_nlink !== 0;
}

/** An inode that a directory may name. @throws CorruptionError what the name leads to is no file. */
export function checkNamed(fs: Ext4, inode: Ext4Inode): void {
  const isReserved = inode.i_ino < fs.sb.firstIno && inode.i_ino !== EXT4_ROOT_INO;
  if (isReserved || fs.sb.isSystemInode(inode.i_ino)) throw new CorruptionError("inode-number", { ino: inode.i_ino, expected: "not a reserved inode" });
  if (!isUsed(inode)) throw new CorruptionError("inode-unused", { ino: inode.i_ino, found: `mode 0${inode.i_mode.toString(8)}, ${inode.i_nlink} links` });
  if ((inode.i_flags & EXT4_EA_INODE_FL) !== 0) throw new CorruptionError("inode-field", { ino: inode.i_ino, field: "i_flags", found: "EA_INODE" });
}
