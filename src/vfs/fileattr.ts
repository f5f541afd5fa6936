/**
 * The flags of a file in the two forms in which ioctls have them: FS_*_FL bits as on disk, and FS_XFLAG_* bits, which came from XFS.
 * Source: fs/ioctl.c (fileattr_fill_xflags, vfs_fileattr_set), include/linux/fileattr.h, fs/ext4/ioctl.c (ext4_fileattr_get, ext4_fileattr_set).
 */
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";
import { changeFlags } from "./attributes.js";
import { withWriteAccess } from "./freeze.js";
import type { Inode } from "./inode.js";
import { withInodeLock } from "./inode-lock.js";
import { checkOwnership, type Credentials } from "./permission.js";

const FS_PROJINHERIT_FL = 0x2000_0000;
/** What FS_IOC_GETFLAGS shows, and what FS_IOC_SETFLAGS may name (EXT4_FL_USER_VISIBLE); of these, what it changes (EXT4_FL_USER_MODIFIABLE): the others are ignored. */
const USER_VISIBLE = 0x725b_dfff;
const USER_MODIFIABLE = 0x624b_c0ff;

export const FS_XFLAG_IMMUTABLE = 0x8;
export const FS_XFLAG_APPEND = 0x10;
export const FS_XFLAG_SYNC = 0x20;
export const FS_XFLAG_NOATIME = 0x40;
export const FS_XFLAG_NODUMP = 0x80;
export const FS_XFLAG_PROJINHERIT = 0x200;
export const FS_XFLAG_DAX = 0x8000;

/** Pairs of FS_XFLAG_ and FS_*_FL that mean the same (FS_COMMON_FL). */
const COMMON: readonly (readonly [xflag: number, flag: number])[] = [
  [FS_XFLAG_SYNC, 0x8], [FS_XFLAG_IMMUTABLE, 0x10], [FS_XFLAG_APPEND, 0x20], [FS_XFLAG_NODUMP, 0x40], [FS_XFLAG_NOATIME, 0x80], [FS_XFLAG_DAX, 0x200_0000], [FS_XFLAG_PROJINHERIT, FS_PROJINHERIT_FL],
];
const COMMON_FLAGS = COMMON.reduce((all, [, flag]) => all | flag, 0);

export interface FsXattr {
  readonly fsx_xflags: number;
  readonly fsx_projid: number;
}

/** FS_IOC_GETFLAGS. */
export function getFileFlags(inode: Inode): number {
  const flags = inode.i_flags & USER_VISIBLE;
  return (inode.isRegular() ? flags & ~FS_PROJINHERIT_FL : flags) >>> 0;
}

/** FS_IOC_SETFLAGS. @throws FsError EOPNOTSUPP a flag that nobody sets; EPERM, EROFS, and what the filesystem says. */
export function* setFileFlags(inode: Inode, flags: number, cred: Credentials): Task<void> {
  inode.i_sb.checkWritable();
  checkOwnership(inode, cred);
  if ((flags & ~USER_VISIBLE) !== 0) throw new FsError("EOPNOTSUPP");
  yield* changeFlags(inode, merged(inode, flags), cred);
  // A flag may ask for the inode to be read anew, as soon as nobody has it.
  yield* inode.release();
}

/** Those that nobody sets stay as they are. */
function merged(inode: Inode, flags: number): number {
  return ((inode.i_flags & ~USER_MODIFIABLE) | (flags & USER_MODIFIABLE)) >>> 0;
}

/** FS_IOC_FSGETXATTR. */
export function getFsXattr(inode: Inode): FsXattr {
  const flags = getFileFlags(inode);
  return { fsx_xflags: COMMON.reduce((all, [xflag, flag]) => ((flags & flag) === 0 ? all : all | xflag), 0), fsx_projid: inode.i_projid };
}

/** FS_IOC_FSSETXATTR. @throws FsError EINVAL FS_XFLAG_DAX on what is neither file nor directory; EOPNOTSUPP, EPERM, EROFS. */
export function* setFsXattr(inode: Inode, { fsx_xflags: xflags, fsx_projid: projid }: FsXattr, cred: Credentials): Task<void> {
  inode.i_sb.checkWritable();
  checkOwnership(inode, cred);
  const known = COMMON.reduce((all, [xflag]) => all | xflag, 0);
  if ((xflags & ~known) !== 0) throw new FsError("EOPNOTSUPP");
  if ((xflags & FS_XFLAG_DAX) !== 0 && !inode.isRegular() && !inode.isDirectory()) throw new FsError("EINVAL");
  const set = COMMON.reduce((all, [xflag, flag]) => ((xflags & xflag) === 0 ? all : all | flag), 0);
  yield* changeFlags(inode, merged(inode, (getFileFlags(inode) & ~COMMON_FLAGS) | set), cred);
  if (projid !== inode.i_projid) yield* withWriteAccess(inode.i_sb, () => withInodeLock(inode, () => inode.setattr({ projid })));
  yield* inode.release();
}
