/**
 * A walk for verbs that change what they meet. Each step is an operation of its own, so a tree of any size is walked in the memory of one file, and what was done before an
 * error stays done. Symbolic links are not followed.
 */
import { CorruptionError } from "../format/corruption.js";
import { FsError } from "../lib/errno.js";
import type { Volume } from "../platform/node/index.js";
import { Dentry, dentryPath } from "../vfs/namei.js";
import { listDirectory, type WalkEntry } from "../vfs/walk.js";

export interface Visits {
  /** Called for everything, a directory before what is in it. */
  enter?(dentry: Dentry, path: Uint8Array): void;
  /** Called for a directory after what is in it. */
  leave?(dentry: Dentry, path: Uint8Array): void;
  /** A step failed; the walk goes on with the next name. */
  failed(error: FsError, path: Uint8Array): void;
}

interface Level { readonly dentry: Dentry; readonly children: readonly WalkEntry[]; next: number }

export function visitTree(volume: Volume, top: Dentry, visits: Visits): void {
  const levels: Level[] = [];
  const entered = new Set<number>();
  const enter = (dentry: Dentry): void => {
    const { d_inode: inode } = dentry;
    if (inode.isDirectory() && entered.has(inode.i_ino)) throw new CorruptionError("dir-loop", { ino: inode.i_ino });
    if (inode.isDirectory()) {
      // Held, so that it stays in core, and is the same object, until the walk has left it.
      inode.i_count++;
      entered.add(inode.i_ino);
      levels.push({ dentry, children: volume.runSync(listDirectory(inode)), next: 0 });
    }
    visits.enter?.(dentry, dentryPath(dentry));
  };
  guarded(visits, () => dentryPath(top), () => enter(top));
  for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
    const { dentry } = level;
    const entry = level.children[level.next++];
    if (entry !== undefined) {
      guarded(visits, () => dentryPath(new Dentry(dentry.d_inode, entry.name, dentry)), () => {
        enter(new Dentry(volume.runSync(dentry.d_inode.i_sb.iget(entry.ino)), entry.name, dentry));
      });
      continue;
    }
    levels.pop();
    dentry.d_inode.i_count--;
    guarded(visits, () => dentryPath(dentry), () => visits.leave?.(dentry, dentryPath(dentry)));
  }
}

function guarded(visits: Visits, path: () => Uint8Array, step: () => void): void {
  try {
    step();
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    visits.failed(error, path());
  }
}
