/**
 * Changing a tree of names: each call finds where it is to happen, takes the locks in Linux's order (the directory, then what is in it; of two directories the one above first), looks again, checks
 * permissions, and has the filesystem do it. Source: fs/namei.c (do_mknodat, vfs_link, vfs_unlink, vfs_rename, lock_rename).
 */
import { FsError } from "../lib/errno.js";
import { I_RWSEM_CHILD, I_RWSEM_CHILD2, I_RWSEM_PARENT, I_RWSEM_PARENT2 } from "../sched/lock-classes.js";
import type { Task } from "../sched/task.js";
import { withWriteAccess } from "./freeze.js";
import { RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, S_IFCHR, type Inode, type NewInode } from "./inode.js";
import type { Dentry, LastName } from "./namei.js";
import { checkCreate, checkDelete, checkPermission, isAppendOnly, isImmutable, isPrivileged, MAY_WRITE, type Credentials } from "./permission.js";

/** Runs `work` with the directory locked. */
export function* withDirectory<T>(dir: Inode, work: () => Task<T>): Task<T> {
  if (!dir.i_rwsem.tryWrite(I_RWSEM_PARENT)) yield* dir.i_rwsem.write(I_RWSEM_PARENT);
  try {
    return yield* work();
  } finally {
    dir.i_rwsem.unlockWrite();
  }
}

function* withInode<T>(inode: Inode, work: () => Task<T>): Task<T> {
  if (!inode.i_rwsem.tryWrite(I_RWSEM_CHILD)) yield* inode.i_rwsem.write(I_RWSEM_CHILD);
  try {
    return yield* work();
  } finally {
    inode.i_rwsem.unlockWrite();
  }
}

/** Makes a file, directory, link or device. @throws FsError EEXIST, ENOENT (a directory whose own name is gone), EACCES, EPERM, ENOSPC, EMLINK, EROFS. */
export function* createAt({ dir, name, isPlain, mustBeDirectory }: LastName, wanted: NewInode, cred: Credentials, isDirectory: boolean): Task<Inode> {
  return yield* withWriteAccess(dir.d_inode.i_sb, () => {
    if (!isPlain) throw new FsError("EEXIST");
    return withDirectory(dir.d_inode, function* () {
      if ((yield* dir.d_inode.lookup(name)) !== undefined) throw new FsError("EEXIST");
      if (mustBeDirectory && !isDirectory) throw new FsError("ENOENT");
      yield* checkCreate(dir.d_inode, cred);
      return yield* dir.d_inode.create(name, wanted);
    });
  });
}

/** @throws FsError EEXIST, EPERM a directory, EXDEV another project, EMLINK. */
export function* linkAt(inode: Inode, { dir, name, isPlain, mustBeDirectory }: LastName, cred: Credentials): Task<void> {
  yield* withWriteAccess(dir.d_inode.i_sb, () => {
    if (!isPlain) throw new FsError("EEXIST");
    return withDirectory(dir.d_inode, function* () {
      if ((yield* dir.d_inode.lookup(name)) !== undefined) throw new FsError("EEXIST");
      if (mustBeDirectory) throw new FsError("ENOENT");
      yield* checkCreate(dir.d_inode, cred);
      if (isImmutable(inode) || isAppendOnly(inode) || inode.isDirectory()) throw new FsError("EPERM");
      checkProject(dir.d_inode, inode);
      yield* withInode(inode, () => dir.d_inode.link(name, inode));
    });
  });
}

/** FS_PROJINHERIT_FL: what comes in must be of the directory's project. @throws FsError EXDEV. */
function checkProject(dir: Inode, inode: Inode): void {
  const FS_PROJINHERIT_FL = 0x2000_0000;
  if ((dir.i_flags & FS_PROJINHERIT_FL) !== 0 && dir.i_projid !== inode.i_projid) throw new FsError("EXDEV");
}

/** Removes a name that leads to no directory. @throws FsError EISDIR, ENOENT, EPERM, EACCES. */
export function* unlinkAt({ dir, name, isPlain, mustBeDirectory }: LastName, cred: Credentials): Task<void> {
  yield* withWriteAccess(dir.d_inode.i_sb, function* () {
    if (!isPlain) throw new FsError("EISDIR");
    const gone = yield* withDirectory(dir.d_inode, function* () {
      const inode = yield* existing(dir.d_inode, name);
      if (mustBeDirectory) throw new FsError(inode.isDirectory() ? "EISDIR" : "ENOTDIR");
      yield* checkDelete(dir.d_inode, inode, cred, false);
      yield* withInode(inode, () => dir.d_inode.unlink(name, inode));
      return inode;
    });
    yield* gone.release();
  });
}

function* existing(dir: Inode, name: Uint8Array): Task<Inode> {
  const inode = yield* dir.lookup(name);
  if (inode === undefined) throw new FsError("ENOENT");
  return inode;
}

/** @throws FsError ENOTEMPTY, ENOTDIR, EINVAL ("."), EBUSY (the root), ENOENT. */
export function* rmdirAt({ dir, name, isPlain, isDotDot }: LastName, cred: Credentials): Task<void> {
  yield* withWriteAccess(dir.d_inode.i_sb, function* () {
    if (!isPlain) throw new FsError(isDotDot ? "ENOTEMPTY" : name.length === 0 ? "EBUSY" : "EINVAL");
    const gone = yield* withDirectory(dir.d_inode, function* () {
      const inode = yield* existing(dir.d_inode, name);
      yield* checkDelete(dir.d_inode, inode, cred, true);
      yield* withInode(inode, function* () {
        if (!(yield* inode.isEmpty())) throw new FsError("ENOTEMPTY");
        yield* dir.d_inode.unlink(name, inode);
      });
      return inode;
    });
    yield* gone.release();
  });
}

/** @throws FsError EINVAL: bits that there are not, or that exclude each other. */
export function checkRenameFlags(flags: number): void {
  const isExchange = (flags & RENAME_EXCHANGE) !== 0;
  if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) !== 0 || (isExchange && flags !== RENAME_EXCHANGE)) throw new FsError("EINVAL");
}

/** @param flags RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT, as renameat2's. */
export function* renameAt(from: LastName, to: LastName, flags: number, cred: Credentials): Task<void> {
  yield* withWriteAccess(from.dir.d_inode.i_sb, () => renameLocked(from, to, flags, cred));
}

function* renameLocked(from: LastName, to: LastName, flags: number, cred: Credentials): Task<void> {
  const oldDir = from.dir.d_inode;
  const newDir = to.dir.d_inode;
  checkRenameFlags(flags);
  const isExchange = (flags & RENAME_EXCHANGE) !== 0;
  if (!from.isPlain) throw new FsError("EBUSY");
  if (!to.isPlain) throw new FsError((flags & RENAME_NOREPLACE) !== 0 ? "EEXIST" : "EBUSY");
  const replaced = yield* withBothDirectories(from.dir, to.dir, function* () {
    const inode = yield* existing(oldDir, from.name);
    const target = yield* newDir.lookup(to.name);
    if (target !== undefined && (flags & RENAME_NOREPLACE) !== 0) throw new FsError("EEXIST");
    if (target === undefined && isExchange) throw new FsError("ENOENT");
    if (!inode.isDirectory()) {
      if (from.mustBeDirectory || (!isExchange && to.mustBeDirectory)) throw new FsError("ENOTDIR");
    }
    if (isExchange && target !== undefined && to.mustBeDirectory && !target.isDirectory()) throw new FsError("ENOTDIR");
    // A directory must not move below itself, nor take the place of one that it stands in.
    if (isBelow(to.dir, inode)) throw new FsError("EINVAL");
    if (target !== undefined && isBelow(from.dir, target)) throw new FsError(isExchange ? "EINVAL" : "ENOTEMPTY");
    if (inode === target) return undefined; // two names of one file: nothing happens
    yield* checkDelete(oldDir, inode, cred, inode.isDirectory());
    if (target === undefined) yield* checkCreate(newDir, cred);
    else yield* checkDelete(newDir, target, cred, isExchange ? target.isDirectory() : inode.isDirectory());
    if (oldDir !== newDir && !isPrivileged(cred)) { // what moves, if it is a directory, has its ".." changed
      if (inode.isDirectory()) yield* checkPermission(inode, cred, MAY_WRITE);
      if (isExchange && target!.isDirectory()) yield* checkPermission(target!, cred, MAY_WRITE);
    }
    checkProject(newDir, inode);
    if (isExchange) checkProject(oldDir, target!);
    yield* withVictims(inode, target, function* () {
      if (isExchange) return yield* oldDir.exchange(from.name, inode, newDir, to.name, target!);
      const whiteout: NewInode | undefined = (flags & RENAME_WHITEOUT) === 0 ? undefined : { mode: S_IFCHR, umask: 0, uid: cred.uid, gid: cred.gid, rdev: { major: 0, minor: 0 } };
      yield* oldDir.rename(from.name, inode, newDir, to.name, target, whiteout);
    });
    return isExchange ? undefined : target;
  });
  if (replaced !== undefined) yield* replaced.release();
}

/** Whether `dentry` is the directory `above`, or stands somewhere below it. */
function isBelow(dentry: Dentry, above: Inode): boolean {
  for (let at = dentry; ; at = at.d_parent) {
    if (at.d_inode === above) return true;
    if (at.d_parent === at) return false;
  }
}

/** Both directories, the one above first. The rename mutex keeps the tree as it is while it is asked which one that is. */
function* withBothDirectories<T>(a: Dentry, b: Dentry, work: () => Task<T>): Task<T> {
  if (a.d_inode === b.d_inode) return yield* withDirectory(a.d_inode, work);
  const { s_vfs_rename_mutex: mutex } = a.d_inode.i_sb;
  if (!mutex.tryLock()) yield* mutex.lock();
  try {
    const [first, second] = isBelow(a, b.d_inode) ? [b.d_inode, a.d_inode] : [a.d_inode, b.d_inode];
    return yield* withDirectory(first, function* () {
      if (!second.i_rwsem.tryWrite(I_RWSEM_PARENT2)) yield* second.i_rwsem.write(I_RWSEM_PARENT2);
      try {
        return yield* work();
      } finally {
        second.i_rwsem.unlockWrite();
      }
    });
  } finally {
    mutex.unlock();
  }
}

/** What is moved, and what it replaces; directories that are locked already as parents are left out. By number, so that two tasks never take them crosswise. */
function* withVictims(inode: Inode, target: Inode | undefined, work: () => Task<void>): Task<void> {
  const victims = (target === undefined ? [inode] : [inode, target]).sort((a, b) => a.i_ino - b.i_ino);
  const [first, second] = victims as [Inode, Inode | undefined];
  yield* withInode(first, function* () {
    if (second === undefined) return yield* work();
    if (!second.i_rwsem.tryWrite(I_RWSEM_CHILD2)) yield* second.i_rwsem.write(I_RWSEM_CHILD2);
    try {
      yield* work();
    } finally {
      second.i_rwsem.unlockWrite();
    }
  });
}
