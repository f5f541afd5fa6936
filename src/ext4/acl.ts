/**
 * POSIX ACLs of inodes. An access ACL and i_mode say the same of owner, group (or mask) and others, so who changes one changes the other; an ACL that says no more than the mode
 * is not stored. Source: fs/ext4/acl.c, fs/posix_acl.c.
 */
import { aclForNewFile, aclFromDisk, aclFromXattr, aclIsValid, aclMode, aclToDisk, aclWithMode, type AclEntry } from "../format/acl.js";
import { CorruptionError } from "../format/corruption.js";
import { EXT4_XATTR_INDEX_POSIX_ACL_ACCESS, EXT4_XATTR_INDEX_POSIX_ACL_DEFAULT } from "../format/xattr.js";
import type { Handle } from "../jbd2/handle.js";
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";
import type { Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";
import { findXattr } from "./xattr.js";
import type { XattrKey } from "./xattr-entries.js";
import { storeXattr } from "./xattr-store.js";

const NO_NAME = new Uint8Array(0);
const ACCESS: XattrKey = { index: EXT4_XATTR_INDEX_POSIX_ACL_ACCESS, name: NO_NAME };
const DEFAULT: XattrKey = { index: EXT4_XATTR_INDEX_POSIX_ACL_DEFAULT, name: NO_NAME };
const MODE_BITS = 0o777;

/**
 * Sets or removes an ACL, given as setxattr gets it. Removing one that is not there is no error, as in Linux. Requires: xattrCredits. Takes: xattr_sem(w).
 * @throws FsError EINVAL it is none; EOPNOTSUPP another version, or a symlink's; EACCES a default ACL of what is no directory; ENOSPC.
 */
export function* setAcl(handle: Handle, fs: Ext4, inode: Ext4Inode, index: number, value: Uint8Array | undefined): Task<void> {
  const entries = value === undefined ? [] : aclFromXattr(value);
  const acl = entries.length === 0 ? undefined : entries;
  if (inode.isSymlink()) throw new FsError("EOPNOTSUPP", "symbolic links have no ACLs");
  const isDefault = index === DEFAULT.index;
  if (isDefault && !inode.isDirectory()) {
    if (acl === undefined) return;
    throw new FsError("EACCES", "only directories have default ACLs");
  }
  if (acl !== undefined && !aclIsValid(acl)) throw new FsError("EINVAL", "the entries make no ACL");
  if (isDefault) yield* storeXattr(handle, fs, inode, DEFAULT, acl && aclToDisk(acl));
  else yield* setAccessAcl(handle, fs, inode, acl);
}

function* setAccessAcl(handle: Handle, fs: Ext4, inode: Ext4Inode, acl: readonly AclEntry[] | undefined): Task<void> {
  if (acl === undefined) return yield* storeXattr(handle, fs, inode, ACCESS, undefined);
  const { bits, isExact } = aclMode(acl);
  yield* storeXattr(handle, fs, inode, ACCESS, isExact ? undefined : aclToDisk(acl));
  const mode = (inode.i_mode & ~MODE_BITS) | bits;
  if (mode === inode.i_mode) return;
  inode.i_mode = mode;
  inode.i_ctime = fs.now();
  yield* inode.markDirty(handle);
}

function* readAcl(fs: Ext4, inode: Ext4Inode, key: XattrKey): Task<AclEntry[] | undefined> {
  const stored = yield* findXattr(fs, inode, key);
  if (stored === undefined) return undefined;
  const acl = aclFromDisk(stored);
  if (acl === undefined) throw new CorruptionError("acl", { ino: inode.i_ino });
  return acl.length === 0 ? undefined : acl;
}

/**
 * A new inode's part of its directory's default ACL: its own ACLs, and only those permissions that both i_mode and the ACL allow. Without a default ACL the umask applies; a symlink
 * has neither. Requires: credits for two attributes. Takes: xattr_sem of both, one after the other. @throws FsError ENOSPC.
 */
export function* inheritAcl(handle: Handle, fs: Ext4, dir: Ext4Inode, inode: Ext4Inode, umask = 0): Task<void> {
  if (inode.isSymlink()) return;
  const inherited = yield* readAcl(fs, dir, DEFAULT);
  if (inherited === undefined) {
    inode.i_mode &= ~umask;
    return;
  }
  const { acl, mode } = aclForNewFile(inherited, inode.i_mode);
  inode.i_mode = mode;
  if (inode.isDirectory()) yield* storeXattr(handle, fs, inode, DEFAULT, aclToDisk(inherited));
  if (!aclMode(acl).isExact) yield* storeXattr(handle, fs, inode, ACCESS, aclToDisk(acl));
}

/** Brings the access ACL, if there is one, in line with i_mode, which chmod has changed. Requires: xattrCredits. Takes: xattr_sem. @throws FsError ENOSPC. */
export function* aclChmod(handle: Handle, fs: Ext4, inode: Ext4Inode): Task<void> {
  if (inode.isSymlink()) return;
  const acl = yield* readAcl(fs, inode, ACCESS);
  if (acl !== undefined) yield* setAccessAcl(handle, fs, inode, aclWithMode(acl, inode.i_mode));
}
