/** Changing what an inode says of a file: mode, owner, times, flags. Permissions are the caller's business. Source: ext4_setattr (fs/ext4/inode.c), ext4_ioctl_setflags (fs/ext4/ioctl.c). */
import {
  EXT4_APPEND_FL, EXT4_CASEFOLD_FL, EXT4_COMPR_FL, EXT4_DAX_FL, EXT4_DIRSYNC_FL, EXT4_ENCRYPT_FL, EXT4_EXTENTS_FL, EXT4_IMMUTABLE_FL, EXT4_INLINE_DATA_FL, EXT4_JOURNAL_DATA_FL, EXT4_NOATIME_FL,
  EXT4_NODUMP_FL, EXT4_NOTAIL_FL, EXT4_PROJINHERIT_FL, EXT4_SECRM_FL, EXT4_SYNC_FL, EXT4_TOPDIR_FL, EXT4_UNRM_FL, EXT4_VERITY_FL,
} from "../format/inode.js";
import { INCOMPAT } from "../format/features.js";
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";
import type { AttributeChanges } from "../vfs/inode.js";
import { aclChmod } from "./acl.js";
import { isEmptyDirectory } from "./dir-write.js";
import { INODE_CREDITS } from "./file-write.js";
import { ANY_TYPE, DIRECTORY_ONLY } from "./new-inode.js";
import type { Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";
import { setSize } from "./truncate.js";
import { writebackInode } from "./writeback.js";
import { xattrCredits } from "./xattr-write.js";

/** i_flags that chattr may change. */
const MODIFIABLE = EXT4_SECRM_FL | EXT4_UNRM_FL | EXT4_COMPR_FL | EXT4_SYNC_FL | EXT4_IMMUTABLE_FL | EXT4_APPEND_FL | EXT4_NODUMP_FL | EXT4_NOATIME_FL | EXT4_JOURNAL_DATA_FL | EXT4_NOTAIL_FL |
  EXT4_DIRSYNC_FL | EXT4_TOPDIR_FL | EXT4_DAX_FL | EXT4_PROJINHERIT_FL | EXT4_CASEFOLD_FL;
const PERMISSIONS = 0o7777;
const ACL_BYTES_MAX = 1024;

/** Requires: inode.i_rwsem(w). @throws FsError EFBIG, EINVAL, ENOSPC. */
export function* setAttributes(fs: Ext4, inode: Ext4Inode, changes: AttributeChanges): Task<void> {
  const { mode, uid, gid, atime, mtime, sizeBytes, projid } = changes;
  if (sizeBytes !== undefined) yield* setSize(fs, inode, sizeBytes);
  if ([mode, uid, gid, atime, mtime, projid].every((change) => change === undefined)) return;
  if (projid !== undefined && projid !== inode.i_projid && !fs.sb.hasProject) throw new FsError("EOPNOTSUPP", "the filesystem has no project feature");
  yield* fs.change(INODE_CREDITS + xattrCredits(fs, ACL_BYTES_MAX), function* (handle) {
    if (mode !== undefined) inode.i_mode = (inode.i_mode & ~PERMISSIONS) | (mode & PERMISSIONS);
    inode.i_uid = uid ?? inode.i_uid;
    inode.i_gid = gid ?? inode.i_gid;
    inode.i_atime = atime ?? inode.i_atime;
    inode.i_mtime = mtime ?? inode.i_mtime;
    inode.i_projid = projid ?? inode.i_projid;
    inode.i_ctime = fs.now();
    yield* inode.markDirty(handle);
    if (mode !== undefined && !inode.isSymlink()) yield* aclChmod(handle, fs, inode);
  });
}

/** What excludes persistent memory without a page cache: the data must pass through our hands. */
const DAX_EXCLUDED = EXT4_VERITY_FL | EXT4_ENCRYPT_FL | EXT4_JOURNAL_DATA_FL | EXT4_INLINE_DATA_FL;
/** Flags that chattr may name and that are never set or taken away by it alone: a change of the map's form, which is not done here. */
const MIGRATION = EXT4_EXTENTS_FL;

/**
 * Sets the flags that chattr may change; the others must be as they are. The checks stand in Linux's order, so that of two errors the same one is told; what is refused by one of them has changed
 * nothing. Requires: inode.i_rwsem(w), no handle.
 * @throws FsError EOPNOTSUPP not on this kind of file or filesystem, not together, or EXTENTS, as no map is converted here; EPERM; ENOTEMPTY, ENOTDIR; EROFS, EIO; and with the other flags set all the
 *   same, as in Linux, EBUSY: the data of a DAX file is to be journaled, or no longer.
 */
export function* setFlags(fs: Ext4, inode: Ext4Inode, flags: number, isPrivileged: boolean): Task<void> {
  const { i_flags: before } = inode;
  const changed = (flags ^ before) >>> 0;
  checkType(inode, flags);
  if ((before & flags & EXT4_IMMUTABLE_FL) !== 0 && changed !== 0) throw new FsError("EPERM", "the file is immutable");
  if (fs.sb.isSystemInode(inode.i_ino)) throw new FsError("EPERM", "the inode is the filesystem's own");
  if ((changed & EXT4_JOURNAL_DATA_FL) !== 0 && !isPrivileged) throw new FsError("EPERM", "journaled data takes up the log, which is everybody's");
  checkDaxCompatible(inode, flags);
  if ((changed & MIGRATION) !== 0) throw new FsError("EOPNOTSUPP", "a file's map is not converted");
  if ((changed & ~MODIFIABLE) !== 0) throw new FsError("EOPNOTSUPP", "these flags cannot be changed");
  if ((changed & EXT4_CASEFOLD_FL) !== 0) yield* checkCasefold(fs, inode);
  // Who may store into pages of a file that becomes immutable has to ask again.
  if ((changed & flags & EXT4_IMMUTABLE_FL) !== 0 && inode.isRegular()) yield* writebackInode(fs, inode);
  const commit = (): Task<void> => fs.change(INODE_CREDITS, function* (handle) {
    const others = MODIFIABLE & ~EXT4_JOURNAL_DATA_FL;
    inode.i_flags = ((inode.i_flags & ~others) | (flags & others)) >>> 0;
    inode.i_ctime = fs.now();
    yield* inode.markDirty(handle);
  }, "INODE");
  if ((changed & EXT4_DAX_FL) !== 0 && !inode.isDirectory()) yield* fs.strategy.changeDaxFlag(fs, inode, (flags & EXT4_DAX_FL) !== 0, commit);
  else yield* commit();
  if ((changed & EXT4_JOURNAL_DATA_FL) !== 0) yield* fs.strategy.changeJournalMode(fs, inode, (flags & EXT4_JOURNAL_DATA_FL) !== 0);
}

/** @kernel ext4_mask_flags */
function checkType(inode: Ext4Inode, flags: number): void {
  if (inode.isDirectory()) return;
  const refused = flags & MODIFIABLE & (inode.isRegular() ? DIRECTORY_ONLY : ~ANY_TYPE);
  if (refused !== 0) throw new FsError("EOPNOTSUPP", "not on this kind of file");
}

/** Linux holds each of the two flags against what the other was before, so that both at once pass, and then the journal wins. We refuse that: nobody asks for one of them to get the other. @kernel dax_compatible */
function checkDaxCompatible(inode: Ext4Inode, flags: number): void {
  const isInlineDirectory = (word: number): number => (inode.isDirectory() ? word & ~EXT4_INLINE_DATA_FL : word);
  const before = inode.i_flags;
  if ((flags & EXT4_DAX_FL) !== 0 && isInlineDirectory(before & DAX_EXCLUDED) !== 0) throw new FsError("EOPNOTSUPP", "the file cannot be mapped without a page cache");
  if ((before & EXT4_DAX_FL) !== 0 && isInlineDirectory(flags & DAX_EXCLUDED) !== 0) throw new FsError("EOPNOTSUPP", "the file is to be mapped without a page cache");
  if ((flags & ~before & EXT4_DAX_FL) !== 0 && (flags & ~before & EXT4_JOURNAL_DATA_FL) !== 0) throw new FsError("EOPNOTSUPP", "journaled data, or persistent memory without a page cache: not both");
}

/** Names are filed by their folded form or not: only a directory without names can change. */
function* checkCasefold(fs: Ext4, inode: Ext4Inode): Task<void> {
  if (!fs.sb.has(INCOMPAT.casefold, "incompat")) throw new FsError("EOPNOTSUPP", "the filesystem has no casefold feature");
  if (!inode.isDirectory()) throw new FsError("ENOTDIR");
  if (!(yield* isEmptyDirectory(fs, inode))) throw new FsError("ENOTEMPTY");
}
