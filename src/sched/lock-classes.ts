/**
 * The classes of locks, under the kernel's names, each declared once. Where a task holds two locks of one class (two directories of a rename), the second needs a
 * class of its own: a named subclass. The order in which Linux takes them stands at the top of fs/ext4/super.c and mm/filemap.c; lockdep learns it from what runs.
 */
export class LockClass {
  constructor(readonly name: string) {}
}

/** Who reads or writes where an open file stands: one at a time. */
export const F_POS_LOCK = new LockClass("f_pos_lock");
/** Who changes a filesystem holds one of these for reading, and a freeze takes all three, one after the other: system calls, page faults, and what the filesystem does of its own accord. */
export const SB_WRITERS = new LockClass("sb_writers");
export const SB_PAGEFAULTS = new LockClass("sb_pagefaults");
export const SB_INTERNAL = new LockClass("sb_internal");
export const I_RWSEM = new LockClass("i_rwsem");
/** A directory in which names change; the second one of a rename; what the name leads to. */
export const I_RWSEM_PARENT = new LockClass("i_rwsem/parent");
export const I_RWSEM_PARENT2 = new LockClass("i_rwsem/parent2");
export const I_RWSEM_CHILD = new LockClass("i_rwsem/child");
export const I_RWSEM_CHILD2 = new LockClass("i_rwsem/child2");
/** One rename of a directory at a time, so that no two of them make a loop. */
export const S_VFS_RENAME_MUTEX = new LockClass("s_vfs_rename_mutex");
/** The address space of a process. Faults come with it held, so nobody who holds a lock that a fault takes may touch user memory. */
export const MMAP_LOCK = new LockClass("mmap_lock");
/** The second process of a fork. */
export const MMAP_LOCK_CHILD = new LockClass("mmap_lock/child");
export const INVALIDATE_LOCK = new LockClass("invalidate_lock");
/** Who writes pages back reads; who changes how a file's data is journaled writes. Comes before a handle. */
export const S_WRITEPAGES_RWSEM = new LockClass("s_writepages_rwsem");
/** Comes before a handle: who writes pages back starts handles for their blocks. */
export const I_WRITEBACK = new LockClass("i_writeback");
/** A started handle counts as a lock: who holds one may not wait for what a commit waits for. */
export const JBD2_HANDLE = new LockClass("jbd2_handle");
/** Held by who keeps all handles out, and has none. */
export const J_BARRIER = new LockClass("j_barrier");
/** Taken without a handle; its holder may commit. */
export const J_CHECKPOINT_MUTEX = new LockClass("j_checkpoint_mutex");
/** Comes before a handle, unlike in Linux: who has an entry looks first, and starts a handle only for blocks that are missing. So nobody takes an entry's lock inside a handle. */
export const DAX_ENTRY_LOCK = new LockClass("dax_entry_lock");
export const FOLIO_LOCK = new LockClass("folio_lock");
export const I_DATA_SEM = new LockClass("i_data_sem");
export const XATTR_SEM = new LockClass("xattr_sem");
export const S_ORPHAN_LOCK = new LockClass("s_orphan_lock");
export const GROUP_LOCK = new LockClass("group_lock");
/** A whole sector of a block translation table is written (read) or a part of one changed (write); the next two come under it. */
export const BTT_SECTOR_SEM = new LockClass("btt_sector_sem");
/** One of an arena's locks over its map, each for a share of the entries. */
export const BTT_MAP_LOCK = new LockClass("btt_map_lock");
/** Reading, changing and writing back a sector of a block device that stands for byte-addressed memory. */
export const BYTE_STORE_LOCK = new LockClass("byte_store_lock");
