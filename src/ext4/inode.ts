/**
 * Inodes in core: found in their group's table, checked, decoded once, kept. Order of the checks is Linux's: number, extra size, checksum, then each
 * field that something is computed from. A changed inode is encoded when its transaction is sealed. Source: __ext4_iget, ext4_do_update_inode (fs/ext4/inode.c).
 */
import type { BufferHead } from "../block/buffer-cache.js";
import { inodeChecksum, inodeSeed } from "../format/checksum.js";
import { CorruptionError, type CorruptionPlace } from "../format/corruption.js";
import {
  decodeDevice, decodeTime, encodeTime, EXT4_EA_INODE_FL, EXT4_ENCRYPT_FL, EXT4_GOOD_OLD_INODE_BYTES, EXT4_EXTENTS_FL, EXT4_INDEX_FL, EXT4_INLINE_DATA_FL, EXT4_HUGE_FILE_FL, EXT4_ROOT_INO,
  ext4_inode, inodeBlocks, inodeFileAcl, inodeGid, inodeSize, inodeUid,
} from "../format/inode.js";
import { FsError } from "../lib/errno.js";
import type { Field as NumberField } from "../format/layout.js";
import { viewOf } from "../lib/view.js";
import { TWO_32, type Ino, type Lblk, type Pblk, type Tid } from "../lib/numbers.js";
import type { Handle } from "../jbd2/handle.js";
import type { Transaction } from "../jbd2/transaction.js";
import { AddressSpace, type Folio } from "../mm/address-space.js";
import { I_DATA_SEM, I_RWSEM, I_WRITEBACK, XATTR_SEM } from "../sched/lock-classes.js";
import { Mutex, RwSem } from "../sched/locks.js";
import type { Task } from "../sched/task.js";
import {
  type AttributeChanges, Inode, type NewInode, type XattrFlags, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK, type DirContext, type FileExtent, type FileTimes, type Timespec,
} from "../vfs/inode.js";
import { setAttributes, setFlags } from "./attributes.js";
import { iterate } from "./dir.js";
import { isEmptyDirectory, parentIno } from "./dir-write.js";
import { checkRoot } from "./extents.js";
import { fallocate } from "./fallocate.js";
import { DaxMapping } from "../dax/entries.js";
import type { DaxDevice } from "../dax/device.js";
import type { HeldPages } from "../dax/held-pages.js";
import type { Iomap } from "../dax/iomap.js";
import type { Vma } from "../mm/vma.js";
import type { File } from "../vfs/file.js";
import { iomapFault, iomapRead, isDaxFile } from "./dax.js";
import { checkData, readData, readFolioAround } from "./file.js";
import { INODE_CREDITS, sizeBytesMax, writeData } from "./file-write.js";
import { mmapFile } from "./mapped.js";
import { listExtents } from "./map.js";
import { holdPages } from "./held-pages.js";
import { findEntry } from "./namei.js";
import { createEntry, createNameless, exchangeEntries, linkEntry, renameEntry, unlinkEntry } from "./namei-write.js";
import { seek } from "./seek.js";
import { withSpaceRetry } from "./space.js";
import type { Ext4 } from "./super.js";
import { isFastSymlink, readTarget } from "./symlink.js";
import { syncFile } from "./sync.js";
import { deleteInode } from "./truncate.js";
import { writeNewFile } from "./new-file-write.js";
import { writebackInode } from "./writeback.js";
import { getXattr, listXattrNames } from "./xattr.js";
import { setXattr, xattrCredits } from "./xattr-write.js";


/** Kinds of blocks whose check depends on the inode that leads to them. */
const CHECKED_AS = { extent: 1, directory: 2 } as const;

interface InodeLocks { readonly i_rwsem: RwSem; readonly i_data_sem: RwSem; readonly xattr_sem: RwSem; readonly i_writeback: Mutex }

export class Ext4Inode extends Inode {
  readonly i_sb: Ext4;
  /** The inode as on disk. i_block and what stands behind the fields is changed in place; the fields are encoded by seal. */
  readonly raw: Uint8Array;
  readonly rawView: DataView;
  i_file_acl = 0;
  i_extra_isize = 0;
  i_dtime = 0;
  /** The size on disk: data behind it was not written yet. [i_data_sem] */
  i_disksize = 0;
  /** The transactions that must be durable before fsync, and fdatasync, may return; undefined: nothing to wait for. */
  i_sync_tid: Tid | undefined;
  i_datasync_tid: Tid | undefined;
  /** The transaction in which this inode will be encoded. */
  private dirtyIn: Transaction | undefined;
  /** Its place in the inode table, while it is in a transaction. */
  private table: { readonly buffer: BufferHead; readonly at: number } | undefined;
  private locks: InodeLocks | undefined;
  /** Its data goes to disk with the next close. */
  isFlushedOnClose = false;
  /** The operation that used it last, by number. [the filesystem] */
  lastUsed = 0;
  private mapping: AddressSpace | undefined;
  private dax: DaxMapping | undefined;
  private hasSDax = false;
  private delayed: Set<number> | undefined;
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

  // Most inodes are never locked: their locks are made when first asked for.
  get i_rwsem(): RwSem { return this.lockSet().i_rwsem; }
  get i_data_sem(): RwSem { return this.lockSet().i_data_sem; }
  get xattr_sem(): RwSem { return this.lockSet().xattr_sem; }
  /** One task at a time writes this file's pages back, or takes its blocks away. */
  get i_writeback(): Mutex { return this.lockSet().i_writeback; }

  /** The file's data in memory. Most inodes have none: it is made when first asked for. */
  get i_mapping(): AddressSpace { return this.mapping ??= new AddressSpace(this.i_sb.pageCache, this.i_sb.blockBytes, this); }
  get hasPages(): boolean { return this.mapping?.isEmpty === false; }
  get hasDirtyPages(): boolean { return this.mapping?.isDirty === true; }

  override get isDax(): boolean { return this.hasSDax; }
  /** The entries of a DAX file. */
  get i_dax(): DaxMapping { return this.dax ??= new DaxMapping(this.i_mapping); }
  get daxDevice(): DaxDevice { return this.i_sb.daxDevice!; }
  get hasDaxEntries(): boolean { return this.dax?.isEmpty === false; }
  get hasDirtyDaxEntries(): boolean { return this.dax?.isDirty === true; }
  /** S_DAX is decided once, when the inode comes into core or is made; a strategy may decide it again. */
  decideDax(): void {
    this.hasSDax = isDaxFile(this.i_sb, this);
  }
  clearForDax(index: number, pages: number): void {
    if (!this.hasPages) return;
    const { folioBytes } = this.i_mapping;
    for (const folio of this.i_mapping.within(index * folioBytes, (index + pages) * folioBytes)) this.i_sb.strategy.pageUnderDaxEntry(this.i_sb, this, folio);
  }

  /** Clusters of the file for which space is promised, but not yet chosen. [i_rwsem and i_writeback] */
  get delayedClusters(): Set<number> { return this.delayed ??= new Set(); }

  /** What is dirty is lost. */
  dropPages(): void {
    this.mapping?.drop();
  }

  /** What the disk has, too, and nobody has mapped. */
  dropCleanPages(): void {
    this.mapping?.dropClean();
  }

  private lockSet(): InodeLocks {
    return this.locks ??= {
      i_rwsem: new RwSem(I_RWSEM, `i_rwsem of inode ${this.i_ino}`),
      i_data_sem: new RwSem(I_DATA_SEM, `i_data_sem of inode ${this.i_ino}`), xattr_sem: new RwSem(XATTR_SEM, `xattr_sem of inode ${this.i_ino}`),
      i_writeback: new Mutex(I_WRITEBACK, `i_writeback of inode ${this.i_ino}`),
    };
  }

  /** Whether its state in core is newer than its block: then it must not be read anew. */
  get isDirty(): boolean {
    return this.dirtyIn !== undefined && (this.dirtyIn.state === "running" || this.dirtyIn.state === "locked");
  }

  /** Joins the handle's transaction: whatever is in core when that is sealed goes to disk with it. To be called after each change. */
  *markDirty(handle: Handle): Task<void> {
    this.i_sync_tid = handle.transaction.t_tid;
    if (this.dirtyIn === handle.transaction) return;
    const { block, at } = yield* inodeLocation(this.i_sb, this.i_ino);
    const buffer = handle.tryWriteAccess(block) ?? (yield* handle.getWriteAccess(block));
    handle.dirty(buffer);
    handle.sealLater(this);
    this.table = { buffer, at };
    this.dirtyIn = handle.transaction;
  }

  /** Writes the inode into its block of the table. */
  seal(): void {
    encode(this.i_sb, this);
    this.table!.buffer.data.set(this.raw, this.table!.at);
  }

  /** What a buffer is marked with once it has passed its checks as this kind of block of this inode. */
  verifiedToken(kind: keyof typeof CHECKED_AS): number {
    return this.i_ino * 4 + CHECKED_AS[kind];
  }

  override *getattr(): Task<{ sizeBytes: number; blocks: number }> {
    let { i_size: sizeBytes, i_blocks: blocks } = this;
    // What is promised to a file counts as its own, lest one that was just written be taken for all hole.
    if (this.delayed !== undefined) blocks += (this.delayed.size * this.i_sb.sb.clusterBytes) / 512;
    // Linux reports inline data as blocks, lest the file be taken for all hole, and an encrypted link as long as it reads.
    if (this.isRegular() && (this.i_flags & EXT4_INLINE_DATA_FL) !== 0) blocks += Math.ceil(sizeBytes / 512);
    if (this.isSymlink() && (this.i_flags & EXT4_ENCRYPT_FL) !== 0) sizeBytes = (yield* this.readlink()).length;
    return { sizeBytes, blocks };
  }
  override checkOpen(isWriting: boolean): void {
    if (this.isRegular()) this.i_sb.checkNotShutdown();
    checkData(this, isWriting);
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
    this.i_sb.checkNotShutdown();
    return yield* readData(this.i_sb, this, offsetBytes, into);
  }
  *readFolio(index: number): Task<Folio> {
    return yield* readFolioAround(this.i_sb, this, index);
  }
  iomapRead(offsetBytes: number, lengthBytes: number): Task<Iomap> {
    return iomapRead(this.i_sb, this, offsetBytes, lengthBytes);
  }
  iomapFault(offsetBytes: number, lengthBytes: number): Task<Iomap | undefined> {
    return iomapFault(this.i_sb, this, offsetBytes, lengthBytes);
  }
  override *mmap(_file: File, vma: Vma): Task<void> {
    mmapFile(this.i_sb, this, vma);
  }
  override *holdPages(fromBytes: number, lengthBytes: number, isWritable: boolean): Task<HeldPages> {
    return yield* holdPages(this.i_sb, this, fromBytes, lengthBytes, isWritable);
  }
  override *fsyncRange(fromBytes: number, endBytes: number, dataOnly: boolean): Task<void> {
    yield* syncFile(this.i_sb, this, dataOnly, fromBytes, endBytes);
  }
  override get maxBytes(): number {
    return sizeBytesMax(this.i_sb, this);
  }
  *getxattr(name: Uint8Array): Task<Uint8Array | undefined> {
    return yield* getXattr(this.i_sb, this, name);
  }
  *listxattr(): Task<Uint8Array[]> {
    return yield* listXattrNames(this.i_sb, this);
  }
  *create(name: Uint8Array, wanted: NewInode): Task<Inode> {
    return yield* createEntry(this.i_sb, this, name, wanted);
  }
  *createNameless(wanted: NewInode): Task<Inode> {
    return yield* createNameless(this.i_sb, this, wanted);
  }
  *link(name: Uint8Array, inode: Ext4Inode): Task<void> {
    yield* linkEntry(this.i_sb, this, name, inode);
  }
  *unlink(name: Uint8Array, inode: Ext4Inode): Task<void> {
    yield* unlinkEntry(this.i_sb, this, name, inode);
  }
  *rename(name: Uint8Array, inode: Ext4Inode, newDir: Ext4Inode, newName: Uint8Array, replaced: Ext4Inode | undefined, whiteout: NewInode | undefined): Task<void> {
    yield* renameEntry(this.i_sb, { dir: this, name, inode }, { dir: newDir, name: newName, inode: replaced }, whiteout);
  }
  *exchange(name: Uint8Array, inode: Ext4Inode, newDir: Ext4Inode, newName: Uint8Array, newInode: Ext4Inode): Task<void> {
    yield* exchangeEntries(this.i_sb, { dir: this, name, inode }, { dir: newDir, name: newName, inode: newInode });
  }
  *isEmpty(): Task<boolean> {
    return yield* isEmptyDirectory(this.i_sb, this);
  }
  *parent(): Task<Inode | undefined> {
    if (this.i_nlink === 0 || this.i_ino === EXT4_ROOT_INO) return undefined;
    return yield* this.i_sb.iget(yield* parentIno(this.i_sb, this));
  }
  /** @throws FsError EIO, EROFS; ENOENT it was deleted while somebody waited for its lock. */
  private checkChangeable(): void {
    if (this.isGone) throw new FsError("ENOENT");
    this.i_sb.checkChangeable();
  }
  *setattr(changes: AttributeChanges): Task<void> {
    this.checkChangeable();
    yield* setAttributes(this.i_sb, this, changes);
  }
  *setFlags(flags: number, isPrivileged = true): Task<void> {
    this.checkChangeable();
    yield* setFlags(this.i_sb, this, flags, isPrivileged);
  }
  *setxattr(name: Uint8Array, value: Uint8Array | undefined, flags: XattrFlags): Task<void> {
    const { i_sb: fs } = this;
    if (this.isGone) throw new FsError("ENOENT");
    yield* withSpaceRetry(fs, () => fs.change(xattrCredits(fs, value?.length ?? 0) + INODE_CREDITS, (handle) => setXattr(handle, fs, this, name, value, flags)));
  }
  *write(offsetBytes: number, data: Uint8Array): Task<void> {
    this.checkChangeable();
    yield* writeData(this.i_sb, this, offsetBytes, data);
  }
  *writeNew(data: Uint8Array, sizeBytes: number, times?: FileTimes): Task<void> {
    this.checkChangeable();
    yield* writeNewFile(this.i_sb, this, data, sizeBytes, times);
  }
  *fallocate(mode: number, offsetBytes: number, lengthBytes: number): Task<void> {
    this.checkChangeable();
    yield* fallocate(this.i_sb, this, mode, offsetBytes, lengthBytes);
  }
  *seek(offsetBytes: number, wanted: "data" | "hole"): Task<number> {
    return yield* seek(this.i_sb, this, offsetBytes, wanted);
  }
  *fsync(dataOnly: boolean): Task<void> {
    yield* syncFile(this.i_sb, this, dataOnly);
  }
  *settle(): Task<void> {
    yield* writebackInode(this.i_sb, this);
    this.i_mapping.invalidate();
  }
  *release(): Task<void> {
    if (this.isFlushedOnClose && this.i_nlink > 0 && this.i_sb.writable?.journal.abortError === undefined) {
      this.isFlushedOnClose = false;
      yield* writebackInode(this.i_sb, this);
    }
    if (this.i_count > 0) return;
    const { writable } = this.i_sb;
    if (this.i_nlink === 0) {
      // Nobody hears of an error here; after an abort the next mount deletes what has no name.
      if (this.isGone || writable === undefined || writable.journal.abortError !== undefined) return;
      this.isGone = true;
      yield* deleteInode(this.i_sb, this);
    } else if (this.isDontCache) yield* this.i_sb.evict(this);
  }
  *fiemap(lblk: Lblk, count: number, limit?: number): Task<FileExtent[]> {
    return hasMap(this.i_sb, this) ? yield* listExtents(this.i_sb, this, lblk, count, limit) : [];
  }
  override delayedBlocks(): { readonly lblk: Lblk; readonly count: number }[] {
    const ratio = this.i_sb.sb.clusterBlocks;
    return [...(this.delayed ?? [])].sort((a, b) => a - b).map((cluster) => ({ lblk: cluster * ratio, count: ratio }));
  }
}

/** Whether i_block is a map: not of devices, nor of links and files that are stored inside the inode. */
export function hasMap(fs: Ext4, inode: Ext4Inode): boolean {
  if ((inode.i_flags & EXT4_INLINE_DATA_FL) !== 0) return false;
  return inode.isRegular() || inode.isDirectory() || (inode.isSymlink() && !isFastSymlink(fs, inode));
}

/** The block of its group's table that holds inode `ino`, and where in it. @throws CorruptionError inode-number. */
export function* inodeLocation(fs: Ext4, ino: Ino): Task<{ block: Pblk; at: number; table: Pblk }> {
  if (ino < 1 || ino > fs.sb.inodesCount) throw new CorruptionError("inode-number", { ino, expected: `1..${fs.sb.inodesCount}` });
  const index = (ino - 1) % fs.sb.inodesPerGroup;
  const { inodeTable: table } = yield* fs.groupDesc((ino - 1 - index) / fs.sb.inodesPerGroup);
  const perBlock = fs.blockBytes / fs.sb.inodeBytes;
  return { block: table + Math.floor(index / perBlock), at: (index % perBlock) * fs.sb.inodeBytes, table };
}

/** Brings in the block that holds inode `ino`. */
export function* findInode(fs: Ext4, ino: Ino): Task<{ buffer: BufferHead; at: number }> {
  const { block, at, table } = yield* inodeLocation(fs, ino);
  let buffer = fs.cache.peek(block);
  if (buffer === undefined) {
    // As Linux does, fetch the neighbours as well: who stats one file of a directory stats the others.
    const tableBlocks = Math.ceil((fs.sb.inodesPerGroup * fs.sb.inodeBytes) / fs.blockBytes);
    const first = block - table - ((block - table) % fs.inodeReadaheadBlocks);
    yield* fs.cache.readAhead(table + first, Math.min(fs.inodeReadaheadBlocks, tableBlocks - first));
    buffer = yield* fs.cache.read(block);
  }
  return { buffer, at };
}

/** Reads inode `ino` from its table. What may be read so, reserved inodes included, is the caller's business. */
export function* readInode(fs: Ext4, ino: Ino): Task<Ext4Inode> {
  const { buffer, at } = yield* findInode(fs, ino);
  const inode = new Ext4Inode(fs, ino, buffer.data.slice(at, at + fs.sb.inodeBytes));
  decode(fs, inode);
  inode.decideDax();
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
  inode.i_disksize = inode.i_size;
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

/** The fields' part of `raw`, with the checksum. Fields that the inode has no room for are left out. */
function encode(fs: Ext4, inode: Ext4Inode): void {
  const { rawView: view } = inode;
  const size = inode.i_disksize;
  ext4_inode.i_mode.set(view, 0, inode.i_mode);
  ext4_inode.i_links_count.set(view, 0, inode.i_nlink);
  ext4_inode.i_uid.set(view, 0, inode.i_uid & 0xffff);
  ext4_inode.i_uid_high.set(view, 0, inode.i_uid >>> 16);
  ext4_inode.i_gid.set(view, 0, inode.i_gid & 0xffff);
  ext4_inode.i_gid_high.set(view, 0, inode.i_gid >>> 16);
  ext4_inode.i_size_lo.set(view, 0, size % TWO_32);
  if (inode.isRegular() || (inode.isDirectory() && fs.sb.hasLargeDir)) ext4_inode.i_size_high.set(view, 0, Math.floor(size / TWO_32));
  ext4_inode.i_dtime.set(view, 0, inode.i_dtime);
  ext4_inode.i_generation.set(view, 0, inode.i_generation);
  ext4_inode.i_file_acl_lo.set(view, 0, inode.i_file_acl % TWO_32);
  if (fs.sb.has64bit) ext4_inode.i_file_acl_high.set(view, 0, Math.floor(inode.i_file_acl / TWO_32));
  encodeBlocks(fs, inode);
  ext4_inode.i_flags.set(view, 0, inode.i_flags >>> 0);
  encodeTimes(inode);
  if (fs.sb.hasProject && hasField(inode, ext4_inode.i_projid)) ext4_inode.i_projid.set(view, 0, inode.i_projid);
  if (!fs.sb.hasMetadataCsum) return;
  const sum = inodeChecksum(inode.raw, inode.csumSeed);
  ext4_inode.i_checksum_lo.set(view, 0, sum & 0xffff);
  if (hasField(inode, ext4_inode.i_checksum_hi)) ext4_inode.i_checksum_hi.set(view, 0, sum >>> 16);
}

/** In units of 512 bytes as long as 48 bits hold them, then in blocks. */
function encodeBlocks(fs: Ext4, inode: Ext4Inode): void {
  let { i_blocks: blocks } = inode;
  const isHuge = blocks >= 2 ** 48;
  if (isHuge) blocks /= fs.blockBytes / 512;
  inode.i_flags = isHuge ? inode.i_flags | EXT4_HUGE_FILE_FL : inode.i_flags & ~EXT4_HUGE_FILE_FL;
  ext4_inode.i_blocks_lo.set(inode.rawView, 0, blocks % TWO_32);
  if (fs.sb.hasHugeFile) ext4_inode.i_blocks_high.set(inode.rawView, 0, Math.floor(blocks / TWO_32));
}

function encodeTimes(inode: Ext4Inode): void {
  const { rawView: view } = inode;
  const put = (seconds: NumberField, extra: NumberField, time: Timespec): void => {
    const hasExtra = hasField(inode, extra);
    const encoded = encodeTime(time);
    // Without the extra word seconds have 32 bits, and a time beyond them is the nearest there is.
    seconds.set(view, 0, hasExtra ? encoded.seconds : Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, time.sec)));
    if (hasExtra) extra.set(view, 0, encoded.extra);
  };
  put(ext4_inode.i_atime, ext4_inode.i_atime_extra, inode.i_atime);
  put(ext4_inode.i_mtime, ext4_inode.i_mtime_extra, inode.i_mtime);
  put(ext4_inode.i_ctime, ext4_inode.i_ctime_extra, inode.i_ctime);
  if (inode.i_crtime !== undefined && hasField(inode, ext4_inode.i_crtime)) put(ext4_inode.i_crtime, ext4_inode.i_crtime_extra, inode.i_crtime);
}

function checkFields(fs: Ext4, inode: Ext4Inode, damaged: (field: string, found: number | string, expected?: number) => CorruptionError): void {
  const { i_flags: flags, i_size: size } = inode;
  const type = inode.i_mode & S_IFMT;
  if (!isUsed(inode)) return;
  const isInline = (flags & EXT4_INLINE_DATA_FL) !== 0;
  if (isInline && (flags & EXT4_EXTENTS_FL) !== 0) throw damaged("i_flags", `0x${flags.toString(16)}`);
  if (isInline && !fs.sb.hasInlineData) throw damaged("i_flags", `0x${flags.toString(16)}`);
  // What is inside the inode is no larger; without this a claim of gigabytes would be read as zeroes.
  if (isInline && size > fs.sb.inodeBytes) throw damaged("i_size", size, fs.sb.inodeBytes);
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
