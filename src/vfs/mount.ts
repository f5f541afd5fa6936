/** A filesystem in its place: its root, and who keeps it from being unmounted or made read-only. Source: struct mount (fs/mount.h), sb_prepare_remount_readonly (fs/namespace.c). */
import { FsError } from "../lib/errno.js";
import type { File } from "./file.js";
import type { Inode, SuperBlock } from "./inode.js";
import { rootDentry, type Dentry } from "./namei.js";

export interface MountFlags {
  /** Nothing on it may be executed, or mapped to be. */
  readonly isNoExec?: boolean | undefined;
  /** Who executes a set-id file stays who he is. */
  readonly isNoSuid?: boolean | undefined;
}

export class Mount {
  readonly mnt_root: Dentry;
  /** Open files, those included that only a mapping holds. */
  readonly files = new Set<File>();
  /** Processes that stand in one of its directories, but for the root. */
  workingDirectories = 0;

  constructor(readonly mnt_sb: SuperBlock, public flags: MountFlags = {}) {
    this.mnt_root = rootDentry(mnt_sb.root);
  }

  /** @throws FsError EBUSY somebody uses it. */
  checkUnmount(): void {
    if (this.files.size > 0 || this.workingDirectories > 0) throw new FsError("EBUSY");
  }

  /** Whether it may become read-only. @throws FsError EBUSY a file is open for writing, or will be deleted when it is closed. */
  checkRemountReadOnly(): void {
    for (const { isWriter, f_inode: inode } of this.files) {
      if (isWriter || inode.i_nlink === 0) throw new FsError("EBUSY");
    }
  }
}

/** The inode is to be written by somebody. @throws FsError ETXTBSY it is executed. */
export function getWriteAccess(inode: Inode): void {
  if (inode.i_writecount < 0) throw new FsError("ETXTBSY");
  inode.i_writecount++;
}

export function putWriteAccess(inode: Inode): void {
  inode.i_writecount--;
}

/** The inode is executed: nobody may write it. @throws FsError ETXTBSY it is open for writing. */
export function denyWriteAccess(inode: Inode): void {
  if (inode.i_writecount > 0) throw new FsError("ETXTBSY");
  inode.i_writecount--;
}

export function allowWriteAccess(inode: Inode): void {
  inode.i_writecount++;
}
