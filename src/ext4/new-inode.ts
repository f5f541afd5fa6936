/**
 * Making an inode: a number, a record of its own, and what it takes from its directory. Source: __ext4_new_inode (fs/ext4/ialloc.c).
 */
import {
  encodeDevice, EXT4_CASEFOLD_FL, EXT4_COMPR_FL, EXT4_COMPRBLK_FL, EXT4_DAX_FL, EXT4_DIRSYNC_FL, EXT4_ENCRYPT_FL, EXT4_EXTENTS_FL, EXT4_INLINE_DATA_FL, EXT4_JOURNAL_DATA_FL, EXT4_NOATIME_FL, EXT4_NOCOMPR_FL,
  EXT4_NODUMP_FL, EXT4_NOTAIL_FL, EXT4_PROJINHERIT_FL, EXT4_SECRM_FL, EXT4_SYNC_FL, EXT4_TOPDIR_FL, EXT4_UNRM_FL, ext4_inode, EXT4_GOOD_OLD_INODE_BYTES
} from "../format/inode.js";
import { INCOMPAT } from "../format/features.js";
import { ext4_super_block as S } from "../format/superblock.js";
import type { Handle } from "../jbd2/handle.js";
import { FsError } from "../lib/errno.js";
import { viewOf } from "../lib/view.js";
import type { Task } from "../sched/task.js";
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFMT, S_IFREG, S_ISGID, type NewInode } from "../vfs/inode.js";
import { Ext4Inode } from "./inode.js";
import { initMap } from "./map-write.js";
import type { Ext4 } from "./super.js";

/** Flags that go from a directory to what is made in it; those that only a directory may have; and what a device or link may have. */
const INHERITED = EXT4_SECRM_FL | EXT4_UNRM_FL | EXT4_COMPR_FL | EXT4_SYNC_FL | EXT4_NODUMP_FL | EXT4_NOATIME_FL | EXT4_COMPRBLK_FL | EXT4_NOCOMPR_FL | EXT4_JOURNAL_DATA_FL |
  EXT4_NOTAIL_FL | EXT4_DIRSYNC_FL | EXT4_PROJINHERIT_FL | EXT4_CASEFOLD_FL | EXT4_DAX_FL;
export const DIRECTORY_ONLY = EXT4_DIRSYNC_FL | EXT4_TOPDIR_FL | EXT4_CASEFOLD_FL | EXT4_PROJINHERIT_FL;
export const ANY_TYPE = EXT4_NODUMP_FL | EXT4_NOATIME_FL;
/** i_extra_isize of a new inode where the superblock wishes none. */
const EXTRA_BYTES = ext4_inode.$.size - EXT4_GOOD_OLD_INODE_BYTES;

/**
 * A new inode in core, without a name, its links counted as 0. The caller gives it the ACL that it inherits, link count and content, and calls markDirty.
 * @throws FsError ENOSPC; ENOKEY the directory is encrypted, and so would be what is in it.
 */
export function* newInode(handle: Handle, fs: Ext4, dir: Ext4Inode, wanted: NewInode): Task<Ext4Inode> {
  if ((dir.i_flags & EXT4_ENCRYPT_FL) !== 0) throw new FsError("ENOKEY");
  const ino = yield* fs.inodeAllocator.allocate(handle, dir, wanted.mode);
  const raw = new Uint8Array(fs.sb.inodeBytes);
  const view = viewOf(raw);
  ext4_inode.i_generation.set(view, 0, fs.random() >>> 0);
  const extraBytes = fs.sb.inodeBytes > EXT4_GOOD_OLD_INODE_BYTES ? S.s_want_extra_isize.get(fs.sb.view, 0) || EXTRA_BYTES : 0;
  if (extraBytes > 0) ext4_inode.i_extra_isize.set(view, 0, extraBytes);
  const inode = fs.keepInode(new Ext4Inode(fs, ino, raw));
  inode.i_extra_isize = extraBytes;
  const inheritsGroup = (dir.i_mode & S_ISGID) !== 0;
  const isDirectory = (wanted.mode & S_IFMT) === S_IFDIR;
  inode.i_mode = wanted.mode | (inheritsGroup && isDirectory ? S_ISGID : 0);
  inode.i_uid = wanted.uid;
  inode.i_gid = inheritsGroup ? dir.i_gid : wanted.gid;
  inode.i_atime = inode.i_mtime = inode.i_ctime = inode.i_crtime = fs.now();
  inode.i_projid = (dir.i_flags & EXT4_PROJINHERIT_FL) !== 0 ? dir.i_projid : 0;
  inode.i_flags = inheritedFlags(dir.i_flags, inode.i_mode) | mapFlags(fs, inode.i_mode);
  if ((inode.i_flags & EXT4_EXTENTS_FL) !== 0) initMap(inode);
  if (wanted.rdev !== undefined && isDevice(wanted.mode)) {
    inode.i_rdev = wanted.rdev;
    encodeDevice(view, 0, wanted.rdev);
  }
  inode.decideDax();
  yield* inode.markDirty(handle);
  return inode;
}

function isDevice(mode: number): boolean {
  return (mode & S_IFMT) === S_IFCHR || (mode & S_IFMT) === S_IFBLK;
}

function inheritedFlags(flags: number, mode: number): number {
  const type = mode & S_IFMT;
  if (type === S_IFDIR) return flags & INHERITED;
  return type === S_IFREG ? flags & INHERITED & ~DIRECTORY_ONLY : flags & INHERITED & ANY_TYPE;
}

/** How its data will be found. A regular file goes inline with its first bytes, a link finds its place by its length. */
function mapFlags(fs: Ext4, mode: number): number {
  const type = mode & S_IFMT;
  if (type === S_IFDIR && fs.sb.hasInlineData) return EXT4_INLINE_DATA_FL;
  return fs.sb.has(INCOMPAT.extent, "incompat") && (type === S_IFDIR || type === S_IFREG) ? EXT4_EXTENTS_FL : 0;
}
