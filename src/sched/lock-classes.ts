/**
 * The classes of locks, under the kernel's names, each declared once. Where a task holds two locks of one class (two directories of a rename), the second needs a
 * class of its own: a named subclass. The order in which Linux takes them stands at the top of fs/ext4/super.c and mm/filemap.c; lockdep learns it from what runs.
 */
export class LockClass {
  constructor(readonly name: string) {}
}

export const I_RWSEM = new LockClass("i_rwsem");
/** A directory in which names change; the second one of a rename; what the name leads to. */
export const I_RWSEM_PARENT = new LockClass("i_rwsem/parent");
export const I_RWSEM_PARENT2 = new LockClass("i_rwsem/parent2");
export const I_RWSEM_CHILD = new LockClass("i_rwsem/child");
export const I_RWSEM_CHILD2 = new LockClass("i_rwsem/child2");
/** One rename of a directory at a time, so that no two of them make a loop. */
export const S_VFS_RENAME_MUTEX = new LockClass("s_vfs_rename_mutex");
export const INVALIDATE_LOCK = new LockClass("invalidate_lock");
/** Comes before a handle: who writes pages back starts handles for their blocks. */
export const I_WRITEBACK = new LockClass("i_writeback");
/** A started handle counts as a lock: who holds one may not wait for what a commit waits for. */
export const JBD2_HANDLE = new LockClass("jbd2_handle");
/** Taken without a handle; its holder may commit. */
export const J_CHECKPOINT_MUTEX = new LockClass("j_checkpoint_mutex");
export const FOLIO_LOCK = new LockClass("folio_lock");
export const I_DATA_SEM = new LockClass("i_data_sem");
export const XATTR_SEM = new LockClass("xattr_sem");
export const S_ORPHAN_LOCK = new LockClass("s_orphan_lock");
export const GROUP_LOCK = new LockClass("group_lock");
