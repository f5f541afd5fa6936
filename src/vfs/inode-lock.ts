/** i_rwsem of one inode, around what reads or changes it. Directories in which names change are change.ts's business. */
import type { Task } from "../sched/task.js";
import type { Inode } from "./inode.js";

/** Keeps changes of the inode out while `work` looks at it. On a filesystem that is only read nothing changes. */
export function* withReadLock<T>(inode: Inode, work: () => Task<T>): Task<T> {
  if (!inode.i_sb.isWritable) return yield* work();
  if (!inode.i_rwsem.tryRead()) yield* inode.i_rwsem.read();
  try {
    return yield* work();
  } finally {
    inode.i_rwsem.unlockRead();
  }
}

export function* withInodeLock<T>(inode: Inode, work: () => Task<T>): Task<T> {
  if (!inode.i_rwsem.tryWrite()) yield* inode.i_rwsem.write();
  try {
    return yield* work();
  } finally {
    inode.i_rwsem.unlockWrite();
  }
}
