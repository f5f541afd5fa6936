/** Opening: from a path to an open file, which may be made, cut off, or have no name. Source: fs/namei.c (do_open, path_openat, do_tmpfile), fs/open.c (do_dentry_open). */
import { FsError } from "../lib/errno.js";
import { encode } from "../lib/utf8.js";
import type { Task } from "../sched/task.js";
import { dropSetId } from "./attributes.js";
import { createAt } from "./change.js";
import { File } from "./file.js";
import { O_ACCMODE, O_APPEND, O_CREAT, O_DIRECT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_TMPFILE, O_TRUNC, O_WRONLY } from "./flags.js";
import { withWriteAccess } from "./freeze.js";
import { hold } from "./hold.js";
import { S_IFDIR, S_IFMT, S_IFREG, S_IFSOCK, type Inode, type NewInode } from "./inode.js";
import { withInodeLock, withReadLock } from "./inode-lock.js";
import type { Mount } from "./mount.js";
import { Dentry, pathLookup, pathLookupParent } from "./namei.js";
import { checkPermission, isAppendOnly, MAY_EXEC, MAY_READ, MAY_WRITE, type Credentials } from "./permission.js";

const SLASH = 0x2f;

/** Somebody else may change a name between two looks at it, and then it is looked at again. So often in a row that happens only in a damaged image. */
const TRIES_MAX = 100;

/** Where paths begin, and as whom they are walked. */
export interface Walker {
  readonly mnt: Mount;
  /** Of a path that is not absolute. */
  readonly base: Dentry;
  readonly cred: Credentials;
  /** What was found on the way, held, for whoever runs the call to let go of. */
  readonly held?: Inode[];
}

/** What a new inode of this walker's is to be. */
export function newInode({ cred: { uid, gid, umask } }: Walker, type: number, mode: number): NewInode {
  // A directory has no set-id bits of its own making: set-group-id comes from the one above.
  return { mode: type | (mode & (type === S_IFDIR ? 0o1777 : 0o7777)), umask, uid, gid };
}

/** @throws FsError ENOENT, EEXIST, EISDIR, ENOTDIR, ELOOP, ENXIO, EINVAL, EACCES, EPERM, EROFS, ETXTBSY, ENOSPC, ENOKEY … */
export function* openFile(walker: Walker, path: Uint8Array, flags: number, mode: number): Task<File> {
  if ((flags & O_TMPFILE) === O_TMPFILE) return yield* openNameless(walker, path, flags, mode);
  const { mnt, cred, held } = walker;
  const followLast = (flags & O_NOFOLLOW) === 0;
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const file = (flags & O_CREAT) !== 0 ? yield* openOrCreate(walker, path, flags, mode) : yield* openFound(walker, yield* pathLookup(mnt.mnt_root, walker.base, path, { followLast, cred, held }), flags);
    if (file !== undefined) return file;
  }
  throw new FsError("ENOENT");
}

/** A file in `path`'s directory without a name: gone with its close, unless it is linked. */
function* openNameless(walker: Walker, path: Uint8Array, flags: number, mode: number): Task<File> {
  if ((flags & O_ACCMODE) === O_RDONLY) throw new FsError("EINVAL");
  const dir = yield* pathLookup(walker.mnt.mnt_root, walker.base, path, { followLast: true, cred: walker.cred, held: walker.held });
  if (!dir.d_inode.isDirectory()) throw new FsError("ENOTDIR");
  return yield* withWriteAccess(dir.d_inode.i_sb, function* () {
    yield* checkPermission(dir.d_inode, walker.cred, MAY_WRITE | MAY_EXEC);
    const inode = yield* dir.d_inode.createNameless(newInode(walker, S_IFREG, mode));
    return new File(new Dentry(inode, encode(`#${inode.i_ino}`), dir), walker.mnt, flags, walker.cred);
  });
}

/** What has the name is opened, whatever becomes of the name meanwhile. @returns undefined: others have changed what it leads to. */
function* openOrCreate(walker: Walker, path: Uint8Array, flags: number, mode: number): Task<File | undefined> {
  const { mnt, base, cred, held } = walker;
  const isExclusive = (flags & O_EXCL) !== 0;
  const isFollowed = !isExclusive && (flags & O_NOFOLLOW) === 0 && path[path.length - 1] !== SLASH;
  const last = yield* pathLookupParent(mnt.mnt_root, base, path, { followLast: isFollowed, cred, held });
  if (!last.isPlain || last.mustBeDirectory) throw new FsError(isExclusive && !last.mustBeDirectory ? "EEXIST" : "EISDIR");
  const { d_inode: dir } = last.dir;
  const known = yield* withReadLock(dir, () => dir.lookup(last.name));
  if (known !== undefined) {
    held?.push(hold(known));
    if (isExclusive) throw new FsError("EEXIST");
    if (known.isDirectory()) throw new FsError("EISDIR");
    if (known.isSymlink() && isFollowed) return undefined;
    return yield* openFound(walker, new Dentry(known, last.name, last.dir), flags);
  }
  if ((flags & O_DIRECTORY) !== 0) throw new FsError("EINVAL");
  try {
    const inode = yield* createAt(last, newInode(walker, S_IFREG, mode), cred, false);
    return new File(new Dentry(inode, last.name, last.dir), mnt, flags, cred);
  } catch (error) {
    // Somebody else made it meanwhile.
    if (isExclusive || !(error instanceof FsError) || error.code !== "EEXIST") throw error;
    return undefined;
  }
}

/** @returns undefined: it was deleted meanwhile, which it is not if it is held. */
function* openFound({ mnt, cred }: Walker, dentry: Dentry, flags: number): Task<File | undefined> {
  const { d_inode: inode } = dentry;
  yield* checkOpen(inode, flags, cred);
  if (inode.isGone) return undefined;
  const file = new File(dentry, mnt, flags, cred);
  try {
    if ((flags & O_TRUNC) !== 0 && inode.isRegular()) yield* truncateOpened(file);
    if ((flags & O_DIRECT) !== 0 && !inode.isDax) yield* inode.settle();
    return file;
  } catch (error) {
    yield* file.put();
    throw error;
  }
}

function* checkOpen(inode: Inode, flags: number, cred: Credentials): Task<void> {
  const access = flags & O_ACCMODE;
  if ((flags & O_DIRECTORY) !== 0 && !inode.isDirectory()) throw new FsError("ENOTDIR");
  if (inode.isSymlink()) throw new FsError("ELOOP");
  if (inode.isDirectory() && (access !== O_RDONLY || (flags & O_TRUNC) !== 0)) throw new FsError("EISDIR");
  if ((inode.i_mode & S_IFMT) === S_IFSOCK) throw new FsError("ENXIO");
  if (access !== O_RDONLY) inode.i_sb.checkWritable();
  yield* checkPermission(inode, cred, access === O_RDONLY ? MAY_READ : access === O_WRONLY ? MAY_WRITE : MAY_READ | MAY_WRITE);
  if (isAppendOnly(inode) && access !== O_RDONLY && ((flags & O_APPEND) === 0 || (flags & O_TRUNC) !== 0)) throw new FsError("EPERM");
  inode.checkOpen(access !== O_RDONLY);
}

function* truncateOpened(file: File): Task<void> {
  const { f_inode: inode, f_cred: cred } = file;
  yield* withWriteAccess(inode.i_sb, function* () {
    yield* checkPermission(inode, cred, MAY_WRITE);
    if (inode.i_writecount < 0) throw new FsError("ETXTBSY"); // it is open for reading, else this was said before
    yield* withInodeLock(inode, function* () {
      yield* dropSetId(inode, cred);
      yield* inode.setattr({ sizeBytes: 0 });
    });
  });
}
