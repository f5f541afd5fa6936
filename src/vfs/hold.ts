/**
 * Who has found an inode and is at work with it holds it, as an open file does: what loses its last name meanwhile is deleted when the last holder lets go, and not under anybody's hands. Source: iget and iput,
 * fs/inode.c.
 */
import { withInternalWrite } from "./freeze.js";
import type { Inode } from "./inode.js";
import type { Task } from "../sched/task.js";

export function hold<T extends Inode>(inode: T): T {
  inode.i_count++;
  return inode;
}

/** Deletes what has neither names nor holders any more, and forgets what is to be read anew. Holds no lock. @param isWriting the caller keeps a freeze out already. */
export function* letGo(inode: Inode, isWriting = false): Task<void> {
  inode.i_count--;
  if (inode.i_count > 0 || (inode.i_nlink > 0 && !inode.isDontCache) || !inode.i_sb.isWritable) return;
  if (isWriting) yield* inode.release();
  else yield* withInternalWrite(inode.i_sb, () => inode.release());
}

/** Lets go of what a walk has found. */
export function* letGoOfAll(held: Inode[]): Task<void> {
  for (let inode = held.pop(); inode !== undefined; inode = held.pop()) yield* letGo(inode);
}
