/**
 * Who may do what: mode bits, POSIX ACLs, the sticky bit, immutable and append-only files. A privileged caller (root, the default) passes all but the flags. Source: fs/namei.c
 * (inode_permission, may_delete), fs/posix_acl.c (posix_acl_permission), fs/attr.c.
 */
import { encode } from "../lib/utf8.js";
import { FsError } from "../lib/errno.js";
import { viewOf } from "../lib/view.js";
import type { Task } from "../sched/task.js";
import { S_ISVTX, type Inode } from "./inode.js";

export interface Credentials {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly umask: number;
}

export const ROOT: Credentials = { uid: 0, gid: 0, groups: [], umask: 0o022 };

export const MAY_EXEC = 1;
export const MAY_WRITE = 2;
export const MAY_READ = 4;

/** i_flags that hold for everybody. */
export const FS_IMMUTABLE_FL = 0x10;
export const FS_APPEND_FL = 0x20;
const ACL_USER_OBJ = 0x01;
const ACL_USER = 0x02;
const ACL_GROUP_OBJ = 0x04;
const ACL_GROUP = 0x08;
const ACL_MASK = 0x10;
const ACL_ENTRY_BYTES = 8;
const ACL_HEADER_BYTES = 4;
const ACL_ACCESS = encode("system.posix_acl_access");

export const isPrivileged = (cred: Credentials): boolean => cred.uid === 0;
export const isImmutable = (inode: Inode): boolean => (inode.i_flags & FS_IMMUTABLE_FL) !== 0;
export const isAppendOnly = (inode: Inode): boolean => (inode.i_flags & FS_APPEND_FL) !== 0;
const isInGroup = (cred: Credentials, gid: number): boolean => cred.gid === gid || cred.groups.includes(gid);

/** @throws FsError EACCES; EPERM the file is immutable and is to be written. */
export function* checkPermission(inode: Inode, cred: Credentials, mask: number): Task<void> {
  if ((mask & MAY_WRITE) !== 0 && isImmutable(inode)) throw new FsError("EPERM");
  if (!(yield* isAllowed(inode, cred, mask))) throw new FsError("EACCES");
}

export function* isAllowed(inode: Inode, cred: Credentials, mask: number): Task<boolean> {
  if (isPrivileged(cred)) return (mask & MAY_EXEC) === 0 || inode.isDirectory() || (inode.i_mode & 0o111) !== 0;
  if (cred.uid === inode.i_uid) return ((inode.i_mode >>> 6) & mask) === mask;
  // An ACL's mask stands in the group's bits: where these are empty no ACL can allow more than others have.
  if ((inode.i_mode & 0o070) !== 0) {
    const acl = yield* inode.getxattr(ACL_ACCESS);
    if (acl !== undefined) return aclAllows(inode, acl, cred, mask);
  }
  const shift = isInGroup(cred, inode.i_gid) ? 3 : 0;
  return ((inode.i_mode >>> shift) & mask) === mask;
}

/** The first entry that speaks of the caller decides; of those for groups, one that allows it is enough. */
function aclAllows(inode: Inode, acl: Uint8Array, cred: Credentials, mask: number): boolean {
  const view = viewOf(acl);
  let limit = 7;
  let isInAnyGroup = false;
  let isGroupAllowed = false;
  let user: number | undefined;
  let other = 0;
  for (let at = ACL_HEADER_BYTES; at + ACL_ENTRY_BYTES <= acl.length; at += ACL_ENTRY_BYTES) {
    const tag = view.getUint16(at, true);
    const perm = view.getUint16(at + 2, true);
    const id = view.getUint32(at + 4, true);
    if (tag === ACL_USER && id === cred.uid) user = perm;
    else if (tag === ACL_MASK) limit = perm;
    else if ((tag === ACL_GROUP_OBJ && isInGroup(cred, inode.i_gid)) || (tag === ACL_GROUP && isInGroup(cred, id))) {
      isInAnyGroup = true;
      isGroupAllowed ||= (perm & mask) === mask;
    } else if (tag !== ACL_USER_OBJ && tag !== ACL_USER && tag !== ACL_GROUP_OBJ && tag !== ACL_GROUP) other = perm;
  }
  if (user !== undefined) return (user & limit & mask) === mask;
  if (isInAnyGroup) return isGroupAllowed && (limit & mask) === mask;
  return (other & mask) === mask;
}

/** Whether a name may be made in a directory. @throws FsError EACCES, EPERM. */
export function* checkCreate(dir: Inode, cred: Credentials): Task<void> {
  if (dir.i_nlink === 0) throw new FsError("ENOENT");
  yield* checkPermission(dir, cred, MAY_WRITE | MAY_EXEC);
}

/** Whether `inode` may lose its name in `dir`. @throws FsError EACCES, EPERM; EISDIR, ENOTDIR it is not what is to be removed; EBUSY the root. */
export function* checkDelete(dir: Inode, inode: Inode, cred: Credentials, isDirectory: boolean): Task<void> {
  yield* checkPermission(dir, cred, MAY_WRITE | MAY_EXEC);
  if (isAppendOnly(dir)) throw new FsError("EPERM");
  const isSticky = (dir.i_mode & S_ISVTX) !== 0 && !isPrivileged(cred) && cred.uid !== inode.i_uid && cred.uid !== dir.i_uid;
  if (isSticky || isAppendOnly(inode) || isImmutable(inode)) throw new FsError("EPERM");
  if (isDirectory && !inode.isDirectory()) throw new FsError("ENOTDIR");
  if (!isDirectory && inode.isDirectory()) throw new FsError("EISDIR");
  if (inode === inode.i_sb.root) throw new FsError("EBUSY");
}

/** @throws FsError EPERM: it is somebody else's. */
export function checkOwnership(inode: Inode, cred: Credentials): void {
  if (!isPrivileged(cred) && cred.uid !== inode.i_uid) throw new FsError("EPERM");
}

/** Who owns a file may change what the inode says of it. @throws FsError EPERM. */
export function checkOwner(inode: Inode, cred: Credentials): void {
  if (isImmutable(inode) || isAppendOnly(inode)) throw new FsError("EPERM");
  checkOwnership(inode, cred);
}

export { isInGroup };
