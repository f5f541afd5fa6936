/**
 * The classes of locks, under the kernel's names, and the order in which they may be taken: what may be taken under what, and why, in words and as data. Lockdep holds what runs against it, the
 * first time that a lock is taken under another, whether or not anybody waits. A class that is not here (a test's own) is checked for circles alone.
 *
 * Where a task holds two locks of one class (two directories of a rename) the second has a class of its own: a subclass. Of a class with `isOrderedSet` it may hold many, by ascending ordinal.
 * A started handle is a lock (jbd2_handle): who waits for a commit, for credits or for the end of all handles waits for it.
 *
 * Source: the comments at the top of fs/ext4/super.c and mm/filemap.c, include/linux/jbd2.h, and the order of calls in Linux 7.1. Where ours differs:
 * - dax_entry_lock comes before jbd2_handle. A store fault looks first, with the entry locked, and starts a handle only for blocks that are missing; so nobody takes an entry's lock inside a handle.
 *   Linux starts the handle first, as its writeback of DAX entries needs none. Ours neither waits for an entry inside a handle nor inside what a commit waits for.
 * - i_writeback is ours: data goes to disk before its blocks are the file's, and one task at a time does that for a file. Linux has the lock of each folio there, taken inside the handle.
 * - mmap_lock comes before sb_internal and what it leads to: the last mapping of a file closes it at once. Linux puts that off to the way out of the system call.
 * - What Linux guards by the folio lock, i_mmap_rwsem, page table locks, the lock of i_pages, group locks, s_orphan_lock and the journal's spin locks is atomic here: nothing else runs between two waits.
 * - User memory is touched under f_pos_lock alone. Linux also does it under i_rwsem; the order of the two is the same here, as a switch of DAX may take all mmap_locks under i_rwsem (sim/rebuild.ts).
 */
export interface LockClassOptions {
  /** A task may read-lock such a lock again while it has it: it goes past writers that wait, who would else be waited for by those whom they wait for. */
  readonly isReadRecursive?: boolean;
  /** A task may hold many, if each has a higher ordinal than those that it has. */
  readonly isOrderedSet?: boolean;
}

let classCount = 0;

export class LockClass {
  /** Numbered from 0: an index for lockdep. */
  readonly id = classCount++;

  constructor(readonly name: string, readonly options: LockClassOptions = {}, /** What it is a subclass of. */ readonly base?: LockClass) {}

  /** For a second lock of this class that is held at the same time. */
  subclass(name: string, options: LockClassOptions = {}): LockClass {
    return new LockClass(`${this.name}/${name}`, { ...this.options, ...options }, this.base ?? this);
  }
}

/** Who reads or writes where an open file stands: one at a time. */
export const F_POS_LOCK = new LockClass("f_pos_lock");
/** Who changes a filesystem holds one of these for reading, and a freeze takes all three, one after the other: system calls, page faults, and what the filesystem does of its own accord. */
export const SB_WRITERS = new LockClass("sb_writers");
export const SB_PAGEFAULTS = new LockClass("sb_pagefaults");
export const SB_INTERNAL = new LockClass("sb_internal");
/** One rename of a directory at a time, so that no two of them make a loop. */
export const S_VFS_RENAME_MUTEX = new LockClass("s_vfs_rename_mutex");
export const I_RWSEM = new LockClass("i_rwsem");
/** A directory in which names change; the second one of a rename; what the name leads to. */
export const I_RWSEM_PARENT = I_RWSEM.subclass("parent");
export const I_RWSEM_PARENT2 = I_RWSEM.subclass("parent2");
export const I_RWSEM_CHILD = I_RWSEM.subclass("child");
export const I_RWSEM_CHILD2 = I_RWSEM.subclass("child2");
/** The address space of a process. Faults come with it held, so nobody who holds a lock that a fault takes may touch user memory. */
export const MMAP_LOCK = new LockClass("mmap_lock");
/** The second process of a fork. */
export const MMAP_LOCK_CHILD = MMAP_LOCK.subclass("child");
/** Those of all processes that map a file, oldest first. */
export const MMAP_LOCK_ALL = MMAP_LOCK.subclass("all", { isOrderedSet: true });
/** Who fills a page from disk reads; who takes pages and their blocks away, or changes what pages are, writes. */
export const INVALIDATE_LOCK = new LockClass("invalidate_lock");
export const DAX_ENTRY_LOCK = new LockClass("dax_entry_lock");
/** Who writes pages back reads; who changes how a file's data is journaled writes. */
export const S_WRITEPAGES_RWSEM = new LockClass("s_writepages_rwsem");
/** Who writes a file's pages back, or takes its blocks away: one task at a time. */
export const I_WRITEBACK = new LockClass("i_writeback");
/** Held by who keeps all handles out, and has none. */
export const J_BARRIER = new LockClass("j_barrier");
/** Its holder writes home what the log has, and may commit. */
export const J_CHECKPOINT_MUTEX = new LockClass("j_checkpoint_mutex");
export const JBD2_HANDLE = new LockClass("jbd2_handle");
export const XATTR_SEM = new LockClass("xattr_sem");
export const I_DATA_SEM = new LockClass("i_data_sem");
/** A whole sector of a block translation table is written (read) or a part of one changed (write); the next two come under it. */
export const BTT_SECTOR_SEM = new LockClass("btt_sector_sem");
/** One of an arena's locks over its map, each for a share of the entries. */
export const BTT_MAP_LOCK = new LockClass("btt_map_lock");
/** Reading, changing and writing back a sector of a block device that stands for byte-addressed memory. */
export const BYTE_STORE_LOCK = new LockClass("byte_store_lock");

/** `inner` may be taken while `outer` is held, and with it all that may be taken under `inner`. */
export interface OrderRule {
  readonly outer: LockClass;
  readonly inner: LockClass;
  readonly why: string;
}

const under = (outer: LockClass, inner: LockClass, why: string): OrderRule => ({ outer, inner, why });

export const LOCK_ORDER: readonly OrderRule[] = [
  under(F_POS_LOCK, SB_WRITERS, "a write where the file stands is a write"),
  under(F_POS_LOCK, I_RWSEM, "so is a read a read, and a look for holes"),
  under(F_POS_LOCK, MMAP_LOCK, "what is read or written may lie in the process's memory, and not be there yet"),
  under(SB_WRITERS, S_VFS_RENAME_MUTEX, "a freeze waits for who has sb_writers: taken inside, it would be waited for by one who waits for the thaw"),
  under(SB_WRITERS, I_RWSEM_PARENT, "the same"),
  under(SB_WRITERS, I_RWSEM, "the same"),
  under(S_VFS_RENAME_MUTEX, I_RWSEM_PARENT, "who is above whom is settled before either directory is locked"),
  under(I_RWSEM_PARENT, I_RWSEM_PARENT2, "an ancestor before what is below it; else in the order in which a rename names them, one at a time"),
  under(I_RWSEM_PARENT2, I_RWSEM_CHILD, "directories before what is in them"),
  under(I_RWSEM_CHILD, I_RWSEM_CHILD2, "of two files that change places the lower inode number first"),
  under(I_RWSEM_PARENT2, I_RWSEM, "a directory before what a walk finds in it"),
  under(I_RWSEM_CHILD2, SB_INTERNAL, "a file that lost its last name and its last holder is deleted"),
  under(I_RWSEM_CHILD2, INVALIDATE_LOCK, "what is replaced is written back first"),
  under(I_RWSEM, MMAP_LOCK, "write(2) of Linux faults its source in under it: so a fault never takes i_rwsem"),
  under(I_RWSEM, MMAP_LOCK_ALL, "who changes what all mappings of a file are keeps readers and writers of it out first"),
  under(MMAP_LOCK, MMAP_LOCK_CHILD, "a fork copies from the parent, whom others know, to the child, whom nobody knows yet"),
  under(MMAP_LOCK, SB_PAGEFAULTS, "faults come with mmap_lock held, and whoever stores through a shared mapping changes the filesystem"),
  under(MMAP_LOCK, SB_INTERNAL, "with a mapping may go the last holder of a file that has no name"),
  under(MMAP_LOCK_CHILD, SB_INTERNAL, "a fork that fails lets go of what the child had"),
  under(MMAP_LOCK_ALL, INVALIDATE_LOCK, "the order of faults, for who stands above all of them"),
  under(SB_PAGEFAULTS, INVALIDATE_LOCK, "a freeze waits for who has sb_pagefaults: taken inside, it would be waited for by one whom the freezer's writeback needs"),
  under(SB_INTERNAL, INVALIDATE_LOCK, "the same"),
  under(INVALIDATE_LOCK, DAX_ENTRY_LOCK, "a fault takes both in this order, and so does who takes entries away"),
  under(INVALIDATE_LOCK, S_WRITEPAGES_RWSEM, "a synchronous fault syncs the file with invalidate_lock held; the switch of journaling writes back under it, and then keeps writeback out"),
  under(DAX_ENTRY_LOCK, I_WRITEBACK, "a store fault has its entry when it finds that blocks are missing"),
  under(S_WRITEPAGES_RWSEM, I_WRITEBACK, "who writes pages back takes the filesystem's before the file's"),
  under(I_WRITEBACK, J_CHECKPOINT_MUTEX, "blocks for what is written back take a handle, and a handle may need room in the log. So nobody writes back inside a handle: he would wait for himself"),
  under(S_WRITEPAGES_RWSEM, J_BARRIER, "the switch of journaling keeps writeback out before it keeps handles out: who writes back has the first when it asks for the second"),
  under(J_BARRIER, J_CHECKPOINT_MUTEX, "who keeps handles out empties the log"),
  under(J_CHECKPOINT_MUTEX, JBD2_HANDLE, "a block that a newer transaction has changed comes home only after its commit, which waits for the end of handles"),
  under(JBD2_HANDLE, XATTR_SEM, "attributes change inside the caller's handle"),
  under(XATTR_SEM, I_DATA_SEM, "a value may have an inode, and a map, of its own; a file leaves its inode with its attributes locked"),
  under(JBD2_HANDLE, I_DATA_SEM, "changing a map needs credits, and may restart the handle with i_data_sem let go"),
  under(DAX_ENTRY_LOCK, I_DATA_SEM, "a map is looked up with the entry locked"),
  under(I_DATA_SEM, BTT_SECTOR_SEM, "below the filesystem lies the device"),
  under(BTT_SECTOR_SEM, BTT_MAP_LOCK, "a sector's place in the map, while the sector is written"),
  under(BTT_MAP_LOCK, BYTE_STORE_LOCK, "entries of the map are bytes of the memory below"),
];

/** The rules by outer class. */
const rulesByOuter: OrderRule[][] = [];
for (const rule of LOCK_ORDER) (rulesByOuter[rule.outer.id] ??= []).push(rule);

/** Whether the order says anything of a class. */
export function isDeclared(lockClass: LockClass): boolean {
  return lockClass.id < rulesByOuter.length && (rulesByOuter[lockClass.id] !== undefined || LOCK_ORDER.some(({ inner }) => inner === lockClass));
}

/** The rules by which `inner` may be taken under `outer`, a chain from one to the other; undefined: it may not. */
export function declaredPath(outer: LockClass, inner: LockClass, visited = new Set<LockClass>()): OrderRule[] | undefined {
  visited.add(outer);
  for (const rule of rulesByOuter[outer.id] ?? []) {
    if (rule.inner === inner) return [rule];
    if (visited.has(rule.inner)) continue;
    const rest = declaredPath(rule.inner, inner, visited);
    if (rest !== undefined) return [rule, ...rest];
  }
  return undefined;
}

/** All declared classes, outer before inner, as ranks: a class stands one below the lowest that it may be taken under. */
export function lockRanks(): Map<LockClass, number> {
  const ranks = new Map<LockClass, number>();
  const rankOf = (lockClass: LockClass): number => {
    let rank = ranks.get(lockClass);
    if (rank === undefined) {
      rank = Math.max(-1, ...LOCK_ORDER.filter(({ inner }) => inner === lockClass).map(({ outer }) => rankOf(outer))) + 1;
      ranks.set(lockClass, rank);
    }
    return rank;
  };
  for (const { outer, inner } of LOCK_ORDER) {
    rankOf(outer);
    rankOf(inner);
  }
  return new Map([...ranks].sort(([, a], [, b]) => a - b));
}
