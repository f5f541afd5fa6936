/**
 * Changing a tree of names: each call finds where it is to happen, takes the locks in Linux's order (the directory, then what is in it; of two directories the one above first), looks again, checks
 * permissions, and has the filesystem do it. Source: fs/namei.c (do_mknodat, vfs_link, vfs_unlink, vfs_rename, lock_rename).
 */
import { FsError } from "../lib/errno.js";
import { I_RWSEM_CHILD, I_RWSEM_CHILD2, I_RWSEM_PARENT, I_RWSEM_PARENT2 } from "../sched/lock-classes.js";
import type { Task } from "../sched/task.js";
import { withWriteAccess } from "./freeze.js";
import { hold, letGo } from "./hold.js";
import { RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, S_IFCHR, type Inode, type NewInode } from "./inode.js";
import type { LastName } from "./namei.js";
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

/** @param mayBeFirst whether it may have no name now, as O_TMPFILE's have none. @throws FsError EEXIST, EPERM a directory, EXDEV another project, EMLINK; ENOENT it had names, and lost them all. */
export function* linkAt(inode: Inode, { dir, name, isPlain, mustBeDirectory }: LastName, cred: Credentials, mayBeFirst = (): boolean => false): Task<void> {
  yield* withWriteAccess(dir.d_inode.i_sb, () => {
    if (!isPlain) throw new FsError("EEXIST");
    return withDirectory(dir.d_inode, function* () {
      if ((yield* dir.d_inode.lookup(name)) !== undefined) throw new FsError("EEXIST");
      if (mustBeDirectory) throw new FsError("ENOENT");
      yield* checkCreate(dir.d_inode, cred);
      if (isImmutable(inode) || isAppendOnly(inode) || inode.isDirectory()) throw new FsError("EPERM");
      checkProject(dir.d_inode, inode);
      yield* withInode(inode, function* () {
        if (inode.i_nlink === 0 && !mayBeFirst()) throw new FsError("ENOENT");
        yield* dir.d_inode.link(name, inode);
      });
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
  yield* withWriteAccess(dir.d_inode.i_sb, () => holdingVictim(function* (held) {
    if (!isPlain) throw new FsError("EISDIR");
    yield* withDirectory(dir.d_inode, function* () {
      const inode = held(yield* existing(dir.d_inode, name));
      if (mustBeDirectory) throw new FsError(inode.isDirectory() ? "EISDIR" : "ENOTDIR");
      yield* checkDelete(dir.d_inode, inode, cred, false);
      yield* withInode(inode, () => dir.d_inode.unlink(name, inode));
    });
  }));
}

/** Runs `work`, which may hold what it takes a name from: until that is done, whoever else lets go of it must not find it without names and holders, and delete it. */
function* holdingVictim(work: (held: (inode: Inode) => Inode) => Task<void>): Task<void> {
  let victim: Inode | undefined;
  try {
    yield* work((inode) => victim = hold(inode));
  } finally {
    if (victim !== undefined) yield* letGo(victim, true);
  }
}

function* existing(dir: Inode, name: Uint8Array): Task<Inode> {
  const inode = yield* dir.lookup(name);
  if (inode === undefined) throw new FsError("ENOENT");
  return inode;
}

/** @throws FsError ENOTEMPTY, ENOTDIR, EINVAL ("."), EBUSY (the root), ENOENT. */
export function* rmdirAt({ dir, name, isPlain, isDotDot }: LastName, cred: Credentials): Task<void> {
  yield* withWriteAccess(dir.d_inode.i_sb, () => holdingVictim(function* (held) {
    if (!isPlain) throw new FsError(isDotDot ? "ENOTEMPTY" : name.length === 0 ? "EBUSY" : "EINVAL");
    yield* withDirectory(dir.d_inode, function* () {
      const inode = held(yield* existing(dir.d_inode, name));
      yield* checkDelete(dir.d_inode, inode, cred, true);
      yield* withInode(inode, function* () {
        if (!(yield* inode.isEmpty())) throw new FsError("ENOTEMPTY");
        yield* dir.d_inode.unlink(name, inode);
      });
    });
  }));
}

/** @throws FsError EINVAL: bits that there are not, or that exclude each other. */
export function checkRenameFlags(flags: number): void {
  const isExchange = (flags & RENAME_EXCHANGE) !== 0;
  if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) !== 0 || (isExchange && flags !== RENAME_EXCHANGE)) throw new FsError("EINVAL");
}

/** @param flags RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT, as renameat2's. */
export function* renameAt(from: LastName, to: LastName, flags: number, cred: Credentials): Task<void> {
  yield* withWriteAccess(from.dir.d_inode.i_sb, () => holdingVictim((held) => renameLocked(from, to, flags, cred, held)));
}

function* renameLocked(from: LastName, to: LastName, flags: number, cred: Credentials, held: (inode: Inode) => Inode): Task<void> {
  const oldDir = from.dir.d_inode;
  const newDir = to.dir.d_inode;
  checkRenameFlags(flags);
  const isExchange = (flags & RENAME_EXCHANGE) !== 0;
  if (!from.isPlain) throw new FsError("EBUSY");
  if (!to.isPlain) throw new FsError((flags & RENAME_NOREPLACE) !== 0 ? "EEXIST" : "EBUSY");
  yield* withBothDirectories(oldDir, newDir, function* () {
    const inode = yield* existing(oldDir, from.name);
    const target = yield* newDir.lookup(to.name);
    if (target !== undefined) held(target);
    if (target !== undefined && (flags & RENAME_NOREPLACE) !== 0) throw new FsError("EEXIST");
    if (target === undefined && isExchange) throw new FsError("ENOENT");
    if (!inode.isDirectory()) {
      if (from.mustBeDirectory || (!isExchange && to.mustBeDirectory)) throw new FsError("ENOTDIR");
    }
    if (isExchange && target !== undefined && to.mustBeDirectory && !target.isDirectory()) throw new FsError("ENOTDIR");
    // A directory must not move below itself, nor take the place of one that it stands in.
    if (inode.isDirectory() && (yield* isBelow(newDir, inode))) throw new FsError("EINVAL");
    if (target?.isDirectory() === true && (yield* isBelow(oldDir, target))) throw new FsError(isExchange ? "EINVAL" : "ENOTEMPTY");
    if (inode === target) return; // two names of one file: nothing happens
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
  });
}

/**
 * Whether `dir` is the directory `above`, or stands somewhere below it: now, and not when its path was walked, as others may have moved it since. Of a damaged image each directory is looked at once.
 * Requires: s_vfs_rename_mutex, which keeps directories where they are.
 */
function* isBelow(dir: Inode, above: Inode): Task<boolean> {
  const seen = new Set<Inode>();
  for (let at: Inode | undefined = dir; at !== undefined && !seen.has(at); at = yield* at.parent()) {
    if (at === above) return true;
    seen.add(at);
  }
  return false;
}

/** Both directories, the one above first. The rename mutex keeps the tree as it is while it is asked which one that is. */
function* withBothDirectories<T>(a: Inode, b: Inode, work: () => Task<T>): Task<T> {
  if (a === b) return yield* withDirectory(a, work);
  const { s_vfs_rename_mutex: mutex } = a.i_sb;
  if (!mutex.tryLock()) yield* mutex.lock();
  try {
    const [first, second] = (yield* isBelow(a, b)) ? [b, a] : [a, b];
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
