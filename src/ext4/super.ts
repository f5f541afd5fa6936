/**
 * A mounted filesystem: the superblock, the buffer cache, the inodes in core. Mounting is Linux's order: superblock, journal recovery (into an overlay in memory, so that
 * the device is not touched), superblock again, root. Source: ext4_fill_super (fs/ext4/super.c).
 */
import { BufferCache } from "../block/buffer-cache.js";
import { readBytes, type BlockDevice } from "../block/device.js";
import { CorruptionError } from "../format/corruption.js";
import { EXT4_EXTENTS_FL, EXT4_ROOT_INO } from "../format/inode.js";
import type { FsError } from "../lib/errno.js";
import { LruMap } from "../lib/lru.js";
import { TWO_32, type GroupNo, type Ino, type Lblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import type { StatFs, SuperBlock } from "../vfs/inode.js";
import { readGroupDesc, type GroupDesc } from "./groups.js";
import { indirectMapEnd } from "./indirect.js";
import { checkNamed, readInode, type Ext4Inode } from "./inode.js";
import { recoverJournal, type JournalRecovery } from "./journal.js";
import { statfs } from "./statfs.js";
import { Superblock, SUPERBLOCK_AT, SUPERBLOCK_BYTES } from "./superblock.js";

export interface Ext4MountOptions {
  /** False: read on where a checksum is wrong. Default true. */
  verifyChecksums?: boolean | undefined;
  /** The device of an external journal. */
  journalDevice?: BlockDevice | undefined;
  /** Leaves a dirty journal alone: the filesystem is then read as it was at some moment before the crash, perhaps inconsistent. */
  noload?: boolean | undefined;
  /** Bytes that cached metadata blocks may take. Default 64 MiB. */
  bufferCacheBytes?: number | undefined;
}

const BUFFER_CACHE_BYTES = 64 * 2 ** 20;
const INODE_CACHE_COUNT = 8192;
/** Linux's default for inode_readahead_blks. */
const INODE_READAHEAD_BLOCKS = 32;

export class Ext4 implements SuperBlock {
  readonly blockBytes: number;
  readonly verifyChecksums: boolean;
  readonly cache: BufferCache;
  readonly inodeReadaheadBlocks = INODE_READAHEAD_BLOCKS;
  readonly warnings: FsError[] = [];
  root!: Ext4Inode;
  /** What recovery did on the way in; undefined: the journal was clean, or there is none. */
  recovery: JournalRecovery | undefined;
  private readonly groupDescs = new Map<GroupNo, GroupDesc>();
  private readonly inodes = new LruMap<Ino, Ext4Inode>(INODE_CACHE_COUNT);

  constructor(readonly device: BlockDevice, readonly sb: Superblock, readonly options: Ext4MountOptions) {
    this.blockBytes = sb.blockBytes;
    this.verifyChecksums = options.verifyChecksums ?? true;
    this.cache = new BufferCache(device, sb.blockBytes, options.bufferCacheBytes ?? BUFFER_CACHE_BYTES);
  }

  *iget(ino: Ino): Task<Ext4Inode> {
    const inode = yield* this.igetSpecial(ino);
    checkNamed(this, inode);
    return inode;
  }

  /** Also inodes that no directory names: the journal, quota files, the resize inode. */
  *igetSpecial(ino: Ino): Task<Ext4Inode> {
    const cached = this.inodes.get(ino);
    if (cached !== undefined) return cached;
    const inode = yield* readInode(this, ino);
    this.inodes.set(ino, inode);
    return inode;
  }

  /** An inode that holds the value of an extended attribute. */
  *igetForXattr(ino: Ino): Task<Ext4Inode> {
    return yield* this.igetSpecial(ino);
  }

  *groupDesc(group: GroupNo): Task<GroupDesc> {
    let desc = this.groupDescs.get(group);
    if (desc === undefined) {
      desc = yield* readGroupDesc(this, group);
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
}

export function* readSuperblock(device: BlockDevice, verifyChecksums: boolean): Task<Superblock> {
  if (device.sizeBytes < SUPERBLOCK_AT + SUPERBLOCK_BYTES) {
    throw new CorruptionError("device-truncated", { field: "bytes", found: device.sizeBytes, expected: SUPERBLOCK_AT + SUPERBLOCK_BYTES });
  }
  const bytes = new Uint8Array(SUPERBLOCK_BYTES);
  yield* readBytes(device, SUPERBLOCK_AT, bytes);
  return new Superblock(bytes, { verifyChecksums, deviceBytes: device.sizeBytes });
}

/**
 * Mounts read-only. The device is read and never written, whatever its journal holds.
 *
 * @throws CorruptionError the filesystem is damaged where mounting must read it; UnsupportedFeatureError it needs what we do not know, or an external journal
 *   that was not given; FsError EIO.
 */
export function* mountExt4(device: BlockDevice, options: Ext4MountOptions = {}): Task<Ext4> {
  const sb = yield* readSuperblock(device, options.verifyChecksums ?? true);
  let fs = new Ext4(device, sb, options);
  const recovery = options.noload === true ? undefined : yield* recoverJournal(fs);
  if (recovery !== undefined) {
    // The superblock is itself a journaled block: everything is read anew from what recovery left.
    fs = new Ext4(recovery.device, yield* readSuperblock(recovery.device, fs.verifyChecksums), options);
    fs.recovery = recovery;
  }
  fs.root = yield* fs.iget(EXT4_ROOT_INO);
  if (!fs.root.isDirectory()) {
    throw new CorruptionError("inode-field", { ino: EXT4_ROOT_INO, field: "i_mode", found: `0${fs.root.i_mode.toString(8)}`, expected: "a directory" });
  }
  return fs;
}
