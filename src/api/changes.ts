/**
 * The operations that change a volume, each written once, as a task. Paths, errors and defaults are Node's; what ext4 has beyond Node's fs stands at the end.
 */
import { FsError } from "../lib/errno.js";
import { encode } from "../lib/utf8.js";
import type { Task } from "../sched/task.js";
import { changeFlags, changeMode, changeOwner, changeTimes, changeXattr } from "../vfs/attributes.js";
import { createAt, linkAt, renameAt, rmdirAt, unlinkAt } from "../vfs/change.js";
import { fallocateInode, type File } from "../vfs/file.js";
import { O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_WRONLY } from "../vfs/flags.js";
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, type Inode, type SuperBlock, type Timespec, type XattrFlags } from "../vfs/inode.js";
import { withReadLock } from "../vfs/inode-lock.js";
import { hold, letGo } from "../vfs/hold.js";
import { Dentry, lookUp, pathLookupParent, type LastName } from "../vfs/namei.js";
import { newInode } from "../vfs/open.js";
import { checkPermission, isAppendOnly, MAY_READ, type Credentials } from "../vfs/permission.js";
import { listDirectory } from "../vfs/walk.js";
import { constants } from "./constants.js";
import { inContext, type Host } from "./context.js";
import { childOf } from "./entries.js";
import type { Runner } from "./handles.js";
import { FileMapping, type MapOptions } from "./mapping.js";
import { bytesOf, Operations, type FollowOptions } from "./operations.js";
import { argumentError, checkInteger, encodeAs, pathBytes, shownPath, type PathLike } from "./path.js";

const COPY_PIECE_BYTES = 1 << 20;
const SLASH = 0x2f;
const TEMPORARY_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

export type FileData = string | ArrayBufferView | Iterable<string | ArrayBufferView>;
export type TimeLike = number | string | Date | bigint;
export interface MkdirOptions { readonly recursive?: boolean | undefined; readonly mode?: number | string | undefined }
export interface RmOptions { readonly recursive?: boolean | undefined; readonly force?: boolean | undefined }
export interface WriteFileOptions { readonly encoding?: string | null | undefined; readonly mode?: number | string | undefined; readonly flag?: string | undefined; readonly flush?: boolean | undefined }
export interface WriteOptions { readonly offset?: number | undefined; readonly length?: number | undefined; readonly position?: number | bigint | null | undefined }

export class Changes extends Operations {
  /** One for all calls, each of which is a view of its own (holding). */
  private readonly temporary = { count: 0 };
  private readonly mappings = new Set<FileMapping>();

  constructor(fs: SuperBlock, host: Host, cred: Credentials, private readonly runner: Runner) {
    super(fs, host, cred);
  }

  override *closeAll(): Task<void> {
    for (const mapping of [...this.mappings]) yield* mapping.end();
    yield* super.closeAll();
  }

  // Descriptors

  *write(fd: number, data: ArrayBufferView | string, offset?: number | null | WriteOptions, length?: number | string | null, position?: number | bigint | null): Task<number> {
    const file = this.file(fd, "write");
    if (typeof data === "string") {
      // write(fd, text, position, encoding)
      return yield* this.writeAt(file, encodeAs(data, typeof length === "string" ? length : "utf8"), typeof offset === "number" ? offset : null);
    }
    if (typeof offset === "object" && offset !== null) return yield* this.write(fd, data, offset.offset, offset.length, offset.position);
    return yield* this.writeAt(file, bytesOf(data, offset, typeof length === "number" ? length : null), position);
  }

  *writev(fd: number, buffers: readonly ArrayBufferView[], position?: number | null): Task<number> {
    const file = this.file(fd, "write");
    let written = 0;
    for (const buffer of buffers) written += yield* this.writeAt(file, bytesOf(buffer), typeof position === "number" ? position + written : null);
    return written;
  }

  *readv(fd: number, buffers: readonly ArrayBufferView[], position?: number | null): Task<number> {
    let total = 0;
    for (const buffer of buffers) {
      const bytes = bytesOf(buffer);
      const count = yield* this.read(fd, bytes, 0, bytes.length, typeof position === "number" ? position + total : null);
      total += count;
      if (count < bytes.length) break;
    }
    return total;
  }

  private *writeAt(file: File, bytes: Uint8Array, position: number | bigint | null | undefined): Task<number> {
    const isCurrent = position === null || position === undefined || Number(position) < 0;
    yield* inContext({ syscall: "write" }, isCurrent ? file.write(bytes) : file.pwrite(Number(position), bytes));
    return bytes.length;
  }

  *ftruncate(fd: number, length = 0): Task<void> {
    yield* inContext({ syscall: "ftruncate" }, this.file(fd, "ftruncate").ftruncate(length));
  }

  *fsync(fd: number): Task<void> {
    yield* inContext({ syscall: "fsync" }, this.file(fd, "fsync").fsync(false));
  }

  *fdatasync(fd: number): Task<void> {
    yield* inContext({ syscall: "fdatasync" }, this.file(fd, "fdatasync").fsync(true));
  }

  *fchmod(fd: number, mode: number | string): Task<void> {
    yield* inContext({ syscall: "fchmod" }, changeMode(this.file(fd, "fchmod").f_inode, modeOf(mode), this.cred));
  }

  *fchown(fd: number, uid: number, gid: number): Task<void> {
    yield* inContext({ syscall: "fchown" }, changeOwner(this.file(fd, "fchown").f_inode, uid, gid, this.cred));
  }

  *futimes(fd: number, atime: TimeLike, mtime: TimeLike): Task<void> {
    yield* inContext({ syscall: "futime" }, this.setTimes(this.file(fd, "futime").f_inode, atime, mtime));
  }

  // Whole files

  *writeFile(path: PathLike | number, data: FileData, options?: string | null | WriteFileOptions): Task<void> {
    const settings = typeof options === "object" && options !== null ? options : { encoding: options };
    const isDescriptor = typeof path === "number";
    const fd = isDescriptor ? path : yield* this.open(path, settings.flag ?? "w", modeOf(settings.mode ?? 0o666));
    try {
      const pieces = typeof data === "string" || ArrayBuffer.isView(data) ? [data] : data;
      for (const piece of pieces) yield* this.writeAt(this.file(fd, "write"), typeof piece === "string" ? encodeAs(piece, settings.encoding ?? "utf8") : bytesOf(piece), null);
      if (settings.flush === true) yield* this.fsync(fd);
    } finally {
      if (!isDescriptor) yield* this.close(fd);
    }
  }

  *appendFile(path: PathLike | number, data: FileData, options?: string | null | WriteFileOptions): Task<void> {
    const settings = typeof options === "object" && options !== null ? options : { encoding: options };
    yield* this.writeFile(path, data, { flag: "a", ...settings });
  }

  *truncate(path: PathLike, length = 0): Task<void> {
    // As Node's: the file is opened for it.
    const file = yield* inContext({ syscall: "open", path: shownPath(path) }, this.openPath(path, O_RDWR, 0));
    try {
      yield* inContext({ syscall: "ftruncate" }, file.ftruncate(length));
    } finally {
      yield* file.put();
    }
  }

  *copyFile(source: PathLike, destination: PathLike, mode = 0): Task<void> {
    yield* inContext({ syscall: "copyfile", path: shownPath(source), dest: shownPath(destination) }, this.copy(source, destination, mode));
  }

  private *copy(source: PathLike, destination: PathLike, mode: number): Task<void> {
    if ((mode & constants.COPYFILE_FICLONE_FORCE) !== 0) throw new FsError("EOPNOTSUPP");
    const from = yield* this.openPath(source, O_RDONLY, 0);
    try {
      const flags = O_WRONLY | O_CREAT | ((mode & constants.COPYFILE_EXCL) !== 0 ? O_EXCL : 0);
      const to = yield* this.openPath(destination, flags, from.f_inode.i_mode & 0o7777);
      try {
        yield* this.copyData(from, to);
      } finally {
        yield* to.put();
      }
    } finally {
      yield* from.put();
    }
  }

  private *copyData(from: File, to: File): Task<void> {
    const { f_inode: inode } = from;
    if (inode.isDirectory()) throw new FsError("EISDIR");
    if (to.f_inode === inode) return;
    yield* to.ftruncate(0);
    const piece = new Uint8Array(Math.min(COPY_PIECE_BYTES, inode.i_size));
    for (let at = 0; at < inode.i_size;) {
      const count = yield* from.pread(at, piece);
      if (count === 0) break;
      yield* to.pwrite(at, piece.subarray(0, count));
      at += count;
    }
  }

  // Names

  *mkdir(path: PathLike, options?: number | string | null | MkdirOptions): Task<string | undefined> {
    const settings = typeof options === "object" && options !== null ? options : { mode: options ?? undefined };
    const mode = modeOf(settings.mode ?? 0o777);
    if (settings.recursive === true) return yield* this.makeParents(path, mode);
    yield* inContext({ syscall: "mkdir", path: shownPath(path) }, this.makeDirectory(path, mode));
    return undefined;
  }

  private *makeDirectory(path: PathLike, mode: number): Task<void> {
    yield* createAt(yield* this.findParent(path, false, "mkdir"), newInode(this.walker, S_IFDIR, mode), this.cred, true);
  }

  /** Makes what is absent on the way. Returns the first directory that was made, as Node does. */
  private *makeParents(path: PathLike, mode: number): Task<string | undefined> {
    const bytes = pathBytes(path);
    const context = { syscall: "mkdir", path: shownPath(path) };
    let first: string | undefined;
    for (let end = 1; end <= bytes.length; end++) {
      if (end < bytes.length && bytes[end] !== SLASH) continue;
      const part = bytes.subarray(0, end);
      if (part[end - 1] === SLASH) continue;
      try {
        yield* inContext(context, this.makeDirectory(part, mode));
        first ??= shownPath(part);
      } catch (error) {
        if (!(error instanceof FsError) || (error.code !== "EEXIST" && error.code !== "EISDIR")) throw error;
        const { d_inode: inode } = yield* this.find(part, true, "mkdir");
        if (!inode.isDirectory()) throw new FsError(end === bytes.length ? "EEXIST" : "ENOTDIR", "", context);
      }
    }
    return first;
  }

  *mkdtemp(prefix: string): Task<string> {
    for (let tries = 0; ; tries++) {
      const suffix = Array.from({ length: 6 }, () => TEMPORARY_LETTERS[this.randomIndex(TEMPORARY_LETTERS.length)]).join("");
      try {
        yield* inContext({ syscall: "mkdtemp", path: `${prefix}XXXXXX` }, this.makeDirectory(prefix + suffix, 0o700));
        return prefix + suffix;
      } catch (error) {
        if (!(error instanceof FsError) || error.code !== "EEXIST" || tries > 100) throw error;
      }
    }
  }

  /** Good enough for a name that must be new: a collision is met and tried again. */
  private randomIndex(limit: number): number {
    const { sec, nsec } = this.fs.now();
    this.temporary.count = (this.temporary.count * 69069 + sec + nsec + 12345) >>> 0;
    return (this.temporary.count >>> 8) % limit;
  }

  *rmdir(path: PathLike): Task<void> {
    const context = { syscall: "rmdir", path: shownPath(path) };
    yield* inContext(context, rmdirAt(yield* this.findParent(path, false, "rmdir"), this.cred));
  }

  *unlink(path: PathLike): Task<void> {
    const context = { syscall: "unlink", path: shownPath(path) };
    yield* inContext(context, unlinkAt(yield* this.findParent(path, false, "unlink"), this.cred));
  }

  /** Each name goes in a transaction of its own, the deepest first. */
  *rm(path: PathLike, options: RmOptions = {}): Task<void> {
    const context = { syscall: "rm", path: shownPath(path) };
    const last = yield* this.findIfThere(path, options.force === true);
    if (last === undefined) return;
    const inode = yield* lookUp(last.dir.d_inode, last.name);
    if (inode === undefined) {
      if (options.force === true) return;
      throw new FsError("ENOENT", "", { syscall: "lstat", path: context.path });
    }
    if (!inode.isDirectory()) return yield* inContext(context, unlinkAt({ ...last, mustBeDirectory: false }, this.cred));
    if (options.recursive !== true) throw Object.assign(new Error(`Path is a directory: rm returned EISDIR (is a directory) ${context.path}`), { code: "ERR_FS_EISDIR" });
    yield* inContext(context, this.removeTree(last, inode));
  }

  private *findIfThere(path: PathLike, isForced: boolean): Task<LastName | undefined> {
    try {
      return yield* this.findParent(path, false, "lstat");
    } catch (error) {
      if (isForced && error instanceof FsError && error.code === "ENOENT") return undefined;
      throw error;
    }
  }

  private *removeTree(last: LastName, inode: Inode): Task<void> {
    const dentry = new Dentry(hold(inode), last.name, last.dir);
    try {
      for (const entry of yield* withReadLock(inode, () => listDirectory(inode))) {
        const child = yield* childOf(inode, entry);
        if (child === undefined) continue;
        const below: LastName = { dir: dentry, name: entry.name, isPlain: true, isDotDot: false, mustBeDirectory: false };
        if (child.isDirectory()) yield* this.removeTree(below, child);
        else yield* unlessGone(unlinkAt(below, this.cred));
      }
      yield* unlessGone(rmdirAt(last, this.cred));
    } finally {
      yield* letGo(inode);
    }
  }

  *link(existing: PathLike, path: PathLike): Task<void> {
    const context = { syscall: "link", path: shownPath(existing), dest: shownPath(path) };
    const dentry = yield* inContext(context, this.find(existing, false, "link"));
    yield* inContext(context, linkAt(dentry.d_inode, yield* inContext(context, this.findParent(path, false, "link")), this.cred));
  }

  *symlink(target: PathLike, path: PathLike): Task<void> {
    const context = { syscall: "symlink", path: shownPath(target), dest: shownPath(path) };
    const wanted = { ...newInode(this.walker, S_IFLNK, 0o777), umask: 0, target: pathBytes(target, "target") };
    yield* inContext(context, createAt(yield* inContext(context, this.findParent(path, false, "symlink")), wanted, this.cred, false));
  }

  /** @param flags RENAME_NOREPLACE 1, RENAME_EXCHANGE 2, RENAME_WHITEOUT 4, as Linux's renameat2. */
  *rename(from: PathLike, to: PathLike, flags = 0): Task<void> {
    const context = { syscall: "rename", path: shownPath(from), dest: shownPath(to) };
    const old = yield* inContext(context, this.findParent(from, false, "rename"));
    yield* inContext(context, renameAt(old, yield* inContext(context, this.findParent(to, false, "rename")), flags, this.cred));
  }

  /** A device, FIFO, socket or regular file. `mode` has the type's bits, too. */
  *mknod(path: PathLike, mode: number, rdev: { major: number; minor: number } = { major: 0, minor: 0 }): Task<void> {
    const type = mode & S_IFMT;
    if (type === S_IFDIR || type === S_IFLNK) throw new FsError("EPERM", "", { syscall: "mknod", path: shownPath(path) });
    const wanted = { ...newInode(this.walker, type === 0 ? S_IFREG : type, mode), rdev };
    yield* inContext({ syscall: "mknod", path: shownPath(path) }, createAt(yield* this.findParent(path, false, "mknod"), wanted, this.cred, false));
  }

  // Attributes

  *chmod(path: PathLike, mode: number | string): Task<void> {
    yield* inContext({ syscall: "chmod", path: shownPath(path) }, changeMode((yield* this.find(path, true, "chmod")).d_inode, modeOf(mode), this.cred));
  }

  *chown(path: PathLike, uid: number, gid: number): Task<void> {
    yield* inContext({ syscall: "chown", path: shownPath(path) }, changeOwner((yield* this.find(path, true, "chown")).d_inode, uid, gid, this.cred));
  }

  *lchown(path: PathLike, uid: number, gid: number): Task<void> {
    yield* inContext({ syscall: "lchown", path: shownPath(path) }, changeOwner((yield* this.find(path, false, "lchown")).d_inode, uid, gid, this.cred));
  }

  *utimes(path: PathLike, atime: TimeLike, mtime: TimeLike): Task<void> {
    yield* inContext({ syscall: "utime", path: shownPath(path) }, this.setTimes((yield* this.find(path, true, "utime")).d_inode, atime, mtime));
  }

  *lutimes(path: PathLike, atime: TimeLike, mtime: TimeLike): Task<void> {
    yield* inContext({ syscall: "lutime", path: shownPath(path) }, this.setTimes((yield* this.find(path, false, "lutime")).d_inode, atime, mtime));
  }

  private *setTimes(inode: Inode, atime: TimeLike, mtime: TimeLike): Task<void> {
    yield* changeTimes(inode, { atime: timeOf(atime), mtime: timeOf(mtime) }, this.cred);
  }

  // What Node's fs has not

  *setxattr(path: PathLike, name: string | Uint8Array, value: string | Uint8Array, options: XattrFlags & FollowOptions = {}): Task<void> {
    yield* this.setOneXattr("setxattr", path, name, typeof value === "string" ? encode(value) : value, options);
  }

  *removexattr(path: PathLike, name: string | Uint8Array, options: FollowOptions = {}): Task<void> {
    yield* this.setOneXattr("removexattr", path, name, undefined, options);
  }

  private *setOneXattr(syscall: string, path: PathLike, name: string | Uint8Array, value: Uint8Array | undefined, options: XattrFlags & FollowOptions): Task<void> {
    const { d_inode: inode } = yield* this.find(path, options.followSymlinks ?? true, syscall);
    yield* inContext({ syscall, path: shownPath(path) }, changeXattr(inode, typeof name === "string" ? encode(name) : name, value, options, this.cred));
  }

  /** Reserves, punches, zeroes or moves a range, as Linux's fallocate. @param mode FALLOC_FL_ bits. */
  *fallocate(target: PathLike | number, mode: number, offset: number, length: number): Task<void> {
    const inode = yield* this.inodeOf(target, "fallocate");
    yield* inContext({ syscall: "fallocate", path: typeof target === "number" ? undefined : shownPath(target) }, fallocateInode(inode, mode, offset, length, this.cred));
  }

  /** The first byte at or behind `offset` that is data, or in a hole. @throws FsError ENXIO there is none. */
  *seek(target: PathLike | number, offset: number, whence: "data" | "hole"): Task<number> {
    const inode = yield* this.inodeOf(target, "lseek");
    return yield* inContext({ syscall: "lseek" }, withReadLock(inode, () => inode.seek(offset, whence)));
  }

  /** Views of a DAX file's bytes, in place. */
  *map(target: PathLike | number, offset: number, length: number, options: MapOptions = {}): Task<FileMapping> {
    checkInteger(offset, "offset", 0);
    if (length !== Infinity) checkInteger(length, "length", 0);
    const isWritable = options.writable === true;
    const path = typeof target === "number" ? undefined : shownPath(target);
    if (typeof target === "number") return yield* inContext({ syscall: "mmap" }, this.mapFile(this.file(target, "mmap"), offset, length, isWritable));
    const file = yield* inContext({ syscall: "open", path }, this.openPath(target, isWritable ? O_RDWR : O_RDONLY, 0));
    try {
      return yield* inContext({ syscall: "mmap", path }, this.mapFile(file, offset, length, isWritable));
    } finally {
      yield* file.put();
    }
  }

  /** As mmap asks: who maps for writing may read, too, and nothing is written in the midst of a file that only grows. */
  private *mapFile(file: File, offset: number, length: number, isWritable: boolean): Task<FileMapping> {
    const { f_inode: inode } = file;
    if (!file.isReadable || (isWritable && (!file.isWritable || isAppendOnly(inode)))) throw new FsError("EACCES");
    const held = yield* inode.holdPages(offset, length, isWritable);
    file.get();
    const mapping = new FileMapping(this.runner, this.host, file, held, isWritable, (ended) => this.mappings.delete(ended));
    this.mappings.add(mapping);
    return mapping;
  }

  private *inodeOf(target: PathLike | number, syscall: string): Task<Inode> {
    if (typeof target === "number") return this.file(target, syscall).f_inode;
    const { d_inode: inode } = yield* this.find(target, true, syscall);
    yield* checkPermission(inode, this.cred, MAY_READ);
    inode.checkOpen(false);
    return inode;
  }

  /** Sets the flags that chattr sets: FS_*_FL bits. Those that cannot be changed must be as they are. */
  *setFlags(path: PathLike, flags: number): Task<void> {
    const { d_inode: inode } = yield* this.find(path, false, "ioctl");
    yield* inContext({ syscall: "ioctl", path: shownPath(path) }, changeFlags(inode, flags, this.cred));
    // A flag may ask for the inode to be read anew, as soon as nobody has it.
    yield* inode.release();
  }

  /** Everything that was done so far becomes durable. */
  *sync(): Task<void> {
    yield* inContext({ syscall: "sync" }, this.fs.sync());
  }

  private *findParent(path: PathLike, followLast: boolean, syscall: string): Task<LastName> {
    return yield* inContext({ syscall, path: shownPath(path) }, pathLookupParent(this.walker.mnt.mnt_root, this.walker.base, pathBytes(path), { followLast, cred: this.cred, held: this.walker.held }));
  }
}

/** Somebody else may have taken it away: then it is as it was to be. */
function* unlessGone(task: Task<void>): Task<void> {
  try {
    yield* task;
  } catch (error) {
    if (!(error instanceof FsError) || error.code !== "ENOENT") throw error;
  }
}

function modeOf(mode: number | string): number {
  const value = typeof mode === "string" ? parseInt(mode, 8) : mode;
  if (!Number.isInteger(value) || value < 0) throw argumentError("ERR_INVALID_ARG_VALUE", `The argument 'mode' must be a 32-bit unsigned integer or an octal string. Received '${mode}'`);
  return value;
}

/** Seconds, as Node takes them; a bigint is nanoseconds. @throws TypeError ERR_INVALID_ARG_TYPE. */
function timeOf(time: TimeLike): Timespec {
  if (typeof time === "bigint") {
    const nsec = ((time % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
    return { sec: Number((time - nsec) / 1_000_000_000n), nsec: Number(nsec) };
  }
  const seconds = time instanceof Date ? time.getTime() / 1000 : Number(time);
  if (!Number.isFinite(seconds)) throw argumentError("ERR_INVALID_ARG_TYPE", 'The "time" argument must be of type number, string or Date.');
  const sec = Math.floor(seconds);
  return { sec, nsec: Math.min(999_999_999, Math.round((seconds - sec) * 1e9)) };
}
