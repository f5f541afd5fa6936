/**
 * System calls of a process on files and paths, under Linux's names. Each throws an FsError with Linux's code; what Linux returns in buffers is returned. A buffer is bytes of the caller's, or
 * an address in the process's memory, which is then accessed as the kernel does it: with EFAULT, or a short count. Source: fs/read_write.c, fs/open.c, fs/namei.c, fs/stat.c, fs/ioctl.c.
 */
import { FsError } from "../lib/errno.js";
import { encode } from "../lib/utf8.js";
import type { MmStruct } from "../mm/mm-struct.js";
import { footprint } from "../sched/footprint.js";
import type { Task } from "../sched/task.js";
import { changeMode, changeOwner, changeTimes, changeXattr, readXattr, setSize, touch } from "./attributes.js";
import { checkRenameFlags, createAt, linkAt, renameAt, rmdirAt, unlinkAt } from "./change.js";
import { Descriptors } from "./descriptors.js";
import type { File } from "./file.js";
import { getFileFlags, getFsXattr, setFileFlags, setFsXattr, type FsXattr } from "./fileattr.js";
import { MAX_RW_COUNT, O_CLOEXEC, O_DIRECT } from "./flags.js";
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, type Inode, type StatFs, type Timespec, type XattrFlags } from "./inode.js";
import { withReadLock } from "./inode-lock.js";
import type { Kernel } from "./kernel.js";
import { getWriteAccess, putWriteAccess } from "./mount.js";
import { letGoOfAll } from "./hold.js";
import { dentryPath, pathLookup, pathLookupParent, type Dentry, type LastName } from "./namei.js";
import { newInode, openFile, type Walker } from "./open.js";
import { checkPermission, MAY_EXEC, MAY_READ, MAY_WRITE, type Credentials } from "./permission.js";
import { fiemapOf, statxOf, type FiemapRecord, type Statx } from "./stat.js";
import { checkUserMemory, readIntoUser, writeFromUser, type UserMemory } from "./user-memory.js";

/** Text is taken as UTF-8. */
export type Path = string | Uint8Array;
/** A descriptor, or a path that is followed to its end. */
export type Target = number | Path;
export type Buffer = Uint8Array | UserMemory;

export interface DirectoryEntry {
  readonly d_name: Uint8Array;
  readonly d_ino: number;
  /** DT_ value. */
  readonly d_type: number;
}

/** As utimensat's: a time, or one of these words. */
export type TimeChoice = Timespec | "now" | "omit";

export const pathOf = (path: Path): Uint8Array => (typeof path === "string" ? encode(path) : path);
const isUserMemory = (buffer: Buffer): buffer is UserMemory => !ArrayBuffer.isView(buffer);

export abstract class ProcessFiles {
  descriptors = new Descriptors();
  abstract mm: MmStruct;
  /** Undefined: the root of whatever is mounted. */
  private cwd: { readonly walker: Walker; readonly dentry: Dentry } | undefined;

  /** @param cred as whom files are used. */
  constructor(readonly kernel: Kernel, public cred: Credentials) {}

  // How a call gets to its file

  /** Where this process's paths begin. @throws FsError ENOENT nothing is mounted. */
  walker(): Walker {
    const mnt = this.kernel.mounted();
    const base = this.cwd?.walker.mnt === mnt ? this.cwd.dentry : mnt.mnt_root;
    return { mnt, base, cred: this.cred, held: [] };
  }

  /** Runs what is asked of a path. What was found on the way stays until it ends. */
  protected *walking<T>(work: (walker: Walker) => Task<T>): Task<T> {
    const walker = this.walker();
    return yield* walker.mnt.mnt_sb.operation(keepingFound(walker, work));
  }

  /** Runs what may end in the closing of a file, or in a write of it, without naming one. */
  protected *inMount<T>(work: Task<T>): Task<T> {
    const sb = this.kernel.mount?.mnt_sb;
    return yield* sb === undefined ? work : sb.operation(work);
  }

  /** Runs what is asked of a descriptor. The file stays open until it ends, even if somebody closes the descriptor meanwhile. */
  protected *onFile<T>(fd: number, work: (file: File) => Task<T>): Task<T> {
    const file = this.descriptors.get(fd);
    footprint(file.f_inode);
    return yield* file.f_inode.i_sb.operation(holding(file, work));
  }

  private *onTarget<T>(target: Target, work: (inode: Inode) => Task<T>, followLast = true): Task<T> {
    if (typeof target === "number") return yield* this.onFile(target, (file) => work(file.f_inode));
    return yield* this.walking(function* (walker) {
      return yield* work((yield* find(walker, target, followLast)).d_inode);
    });
  }

  // Descriptors

  /** @param flags O_ bits. @param mode of a file that is made; the umask is applied. */
  *open(path: Path, flags: number, mode = 0o666): Task<number> {
    const fd = this.descriptors.free();
    const file = yield* this.walking((walker) => openFile(walker, pathOf(path), flags, mode));
    // Another thread of this process may have opened something meanwhile.
    return this.descriptors.install(this.descriptors.has(fd) ? this.descriptors.free() : fd, file, (flags & O_CLOEXEC) !== 0);
  }

  *close(fd: number): Task<void> {
    const file = this.descriptors.remove(fd);
    yield* file.f_inode.i_sb.operation(file.put());
  }

  dup(fd: number): number {
    const file = this.descriptors.get(fd);
    const to = this.descriptors.free();
    file.get();
    return this.descriptors.install(to, file, false);
  }

  *dup2(fd: number, to: number): Task<number> {
    const file = this.descriptors.get(fd);
    this.descriptors.checkNumber(to);
    if (to === fd) return to;
    file.get();
    const replaced = this.descriptors.has(to) ? this.descriptors.remove(to) : undefined;
    this.descriptors.install(to, file, false);
    if (replaced !== undefined) yield* replaced.f_inode.i_sb.operation(replaced.put());
    return to;
  }

  *read(fd: number, buffer: Buffer): Task<number> {
    const { mm } = this;
    return yield* this.onFile(fd, function* (file) {
      checkBuffer(file, buffer, file.f_pos, "read");
      if (!isUserMemory(buffer)) return yield* file.read(buffer.subarray(0, MAX_RW_COUNT));
      return yield* file.atPosition(function* () {
        const from = file.f_pos;
        const count = yield* readIntoUser(mm, buffer, (piece, doneBytes) => file.pread(from + doneBytes, piece));
        file.f_pos = from + count;
        return count;
      });
    });
  }

  *pread(fd: number, buffer: Buffer, offsetBytes: number): Task<number> {
    const { mm } = this;
    return yield* this.onFile(fd, function* (file) {
      if (!(offsetBytes >= 0)) throw new FsError("EINVAL");
      checkBuffer(file, buffer, offsetBytes, "read");
      if (!isUserMemory(buffer)) return yield* file.pread(offsetBytes, buffer.subarray(0, MAX_RW_COUNT));
      return yield* readIntoUser(mm, buffer, (piece, doneBytes) => file.pread(offsetBytes + doneBytes, piece));
    });
  }

  *write(fd: number, buffer: Buffer): Task<number> {
    const { mm, cred } = this;
    return yield* this.onFile(fd, function* (file) {
      checkBuffer(file, buffer, file.f_pos, "write");
      if (!isUserMemory(buffer)) return yield* file.writeShort(buffer.subarray(0, MAX_RW_COUNT), cred);
      return yield* writeFromUser(mm, buffer, (piece) => file.writeShort(piece, cred));
    });
  }

  *pwrite(fd: number, buffer: Buffer, offsetBytes: number): Task<number> {
    const { mm, cred } = this;
    return yield* this.onFile(fd, function* (file) {
      if (!(offsetBytes >= 0)) throw new FsError("EINVAL");
      checkBuffer(file, buffer, offsetBytes, "write");
      if (!isUserMemory(buffer)) return yield* file.pwriteShort(offsetBytes, buffer.subarray(0, MAX_RW_COUNT), cred);
      return yield* writeFromUser(mm, buffer, (piece, doneBytes) => file.pwriteShort(offsetBytes + doneBytes, piece, cred));
    });
  }

  *lseek(fd: number, offsetBytes: number, whence: number): Task<number> {
    return yield* this.onFile(fd, (file) => file.lseek(offsetBytes, whence));
  }

  *ftruncate(fd: number, lengthBytes: number): Task<void> {
    if (!(lengthBytes >= 0)) throw new FsError("EINVAL");
    yield* this.onFile(fd, (file) => file.ftruncate(lengthBytes, this.cred));
  }

  *fallocate(fd: number, mode: number, offsetBytes: number, lengthBytes: number): Task<void> {
    yield* this.onFile(fd, (file) => file.fallocate(mode, offsetBytes, lengthBytes, this.cred));
  }

  *fsync(fd: number): Task<void> {
    yield* this.onFile(fd, (file) => file.fsync(false));
  }

  *fdatasync(fd: number): Task<void> {
    yield* this.onFile(fd, (file) => file.fsync(true));
  }

  *syncfs(fd: number): Task<void> {
    yield* this.onFile(fd, (file) => file.f_inode.i_sb.sync());
  }

  *sync(): Task<void> {
    yield* this.kernel.sync();
  }

  /** As getdents64 gives them: from where the last call ended, "." and ".." included, at most so many. None: the end. */
  *getdents(fd: number, entriesMax = Infinity): Task<DirectoryEntry[]> {
    return yield* this.onFile(fd, (file) => file.atPosition(() => entriesOf(file, entriesMax)));
  }

  // Paths

  *chdir(path: Path): Task<void> {
    yield* this.walking(function* (this: ProcessFiles, walker: Walker): Task<void> {
      const dentry = yield* find(walker, path, true);
      if (!dentry.d_inode.isDirectory()) throw new FsError("ENOTDIR");
      yield* checkPermission(dentry.d_inode, this.cred, MAY_EXEC);
      yield* this.setWorkingDirectory({ walker, dentry });
    }.bind(this));
  }

  getcwd(): Uint8Array {
    return dentryPath(this.walker().base);
  }

  /** Lets go of the directory that this process stands in, and takes another. */
  protected *setWorkingDirectory(to: ProcessFiles["cwd"]): Task<void> {
    const from = this.cwd;
    this.cwd = to;
    if (to !== undefined) {
      to.dentry.d_inode.i_count++;
      to.walker.mnt.workingDirectories++;
    }
    if (from === undefined) return;
    from.dentry.d_inode.i_count--;
    from.walker.mnt.workingDirectories--;
    yield* from.dentry.d_inode.release();
  }

  /** A child stands where its parent does. */
  protected *copyFilesTo(child: ProcessFiles): Task<void> {
    child.descriptors = this.descriptors.copy();
    yield* child.setWorkingDirectory(this.cwd);
  }

  *access(path: Path, mode: number): Task<void> {
    yield* this.onTarget(path, function* (this: ProcessFiles, inode: Inode): Task<void> {
      if ((mode & ~7) !== 0) throw new FsError("EINVAL");
      if ((mode & MAY_WRITE) !== 0 && (inode.isRegular() || inode.isDirectory() || inode.isSymlink())) inode.i_sb.checkWritable();
      yield* checkPermission(inode, this.cred, mode);
    }.bind(this));
  }

  *truncate(path: Path, lengthBytes: number): Task<void> {
    const { cred } = this;
    if (!(lengthBytes >= 0)) throw new FsError("EINVAL");
    yield* this.onTarget(path, function* (inode) {
      if (inode.isDirectory()) throw new FsError("EISDIR");
      if (!inode.isRegular()) throw new FsError("EINVAL");
      inode.i_sb.checkWritable();
      yield* checkPermission(inode, cred, MAY_WRITE);
      getWriteAccess(inode);
      try {
        yield* setSize(inode, lengthBytes, cred);
      } finally {
        putWriteAccess(inode);
      }
    });
  }

  *link(existing: Path, path: Path): Task<void> {
    yield* this.walking(function* (walker) {
      const { d_inode: inode } = yield* find(walker, existing, false);
      yield* linkAt(inode, yield* findParent(walker, path), walker.cred);
    });
  }

  /** Gives an open file one more name, as linkat's AT_EMPTY_PATH; a file that O_TMPFILE made its first. @throws FsError ENOENT it had names, and lost them all; or O_EXCL wants it to have none. */
  *linkat(fd: number, path: Path): Task<void> {
    yield* this.onFile(fd, (file) => this.walking(function* (walker) {
      const last = yield* findParent(walker, path);
      yield* linkAt(file.f_inode, last, walker.cred, () => file.isLinkable);
      file.isLinkable = false;
    }));
  }

  *symlink(target: Path, path: Path): Task<void> {
    yield* this.walking(function* (walker) {
      if (target.length === 0) throw new FsError("ENOENT");
      const last = yield* findParent(walker, path);
      yield* createAt(last, { ...newInode(walker, S_IFLNK, 0o777), umask: 0, target: pathOf(target) }, walker.cred, false);
    });
  }

  *unlink(path: Path): Task<void> {
    yield* this.walking(function* (walker) {
      yield* unlinkAt(yield* findParent(walker, path), walker.cred);
    });
  }

  *mkdir(path: Path, mode = 0o777): Task<void> {
    yield* this.walking(function* (walker) {
      yield* createAt(yield* findParent(walker, path), newInode(walker, S_IFDIR, mode), walker.cred, true);
    });
  }

  *rmdir(path: Path): Task<void> {
    yield* this.walking(function* (walker) {
      yield* rmdirAt(yield* findParent(walker, path), walker.cred);
    });
  }

  /** @param mode with the type's bits; none: a regular file. */
  *mknod(path: Path, mode: number, rdev: { readonly major: number; readonly minor: number } = { major: 0, minor: 0 }): Task<void> {
    yield* this.walking(function* (walker) {
      const type = mode & S_IFMT;
      if (type === S_IFDIR || type === S_IFLNK) throw new FsError("EPERM");
      yield* createAt(yield* findParent(walker, path), { ...newInode(walker, type === 0 ? S_IFREG : type, mode), rdev }, walker.cred, false);
    });
  }

  /** @param flags RENAME_ bits. */
  *renameat2(from: Path, to: Path, flags: number): Task<void> {
    checkRenameFlags(flags);
    yield* this.walking(function* (walker) {
      const old = yield* findParent(walker, from);
      yield* renameAt(old, yield* findParent(walker, to), flags, walker.cred);
    });
  }

  *rename(from: Path, to: Path): Task<void> {
    yield* this.renameat2(from, to, 0);
  }

  *readlink(path: Path): Task<Uint8Array> {
    return yield* this.onTarget(path, function* (inode) {
      if (!inode.isSymlink()) throw new FsError("EINVAL");
      return yield* inode.readlink();
    }, false);
  }

  /** All entries of a directory, "." and ".." included. */
  *readdir(path: Path): Task<DirectoryEntry[]> {
    const { cred } = this;
    return yield* this.onTarget(path, function* (inode) {
      if (!inode.isDirectory()) throw new FsError("ENOTDIR");
      yield* checkPermission(inode, cred, MAY_READ);
      return yield* iterate(inode, { pos: 0 }, Infinity);
    });
  }

  // What an inode says

  *statx(target: Target, options: { readonly followLast?: boolean } = {}): Task<Statx> {
    return yield* this.onTarget(target, statxOf, options.followLast ?? true);
  }

  *stat(path: Path): Task<Statx> {
    return yield* this.onTarget(path, statxOf);
  }

  *lstat(path: Path): Task<Statx> {
    return yield* this.onTarget(path, statxOf, false);
  }

  *fstat(fd: number): Task<Statx> {
    return yield* this.onTarget(fd, statxOf);
  }

  *statfs(target: Target): Task<StatFs> {
    return yield* this.onTarget(target, (inode) => inode.i_sb.statfs());
  }

  *chmod(target: Target, mode: number): Task<void> {
    yield* this.onTarget(target, (inode) => changeMode(inode, mode, this.cred));
  }

  /** An id of -1 stays. */
  *chown(target: Target, uid: number, gid: number): Task<void> {
    yield* this.onTarget(target, (inode) => changeOwner(inode, uid, gid, this.cred));
  }

  *lchown(path: Path, uid: number, gid: number): Task<void> {
    yield* this.onTarget(path, (inode) => changeOwner(inode, uid, gid, this.cred), false);
  }

  *utimensat(target: Target, atime: TimeChoice = "now", mtime: TimeChoice = "now", options: { readonly followLast?: boolean } = {}): Task<void> {
    if (atime === "omit" && mtime === "omit") return;
    yield* this.onTarget(target, function* (this: ProcessFiles, inode: Inode): Task<void> {
      if (atime === "now" && mtime === "now") return yield* touch(inode, this.cred);
      const chosen = (time: TimeChoice): Timespec | undefined => (time === "omit" ? undefined : time === "now" ? inode.i_sb.now() : time);
      yield* changeTimes(inode, { atime: chosen(atime), mtime: chosen(mtime) }, this.cred);
    }.bind(this), options.followLast ?? true);
  }

  umask(mask: number): number {
    const { umask } = this.cred;
    this.cred = { ...this.cred, umask: mask & 0o777 };
    return umask;
  }

  *setxattr(target: Target, name: Path, value: Uint8Array, flags: XattrFlags = {}): Task<void> {
    yield* this.onTarget(target, (inode) => changeXattr(inode, pathOf(name), value, flags, this.cred));
  }

  *removexattr(target: Target, name: Path): Task<void> {
    yield* this.onTarget(target, (inode) => changeXattr(inode, pathOf(name), undefined, {}, this.cred));
  }

  /** @throws FsError ENODATA. */
  *getxattr(target: Target, name: Path): Task<Uint8Array> {
    const { cred } = this;
    return yield* this.onTarget(target, function* (inode) {
      const value = yield* readXattr(inode, pathOf(name), cred);
      if (value === undefined) throw new FsError("ENODATA");
      return value;
    });
  }

  *listxattr(target: Target): Task<Uint8Array[]> {
    return yield* this.onTarget(target, (inode) => inode.listxattr());
  }

  // ioctls

  /** FS_IOC_GETFLAGS: FS_*_FL bits. */
  *getflags(target: Target): Task<number> {
    return yield* this.onTarget(target, function* (inode) {
      return getFileFlags(inode);
    });
  }

  /** FS_IOC_SETFLAGS. */
  *setflags(target: Target, flags: number): Task<void> {
    yield* this.onTarget(target, (inode) => setFileFlags(inode, flags, this.cred));
  }

  /** FS_IOC_FSGETXATTR. */
  *fsgetxattr(target: Target): Task<FsXattr> {
    return yield* this.onTarget(target, function* (inode) {
      return getFsXattr(inode);
    });
  }

  /** FS_IOC_FSSETXATTR. */
  *fssetxattr(target: Target, wanted: FsXattr): Task<void> {
    yield* this.onTarget(target, (inode) => setFsXattr(inode, wanted, this.cred));
  }

  /** FS_IOC_FIEMAP. @param flags FIEMAP_FLAG_SYNC. */
  *fiemap(target: Target, fromBytes = 0, lengthBytes = Infinity, flags = 0): Task<FiemapRecord[]> {
    return yield* this.onTarget(target, (inode) => fiemapOf(inode, fromBytes, lengthBytes, flags));
  }
}

function* holding<T>(file: File, work: (file: File) => Task<T>): Task<T> {
  file.get();
  try {
    return yield* work(file);
  } finally {
    yield* file.put();
  }
}

function* keepingFound<T>(walker: Walker, work: (walker: Walker) => Task<T>): Task<T> {
  try {
    return yield* work(walker);
  } finally {
    yield* letGoOfAll(walker.held!);
  }
}

function* find(walker: Walker, path: Path, followLast: boolean): Task<Dentry> {
  return yield* pathLookup(walker.mnt.mnt_root, walker.base, pathOf(path), { followLast, cred: walker.cred, held: walker.held });
}

function* findParent(walker: Walker, path: Path): Task<LastName> {
  return yield* pathLookupParent(walker.mnt.mnt_root, walker.base, pathOf(path), { followLast: false, cred: walker.cred, held: walker.held });
}

/** @throws FsError EBADF, EFAULT, and EINVAL: direct I/O at odd places. */
function checkBuffer(file: File, buffer: Buffer, positionBytes: number, what: "read" | "write"): void {
  if (!(what === "read" ? file.isReadable : file.isWritable)) throw new FsError("EBADF");
  if (isUserMemory(buffer)) checkUserMemory(buffer);
  if ((file.f_flags & O_DIRECT) === 0 || !file.f_inode.isRegular()) return;
  const alignment = file.f_inode.directAlignmentBytes;
  const [address, length] = isUserMemory(buffer) ? [buffer.address, buffer.lengthBytes] : [0, buffer.length];
  const isAtEnd = what === "read" && positionBytes >= file.f_inode.i_size; // which is said before
  if (!isAtEnd && [positionBytes, length, address].some((value) => value % alignment !== 0)) throw new FsError("EINVAL");
}

function* entriesOf(file: File, entriesMax: number): Task<DirectoryEntry[]> {
  if (!file.f_inode.isDirectory()) throw new FsError("ENOTDIR");
  if (file.f_inode.i_nlink === 0) throw new FsError("ENOENT");
  const context = { pos: file.f_pos };
  const entries = yield* iterate(file.f_inode, context, entriesMax);
  file.f_pos = context.pos;
  return entries;
}

function* iterate(inode: Inode, at: { pos: number }, entriesMax: number): Task<DirectoryEntry[]> {
  const entries: DirectoryEntry[] = [];
  const context = {
    pos: at.pos,
    actor(name: Uint8Array, ino: number, type: number): boolean {
      if (entries.length >= entriesMax) return false;
      entries.push({ d_name: name, d_ino: ino, d_type: type });
      return true;
    },
  };
  yield* withReadLock(inode, () => inode.iterate(context));
  at.pos = context.pos;
  return entries;
}
