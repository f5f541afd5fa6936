/**
 * The operations of a volume, each written once, as a task; surfaces.ts derives the sync and the promise form. Errors carry Node's syscall and path.
 */
import { CorruptionError } from "../format/corruption.js";
import { INODE_FLAG_LETTERS } from "../format/inode.js";
import { FsError } from "../lib/errno.js";
import { encode } from "../lib/utf8.js";
import type { Task } from "../sched/task.js";
import type { File } from "../vfs/file.js";
import { S_IFDIR, type FileExtent, type Inode, type SuperBlock } from "../vfs/inode.js";
import { withReadLock } from "../vfs/inode-lock.js";
import { Mount } from "../vfs/mount.js";
import { dentryPath, pathLookup, type Dentry } from "../vfs/namei.js";
import { openFile, type Walker } from "../vfs/open.js";
import { checkPermission, MAY_EXEC, MAY_READ, MAY_WRITE, type Credentials } from "../vfs/permission.js";
import { letGoOfAll } from "../vfs/hold.js";
import { listDirectory } from "../vfs/walk.js";
import { constants, parseFlags } from "./constants.js";
import { inContext, type Host } from "./context.js";
import { childOf, childPath, entryName, entryType, relativePath, sortEntries, type EntryName } from "./entries.js";
import { argumentError, checkInteger, decodeAs, optionsOf, pathBytes, shownPath, type PathLike, type WithEncoding } from "./path.js";
import { Dirent, statFsOf, statsOf, type BigIntStats, type StatFs, type Stats } from "./stats.js";

/** Longest file that readFile takes in one piece, as Node's (2 GiB - 1). */
const READ_FILE_BYTES_MAX = 2 ** 31 - 1;

export interface FlagsInfo {
  /** FS_*_FL bits. */
  readonly word: number;
  /** As lsattr shows them, without the dashes. */
  readonly letters: string;
  readonly names: readonly string[];
  /** S_DAX: the file's pages are those of persistent memory now. The flag for it tells what the file will be when it is next brought into memory. */
  readonly isDax: boolean;
}

/** One run of a file's blocks, in filesystem blocks (volume.blockSize bytes). */
export type FiemapExtent = FileExtent;

type EncodingOption = WithEncoding<{ encoding?: string | null | undefined }>;

const FD_MAX = 2 ** 31 - 1;
const POSITION_MAX = 2n ** 63n - 1n;

export class Operations {
  protected readonly files = new Map<number, File>();
  protected readonly walker: Walker;

  constructor(protected readonly fs: SuperBlock, readonly host: Host, protected readonly cred: Credentials) {
    const mnt = new Mount(fs);
    this.walker = { mnt, base: mnt.mnt_root, cred };
  }

  *open(path: PathLike, flags?: string | number | null, mode = 0o666): Task<number> {
    const bits = parseFlags(flags);
    const file = yield* inContext({ syscall: "open", path: shownPath(path) }, this.openPath(path, bits, mode));
    let fd = 3;
    while (this.files.has(fd)) fd++;
    this.files.set(fd, file);
    return fd;
  }

  /** The caller puts what he gets. @param flags O_ bits. */
  protected *openPath(path: PathLike, flags: number, mode: number): Task<File> {
    return yield* openFile(this.walker, pathBytes(path), flags, mode);
  }

  *close(fd: number): Task<void> {
    const file = this.file(fd, "close");
    this.files.delete(fd);
    yield* file.put();
  }

  /** Closes whatever is open. */
  *closeAll(): Task<void> {
    for (const fd of [...this.files.keys()]) yield* this.close(fd);
  }

  *read(fd: number, buffer: ArrayBufferView, offset?: number | ReadOptions | null, length?: number | null, position?: number | bigint | null): Task<number> {
    const file = this.file(fd, "read");
    if (typeof offset === "object" && offset !== null) return yield* this.read(fd, buffer, offset.offset, offset.length, offset.position);
    const into = bytesOf(buffer, offset, length);
    const at = position ?? -1;
    if (typeof at !== "bigint") checkInteger(at, "position", -1);
    else if (at > POSITION_MAX - BigInt(into.length)) throw argumentError("ERR_OUT_OF_RANGE", `The value of "position" is out of range. Received ${at}n`);
    return yield* inContext({ syscall: "read" }, at < 0 ? file.read(into) : file.pread(Number(at), into));
  }

  *fstat(fd: number, options?: { bigint?: boolean | undefined }): Task<Stats | BigIntStats> {
    return yield* statsOf(this.file(fd, "fstat").f_inode, options?.bigint);
  }

  *readFile(path: PathLike | number, options?: WithEncoding<ReadFileOptions>): Task<Uint8Array | string> {
    const { encoding, flag } = optionsOf(options);
    const file = typeof path === "number" ? this.file(path, "read") : yield* inContext({ syscall: "open", path: shownPath(path) }, this.openPath(path, parseFlags(flag), 0o666));
    try {
      const bytes = yield* inContext({ syscall: "read" }, file.atPosition(() => readWhole(file)));
      return encoding === undefined || encoding === "buffer" ? this.host.wrapBytes(bytes) : decodeAs(bytes, encoding);
    } finally {
      if (typeof path !== "number") yield* file.put();
    }
  }

  *readdir(path: PathLike, options?: WithEncoding<ReaddirOptions>): Task<(EntryName | Dirent<EntryName>)[]> {
    const { encoding, withFileTypes, recursive } = optionsOf(options);
    const top = yield* this.find(path, true, "scandir");
    const result: (EntryName | Dirent<EntryName>)[] = [];
    const shown = shownPath(path);
    // Breadth first, as Node does it; every directory is entered once, as in every walk over a tree that may be damaged (vfs/walk.ts).
    const pending: { inode: Inode; directory: EntryName; parentPath: string }[] = [{ inode: top.d_inode, directory: "", parentPath: shown }];
    const entered = new Set([top.d_inode.i_ino]);
    for (let at = 0; at < pending.length; at++) {
      const { inode, directory, parentPath } = pending[at]!;
      if (!inode.isDirectory()) throw new FsError("ENOTDIR", "", { syscall: "scandir", path: shown });
      const entries = yield* inContext({ syscall: "scandir", path: shown }, withReadLock(inode, () => listDirectory(inode)));
      for (const entry of sortEntries(entries)) {
        const name = entryName(this.host, entry.name, encoding);
        const relative = relativePath(this.host, directory, name);
        result.push(withFileTypes === true ? new Dirent(name, parentPath, yield* entryType(inode, entry)) : relative);
        if (recursive !== true || (yield* entryType(inode, entry)) !== S_IFDIR) continue;
        if (entered.has(entry.ino)) throw new CorruptionError("dir-loop", { ino: entry.ino }, { syscall: "scandir", path: shown });
        entered.add(entry.ino);
        const child = yield* childOf(inode, entry);
        if (child?.isDirectory() === true) pending.push({ inode: child, directory: relative, parentPath: childPath(parentPath, entry.name) });
      }
    }
    return result;
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

  *readlink(path: PathLike, options?: EncodingOption): Task<EntryName> {
    const { encoding } = optionsOf(options);
    const { d_inode: inode } = yield* this.find(path, false, "readlink");
    return entryName(this.host, yield* inContext({ syscall: "readlink", path: shownPath(path) }, inode.readlink()), encoding);
  }

  *realpath(path: PathLike, options?: EncodingOption): Task<EntryName> {
    const { encoding } = optionsOf(options);
    return entryName(this.host, dentryPath(yield* this.find(path, true, "realpath")), encoding);
  }

  *access(path: PathLike, mode: number = constants.F_OK): Task<void> {
    checkInteger(mode, "mode", 0, MAY_READ | MAY_WRITE | MAY_EXEC);
    const { d_inode: inode } = yield* this.find(path, true, "access");
    const context = { syscall: "access", path: shownPath(path) };
    if ((mode & constants.W_OK) !== 0 && !this.fs.isWritable && (inode.isRegular() || inode.isDirectory() || inode.isSymlink())) throw new FsError("EROFS", "", context);
    yield* inContext(context, checkPermission(inode, this.cred, mode));
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

  *listxattr(path: PathLike, options?: FollowOptions & { encoding?: string }): Task<EntryName[]> {
    const { encoding } = optionsOf(options);
    const { d_inode: inode } = yield* this.find(path, options?.followSymlinks ?? true, "listxattr");
    const names = yield* inContext({ syscall: "listxattr", path: shownPath(path) }, inode.listxattr());
    return names.map((name) => entryName(this.host, name, encoding));
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
    return { word: inode.i_flags, letters: set.map(([, letter]) => letter).join(""), names: set.map(([, , name]) => name), isDax: inode.isDax };
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
    return yield* inContext({ syscall, path: shownPath(path) }, pathLookup(this.walker.mnt.mnt_root, this.walker.base, bytes, { followLast, cred: this.cred, held: this.walker.held }));
  }

  /** One call, beside which others may run: what its walks find stays until it is over, and nobody deletes it under the call's hands. */
  *holding<T>(work: (call: this) => Task<T>): Task<T> {
    const held: Inode[] = [];
    const call = Object.create(this, { walker: { value: { ...this.walker, held } } }) as this;
    try {
      return yield* work(call);
    } finally {
      yield* letGoOfAll(held);
    }
  }

  protected file(fd: number, syscall: string): File {
    checkInteger(fd, "fd", 0, FD_MAX);
    const file = this.files.get(fd);
    if (file === undefined) throw new FsError("EBADF", "", { syscall });
    return file;
  }
}

/** The file from its position on. A file of unknown size (i_size is the disk's word, and holes cost nothing) is bounded before memory is asked for. */
function* readWhole(file: File): Task<Uint8Array> {
  const { f_inode: inode, f_pos: from } = file;
  const sizeBytes = Math.max(0, inode.i_size - from);
  if (inode.isRegular() && sizeBytes > READ_FILE_BYTES_MAX) throw new FsError("EFBIG", `the file has ${inode.i_size} bytes, which is more than fits in one piece`);
  const bytes = allocate(inode.isRegular() ? sizeBytes : 0);
  const count = yield* file.pread(from, bytes);
  file.f_pos += count;
  return count === bytes.length ? bytes : bytes.subarray(0, count);
}

/** @throws FsError ENOMEM. */
function allocate(sizeBytes: number): Uint8Array {
  try {
    return new Uint8Array(sizeBytes);
  } catch {
    throw new FsError("ENOMEM", `there is no memory for ${sizeBytes} bytes in one piece`, { syscall: "read" });
  }
}

export interface ReadOptions { offset?: number | undefined; length?: number | null | undefined; position?: number | bigint | null | undefined }
export interface ReadFileOptions { encoding?: string | null | undefined; flag?: string | number | undefined }
export interface StatOptions { bigint?: boolean | undefined; throwIfNoEntry?: boolean | undefined }
export interface FollowOptions { followSymlinks?: boolean | undefined }
export interface ReaddirOptions { encoding?: string | null | undefined; withFileTypes?: boolean | undefined; recursive?: boolean | undefined }

/** The bytes of a view that a read or a write is about. @throws TypeError, RangeError as Node's. */
export function bytesOf(buffer: unknown, offset?: number | null, length?: number | null): Uint8Array {
  if (!ArrayBuffer.isView(buffer)) throw argumentError("ERR_INVALID_ARG_TYPE", 'The "buffer" argument must be an instance of Buffer, TypedArray, or DataView.');
  const from = offset ?? 0;
  checkInteger(from, "offset", 0, buffer.byteLength);
  const wanted = length ?? buffer.byteLength - from;
  checkInteger(wanted, "length", 0, buffer.byteLength - from);
  return new Uint8Array(buffer.buffer, buffer.byteOffset + from, wanted);
}
