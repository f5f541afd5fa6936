/** Changes of what an inode says of a file, with the permissions that each needs. Source: fs/attr.c (setattr_prepare, notify_change), fs/open.c, fs/xattr.c, fs/utimes.c. */
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";
import { withWriteAccess } from "./freeze.js";
import { S_ISGID, S_ISUID, S_ISVTX, S_IXGRP, type AttributeChanges, type Inode, type Timespec, type XattrFlags } from "./inode.js";
import { withInodeLock } from "./inode-lock.js";
import { checkOwner, checkOwnership, checkPermission, FS_APPEND_FL, FS_IMMUTABLE_FL, isAppendOnly, isImmutable, isInGroup, isPrivileged, MAY_READ, MAY_WRITE, type Credentials } from "./permission.js";

/** An owner or group that stays. */
export const KEEP = -1;

/** Set-user-id, and set-group-id where the group may execute: else that bit means mandatory locking. */
function droppedBits(inode: Inode): number {
  return S_ISUID | ((inode.i_mode & S_IXGRP) !== 0 ? S_ISGID : 0);
}

/** Who is not root takes set-id bits away from a file that he changes. Requires: i_rwsem(w). */
export function* dropSetId(inode: Inode, cred: Credentials): Task<void> {
  if (isPrivileged(cred)) return;
  const kept = inode.i_mode & ~droppedBits(inode);
  if (kept !== inode.i_mode) yield* inode.setattr({ mode: kept });
}

/** Cuts a regular file off, or makes it longer with a hole. @throws FsError EROFS, EINVAL, EISDIR, EPERM, EFBIG. */
export function* setSize(inode: Inode, sizeBytes: number, cred: Credentials): Task<void> {
  yield* withWriteAccess(inode.i_sb, () => {
    if (!(sizeBytes >= 0)) throw new FsError("EINVAL");
    if (inode.isDirectory()) throw new FsError("EISDIR");
    if (!inode.isRegular()) throw new FsError("EINVAL");
    if (isImmutable(inode) || isAppendOnly(inode)) throw new FsError("EPERM");
    return withInodeLock(inode, function* () {
      yield* dropSetId(inode, cred);
      yield* inode.setattr({ sizeBytes });
    });
  });
}

/** @param decide what is to be changed, from what the inode has when nobody else changes it. */
function* change(inode: Inode, decide: () => AttributeChanges): Task<void> {
  yield* withWriteAccess(inode.i_sb, () => withInodeLock(inode, () => inode.setattr(decide())));
}

/** @param mode permission bits, with set-id and sticky. */
export function* changeMode(inode: Inode, mode: number, cred: Credentials): Task<void> {
  yield* change(inode, () => {
    checkOwner(inode, cred);
    // Who is not in the file's group cannot make it set-group-id.
    const isForeign = !isPrivileged(cred) && !isInGroup(cred, inode.i_gid);
    return { mode: isForeign ? mode & ~S_ISGID : mode };
  });
}

/** @param uid, gid KEEP leaves it. */
export function* changeOwner(inode: Inode, uid: number, gid: number, cred: Credentials): Task<void> {
  yield* change(inode, () => {
    const mode = inode.isDirectory() ? undefined : inode.i_mode & ~droppedBits(inode);
    // Who leaves both as they are needs no permission, unless that takes set-id bits away.
    if (uid === KEEP && gid === KEEP && (mode ?? inode.i_mode) === inode.i_mode) return {};
    if (isImmutable(inode) || isAppendOnly(inode)) throw new FsError("EPERM");
    const isOwn = cred.uid === inode.i_uid && (uid === KEEP || uid === inode.i_uid) && (gid === KEEP || isInGroup(cred, gid));
    if (!isPrivileged(cred) && !isOwn) throw new FsError("EPERM");
    return { uid: uid === KEEP ? undefined : uid, gid: gid === KEEP ? undefined : gid, mode };
  });
}

/** Sets times that the owner chose; undefined leaves one. */
export function* changeTimes(inode: Inode, times: { readonly atime?: Timespec | undefined; readonly mtime?: Timespec | undefined }, cred: Credentials): Task<void> {
  yield* change(inode, () => {
    checkOwner(inode, cred);
    return times;
  });
}

/** Sets both times to now, which who may write the file may do, too. */
export function* touch(inode: Inode, cred: Credentials): Task<void> {
  yield* withWriteAccess(inode.i_sb, () => withInodeLock(inode, function* () {
    if (isImmutable(inode)) throw new FsError("EPERM");
    if (cred.uid !== inode.i_uid) yield* checkPermission(inode, cred, MAY_WRITE);
    const now = inode.i_sb.now();
    yield* inode.setattr({ atime: now, mtime: now });
  }));
}

/** Sets, or with undefined removes, an extended attribute. @throws FsError EPERM, EACCES, EROFS, and what the filesystem says. */
export function* changeXattr(inode: Inode, name: Uint8Array, value: Uint8Array | undefined, flags: XattrFlags, cred: Credentials): Task<void> {
  yield* withWriteAccess(inode.i_sb, () => withInodeLock(inode, function* () {
    if (!(yield* mayAccessXattr(inode, name, cred, MAY_WRITE))) throw new FsError("EPERM");
    yield* inode.setxattr(name, value, flags);
  }));
}

/** The value; undefined: there is none, or none that this caller may see. @throws FsError EACCES. */
export function* readXattr(inode: Inode, name: Uint8Array, cred: Credentials): Task<Uint8Array | undefined> {
  return (yield* mayAccessXattr(inode, name, cred, MAY_READ)) ? yield* inode.getxattr(name) : undefined;
}

/** Each namespace has rules of its own. Source: xattr_permission (fs/xattr.c), cap_inode_setxattr (security/commoncap.c), posix_acl_xattr_set. */
function* mayAccessXattr(inode: Inode, name: Uint8Array, cred: Credentials, mask: number): Task<boolean> {
  const isWrite = mask === MAY_WRITE;
  if (isWrite && (isImmutable(inode) || isAppendOnly(inode))) return false;
  const isOwner = isPrivileged(cred) || cred.uid === inode.i_uid;
  switch (namespaceOf(name)) {
    case "system": return !isWrite || isOwner;
    case "security": return !isWrite || isPrivileged(cred);
    case "trusted": return isPrivileged(cred);
    case "user":
      if (!inode.isRegular() && !inode.isDirectory()) return false;
      if (isWrite && inode.isDirectory() && (inode.i_mode & S_ISVTX) !== 0 && !isOwner) return false;
  }
  yield* checkPermission(inode, cred, mask);
  return true;
}

function namespaceOf(name: Uint8Array): string {
  const DOT = 0x2e;
  return String.fromCharCode(...name.subarray(0, Math.min(16, Math.max(0, name.indexOf(DOT)))));
}

/** Sets the flags that chattr sets. @throws FsError EPERM, EROFS, and what the filesystem says of a flag. */
export function* changeFlags(inode: Inode, flags: number, cred: Credentials): Task<void> {
  yield* withWriteAccess(inode.i_sb, () => {
    checkOwnership(inode, cred);
    return withInodeLock(inode, function* () {
      if (!isPrivileged(cred) && ((flags ^ inode.i_flags) & (FS_IMMUTABLE_FL | FS_APPEND_FL)) !== 0) throw new FsError("EPERM");
      yield* inode.setFlags(flags, isPrivileged(cred));
    });
  });
}
