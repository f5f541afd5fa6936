/**
 * What a filesystem must provide for the layers above it: a super block that finds inodes, and inodes that answer. The names are those of the
 * kernel's struct inode, inode_operations and file_operations. A name in a directory, a symlink's target and an xattr's name are bytes, as on
 * disk; whoever shows them to people decodes them.
 */
import type { HeldPages } from "../dax/held-pages.js";
import { FsError } from "../lib/errno.js";
import type { Ino, Lblk, Pblk } from "../lib/numbers.js";
import type { AddressSpace } from "../mm/address-space.js";
import type { Vma } from "../mm/vma.js";
import type { Mutex, RwSem } from "../sched/locks.js";
import type { Task } from "../sched/task.js";
import type { File } from "./file.js";
import type { SbWriters } from "./freeze.js";

/** Seconds since 1970 (may be negative, may pass 2038) and nanoseconds, 0..999999999. */
export interface Timespec {
  readonly sec: number;
  readonly nsec: number;
}

/** File type bits of i_mode. */
export const S_IFMT = 0o170000;
export const S_IFSOCK = 0o140000;
export const S_IFLNK = 0o120000;
export const S_IFREG = 0o100000;
export const S_IFBLK = 0o060000;
export const S_IFDIR = 0o040000;
export const S_IFCHR = 0o020000;
export const S_IFIFO = 0o010000;
export const S_ISUID = 0o4000;
export const S_ISGID = 0o2000;
export const S_ISVTX = 0o1000;
export const S_IXGRP = 0o0010;

/** File type of a directory entry, as getdents gives it; DT_UNKNOWN means: look at the inode. */
export const DT_UNKNOWN = 0;

/** After the kernel's struct dir_context: a position, and who takes the entries. */
export interface DirContext {
  /** Where to go on; 0 is the start. Kept up to date by `iterate`, so that a later call goes on after the last entry taken. */
  pos: number;
  /**
   * Takes one entry. `type` is i_mode's S_IFMT bits shifted down by 12 (getdents' DT_ values), or DT_UNKNOWN. `name` is the
   * receiver's to keep. Returns false to stop: the entry then counts as not taken.
   */
  actor(name: Uint8Array, ino: Ino, type: number): boolean;
}

/** One piece of a file's map. Units are filesystem blocks. */
export interface FileExtent {
  readonly lblk: Lblk;
  readonly pblk: Pblk;
  readonly count: number;
  /** Allocated, but reads as zeroes. */
  readonly unwritten: boolean;
}

/** What a new inode is to be. */
export interface NewInode {
  /** Type and permission bits, the umask not applied: a directory's default ACL takes its place. */
  readonly mode: number;
  readonly umask: number;
  readonly uid: number;
  readonly gid: number;
  /** Of a symbolic link. */
  readonly target?: Uint8Array | undefined;
  /** Of a device. */
  readonly rdev?: { readonly major: number; readonly minor: number } | undefined;
}

/** What setattr changes; what is left out stays. */
export interface AttributeChanges {
  /** Permission bits, with set-id and sticky. */
  readonly mode?: number | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  readonly atime?: Timespec | undefined;
  readonly mtime?: Timespec | undefined;
  readonly sizeBytes?: number | undefined;
  readonly projid?: number | undefined;
}

export interface FileTimes {
  readonly atime: Timespec;
  readonly mtime: Timespec;
}

export interface XattrFlags {
  /** EEXIST, if it is there already. */
  readonly create?: boolean | undefined;
  /** ENODATA, if it is not there. */
  readonly replace?: boolean | undefined;
}

/** Flags of fallocate, as in Linux. */
export const FALLOC_FL_KEEP_SIZE = 0x01;
export const FALLOC_FL_PUNCH_HOLE = 0x02;
export const FALLOC_FL_COLLAPSE_RANGE = 0x08;
export const FALLOC_FL_ZERO_RANGE = 0x10;
export const FALLOC_FL_INSERT_RANGE = 0x20;

/** Flags of renameat2, as in Linux. */
export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE = 2;
export const RENAME_WHITEOUT = 4;

export interface StatFs {
  readonly type: number;
  readonly bsize: number;
  readonly blocks: number;
  readonly bfree: number;
  readonly bavail: number;
  readonly files: number;
  readonly ffree: number;
}

export abstract class Inode {
  abstract readonly i_sb: SuperBlock;
  i_ino: Ino = 0;
  /** Type and permission bits. */
  i_mode = 0;
  i_uid = 0;
  i_gid = 0;
  i_nlink = 0;
  /** Bytes. */
  i_size = 0;
  /** Units of 512 bytes, metadata of the file included. */
  i_blocks = 0;
  /** Device number of a character or block device, else 0. */
  i_rdev = { major: 0, minor: 0 };
  i_atime: Timespec = EPOCH;
  i_mtime: Timespec = EPOCH;
  i_ctime: Timespec = EPOCH;
  /** Birth time; undefined where the inode has no room for it. */
  i_crtime: Timespec | undefined = undefined;
  i_generation = 0;
  /** FS_*_FL as chattr knows them. */
  i_flags = 0;
  i_projid = 0;

  isDirectory(): boolean { return (this.i_mode & S_IFMT) === S_IFDIR; }
  isRegular(): boolean { return (this.i_mode & S_IFMT) === S_IFREG; }
  isSymlink(): boolean { return (this.i_mode & S_IFMT) === S_IFLNK; }

  /** What stat shows where it is not simply the field: some sizes need a look at the data. */
  *getattr(): Task<{ sizeBytes: number; blocks: number }> {
    return { sizeBytes: this.i_size, blocks: this.i_blocks };
  }
  /** Called when a file is opened for its data. @throws FsError ENOKEY it is encrypted; EPERM it is to be written, and its content is sealed for good; EIO the filesystem was shut down. */
  checkOpen(_isWriting: boolean): void {}
  /** Finds `name` in this directory; undefined: there is none. "." and ".." are the path walk's business. */
  abstract lookup(name: Uint8Array): Task<Inode | undefined>;
  /** Gives the directory's entries, "." and ".." included, to the context's actor until it says stop or the end is reached. */
  abstract iterate(context: DirContext): Task<void>;
  /** The target of this symbolic link. */
  abstract readlink(): Task<Uint8Array>;
  /** Reads file data into all of `into`, less at the end of the file; holes are zeroes. Returns the bytes read. */
  abstract read(offsetBytes: number, into: Uint8Array): Task<number>;
  /** The value of an extended attribute with its full name ("user.x"), in the form that Linux's getxattr gives; undefined: there is none. */
  abstract getxattr(name: Uint8Array): Task<Uint8Array | undefined>;
  /** Full names of all extended attributes, as Linux lists them to root. */
  abstract listxattr(): Task<Uint8Array[]>;

  // Changes. On a filesystem that is only read each is EROFS. The callers (vfs/) hold the locks that are named, and have checked permissions and names.

  /** Makes a file of any kind under a name that is not there. Requires: i_rwsem(w) of this directory. */
  abstract create(name: Uint8Array, wanted: NewInode): Task<Inode>;
  /** Makes a file without a name. */
  abstract createNameless(wanted: NewInode): Task<Inode>;
  /** Gives `inode` one more name. Requires: i_rwsem(w) of this directory and of the inode. */
  abstract link(name: Uint8Array, inode: Inode): Task<void>;
  /** Takes a name away, of a directory if that is empty. Requires: i_rwsem(w) of this directory and of the inode. */
  abstract unlink(name: Uint8Array, inode: Inode): Task<void>;
  /** Gives what has `name` here the name `newName` in `newDir`, where `replaced` loses it. Requires: i_rwsem(w) of both directories and of what is replaced. @throws FsError ENOTEMPTY. */
  abstract rename(name: Uint8Array, inode: Inode, newDir: Inode, newName: Uint8Array, replaced: Inode | undefined, whiteout: NewInode | undefined): Task<void>;
  abstract exchange(name: Uint8Array, inode: Inode, newDir: Inode, newName: Uint8Array, newInode: Inode): Task<void>;
  abstract isEmpty(): Task<boolean>;
  /** The directory that this one stands in now, by its ".."; undefined: it is the root, or was removed. */
  abstract parent(): Task<Inode | undefined>;
  /** Requires: i_rwsem(w). @throws FsError EFBIG, EINVAL, ENOSPC, EOPNOTSUPP. */
  abstract setattr(changes: AttributeChanges): Task<void>;
  /** Sets i_flags as chattr does. Requires: i_rwsem(w). @param isPrivileged the caller may use more than his share of the filesystem (CAP_SYS_RESOURCE). */
  abstract setFlags(flags: number, isPrivileged?: boolean): Task<void>;
  /** Sets, or with undefined removes, an extended attribute. Requires: i_rwsem(w). @throws FsError EEXIST, ENODATA, ENOSPC, E2BIG, ERANGE, EOPNOTSUPP, EPERM. */
  abstract setxattr(name: Uint8Array, value: Uint8Array | undefined, flags: XattrFlags): Task<void>;
  /** Writes all of `data`, into memory; fsync makes it durable. Requires: i_rwsem(w). @throws FsError ENOSPC, EFBIG, EIO. */
  abstract write(offsetBytes: number, data: Uint8Array): Task<void>;
  /**
   * Writes all of a file that has neither bytes nor blocks, past the page cache, and sets its times. `data` goes on with zeroes up to the end of its last block.
   * Requires: i_rwsem(w). @throws FsError ENOSPC, EFBIG, EIO.
   */
  abstract writeNew(data: Uint8Array, sizeBytes: number, times?: FileTimes): Task<void>;
  /** Requires: i_rwsem(w). @throws FsError EINVAL, EOPNOTSUPP, ENOSPC, EFBIG. */
  abstract fallocate(mode: number, offsetBytes: number, lengthBytes: number): Task<void>;
  /** The first byte at or behind an offset that is data or in a hole. @throws FsError ENXIO there is none. */
  abstract seek(offsetBytes: number, wanted: "data" | "hole"): Task<number>;
  /** Returns when the file is on stable storage; with `dataOnly` only what is needed to read its data. */
  abstract fsync(dataOnly: boolean): Task<void>;
  /** Everything of it that is in memory alone goes to the device, and nothing stays: what direct I/O asks for. */
  abstract settle(): Task<void>;

  /** The file's pages in memory, and who maps them. */
  abstract readonly i_mapping: AddressSpace;
  /** S_DAX: pages of the device itself are mapped. Decided when the inode is brought in, whatever its flag says later. */
  get isDax(): boolean { return false; }
  /** What positions, lengths and addresses of direct I/O must be multiples of. */
  get directAlignmentBytes(): number { return this.isDax ? 1 : 512; }
  /** Where no byte of this file can stand any more. */
  get maxBytes(): number { return Number.MAX_SAFE_INTEGER; }
  /** Gives a mapping its operations. Called with mmap_lock held. @throws FsError ENODEV it cannot be mapped; EOPNOTSUPP, EIO. */
  *mmap(_file: File, _vma: Vma): Task<void> {
    throw new FsError("ENODEV");
  }
  /**
   * Holds pages of persistent memory that are the file's, for views. The caller has checked rights, and holds the inode as long. @param isWritable all of it is to have blocks.
   * @throws FsError EOPNOTSUPP its pages are in a cache; EINVAL, ENODEV, EHWPOISON, ENOSPC, EROFS, EIO.
   */
  *holdPages(_fromBytes: number, _lengthBytes: number, _isWritable: boolean): Task<HeldPages> {
    throw new FsError(this.isRegular() ? "EOPNOTSUPP" : "ENODEV");
  }
  /** As fsync, where bytes fromBytes .. endBytes - 1 are all that must be durable. */
  *fsyncRange(_fromBytes: number, _endBytes: number, dataOnly: boolean): Task<void> {
    yield* this.fsync(dataOnly);
  }

  /** Above 0: open for writing so many times. Below: kept from that by so many who execute it. */
  i_writecount = 0;
  /** Open files and other holders: above 0 it stays, even without a name. */
  i_count = 0;
  /** It is being deleted, or was: who found it by a name that it had comes too late. */
  isGone = false;
  /** Whoever wants it next is to read it anew, and so to decide S_DAX again: as soon as nobody has it any more, it leaves the core. @kernel d_mark_dontcache */
  isDontCache = false;
  abstract readonly i_rwsem: RwSem;
  /** Called when a name or a holder is gone: an inode that has neither is deleted. Holds no lock. */
  abstract release(): Task<void>;

  /** What is mapped behind blocks lblk .. lblk + count - 1, ascending; holes are left out. At most `limit` records. */
  abstract fiemap(lblk: Lblk, count: number, limit?: number): Task<FileExtent[]>;
  /** Blocks of the file for which space is promised and not chosen, ascending. */
  delayedBlocks(): { readonly lblk: Lblk; readonly count: number }[] { return []; }
}

export interface SuperBlock {
  readonly blockBytes: number;
  readonly root: Inode;
  /** Brings an inode in. @throws CorruptionError the inode is damaged or not in use. */
  iget(ino: Ino): Task<Inode>;
  statfs(): Task<StatFs>;
  readonly isWritable: boolean;
  /** EROFS, unless it may be written. */
  checkWritable(): void;
  /** One rename of a directory at a time. */
  readonly s_vfs_rename_mutex: Mutex;
  now(): Timespec;
  /** Runs what a caller from above asks for: inodes that it uses stay in core until it ends. */
  operation<T>(task: Task<T>): Task<T>;
  /** Made by the first who asks (freeze.ts). */
  s_writers?: SbWriters;
  /** What a freeze does when nobody changes anything any more, and what a thaw does first. */
  freeze?(): Task<void>;
  unfreeze?(): Task<void>;
  /** Stops all work on the filesystem, as EXT4_IOC_SHUTDOWN: 0 the journal is written before, 1 it is flushed, 2 it is not. */
  shutdown?(how: number): Task<void>;
  /** Takes other mount options: the filesystem's own, as text. Whether anybody keeps it from becoming read-only was asked before. @throws FsError EINVAL, EROFS, EIO. */
  remount?(isReadOnly: boolean, options: readonly string[]): Task<void>;
  /** Lets go of what is in memory and on disk alike: pages, inodes, blocks. */
  dropCaches?(): Task<void>;
  /** Everything that was done so far becomes durable. */
  sync(): Task<void>;
  /** Damage that was met and did not stop the reader. */
  readonly warnings: readonly FsError[];
}

const EPOCH: Timespec = { sec: 0, nsec: 0 };
