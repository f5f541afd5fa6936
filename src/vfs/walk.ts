/**
 * A walk over a whole tree, by inode and not by path, so that no name is looked up twice and names need no decoding.
 * An image can be damaged so that a directory is its own ancestor or stands in many places: each directory is entered once, and
 * a second meeting is corruption, which bounds the walk by the number of inodes.
 */
import { CorruptionError } from "../format/corruption.js";
import { FsError } from "../lib/errno.js";
import type { Ino } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import type { Inode } from "./inode.js";
import { Dentry, dentryPath } from "./namei.js";

export interface WalkEntry {
  readonly name: Uint8Array;
  readonly ino: Ino;
  /** DT_ value, or DT_UNKNOWN. */
  readonly type: number;
}

const DOT = 0x2e;

/** All entries of one directory but "." and "..", in the order of the disk. */
export function* listDirectory(directory: Inode): Task<WalkEntry[]> {
  const entries: WalkEntry[] = [];
  yield* directory.iterate({
    pos: 0,
    actor(name, ino, type) {
      const isDots = name[0] === DOT && (name.length === 1 || (name.length === 2 && name[1] === DOT));
      if (!isDots) entries.push({ name, ino, type });
      return true;
    },
  });
  return entries;
}

export interface Visitor {
  /** Called for every entry, a directory before its children. Returning false leaves a directory's children out. */
  enter(dentry: Dentry, depth: number): Task<boolean | void>;
  /** Called for a directory after its children. */
  leave?(dentry: Dentry, depth: number): Task<unknown>;
  /** An inode or a directory could not be read. Without it the walk ends with the error. */
  failed?(error: FsError, path: Uint8Array): void;
  /** Orders the entries of a directory before they are visited. */
  sort?(entries: WalkEntry[]): void;
}

/** Visits `top` and everything below it. Symbolic links are not followed. */
export function* walkTree(top: Dentry, visitor: Visitor): Task<void> {
  const entered = new Set<Ino>();
  const pending: { dentry: Dentry; children: WalkEntry[]; next: number }[] = [];
  const enter = function* (dentry: Dentry): Task<void> {
    const inode = dentry.d_inode;
    // Before the visitor learns of it: a copy shall not begin what it cannot go on with.
    if (inode.isDirectory() && entered.has(inode.i_ino)) throw new CorruptionError("dir-loop", { ino: inode.i_ino });
    const descend = yield* visitor.enter(dentry, pending.length);
    if (!inode.isDirectory() || descend === false) return;
    entered.add(inode.i_ino);
    const children = yield* listDirectory(inode);
    visitor.sort?.(children);
    pending.push({ dentry, children, next: 0 });
  };
  const guarded = function* (visit: Task<void>, path: () => Uint8Array): Task<void> {
    try {
      yield* visit;
    } catch (error) {
      if (!(error instanceof FsError) || visitor.failed === undefined) throw error;
      visitor.failed(error, path());
    }
  };
  yield* guarded(enter(top), () => dentryPath(top));
  while (pending.length > 0) {
    const level = pending[pending.length - 1]!;
    if (level.next === level.children.length) {
      pending.pop();
      if (visitor.leave !== undefined) yield* visitor.leave(level.dentry, pending.length);
      continue;
    }
    const entry = level.children[level.next++]!;
    const { dentry } = level;
    yield* guarded((function* (): Task<void> {
      const inode = yield* dentry.d_inode.i_sb.iget(entry.ino);
      yield* enter(new Dentry(inode, entry.name, dentry));
    })(), () => dentryPath(new Dentry(dentry.d_inode, entry.name, dentry)));
  }
}
