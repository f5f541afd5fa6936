/**
 * What a filesystem must provide for the layers above it: a super block that finds inodes, and inodes that answer. The names are those of the
 * kernel's struct inode, inode_operations and file_operations. A name in a directory, a symlink's target and an xattr's name are bytes, as on
 * disk; whoever shows them to people decodes them.
 */
import type { FsError } from "../lib/errno.js";
import type { Ino, Lblk, Pblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";

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
  /** What is mapped behind blocks lblk .. lblk + count - 1, ascending; holes are left out. At most `limit` records. */
  abstract fiemap(lblk: Lblk, count: number, limit?: number): Task<FileExtent[]>;
}

export interface SuperBlock {
  readonly blockBytes: number;
  readonly root: Inode;
  /** Brings an inode in. @throws CorruptionError the inode is damaged or not in use. */
  iget(ino: Ino): Task<Inode>;
  statfs(): Task<StatFs>;
  /** Damage that was met and did not stop the reader. */
  readonly warnings: readonly FsError[];
}

const EPOCH: Timespec = { sec: 0, nsec: 0 };
