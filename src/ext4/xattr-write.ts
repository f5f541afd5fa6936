/**
 * Setting attributes by the names that programs use, with the limits and errors of Linux's setxattr and removexattr. Permissions, and the immutable and append-only flags, are the
 * caller's business. Source: fs/xattr.c (setxattr_copy, xattr_permission, xattr_resolve_name), fs/ext4/xattr_user.c.
 */
import { EXT4_XATTR_INDEX_USER, XATTR_NAME_MAX, XATTR_SIZE_MAX } from "../format/xattr.js";
import type { Handle } from "../jbd2/handle.js";
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";
import { setAcl } from "./acl.js";
import type { Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";
import { isAclIndex, parseXattrName } from "./xattr.js";
import { storeXattr, type XattrFlags } from "./xattr-store.js";

export { aclChmod, inheritAcl } from "./acl.js";
export { deleteXattrs, inlineCapacityBytes, setInlineValue, xattrCredits, type XattrFlags } from "./xattr-store.js";

/**
 * Sets or, with undefined, removes an attribute; its old value stays if that fails. Sets i_ctime if anything changed.
 *
 * @param name full, "user.mime_type".
 * @param value at most 65536 bytes; an ACL in the form of Linux's setxattr, which also sets i_mode.
 * @param flags of an ACL they mean nothing, as in Linux.
 * @throws FsError ERANGE the name is empty or longer than 255 bytes; E2BIG; EPERM "user." on what is neither file nor directory; EOPNOTSUPP no such name; EINVAL nothing behind the
 *   prefix, or a bad ACL; EACCES a default ACL of what is no directory; EEXIST, ENODATA; ENOSPC; EIO.
 * @waits xattr_sem(w), then blocks of the inode's attributes. Requires: a handle with xattrCredits. Where a value had an inode of its own the handle may be restarted at the end.
 */
export function* setXattr(handle: Handle, fs: Ext4, inode: Ext4Inode, name: Uint8Array, value: Uint8Array | undefined, flags: XattrFlags = {}): Task<void> {
  if (name.length === 0 || name.length > XATTR_NAME_MAX) throw new FsError("ERANGE", "an attribute's name has 1 to 255 bytes");
  if (value !== undefined && value.length > XATTR_SIZE_MAX) throw new FsError("E2BIG", `an attribute has at most ${XATTR_SIZE_MAX} bytes`);
  const key = parseXattrName(name);
  if (key?.index === EXT4_XATTR_INDEX_USER && !inode.isRegular() && !inode.isDirectory()) throw new FsError("EPERM", "only files and directories have attributes of users");
  if (key === undefined) throw new FsError("EOPNOTSUPP", "there are no such attributes");
  if (isAclIndex(key.index)) return yield* setAcl(handle, fs, inode, key.index, value);
  if (key.name.length === 0 || key.name.includes(0)) throw new FsError("EINVAL", "an attribute has a name behind its prefix, without a NUL byte");
  yield* storeXattr(handle, fs, inode, key, value, value === undefined ? { replace: true } : flags);
}
