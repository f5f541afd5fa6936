/**
 * A mounted filesystem: the superblock, the buffer cache, the inodes in core, and, if it may be written, its journal and allocators. Mounting is in mount.ts.
 *
 * An inode has one object in core as long as anybody may use it: an operation registers itself, and inodes that were used since the oldest running operation began stay.
 */
import { BufferCache, type BufferHead } from "../block/buffer-cache.js";
import { flush, writeBytes, type BlockDevice } from "../block/device.js";
import { superblockChecksum } from "../format/checksum.js";
import { CorruptionError } from "../format/corruption.js";
import { EXT4_EXTENTS_FL, EXT4_GOOD_OLD_INODE_BYTES } from "../format/inode.js";
import { ext4_super_block as S, setFreeBlocksCount, setSuperblockTime } from "../format/superblock.js";
import type { Handle } from "../jbd2/handle.js";
import type { Journal } from "../jbd2/journal.js";
import { FsError } from "../lib/errno.js";
import { TWO_32, type GroupNo, type Ino, type Lblk } from "../lib/numbers.js";
import { Sweep } from "../lib/sweep.js";
import type { DaxDevice } from "../dax/device.js";
import type { VmEvents } from "../mm/events.js";
import { PageCache } from "../mm/page-cache.js";
import { ManualClock, type Clock } from "../sched/clock.js";
import { footprint } from "../sched/footprint.js";
import { Mutex, RwSem } from "../sched/locks.js";
import { S_VFS_RENAME_MUTEX, S_WRITEPAGES_RWSEM } from "../sched/lock-classes.js";
import type { Task } from "../sched/task.js";
import type { SbWriters } from "../vfs/freeze.js";
import type { StatFs, SuperBlock, Timespec } from "../vfs/inode.js";
import { daxDeviceFor, type DaxMode } from "./dax.js";
import { handleCorruption } from "./error.js";
import { readGroupDesc, type GroupDesc } from "./groups.js";
import type { InodeAllocator } from "./ialloc.js";
import { indirectMapEnd } from "./indirect.js";
import { checkNamed, readInode, type Ext4Inode } from "./inode.js";
import type { JournalRecovery } from "./journal.js";
import type { BlockAllocator } from "./mballoc.js";
import { Orphans } from "./orphan.js";
import { statfs } from "./statfs.js";
import { remountExt4 } from "./remount.js";
import { DEFAULT_STRATEGY, type Strategy } from "./strategy.js";
import { syncFile, syncFilesystem } from "./sync.js";
import { SUPERBLOCK_AT, type Superblock } from "./superblock.js";
import { XattrCache } from "./xattr-cache.js";

export type DataMode = "ordered" | "writeback" | "journal";
/** What a handle is for, as Linux's tracepoints say it (EXT4_HT_ types). */
export type HandleType = "MISC" | "INODE" | "WRITE_PAGE" | "MAP_BLOCKS";
export type ErrorsPolicy = "continue" | "remount-ro" | "panic";

export interface Ext4MountOptions {
  /** False: the filesystem may be written. Default true. */
  readOnly?: boolean | undefined;
  /** False: read on where a checksum is wrong. Default true. */
  verifyChecksums?: boolean | undefined;
  /** The device of an external journal. */
  journalDevice?: BlockDevice | undefined;
  /** Leaves a dirty journal alone: the filesystem is then read as it was at some moment before the crash, perhaps inconsistent. Read-only. */
  noload?: boolean | undefined;
  /** Bytes that cached metadata blocks may take. Default 64 MiB. */
  bufferCacheBytes?: number | undefined;
  /** Bytes that cached file data may take, written or not. Default 32 MiB. */
  pageCacheBytes?: number | undefined;
  /** How file data and metadata hang together after a crash. Default ordered: data is on disk before the metadata that leads to it. */
  dataMode?: DataMode | undefined;
  /** What damage does to a writable filesystem. Default: what the superblock says. */
  errors?: ErrorsPolicy | undefined;
  /** Which files of a persistent memory are mapped without a page cache. Default "inode": those whose flag says so. */
  dax?: DaxMode | undefined;
  /** False: the flag for journaled data (chattr +j) counts. With delayed allocation it does not, as in Linux. Default true. */
  delalloc?: boolean | undefined;
  /** How decisions are taken: the lab's business. */
  strategy?: Partial<Strategy> | undefined;
  /** Where tracepoints go. */
  events?: VmEvents | undefined;
  clock?: Clock | undefined;
  /** 32 random bits: generations, hash seeds. Default: numbers that repeat from mount to mount. */
  random?: (() => number) | undefined;
}

const BUFFER_CACHE_BYTES = 64 * 2 ** 20;
const PAGE_CACHE_BYTES = 32 * 2 ** 20;
const INODE_CACHE_COUNT = 2048;
/** An inode may be as large as a block, and this bounds those in core then. */
const INODE_CACHE_BYTES = 16 * 2 ** 20;
/** Inodes looked at for one that may go, when a new one comes. */
const EVICTION_TRIES = 8;
/** Linux's default for inode_readahead_blks. */
const INODE_READAHEAD_BLOCKS = 32;

/** What only a writable filesystem has. */
export interface WritableState {
  readonly journal: Journal;
  readonly allocator: BlockAllocator;
  readonly inodeAllocator: InodeAllocator;
}

export class Ext4 implements SuperBlock {
  readonly blockBytes: number;
  readonly verifyChecksums: boolean;
  readonly cache: BufferCache;
  readonly pageCache: PageCache;
  /** Blocks of attributes that more inodes may share, and inodes whose value more attributes may. */
  readonly xattrBlocks = new XattrCache();
  readonly xattrHolders = new XattrCache();
  readonly inodeReadaheadBlocks = INODE_READAHEAD_BLOCKS;
  readonly warnings: FsError[] = [];
  readonly clock: Clock;
  readonly random: () => number;
  readonly dataMode: DataMode;
  readonly daxDevice: DaxDevice | undefined;
  readonly events: VmEvents | undefined;
  readonly strategy: Strategy;
  s_writers?: SbWriters;
  readonly orphans = new Orphans(this);
  readonly s_vfs_rename_mutex = new Mutex(S_VFS_RENAME_MUTEX);
  readonly s_writepages_rwsem = new RwSem(S_WRITEPAGES_RWSEM);
  root!: Ext4Inode;
  /** What recovery did on the way in; undefined: the journal was clean, or there is none. */
  recovery: JournalRecovery | undefined;
  /** Undefined on a filesystem that is only read. */
  writable: WritableState | undefined;
  /** A power cut may have torn blocks, and the journal that has them whole is not replayed yet. */
  isTorn = false;
  private readonly groupDescs = new Map<GroupNo, GroupDesc>();
  private readonly inodes = new Map<Ino, Ext4Inode>();
  private readonly oldestInodes = new Sweep(this.inodes);
  private readonly inodesMax: number;
  /** Operations that run, by number: the first is the oldest. */
  private readonly operations = new Set<number>();
  private operationCount = 0;
  private isShutdown = false;
  private panicError: FsError | undefined;
  private superBuffer: BufferHead | undefined;

  constructor(readonly device: BlockDevice, readonly sb: Superblock, readonly options: Ext4MountOptions) {
    this.blockBytes = sb.blockBytes;
    this.verifyChecksums = options.verifyChecksums ?? true;
    this.cache = new BufferCache(device, sb.blockBytes, options.bufferCacheBytes ?? BUFFER_CACHE_BYTES);
    this.inodesMax = Math.min(INODE_CACHE_COUNT, INODE_CACHE_BYTES / sb.inodeBytes);
    this.pageCache = new PageCache(options.pageCacheBytes ?? PAGE_CACHE_BYTES);
    this.clock = options.clock ?? new ManualClock();
    this.random = options.random ?? repeatableNumbers();
    this.dataMode = options.dataMode ?? sb.defaultDataMode;
    this.events = options.events;
    this.strategy = { ...DEFAULT_STRATEGY, ...options.strategy };
    this.daxDevice = daxDeviceFor(this);
  }

  get journal(): Journal { return this.writableState().journal; }
  get allocator(): BlockAllocator { return this.writableState().allocator; }
  get inodeAllocator(): InodeAllocator { return this.writableState().inodeAllocator; }

  /** @throws FsError EROFS. */
  writableState(): WritableState {
    if (this.writable === undefined) throw new FsError("EROFS");
    return this.writable;
  }

  get isWritable(): boolean {
    return this.writable !== undefined;
  }

  checkWritable(): void {
    this.writableState();
  }

  /** @throws FsError EIO. */
  checkNotShutdown(): void {
    if (this.isShutdown) throw new FsError("EIO", "the filesystem was shut down");
  }

  /** What can be known before anything is touched in memory. @throws FsError EIO it was shut down; EROFS it may only be read, or its journal is aborted. */
  checkChangeable(): void {
    this.checkNotShutdown();
    this.journal.checkUsable();
  }

  /** Stops all changes. @param how EXT4_GOING_FLAGS: 0 and 1 write first what is in memory, 2 does not. @kernel ext4_shutdown */
  *shutdown(how: number): Task<void> {
    if (this.isShutdown) return;
    if (how === 0) yield* this.sync();
    else if (how === 1) yield* this.journal.commitAll();
    this.isShutdown = true;
    yield* this.journal.abort(new FsError("EIO", "the filesystem was shut down"));
  }

  *sync(): Task<void> {
    yield* syncFilesystem(this);
  }

  *remount(isReadOnly: boolean, options: readonly string[]): Task<void> {
    yield* remountExt4(this, isReadOnly, options);
  }

  /** Lets go of pages and inodes that the disk has, too. Pages that are mapped stay. */
  *dropCaches(): Task<void> {
    for (const [ino, inode] of [...this.inodes]) {
      inode.dropCleanPages();
      if (!this.isNeeded(inode)) this.inodes.delete(ino);
    }
  }

  /** An inode that is not to stay in core any longer than somebody has it: the next who wants it reads it anew. */
  *evict(inode: Ext4Inode): Task<void> {
    try {
      if (this.writable !== undefined && this.journal.abortError === undefined) yield* syncFile(this, inode, false);
    } catch (error) {
      // What cannot be written stays in core, and whoever syncs hears of it.
      if (error instanceof FsError) return;
      throw error;
    }
    const isUsed = inode.i_count > 0 || inode.isDirty || inode.hasDirtyPages || (this.operations.size > 1 && this.isUsedByOperation(inode));
    if (this.inodes.get(inode.i_ino) !== inode || isUsed) return;
    inode.dropPages();
    this.inodes.delete(inode.i_ino);
  }

  /** The time for an inode, as fine as inodes here have it. */
  now(): Timespec {
    const { sec, nsec } = this.clock.now();
    return { sec, nsec: this.sb.inodeBytes > EXT4_GOOD_OLD_INODE_BYTES ? nsec : 0 };
  }

  /** Nothing works any more. */
  panic(error: FsError): void {
    this.panicError = error;
  }

  /** Runs what a caller from above asks for. Inodes that it uses stay in core until it ends. */
  *operation<T>(task: Task<T>): Task<T> {
    const number = ++this.operationCount;
    this.operations.add(number);
    try {
      if (this.panicError !== undefined) throw new FsError("EIO", `the filesystem stopped: ${this.panicError.message}`);
      return yield* task;
    } catch (error) {
      if (error instanceof CorruptionError) yield* handleCorruption(this, error);
      throw error;
    } finally {
      this.operations.delete(number);
    }
  }

  /**
   * Changes metadata: `work` gets a handle for up to `credits` blocks. If it fails with anything but a plain refusal after it began to change blocks, what it did is half done and must not
   * reach the disk: the journal is aborted, and the filesystem stays as the last commit left it.
   */
  *change<T>(credits: number, work: (handle: Handle) => Task<T>, type: HandleType = "MISC"): Task<T> {
    this.checkNotShutdown();
    const handle = yield* this.journal.start(credits);
    if (this.journal.hasLog) this.events?.listener?.("jbd2:jbd2_handle_start", { type, credits, tid: handle.transaction.t_tid });
    try {
      return yield* work(handle);
    } catch (error) {
      if (!isRefusal(error)) this.journal.fail(error);
      throw error;
    } finally {
      handle.stop();
    }
  }

  *iget(ino: Ino): Task<Ext4Inode> {
    const inode = yield* this.igetSpecial(ino);
    checkNamed(this, inode);
    return inode;
  }

  /** Also inodes that no directory names: the journal, quota files, the resize inode, orphans. */
  *igetSpecial(ino: Ino): Task<Ext4Inode> {
    const cached = this.cachedInode(ino);
    if (cached !== undefined) return cached;
    const inode = yield* readInode(this, ino);
    // Another task may have brought it in meanwhile.
    return this.cachedInode(ino) ?? this.keepInode(inode);
  }

  private cachedInode(ino: Ino): Ext4Inode | undefined {
    const inode = this.inodes.get(ino);
    footprint(inode ?? this);
    if (inode === undefined) return undefined;
    inode.lastUsed = this.operationCount;
    // A Map remembers the order of insertion: an inode that is used goes to its end.
    this.inodes.delete(ino);
    this.inodes.set(ino, inode);
    this.oldestInodes.changed();
    return inode;
  }

  /** Takes an inode into core that was just read or made. */
  keepInode(inode: Ext4Inode): Ext4Inode {
    inode.lastUsed = this.operationCount;
    this.inodes.set(inode.i_ino, inode);
    this.oldestInodes.changed();
    this.strategy.inodeInCore(this, inode);
    for (let tries = 0; this.inodes.size > this.inodesMax && tries < EVICTION_TRIES; tries++) {
      const [ino, oldest] = this.oldestInodes.next()!;
      this.inodes.delete(ino);
      if (this.isNeeded(oldest)) this.inodes.set(ino, oldest);
      else oldest.dropPages();
    }
    return inode;
  }

  private isNeeded(inode: Ext4Inode): boolean {
    if (inode.i_count > 0 || inode.hasDaxEntries) return true;
    if (this.writable === undefined) return false;
    return inode === this.root || inode.isDirty || inode.hasDirtyPages || this.isUsedByOperation(inode);
  }

  private isUsedByOperation(inode: Ext4Inode): boolean {
    const [oldestOperation] = this.operations;
    return oldestOperation !== undefined && inode.lastUsed >= oldestOperation;
  }

  /** Its number is free: a later file with it is another inode. */
  forgetInode(inode: Ext4Inode): void {
    this.inodes.delete(inode.i_ino);
  }

  /** Inodes with data in memory that the disk does not have. */
  dirtyInodes(): Ext4Inode[] {
    footprint(this.pageCache);
    const dirty = new Set(Array.from(this.pageCache.dirtyMappings, ({ host }) => host as Ext4Inode));
    if (this.daxDevice !== undefined) for (const inode of this.inodes.values()) if (inode.hasDirtyDaxEntries) dirty.add(inode);
    for (const inode of dirty) footprint(inode);
    return [...dirty];
  }

  /** An inode that holds the value of an extended attribute. */
  *igetForXattr(ino: Ino): Task<Ext4Inode> {
    return yield* this.igetSpecial(ino);
  }

  /** Looks for the journal where a recovery may have been cut short in the midst of a descriptor: its checksum says nothing then, and where tables stand never changes in use. */
  *amidTornBlocks<T>(work: () => Task<T>): Task<T> {
    this.isTorn = true;
    try {
      return yield* work();
    } finally {
      this.isTorn = false;
      this.groupDescs.clear();
    }
  }

  *groupDesc(group: GroupNo): Task<GroupDesc> {
    let desc = this.groupDescs.get(group);
    if (desc === undefined) {
      desc = yield* readGroupDesc(this, group);
      // The first one read is the one that counts are kept in.
      desc = this.groupDescs.get(group) ?? desc;
      this.groupDescs.set(group, desc);
    }
    return desc;
  }

  /** The first logical block that the inode's map cannot name. */
  mapEnd(inode: Ext4Inode): Lblk {
    return (inode.i_flags & EXT4_EXTENTS_FL) !== 0 ? TWO_32 - 1 : indirectMapEnd(this.blockBytes / 4);
  }

  *statfs(): Task<StatFs> {
    return yield* statfs(this);
  }

  /** The superblock is part of the handle's transaction: to be called after a change of sb.view, or of a count that it has. */
  *markSuperDirty(handle: Handle): Task<void> {
    const block = Math.floor(SUPERBLOCK_AT / this.blockBytes);
    const buffer = handle.tryWriteAccess(block) ?? (yield* handle.getWriteAccess(block));
    handle.dirty(buffer);
    handle.sealLater(this);
    this.superBuffer = buffer;
  }

  /** Writes the superblock into its buffer. */
  seal(): void {
    this.superBuffer!.data.set(this.sealedSuperblock(), SUPERBLOCK_AT % this.blockBytes);
  }

  private sealedSuperblock(): Uint8Array {
    const { view } = this.sb;
    if (this.writable !== undefined) {
      setFreeBlocksCount(view, 0, this.sb.has64bit, this.writable.allocator.freeClusters * this.sb.clusterBlocks);
      S.s_free_inodes_count.set(view, 0, this.writable.inodeAllocator.freeInodes);
    }
    setSuperblockTime("s_wtime", view, 0, this.clock.now().sec);
    const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    if (this.sb.hasMetadataCsum) S.s_checksum.set(view, 0, superblockChecksum(bytes));
    return bytes;
  }

  /** Writes the superblock past the journal: at mount and unmount, when no transaction has it. */
  *writeSuperblock(): Task<void> {
    yield* writeBytes(this.device, SUPERBLOCK_AT, this.sealedSuperblock().slice(), true);
    this.cache.invalidate(Math.floor(SUPERBLOCK_AT / this.blockBytes));
    yield* flush(this.device);
  }
}

/** What an operation says before it changes anything, or after it took its changes back. */
function isRefusal(error: unknown): boolean {
  return error instanceof FsError && !["EIO", "EUCLEAN", "EBADMSG"].includes(error.code);
}

/** A small generator (xorshift) for those who give no better one: the same numbers at each mount. */
function repeatableNumbers(): () => number {
  let state = 0x2545f491;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}
