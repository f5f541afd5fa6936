/**
 * The operations of a volume, each written once, as a task; surfaces.ts derives the sync and the promise form. Errors carry Node's syscall and path.
 */
import { CorruptionError } from "../format/corruption.js";
import { INODE_FLAG_LETTERS } from "../format/inode.js";
import { FsError, type ErrorContext } from "../lib/errno.js";
import { decode, encode } from "../lib/utf8.js";
import type { Task } from "../sched/task.js";
import { DT_UNKNOWN, S_IFDIR, S_IFMT, type FileExtent, type Inode, type SuperBlock } from "../vfs/inode.js";
import { dentryPath, pathLookup, rootDentry, type Dentry } from "../vfs/namei.js";
import { checkPermission, MAY_EXEC, MAY_READ, MAY_WRITE, type Credentials } from "../vfs/permission.js";
import { listDirectory, type WalkEntry } from "../vfs/walk.js";
import { constants, parseFlags } from "./constants.js";
import { argumentError, decodeAs, pathBytes, shownPath, type PathLike } from "./path.js";
import { Dirent, statFsOf, statsOf, type BigIntStats, type StatFs, type Stats } from "./stats.js";

/** Longest file that readFile takes in one piece, as Node's (2 GiB - 1). */
const READ_FILE_BYTES_MAX = 2 ** 31 - 1;
const GROW_BYTES = 64 * 1024;

export interface OpenFile {
  readonly dentry: Dentry;
  readonly path: string;
  /** O_ bits. */
  readonly flags: number;
  /** Where the next read or write without a position begins. */
  positionBytes: number;
}

export interface FlagsInfo {
  /** FS_*_FL bits. */
  readonly word: number;
  /** As lsattr shows them, without the dashes. */
  readonly letters: string;
  readonly names: readonly string[];
}

/** One run of a file's blocks, in filesystem blocks (volume.blockSize bytes). */
export type FiemapExtent = FileExtent;

type EncodingOption = string | null | undefined | { encoding?: string | null | undefined };

function encodingOf(options: EncodingOption): string | null | undefined {
  return typeof options === "object" && options !== null ? options.encoding : options;
}

/** What the host adds: Node wants its own Buffers. */
export interface Host {
  /** Gives bytes to the program, without copying them. */
  wrapBytes(bytes: Uint8Array): Uint8Array;
}

export class Operations {
  protected readonly files = new Map<number, OpenFile>();
  protected readonly root: Dentry;

  constructor(protected readonly fs: SuperBlock, protected readonly host: Host, protected readonly cred: Credentials) {
    this.root = rootDentry(fs.root);
  }

  *open(path: PathLike, flags: string | number = "r", mode = 0o666): Task<number> {
    const bits = parseFlags(flags);
    const context = { syscall: "open", path: shownPath(path) };
    const dentry = yield* inContext(context, this.openDentry(path, bits, mode));
    dentry.d_inode.i_count++;
    let fd = 3;
    while (this.files.has(fd)) fd++;
    this.files.set(fd, { dentry, path: context.path, flags: bits, positionBytes: 0 });
    return fd;
  }

  /** What open finds; the writable volume also makes it. */
  protected *openDentry(path: PathLike, flags: number, _mode: number): Task<Dentry> {
    const dentry = yield* this.find(path, (flags & constants.O_NOFOLLOW) === 0, "open");
    const { d_inode: inode } = dentry;
    if (inode.isSymlink()) throw new FsError("ELOOP");
    if ((flags & constants.O_DIRECTORY) !== 0 && !inode.isDirectory()) throw new FsError("ENOTDIR");
    const access = flags & constants.O_ACCMODE;
    if (access !== constants.O_RDONLY) {
      if (inode.isDirectory()) throw new FsError("EISDIR");
      this.fs.checkWritable();
    }
    yield* checkPermission(inode, this.cred, access === constants.O_RDONLY ? MAY_READ : access === constants.O_WRONLY ? MAY_WRITE : MAY_READ | MAY_WRITE);
    return dentry;
  }

  *close(fd: number): Task<void> {
    const { dentry: { d_inode: inode } } = this.file(fd, "close");
    this.files.delete(fd);
    inode.i_count--;
    yield* inode.release();
  }

  /** Closes whatever is open. */
  *closeAll(): Task<void> {
    for (const fd of [...this.files.keys()]) yield* this.close(fd);
  }

  *read(fd: number, buffer: Uint8Array, offset: number | ReadOptions = 0, length?: number, position?: number | bigint | null): Task<number> {
    const file = this.file(fd, "read");
    if (typeof offset === "object") return yield* this.read(fd, buffer, offset.offset ?? 0, offset.length, offset.position);
    if (!(buffer instanceof Uint8Array)) throw argumentError("ERR_INVALID_ARG_TYPE", 'The "buffer" argument must be an instance of Buffer, TypedArray, or DataView.');
    const wanted = length ?? buffer.length - offset;
    if (!Number.isInteger(offset) || offset < 0 || offset > buffer.length) throw argumentError("ERR_OUT_OF_RANGE", `The value of "offset" is out of range. Received ${offset}`);
    if (!Number.isInteger(wanted) || wanted < 0 || wanted > buffer.length - offset) throw argumentError("ERR_OUT_OF_RANGE", `The value of "length" is out of range. Received ${wanted}`);
    if ((file.flags & constants.O_ACCMODE) === constants.O_WRONLY) throw new FsError("EBADF", "", { syscall: "read" });
    const isCurrent = position === null || position === undefined || Number(position) < 0;
    const from = isCurrent ? file.positionBytes : Number(position);
    const count = yield* this.readFrom(file.dentry.d_inode, from, buffer.subarray(offset, offset + wanted));
    if (isCurrent) file.positionBytes += count;
    return count;
  }

  *fstat(fd: number, options?: { bigint?: boolean | undefined }): Task<Stats | BigIntStats> {
    return yield* statsOf(this.file(fd, "fstat").dentry.d_inode, options?.bigint);
  }

  *readFile(path: PathLike | number, options?: EncodingOption | { encoding?: string | null; flag?: string }): Task<Uint8Array | string> {
    const file = typeof path === "number" ? this.file(path, "read") : undefined;
    const dentry = file?.dentry ?? (yield* inContext({ syscall: "open", path: shownPath(path) }, this.openDentry(path as PathLike, constants.O_RDONLY, 0)));
    const inode = dentry.d_inode;
    const from = file?.positionBytes ?? 0;
    const bytes = yield* this.readWhole(inode, from);
    if (file !== undefined) file.positionBytes += bytes.length;
    const encoding = encodingOf(options);
    if (encoding === null || encoding === undefined || encoding === "buffer") return this.host.wrapBytes(bytes);
    return decodeAs(bytes, encoding);
  }

  /** A file of unknown size (i_size is the disk's word, and holes cost nothing) is bounded before memory is asked for. */
  private *readWhole(inode: Inode, from: number): Task<Uint8Array> {
    const sizeBytes = Math.max(0, inode.i_size - from);
    if (inode.isRegular() && sizeBytes > READ_FILE_BYTES_MAX) throw new FsError("EFBIG", `the file has ${inode.i_size} bytes, which is more than fits in one piece`, { syscall: "read" });
    const bytes = allocate(inode.isRegular() ? sizeBytes : GROW_BYTES);
    const count = yield* this.readFrom(inode, from, bytes);
    return count === bytes.length ? bytes : bytes.subarray(0, count);
  }

  private *readFrom(inode: Inode, from: number, into: Uint8Array): Task<number> {
    if (inode.isDirectory()) throw new FsError("EISDIR", "", { syscall: "read" });
    if (!inode.isRegular()) throw new FsError("ENXIO", "a device, FIFO or socket has no data in an image", { syscall: "read" });
    return yield* inContext({ syscall: "read" }, withReadLock(inode, () => inode.read(from, into)));
  }

  *readdir(path: PathLike, options?: ReaddirOptions): Task<(string | Uint8Array | Dirent<string> | Dirent<Uint8Array>)[]> {
    const settings = typeof options === "object" && options !== null ? options : { encoding: options };
    const top = yield* this.find(path, true, "scandir");
    const result: (string | Uint8Array | Dirent<string> | Dirent<Uint8Array>)[] = [];
    const shown = shownPath(path);
    // Breadth first, as Node does it; every directory is entered once, as in every walk over a tree that may be damaged (vfs/walk.ts).
    const pending: { inode: Inode; prefix: string; parentPath: string }[] = [{ inode: top.d_inode, prefix: "", parentPath: shown }];
    const entered = new Set([top.d_inode.i_ino]);
    for (let at = 0; at < pending.length; at++) {
      const { inode, prefix, parentPath } = pending[at]!;
      if (!inode.isDirectory()) throw new FsError("ENOTDIR", "", { syscall: "scandir", path: shown });
      const entries = yield* inContext({ syscall: "scandir", path: shown }, withReadLock(inode, () => listDirectory(inode)));
      for (const entry of entries) {
        const isBuffer = settings.encoding === "buffer";
        const name = isBuffer ? this.host.wrapBytes(entry.name) : decodeAs(entry.name, settings.encoding ?? "utf8");
        if (settings.withFileTypes === true) {
          const dirent = new Dirent(name, parentPath, yield* this.entryType(entry));
          result.push(dirent as Dirent<string> | Dirent<Uint8Array>);
        } else result.push(isBuffer ? name : prefix + (name as string));
        if (settings.recursive !== true || (yield* this.entryType(entry)) !== S_IFDIR) continue;
        if (entered.has(entry.ino)) throw new CorruptionError("dir-loop", { ino: entry.ino }, { syscall: "scandir", path: shown });
        entered.add(entry.ino);
        const text = decode(entry.name);
        pending.push({ inode: yield* this.fs.iget(entry.ino), prefix: `${prefix}${text}/`, parentPath: parentPath.endsWith("/") ? parentPath + text : `${parentPath}/${text}` });
      }
    }
    return result;
  }

  /** S_IFMT bits; a directory entry may not tell them. */
  private *entryType(entry: WalkEntry): Task<number> {
    return entry.type !== DT_UNKNOWN ? entry.type << 12 : (yield* this.fs.iget(entry.ino)).i_mode & S_IFMT;
  }

  *stat(path: PathLike, options?: StatOptions): Task<Stats | BigIntStats | undefined> {
    return yield* this.statAt(path, options, true, "stat");
  }

  *lstat(path: PathLike, options?: StatOptions): Task<Stats | BigIntStats | undefined> {
    return yield* this.statAt(path, options, false, "lstat");
  }

  private *statAt(path: PathLike, options: StatOptions | undefined, follow: boolean, syscall: string): Task<Stats | BigIntStats | undefined> {
    try {
      const { d_inode: inode } = yield* this.find(path, follow, syscall);
      return yield* inContext({ syscall, path: shownPath(path) }, statsOf(inode, options?.bigint));
    } catch (error) {
      const isAbsent = error instanceof FsError && (error.code === "ENOENT" || error.code === "ENOTDIR");
      if (isAbsent && options?.throwIfNoEntry === false) return undefined;
      throw error;
    }
  }

  *readlink(path: PathLike, options?: EncodingOption): Task<string | Uint8Array> {
    const { d_inode: inode } = yield* this.find(path, false, "readlink");
    const target = yield* inContext({ syscall: "readlink", path: shownPath(path) }, inode.readlink());
    const encoding = encodingOf(options) ?? "utf8";
    return encoding === "buffer" ? this.host.wrapBytes(target) : decodeAs(target, encoding);
  }

  *realpath(path: PathLike, options?: EncodingOption): Task<string | Uint8Array> {
    const real = dentryPath(yield* this.find(path, true, "realpath"));
    const encoding = encodingOf(options) ?? "utf8";
    return encoding === "buffer" ? this.host.wrapBytes(real) : decodeAs(real, encoding);
  }

  *access(path: PathLike, mode: number = constants.F_OK): Task<void> {
    const { d_inode: inode } = yield* this.find(path, true, "access");
    const context = { syscall: "access", path: shownPath(path) };
    if ((mode & constants.W_OK) !== 0 && !this.fs.isWritable && (inode.isRegular() || inode.isDirectory() || inode.isSymlink())) throw new FsError("EROFS", "", context);
    yield* inContext(context, checkPermission(inode, this.cred, mode & (MAY_READ | MAY_WRITE | MAY_EXEC)));
  }

  *exists(path: PathLike): Task<boolean> {
    try {
      yield* this.find(path, true, "access");
      return true;
    } catch {
      return false; // as Node's: whatever stands in the way
    }
  }

  *statfs(path: PathLike, options?: { bigint?: boolean | undefined }): Task<StatFs<number> | StatFs<bigint>> {
    yield* this.find(path, true, "statfs");
    return statFsOf(yield* this.fs.statfs(), options?.bigint);
  }

  *getxattr(path: PathLike, name: string | Uint8Array, options?: FollowOptions): Task<Uint8Array> {
    const { d_inode: inode } = yield* this.find(path, options?.followSymlinks ?? true, "getxattr");
    const context = { syscall: "getxattr", path: shownPath(path) };
    const value = yield* inContext(context, inode.getxattr(typeof name === "string" ? encode(name) : name));
    if (value === undefined) throw new FsError("ENODATA", "", context);
    return this.host.wrapBytes(value);
  }

  *listxattr(path: PathLike, options?: FollowOptions & { encoding?: string }): Task<(string | Uint8Array)[]> {
    const { d_inode: inode } = yield* this.find(path, options?.followSymlinks ?? true, "listxattr");
    const names = yield* inContext({ syscall: "listxattr", path: shownPath(path) }, inode.listxattr());
    return names.map((name) => (options?.encoding === "buffer" ? this.host.wrapBytes(name) : decodeAs(name, options?.encoding ?? "utf8")));
  }

  *fiemap(path: PathLike, offset = 0, length = Infinity): Task<FiemapExtent[]> {
    const context = { syscall: "fiemap", path: shownPath(path) };
    const { d_inode: inode } = yield* this.find(path, false, "fiemap");
    if (!(offset >= 0) || !(length > 0)) throw new FsError("EINVAL", "", context);
    const { blockBytes } = this.fs;
    const first = Math.floor(offset / blockBytes);
    const end = Math.ceil(Math.min(offset + length, 2 ** 32 * blockBytes) / blockBytes);
    return yield* inContext(context, inode.fiemap(first, end - first));
  }

  *flags(path: PathLike): Task<FlagsInfo> {
    const { d_inode: inode } = yield* this.find(path, false, "ioctl");
    const set = INODE_FLAG_LETTERS.filter(([bit]) => (inode.i_flags & bit) !== 0);
    return { word: inode.i_flags, letters: set.map(([, letter]) => letter).join(""), names: set.map(([, , name]) => name) };
  }

  /** A directory's inode, for those who iterate over it themselves. */
  *openDirectory(path: PathLike): Task<Inode> {
    const { d_inode: inode } = yield* this.find(path, true, "opendir");
    if (!inode.isDirectory()) throw new FsError("ENOTDIR", "", { syscall: "opendir", path: shownPath(path) });
    return inode;
  }

  /** Walks a path. @throws FsError ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, with call and path named. */
  *find(path: PathLike, followLast: boolean, syscall: string): Task<Dentry> {
    const bytes = pathBytes(path);
    return yield* inContext({ syscall, path: shownPath(path) }, pathLookup(this.root, this.root, bytes, { followLast, cred: this.cred }));
  }

  protected file(fd: number, syscall: string): OpenFile {
    const file = this.files.get(fd);
    if (file === undefined) throw new FsError("EBADF", "", { syscall });
    return file;
  }
}

/** @throws FsError ENOMEM. */
function allocate(sizeBytes: number): Uint8Array {
  try {
    return new Uint8Array(sizeBytes);
  } catch {
    throw new FsError("ENOMEM", `there is no memory for ${sizeBytes} bytes in one piece`, { syscall: "read" });
  }
}

export interface ReadOptions { offset?: number | undefined; length?: number | undefined; position?: number | bigint | null | undefined }
export interface StatOptions { bigint?: boolean | undefined; throwIfNoEntry?: boolean | undefined }
export interface FollowOptions { followSymlinks?: boolean | undefined }
export type ReaddirOptions = string | null | undefined | { encoding?: string | null | undefined; withFileTypes?: boolean | undefined; recursive?: boolean | undefined };

/** Keeps changes of the inode out while `work` looks at it. On a volume that is only read nothing changes. */
export function* withReadLock<T>(inode: Inode, work: () => Task<T>): Task<T> {
  if (!inode.i_sb.isWritable) return yield* work();
  if (!inode.i_rwsem.tryRead()) yield* inode.i_rwsem.read();
  try {
    return yield* work();
  } finally {
    inode.i_rwsem.unlockRead();
  }
}

/** Names call and path in whatever error comes out of `task`. */
export function* inContext<T>(context: ErrorContext, task: Task<T>): Task<T> {
  try {
    return yield* task;
  } catch (error) {
    throw error instanceof FsError ? error.addContext(context) : error;
  }
}

