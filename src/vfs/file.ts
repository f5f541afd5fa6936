/**
 * An open file: what several descriptors and mappings share, with the place where the next read or write begins. Here stands what a system call does with it, once, for the processes and for the API alike.
 *
 * Locks, outer first: f_pos_lock, sb_writers(r), i_rwsem. User memory may be touched under the first alone: a fault takes the others.
 * Source: struct file (include/linux/fs.h), fs/read_write.c, fs/open.c, fs/file_table.c, fs/ext4/file.c.
 */
import { FsError } from "../lib/errno.js";
import type { AddressSpace } from "../mm/address-space.js";
import type { MappableFile, Vma } from "../mm/vma.js";
import { F_POS_LOCK } from "../sched/lock-classes.js";
import { Mutex } from "../sched/locks.js";
import type { Task } from "../sched/task.js";
import { dropSetId, setSize } from "./attributes.js";
import { O_ACCMODE, O_APPEND, O_DIRECT, O_DSYNC, O_EXCL, O_RDONLY, O_SYNC, O_TMPFILE, O_WRONLY, SEEK_CUR, SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET } from "./flags.js";
import { withInternalWrite, withWriteAccess } from "./freeze.js";
import {
  FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE, type Inode,
} from "./inode.js";
import { withInodeLock, withReadLock } from "./inode-lock.js";
import { getWriteAccess, putWriteAccess, type Mount } from "./mount.js";
import type { Dentry } from "./namei.js";
import { isAppendOnly, isImmutable, type Credentials } from "./permission.js";

export class File implements MappableFile {
  readonly f_inode: Inode;
  /** Where the next read or write without a position begins. [f_pos_lock] */
  f_pos = 0;
  /** Descriptors and mappings that hold it. */
  f_count = 1;
  readonly isReadable: boolean;
  readonly isWritable: boolean;
  /** Whether it counts among those who write the inode. */
  readonly isWriter: boolean;
  /** It never had a name, and may get one. */
  isLinkable: boolean;
  private posLock: Mutex | undefined;

  /** @throws FsError ETXTBSY it is to be written, and is executed; ENOENT it was deleted since its name was looked up. */
  constructor(readonly f_dentry: Dentry, readonly f_mnt: Mount, readonly f_flags: number, readonly f_cred: Credentials) {
    const inode = this.f_inode = f_dentry.d_inode;
    const access = f_flags & O_ACCMODE;
    // The fourth value asks for permission to do both, and then allows neither.
    this.isReadable = access !== O_WRONLY && access !== O_ACCMODE;
    this.isWritable = access !== O_RDONLY && access !== O_ACCMODE;
    this.isWriter = this.isWritable && inode.isRegular();
    this.isLinkable = (f_flags & (O_TMPFILE | O_EXCL)) === O_TMPFILE;
    if (inode.isGone) throw new FsError("ENOENT");
    if (this.isWriter) getWriteAccess(inode);
    inode.i_count++;
    f_mnt.files.add(this);
  }

  get f_mapping(): AddressSpace { return this.f_inode.i_mapping; }
  get isAppendOnly(): boolean { return isAppendOnly(this.f_inode); }
  get isNoExec(): boolean { return this.f_mnt.flags.isNoExec === true; }
  private get f_pos_lock(): Mutex { return (this.posLock ??= new Mutex(F_POS_LOCK)); }

  get(): void {
    this.f_count++;
  }

  /** One holder less. The last one closes the file; an inode without a name goes with it. */
  *put(): Task<void> {
    if (--this.f_count > 0) return;
    const { f_inode: inode } = this;
    this.f_mnt.files.delete(this);
    if (this.isWriter) putWriteAccess(inode);
    inode.i_count--;
    if (inode.i_nlink > 0 || inode.i_count > 0 || !inode.i_sb.isWritable) yield* inode.release();
    else yield* withInternalWrite(inode.i_sb, () => inode.release());
  }

  /** One at a time reads or writes at f_pos. */
  *atPosition<T>(work: () => Task<T>): Task<T> {
    const lock = this.f_pos_lock;
    if (!lock.tryLock()) yield* lock.lock();
    try {
      return yield* work();
    } finally {
      lock.unlock();
    }
  }

  /** Fills `into`, less at the end of the file. Returns the bytes read. @throws FsError EBADF, EISDIR, ENXIO, EIO. */
  *pread(positionBytes: number, into: Uint8Array): Task<number> {
    const { f_inode: inode } = this;
    if (!this.isReadable) throw new FsError("EBADF");
    if (inode.isDirectory()) throw new FsError("EISDIR");
    if (!inode.isRegular()) throw new FsError("ENXIO", "a device, FIFO or socket has no data in an image");
    return yield* withReadLock(inode, () => inode.read(positionBytes, into));
  }

  *read(into: Uint8Array): Task<number> {
    return yield* this.atPosition(() => this.readHere(into));
  }

  private *readHere(into: Uint8Array): Task<number> {
    const count = yield* this.pread(this.f_pos, into);
    this.f_pos += count;
    return count;
  }

  /** Writes all of `data`, or throws; what was written before an error stays. O_APPEND puts it at the end, whatever the position. @throws FsError EBADF, EROFS, ENXIO, EPERM, ENOSPC, EFBIG, EIO. */
  *pwrite(positionBytes: number, data: Uint8Array, cred = this.f_cred): Task<void> {
    yield* this.writeAt(positionBytes, data, cred, false);
  }

  *write(data: Uint8Array, cred = this.f_cred): Task<void> {
    yield* this.atPosition(() => this.writeHere(data, cred, false));
  }

  /** As Linux's: what could be written counts, and only if that is nothing there is an error. */
  *pwriteShort(positionBytes: number, data: Uint8Array, cred = this.f_cred): Task<number> {
    return (yield* this.writeAt(positionBytes, data, cred, true)).count;
  }

  *writeShort(data: Uint8Array, cred = this.f_cred): Task<number> {
    return yield* this.atPosition(() => this.writeHere(data, cred, true));
  }

  private *writeHere(data: Uint8Array, cred: Credentials, mayBeShort: boolean): Task<number> {
    const { count, endBytes } = yield* this.writeAt(this.f_pos, data, cred, mayBeShort);
    if (count > 0) this.f_pos = endBytes;
    return count;
  }

  private *writeAt(positionBytes: number, data: Uint8Array, cred: Credentials, mayBeShort: boolean): Task<{ count: number; endBytes: number }> {
    const { f_inode: inode, f_flags: flags } = this;
    if (!this.isWritable) throw new FsError("EBADF");
    const written = yield* withWriteAccess(inode.i_sb, () => {
      if (!inode.isRegular()) throw new FsError("ENXIO", "a device, FIFO or socket takes no data in an image");
      return withInodeLock(inode, function* () {
        const at = (flags & O_APPEND) !== 0 ? inode.i_size : positionBytes;
        if (isImmutable(inode)) throw new FsError("EPERM");
        if (data.length === 0) return { count: 0, endBytes: at };
        yield* dropSetId(inode, cred);
        const count = mayBeShort ? yield* writeWhatFits(inode, at, data) : yield* writeAll(inode, at, data);
        return { count, endBytes: at + count };
      });
    });
    if ((flags & (O_SYNC | O_DSYNC)) !== 0) yield* inode.fsync((flags & O_SYNC) !== O_SYNC);
    else if ((flags & O_DIRECT) !== 0 && !inode.isDax) yield* inode.settle();
    return written;
  }

  /** @throws FsError EINVAL it is not open for writing, or no regular file; EROFS, EPERM, EFBIG. */
  *ftruncate(sizeBytes: number, cred = this.f_cred): Task<void> {
    if (!this.isWritable) throw new FsError("EINVAL");
    yield* setSize(this.f_inode, sizeBytes, cred);
  }

  /** @throws FsError EINVAL, EOPNOTSUPP, EBADF it is not open for writing, EPERM, EISDIR, ENODEV, EFBIG, ENOSPC. */
  *fallocate(mode: number, offsetBytes: number, lengthBytes: number, cred = this.f_cred): Task<void> {
    checkFallocate(mode, offsetBytes, lengthBytes);
    if (!this.isWritable) throw new FsError("EBADF");
    yield* fallocateInode(this.f_inode, mode, offsetBytes, lengthBytes, cred);
    if ((this.f_flags & (O_SYNC | O_DSYNC)) !== 0) yield* this.f_inode.fsync(false);
  }

  /** Moves f_pos; returns where it is then. @throws FsError EINVAL; ENXIO no data or hole is there. */
  *lseek(offsetBytes: number, whence: number): Task<number> {
    return yield* this.atPosition(() => this.seekTo(offsetBytes, whence));
  }

  private *seekTo(offsetBytes: number, whence: number): Task<number> {
    const to = yield* this.target(offsetBytes, whence);
    if (!(to >= 0 && to <= this.f_inode.maxBytes)) throw new FsError("EINVAL");
    this.f_pos = to;
    return to;
  }

  private *target(offsetBytes: number, whence: number): Task<number> {
    const { f_inode: inode } = this;
    switch (whence) {
      case SEEK_SET: return offsetBytes;
      case SEEK_CUR: return this.f_pos + offsetBytes;
      case SEEK_END: return inode.i_size + offsetBytes;
      case SEEK_DATA:
      case SEEK_HOLE:
        if (!inode.isRegular()) return seekInWhole(inode, offsetBytes, whence);
        return yield* withReadLock(inode, () => inode.seek(offsetBytes, whence === SEEK_DATA ? "data" : "hole"));
      default: throw new FsError("EINVAL");
    }
  }

  *fsync(dataOnly: boolean): Task<void> {
    yield* this.f_inode.fsync(dataOnly);
  }

  *fsyncRange(fromBytes: number, endBytes: number, dataOnly: boolean): Task<void> {
    yield* this.f_inode.fsyncRange(fromBytes, endBytes, dataOnly);
  }

  *mmap(vma: Vma): Task<void> {
    yield* this.f_inode.mmap(this, vma);
  }

  *punchHole(fromBytes: number, lengthBytes: number): Task<void> {
    yield* this.fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, fromBytes, lengthBytes);
  }
}

/** Where nobody knows of holes, all is data. */
function seekInWhole({ i_size: sizeBytes }: Inode, offsetBytes: number, whence: number): number {
  if (!(offsetBytes >= 0 && offsetBytes < sizeBytes)) throw new FsError("ENXIO");
  return whence === SEEK_DATA ? offsetBytes : sizeBytes;
}

function* writeAll(inode: Inode, at: number, data: Uint8Array): Task<number> {
  yield* inode.write(at, data);
  return data.length;
}

/** Where not all of it can be written, as many of its blocks as can, in ever smaller pieces. Writing the same bytes again where some were written already changes nothing. */
function* writeWhatFits(inode: Inode, at: number, data: Uint8Array): Task<number> {
  const { blockBytes } = inode.i_sb;
  let doneBytes = 0;
  for (let tryBytes = data.length; doneBytes < data.length;) {
    const untilBlockEnd = blockBytes - ((at + doneBytes) % blockBytes);
    const piece = data.subarray(doneBytes, doneBytes + untilBlockEnd + Math.floor(Math.max(0, tryBytes - untilBlockEnd) / blockBytes) * blockBytes);
    try {
      yield* inode.write(at + doneBytes, piece);
      doneBytes += piece.length;
    } catch (error) {
      // Bad memory in the midst of a device's own pages ends a write there, as a full device does.
      if (!isFull(error) && !(inode.isDax && error instanceof FsError && error.code === "EIO")) throw error;
      if (piece.length <= untilBlockEnd) {
        if (doneBytes === 0) throw error;
        break;
      }
      tryBytes = piece.length / 2;
    }
  }
  return doneBytes;
}

function isFull(error: unknown): boolean {
  return error instanceof FsError && (error.code === "ENOSPC" || error.code === "EFBIG");
}

const FALLOC_FL_UNSHARE_RANGE = 0x40;

/** What vfs_fallocate (of Linux 6.13 and later) refuses before it looks at the file: modes exclude each other, and each goes with FALLOC_FL_KEEP_SIZE always, never, or either way. */
function checkFallocate(mode: number, offsetBytes: number, lengthBytes: number): void {
  if (!(offsetBytes >= 0 && lengthBytes > 0)) throw new FsError("EINVAL");
  const keepsSize = (mode & FALLOC_FL_KEEP_SIZE) !== 0;
  switch (mode & ~FALLOC_FL_KEEP_SIZE) {
    case 0:
    case FALLOC_FL_UNSHARE_RANGE:
    case FALLOC_FL_ZERO_RANGE:
      return;
    case FALLOC_FL_PUNCH_HOLE:
      if (keepsSize) return;
      break;
    case FALLOC_FL_COLLAPSE_RANGE:
    case FALLOC_FL_INSERT_RANGE:
      if (!keepsSize) return;
  }
  throw new FsError("EOPNOTSUPP");
}

/** @param mode FALLOC_FL_ bits. @throws FsError EROFS, EPERM, and what the filesystem says. */
export function* fallocateInode(inode: Inode, mode: number, offsetBytes: number, lengthBytes: number, cred: Credentials): Task<void> {
  yield* withWriteAccess(inode.i_sb, () => {
    if (isImmutable(inode) || (isAppendOnly(inode) && (mode & ~FALLOC_FL_KEEP_SIZE) !== 0)) throw new FsError("EPERM");
    return withInodeLock(inode, function* () {
      if (inode.isRegular()) yield* dropSetId(inode, cred);
      yield* inode.fallocate(mode, offsetBytes, lengthBytes);
    });
  });
}
