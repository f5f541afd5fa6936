/**
 * The operations that change a volume, each written once, as a task. Paths, errors and defaults are Node's; what ext4 has beyond Node's fs stands at the end.
 */
import { FsError } from "../lib/errno.js";
import { encode } from "../lib/utf8.js";
import type { Task } from "../sched/task.js";
import { createAt, linkAt, renameAt, rmdirAt, unlinkAt, withDirectory } from "../vfs/change.js";
import {
  FALLOC_FL_KEEP_SIZE, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, S_ISGID, S_ISUID, S_IXGRP, type AttributeChanges, type Inode, type NewInode, type Timespec, type XattrFlags,
} from "../vfs/inode.js";
import { Dentry, pathLookupParent, type LastName } from "../vfs/namei.js";
import { checkOwner, checkPermission, isAppendOnly, isImmutable, isInGroup, isPrivileged, MAY_READ, MAY_WRITE } from "../vfs/permission.js";
import { listDirectory } from "../vfs/walk.js";
import { constants } from "./constants.js";
import { inContext } from "./context.js";
import { bytesOf, Operations, withReadLock, type FollowOptions, type OpenFile } from "./operations.js";
import { argumentError, encodeAs, pathBytes, shownPath, type PathLike } from "./path.js";

const { O_ACCMODE, O_APPEND, O_CREAT, O_DIRECT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_SYNC, O_DSYNC, O_TMPFILE, O_TRUNC, O_WRONLY } = constants;
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
  private temporaryCount = 0;

  protected override *openDentry(path: PathLike, flags: number, mode: number): Task<Dentry> {
    if ((flags & O_TMPFILE) === O_TMPFILE) return yield* this.openNameless(path, flags, mode);
    if ((flags & O_CREAT) === 0) return yield* this.prepareOpen(yield* super.openDentry(path, flags, mode), flags);
    const isExclusive = (flags & O_EXCL) !== 0;
    const last = yield* this.findParent(path, !isExclusive && (flags & O_NOFOLLOW) === 0, "open");
    if (!last.isPlain || last.mustBeDirectory) throw new FsError("EISDIR");
    const known = yield* withReadLock(last.dir.d_inode, () => last.dir.d_inode.lookup(last.name));
    if (known !== undefined) {
      if (isExclusive) throw new FsError("EEXIST");
      if (known.isDirectory()) throw new FsError("EISDIR");
      return yield* this.prepareOpen(yield* super.openDentry(path, flags, mode), flags);
    }
    if ((flags & O_DIRECTORY) !== 0) throw new FsError("EINVAL");
    const inode = yield* createAt(last, this.wanted(S_IFREG, mode), this.cred, false);
    return new Dentry(inode, last.name, last.dir);
  }

  /** A file in `path`'s directory without a name: gone with its close, unless it is linked. */
  private *openNameless(path: PathLike, flags: number, mode: number): Task<Dentry> {
    if ((flags & O_ACCMODE) === O_RDONLY) throw new FsError("EINVAL");
    const dir = yield* this.find(path, true, "open");
    if (!dir.d_inode.isDirectory()) throw new FsError("ENOTDIR");
    this.fs.checkWritable();
    yield* checkPermission(dir.d_inode, this.cred, MAY_WRITE);
    const inode = yield* dir.d_inode.createNameless(this.wanted(S_IFREG, mode));
    return new Dentry(inode, encode(`#${inode.i_ino}`), dir);
  }

  private *prepareOpen(dentry: Dentry, flags: number): Task<Dentry> {
    const { d_inode: inode } = dentry;
    const isWriting = (flags & O_ACCMODE) !== O_RDONLY;
    if (isWriting && isAppendOnly(inode) && ((flags & O_APPEND) === 0 || (flags & O_TRUNC) !== 0)) throw new FsError("EPERM");
    if ((flags & O_TRUNC) !== 0 && inode.isRegular()) {
      this.fs.checkWritable();
      yield* checkPermission(inode, this.cred, MAY_WRITE);
      yield* this.withInode(inode, () => inode.setattr({ sizeBytes: 0 }));
    }
    if ((flags & O_DIRECT) !== 0) yield* inode.settle();
    return dentry;
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

  private *writeAt(file: OpenFile, bytes: Uint8Array, position: number | bigint | null | undefined): Task<number> {
    const { d_inode: inode } = file.dentry;
    return yield* inContext({ syscall: "write" }, this.writeInto(inode, file, bytes, position));
  }

  private *writeInto(inode: Inode, file: OpenFile, bytes: Uint8Array, position: number | bigint | null | undefined): Task<number> {
    if ((file.flags & O_ACCMODE) === O_RDONLY) throw new FsError("EBADF");
    this.fs.checkWritable();
    if (!inode.isRegular()) throw new FsError("ENXIO", "a device, FIFO or socket takes no data in an image");
    const isCurrent = position === null || position === undefined || Number(position) < 0;
    yield* this.withInode(inode, function* (this: Changes): Task<void> {
      const at = (file.flags & O_APPEND) !== 0 ? inode.i_size : isCurrent ? file.positionBytes : Number(position);
      if (isImmutable(inode)) throw new FsError("EPERM");
      yield* this.dropPrivileges(inode);
      yield* inode.write(at, bytes);
      if (isCurrent) file.positionBytes = at + bytes.length;
    }.bind(this));
    if ((file.flags & (O_SYNC | O_DSYNC)) !== 0) yield* inode.fsync((file.flags & O_SYNC) !== O_SYNC);
    else if ((file.flags & O_DIRECT) !== 0) yield* inode.settle();
    return bytes.length;
  }

  /** Who is not root takes set-id bits away from a file that he changes. */
  private *dropPrivileges(inode: Inode): Task<void> {
    if (isPrivileged(this.cred)) return;
    const kept = inode.i_mode & ~droppedBits(inode);
    if (kept !== inode.i_mode) yield* inode.setattr({ mode: kept });
  }

  *ftruncate(fd: number, length = 0): Task<void> {
    const { dentry: { d_inode: inode }, flags } = this.file(fd, "ftruncate");
    if ((flags & O_ACCMODE) === O_RDONLY) throw new FsError("EINVAL", "", { syscall: "ftruncate" });
    yield* inContext({ syscall: "ftruncate" }, this.setSize(inode, length));
  }

  private *setSize(inode: Inode, length: number): Task<void> {
    this.fs.checkWritable();
    if (!(length >= 0)) throw new FsError("EINVAL");
    if (inode.isDirectory()) throw new FsError("EISDIR");
    if (!inode.isRegular()) throw new FsError("EINVAL");
    if (isImmutable(inode) || isAppendOnly(inode)) throw new FsError("EPERM");
    yield* this.withInode(inode, () => inode.setattr({ sizeBytes: length }));
  }

  *fsync(fd: number): Task<void> {
    yield* inContext({ syscall: "fsync" }, this.file(fd, "fsync").dentry.d_inode.fsync(false));
  }

  *fdatasync(fd: number): Task<void> {
    yield* inContext({ syscall: "fdatasync" }, this.file(fd, "fdatasync").dentry.d_inode.fsync(true));
  }

  *fchmod(fd: number, mode: number | string): Task<void> {
    yield* inContext({ syscall: "fchmod" }, this.changeMode(this.file(fd, "fchmod").dentry.d_inode, mode));
  }

  *fchown(fd: number, uid: number, gid: number): Task<void> {
    yield* inContext({ syscall: "fchown" }, this.changeOwner(this.file(fd, "fchown").dentry.d_inode, uid, gid));
  }

  *futimes(fd: number, atime: TimeLike, mtime: TimeLike): Task<void> {
    yield* inContext({ syscall: "futime" }, this.changeTimes(this.file(fd, "futime").dentry.d_inode, atime, mtime));
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
    const context = { syscall: "open", path: shownPath(path) };
    const { d_inode: inode } = yield* inContext(context, this.openDentry(path, constants.O_RDWR, 0));
    yield* inContext({ syscall: "ftruncate" }, this.setSize(inode, length));
  }

  *copyFile(source: PathLike, destination: PathLike, mode = 0): Task<void> {
    yield* inContext({ syscall: "copyfile", path: shownPath(source), dest: shownPath(destination) }, this.copy(source, destination, mode));
  }

  private *copy(source: PathLike, destination: PathLike, mode: number): Task<void> {
    if ((mode & constants.COPYFILE_FICLONE_FORCE) !== 0) throw new FsError("EOPNOTSUPP");
    const { d_inode: from } = yield* this.openDentry(source, O_RDONLY, 0);
    const flags = O_WRONLY | O_CREAT | ((mode & constants.COPYFILE_EXCL) !== 0 ? O_EXCL : 0);
    const { d_inode: to } = yield* this.openDentry(destination, flags, from.i_mode & 0o7777);
    if (from.isDirectory()) throw new FsError("EISDIR");
    if (to === from) return;
    yield* this.withInode(to, () => to.setattr({ sizeBytes: 0 }));
    const piece = new Uint8Array(Math.min(COPY_PIECE_BYTES, from.i_size));
    for (let at = 0; at < from.i_size;) {
      const count = yield* withReadLock(from, () => from.read(at, piece));
      if (count === 0) break;
      yield* this.withInode(to, () => to.write(at, piece.subarray(0, count)));
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
    yield* createAt(yield* this.findParent(path, false, "mkdir"), this.wanted(S_IFDIR, mode), this.cred, true);
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
    this.temporaryCount = (this.temporaryCount * 69069 + sec + nsec + 12345) >>> 0;
    return (this.temporaryCount >>> 8) % limit;
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
    const inode = yield* withReadLock(last.dir.d_inode, () => last.dir.d_inode.lookup(last.name));
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
    const dentry = new Dentry(inode, last.name, last.dir);
    for (const { name, ino } of yield* withReadLock(inode, () => listDirectory(inode))) {
      const child = yield* this.fs.iget(ino);
      const below: LastName = { dir: dentry, name, isPlain: true, isDotDot: false, mustBeDirectory: false };
      if (child.isDirectory()) yield* this.removeTree(below, child);
      else yield* unlinkAt(below, this.cred);
    }
    yield* rmdirAt(last, this.cred);
  }

  *link(existing: PathLike, path: PathLike): Task<void> {
    const context = { syscall: "link", path: shownPath(existing), dest: shownPath(path) };
    const dentry = yield* inContext(context, this.find(existing, false, "link"));
    yield* inContext(context, linkAt(dentry.d_inode, yield* inContext(context, this.findParent(path, false, "link")), this.cred));
  }

  *symlink(target: PathLike, path: PathLike): Task<void> {
    const context = { syscall: "symlink", path: shownPath(target), dest: shownPath(path) };
    const wanted = { ...this.wanted(S_IFLNK, 0o777), umask: 0, target: pathBytes(target, "target") };
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
    const wanted = { ...this.wanted(type === 0 ? S_IFREG : type, mode & 0o7777), rdev };
    yield* inContext({ syscall: "mknod", path: shownPath(path) }, createAt(yield* this.findParent(path, false, "mknod"), wanted, this.cred, false));
  }

  // Attributes

  *chmod(path: PathLike, mode: number | string): Task<void> {
    yield* inContext({ syscall: "chmod", path: shownPath(path) }, this.changeMode((yield* this.find(path, true, "chmod")).d_inode, mode));
  }

  *chown(path: PathLike, uid: number, gid: number): Task<void> {
    yield* inContext({ syscall: "chown", path: shownPath(path) }, this.changeOwner((yield* this.find(path, true, "chown")).d_inode, uid, gid));
  }

  *lchown(path: PathLike, uid: number, gid: number): Task<void> {
    yield* inContext({ syscall: "lchown", path: shownPath(path) }, this.changeOwner((yield* this.find(path, false, "lchown")).d_inode, uid, gid));
  }

  *utimes(path: PathLike, atime: TimeLike, mtime: TimeLike): Task<void> {
    yield* inContext({ syscall: "utime", path: shownPath(path) }, this.changeTimes((yield* this.find(path, true, "utime")).d_inode, atime, mtime));
  }

  *lutimes(path: PathLike, atime: TimeLike, mtime: TimeLike): Task<void> {
    yield* inContext({ syscall: "lutime", path: shownPath(path) }, this.changeTimes((yield* this.find(path, false, "lutime")).d_inode, atime, mtime));
  }

  private *changeMode(inode: Inode, mode: number | string): Task<void> {
    this.fs.checkWritable();
    checkOwner(inode, this.cred);
    const bits = modeOf(mode);
    // Who is not in the file's group cannot make it set-group-id.
    const isForeign = !isPrivileged(this.cred) && !isInGroup(this.cred, inode.i_gid);
    yield* this.setattr(inode, { mode: isForeign ? bits & ~S_ISGID : bits });
  }

  private *changeOwner(inode: Inode, uid: number, gid: number): Task<void> {
    this.fs.checkWritable();
    if (isImmutable(inode) || isAppendOnly(inode)) throw new FsError("EPERM");
    const isOwn = this.cred.uid === inode.i_uid && (uid === KEEP || uid === inode.i_uid) && (gid === KEEP || isInGroup(this.cred, gid));
    if (!isPrivileged(this.cred) && !isOwn) throw new FsError("EPERM");
    const mode = inode.isDirectory() ? undefined : inode.i_mode & ~droppedBits(inode);
    yield* this.setattr(inode, { uid: uid === KEEP ? undefined : uid, gid: gid === KEEP ? undefined : gid, mode });
  }

  private *changeTimes(inode: Inode, atime: TimeLike, mtime: TimeLike): Task<void> {
    this.fs.checkWritable();
    checkOwner(inode, this.cred);
    yield* this.setattr(inode, { atime: timeOf(atime), mtime: timeOf(mtime) });
  }

  private *setattr(inode: Inode, changes: AttributeChanges): Task<void> {
    yield* this.withInode(inode, () => inode.setattr(changes));
  }

  // What Node's fs has not

  *setxattr(path: PathLike, name: string | Uint8Array, value: string | Uint8Array, options: XattrFlags & FollowOptions = {}): Task<void> {
    yield* this.changeXattr("setxattr", path, name, typeof value === "string" ? encode(value) : value, options);
  }

  *removexattr(path: PathLike, name: string | Uint8Array, options: FollowOptions = {}): Task<void> {
    yield* this.changeXattr("removexattr", path, name, undefined, options);
  }

  private *changeXattr(syscall: string, path: PathLike, name: string | Uint8Array, value: Uint8Array | undefined, options: XattrFlags & FollowOptions): Task<void> {
    const { d_inode: inode } = yield* this.find(path, options.followSymlinks ?? true, syscall);
    this.fs.checkWritable();
    const bytes = typeof name === "string" ? encode(name) : name;
    yield* inContext({ syscall, path: shownPath(path) }, this.withInode(inode, () => inode.setxattr(bytes, value, options)));
  }

  /** Reserves, punches, zeroes or moves a range, as Linux's fallocate. @param mode FALLOC_FL_ bits. */
  *fallocate(target: PathLike | number, mode: number, offset: number, length: number): Task<void> {
    const inode = yield* this.inodeOf(target, "fallocate");
    this.fs.checkWritable();
    const context = { syscall: "fallocate", path: typeof target === "number" ? undefined : shownPath(target) };
    if (isImmutable(inode) || (isAppendOnly(inode) && (mode & ~FALLOC_FL_KEEP_SIZE) !== 0)) throw new FsError("EPERM", "", context);
    yield* inContext(context, this.withInode(inode, () => inode.fallocate(mode, offset, length)));
  }

  /** The first byte at or behind `offset` that is data, or in a hole. @throws FsError ENXIO there is none. */
  *seek(target: PathLike | number, offset: number, whence: "data" | "hole"): Task<number> {
    const inode = yield* this.inodeOf(target, "lseek");
    return yield* inContext({ syscall: "lseek" }, withReadLock(inode, () => inode.seek(offset, whence)));
  }

  private *inodeOf(target: PathLike | number, syscall: string): Task<Inode> {
    if (typeof target === "number") return this.file(target, syscall).dentry.d_inode;
    const { d_inode: inode } = yield* this.find(target, true, syscall);
    yield* checkPermission(inode, this.cred, MAY_READ);
    return inode;
  }

  /** Sets the flags that chattr sets: FS_*_FL bits. Those that cannot be changed must be as they are. */
  *setFlags(path: PathLike, flags: number): Task<void> {
    const { d_inode: inode } = yield* this.find(path, false, "ioctl");
    this.fs.checkWritable();
    if (!isPrivileged(this.cred) && this.cred.uid !== inode.i_uid) throw new FsError("EPERM", "", { syscall: "ioctl", path: shownPath(path) });
    yield* inContext({ syscall: "ioctl", path: shownPath(path) }, this.withInode(inode, () => inode.setFlags(flags)));
  }

  /** Everything that was done so far becomes durable. */
  *sync(): Task<void> {
    yield* inContext({ syscall: "sync" }, this.fs.sync());
  }

  private *findParent(path: PathLike, followLast: boolean, syscall: string): Task<LastName> {
    return yield* inContext({ syscall, path: shownPath(path) }, pathLookupParent(this.root, this.root, pathBytes(path), { followLast, cred: this.cred }));
  }

  private wanted(type: number, mode: number): NewInode {
    const { uid, gid, umask } = this.cred;
    return { mode: type | (mode & 0o7777), umask, uid, gid };
  }

  private *withInode<T>(inode: Inode, work: () => Task<T>): Task<T> {
    return yield* withDirectory(inode, work);
  }
}

/** An owner or group that stays. */
const KEEP = -1;

/** Set-user-id, and set-group-id where the group may execute: else that bit means mandatory locking. */
function droppedBits(inode: Inode): number {
  return S_ISUID | ((inode.i_mode & S_IXGRP) !== 0 ? S_ISGID : 0);
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
