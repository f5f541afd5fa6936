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
  const walk = new Walk(visitor);
  try {
    yield* walk.enter(top);
  } catch (error) {
    walk.failed(error, top);
  }
  for (let level = walk.level; level !== undefined; level = walk.level) {
    const { dentry: directory } = level;
    const entry = level.children[level.next++];
    if (entry === undefined) {
      yield* walk.leave(directory);
      continue;
    }
    try {
      const inode = yield* directory.d_inode.i_sb.iget(entry.ino);
      yield* walk.enter(new Dentry(inode, entry.name, directory));
    } catch (error) {
      walk.failed(error, new Dentry(directory.d_inode, entry.name, directory));
    }
  }
}

/** A directory on the way down to where the walk is, and which of its entries comes next. */
interface Level {
  readonly dentry: Dentry;
  readonly children: readonly WalkEntry[];
  next: number;
}

// A class, as a generator function that is made inside another costs more to make than to run: the walk of a large tree would make some for each entry.
class Walk {
  private readonly levels: Level[] = [];
  private readonly entered = new Set<Ino>();

  constructor(private readonly visitor: Visitor) {}

  /** The directory that the walk is in; undefined: it is at its end. */
  get level(): Level | undefined {
    return this.levels[this.levels.length - 1];
  }

  *enter(dentry: Dentry): Task<void> {
    const inode = dentry.d_inode;
    // Before the visitor learns of it: a copy shall not begin what it cannot go on with.
    if (inode.isDirectory() && this.entered.has(inode.i_ino)) throw new CorruptionError("dir-loop", { ino: inode.i_ino });
    const descend = yield* this.visitor.enter(dentry, this.levels.length);
    if (!inode.isDirectory() || descend === false) return;
    this.entered.add(inode.i_ino);
    const children = yield* listDirectory(inode);
    this.visitor.sort?.(children);
    this.levels.push({ dentry, children, next: 0 });
  }

  *leave(directory: Dentry): Task<void> {
    this.levels.pop();
    if (this.visitor.leave !== undefined) yield* this.visitor.leave(directory, this.levels.length);
  }

  /** Hands an error of the filesystem to the visitor, if it wants them. */
  failed(error: unknown, at: Dentry): void {
    if (!(error instanceof FsError) || this.visitor.failed === undefined) throw error;
    this.visitor.failed(error, dentryPath(at));
  }
}
