/**
 * The classes of locks, under the kernel's names, each declared once. Where a task holds two locks of one class (two directories of a rename), the second needs a
 * class of its own: a named subclass. The order in which Linux takes them stands at the top of fs/ext4/super.c and mm/filemap.c; lockdep learns it from what runs.
 */
export class LockClass {
  constructor(readonly name: string) {}
}

export const I_RWSEM = new LockClass("i_rwsem");
export const I_RWSEM_PARENT = new LockClass("i_rwsem/parent");
export const I_RWSEM_CHILD = new LockClass("i_rwsem/child");
export const INVALIDATE_LOCK = new LockClass("invalidate_lock");
/** A started handle counts as a lock: who holds one may not wait for what a commit waits for. */
export const JBD2_HANDLE = new LockClass("jbd2_handle");
export const FOLIO_LOCK = new LockClass("folio_lock");
export const I_DATA_SEM = new LockClass("i_data_sem");
export const XATTR_SEM = new LockClass("xattr_sem");
export const S_ORPHAN_LOCK = new LockClass("s_orphan_lock");
export const GROUP_LOCK = new LockClass("group_lock");
