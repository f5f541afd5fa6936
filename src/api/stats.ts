/** What stat and statfs return, in the shape of Node's classes. */
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK, type Inode, type StatFs as EngineStatFs, type Timespec } from "../vfs/inode.js";
import type { Task } from "../sched/task.js";

/** What both kinds of stats are made from. Sizes in bytes, blocks of 512 bytes. */
interface Attributes {
  readonly dev: number;
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdev: number;
  readonly blksize: number;
  readonly ino: number;
  readonly size: number;
  readonly blocks: number;
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly birthtimeNs: bigint;
}

const nanoseconds = (time: Timespec | undefined): bigint => (time === undefined ? 0n : BigInt(time.sec) * 1_000_000_000n + BigInt(time.nsec));

/** A device number as glibc's makedev gives it, and so Node on Linux. */
function deviceNumber({ major, minor }: { major: number; minor: number }): number {
  return major * 256 + (minor % 256) + Math.floor(minor / 256) * 2 ** 20;
}

function* attributesOf(inode: Inode): Task<Attributes> {
  const { sizeBytes, blocks } = yield* inode.getattr();
  return {
    dev: 0, mode: inode.i_mode, nlink: inode.i_nlink, uid: inode.i_uid, gid: inode.i_gid, rdev: deviceNumber(inode.i_rdev), blksize: inode.i_sb.blockBytes,
    ino: inode.i_ino, size: sizeBytes, blocks, atimeNs: nanoseconds(inode.i_atime), mtimeNs: nanoseconds(inode.i_mtime),
    ctimeNs: nanoseconds(inode.i_ctime), birthtimeNs: nanoseconds(inode.i_crtime),
  };
}

/** The questions that Stats, BigIntStats and Dirent answer alike. */
abstract class FileType {
  protected abstract fileType(): number;

  isFile(): boolean { return this.fileType() === S_IFREG; }
  isDirectory(): boolean { return this.fileType() === S_IFDIR; }
  isSymbolicLink(): boolean { return this.fileType() === S_IFLNK; }
  isBlockDevice(): boolean { return this.fileType() === S_IFBLK; }
  isCharacterDevice(): boolean { return this.fileType() === S_IFCHR; }
  isFIFO(): boolean { return this.fileType() === S_IFIFO; }
  isSocket(): boolean { return this.fileType() === S_IFSOCK; }
}

/** As Node's fs.Stats: times in milliseconds with a fraction, and as Dates. `birthtime` is the epoch where the inode has none. */
export class Stats extends FileType {
  readonly dev: number;
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdev: number;
  readonly blksize: number;
  readonly ino: number;
  readonly size: number;
  readonly blocks: number;
  readonly atimeMs: number;
  readonly mtimeMs: number;
  readonly ctimeMs: number;
  readonly birthtimeMs: number;

  constructor({ atimeNs, mtimeNs, ctimeNs, birthtimeNs, ...attributes }: Attributes) {
    super();
    this.dev = attributes.dev;
    this.mode = attributes.mode;
    this.nlink = attributes.nlink;
    this.uid = attributes.uid;
    this.gid = attributes.gid;
    this.rdev = attributes.rdev;
    this.blksize = attributes.blksize;
    this.ino = attributes.ino;
    this.size = attributes.size;
    this.blocks = attributes.blocks;
    this.atimeMs = milliseconds(atimeNs);
    this.mtimeMs = milliseconds(mtimeNs);
    this.ctimeMs = milliseconds(ctimeNs);
    this.birthtimeMs = milliseconds(birthtimeNs);
  }

  get atime(): Date { return new Date(Math.round(this.atimeMs)); }
  get mtime(): Date { return new Date(Math.round(this.mtimeMs)); }
  get ctime(): Date { return new Date(Math.round(this.ctimeMs)); }
  get birthtime(): Date { return new Date(Math.round(this.birthtimeMs)); }

  protected fileType(): number { return this.mode & S_IFMT; }
}

/** Whole seconds and the rest apart, as Node computes it, for the same rounding. */
function milliseconds(ns: bigint): number {
  const rest = ((ns % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  return Number((ns - rest) / 1_000_000_000n) * 1000 + Number(rest) / 1_000_000;
}

/** As Node's fs.BigIntStats: all numbers are bigints, and times have nanoseconds. */
export class BigIntStats extends FileType {
  readonly dev: bigint;
  readonly mode: bigint;
  readonly nlink: bigint;
  readonly uid: bigint;
  readonly gid: bigint;
  readonly rdev: bigint;
  readonly blksize: bigint;
  readonly ino: bigint;
  readonly size: bigint;
  readonly blocks: bigint;
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly birthtimeNs: bigint;

  constructor(attributes: Attributes) {
    super();
    this.dev = BigInt(attributes.dev);
    this.mode = BigInt(attributes.mode);
    this.nlink = BigInt(attributes.nlink);
    this.uid = BigInt(attributes.uid);
    this.gid = BigInt(attributes.gid);
    this.rdev = BigInt(attributes.rdev);
    this.blksize = BigInt(attributes.blksize);
    this.ino = BigInt(attributes.ino);
    this.size = BigInt(attributes.size);
    this.blocks = BigInt(attributes.blocks);
    this.atimeNs = attributes.atimeNs;
    this.mtimeNs = attributes.mtimeNs;
    this.ctimeNs = attributes.ctimeNs;
    this.birthtimeNs = attributes.birthtimeNs;
  }

  get atimeMs(): bigint { return this.atimeNs / 1_000_000n; }
  get mtimeMs(): bigint { return this.mtimeNs / 1_000_000n; }
  get ctimeMs(): bigint { return this.ctimeNs / 1_000_000n; }
  get birthtimeMs(): bigint { return this.birthtimeNs / 1_000_000n; }
  get atime(): Date { return new Date(Number(this.atimeMs)); }
  get mtime(): Date { return new Date(Number(this.mtimeMs)); }
  get ctime(): Date { return new Date(Number(this.ctimeMs)); }
  get birthtime(): Date { return new Date(Number(this.birthtimeMs)); }

  protected fileType(): number { return Number(this.mode) & S_IFMT; }
}

export function* statsOf(inode: Inode, bigint: boolean | undefined): Task<Stats | BigIntStats> {
  const attributes = yield* attributesOf(inode);
  return bigint === true ? new BigIntStats(attributes) : new Stats(attributes);
}

/** As Node's fs.Dirent. */
export class Dirent<Name extends string | Uint8Array = string> extends FileType {
  /** The directory that the entry is in, as it was asked for. */
  readonly parentPath: string;

  constructor(readonly name: Name, parentPath: string, private readonly type: number) {
    super();
    this.parentPath = parentPath;
  }

  get path(): string { return this.parentPath; }

  protected fileType(): number { return this.type; }
}

/** As Node's fs.StatFs. */
export interface StatFs<Value extends number | bigint = number> {
  readonly type: Value;
  /** Bytes of a block: the unit of blocks, bfree and bavail. */
  readonly bsize: Value;
  readonly blocks: Value;
  readonly bfree: Value;
  /** Free to all but root. */
  readonly bavail: Value;
  /** Inodes. */
  readonly files: Value;
  readonly ffree: Value;
}

export function statFsOf(values: EngineStatFs, bigint: boolean | undefined): StatFs<number> | StatFs<bigint> {
  if (bigint !== true) return { ...values };
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, BigInt(value)])) as unknown as StatFs<bigint>;
}
