/**
 * The path walk. A path becomes a chain of dentries from the root, so ".." is the dentry's parent and not what the disk says, and a
 * symbolic link that climbs above the root stays at the root: an image cannot lead outside itself. Source: fs/namei.c, path_resolution(7).
 */
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";
import { hold } from "./hold.js";
import type { Inode } from "./inode.js";
import { checkPermission, isPrivileged, MAY_EXEC, ROOT, type Credentials } from "./permission.js";

/** Links followed in one walk before it is ELOOP (MAXSYMLINKS). */
const LINKS_MAX = 40;
const NAME_MAX = 255;
const PATH_MAX = 4096;
const SLASH = 0x2f;
const DOT = 0x2e;

/** A name in its place. The root is its own parent, with an empty name. */
export class Dentry {
  readonly d_parent: Dentry;

  constructor(readonly d_inode: Inode, readonly d_name: Uint8Array, parent?: Dentry) {
    this.d_parent = parent ?? this;
  }
}

/** The absolute path, as bytes. */
export function dentryPath(dentry: Dentry): Uint8Array {
  const names: Uint8Array[] = [];
  let lengthBytes = 0;
  for (let at = dentry; at.d_parent !== at; at = at.d_parent) {
    names.push(at.d_name);
    lengthBytes += at.d_name.length + 1;
  }
  if (names.length === 0) return Uint8Array.of(SLASH);
  const path = new Uint8Array(lengthBytes);
  let to = 0;
  for (const name of names.reverse()) {
    path[to] = SLASH;
    path.set(name, to + 1);
    to += name.length + 1;
  }
  return path;
}

export function rootDentry(root: Inode): Dentry {
  return new Dentry(root, new Uint8Array(0));
}

/** The components of a path; empty ones (of two slashes in a row, or one at the end) are left out. */
function splitPath(path: Uint8Array): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let from = 0; from < path.length;) {
    let to = path.indexOf(SLASH, from);
    if (to < 0) to = path.length;
    if (to > from) parts.push(path.subarray(from, to));
    from = to + 1;
  }
  return parts;
}

const isDot = (name: Uint8Array): boolean => name.length === 1 && name[0] === DOT;
const isDotDot = (name: Uint8Array): boolean => name.length === 2 && name[0] === DOT && name[1] === DOT;

/** Where a name is to be made or removed. */
export interface LastName {
  readonly dir: Dentry;
  readonly name: Uint8Array;
  /** False: the path ends in "." or "..", or is the root. */
  readonly isPlain: boolean;
  readonly isDotDot: boolean;
  /** The path ends in a slash. */
  readonly mustBeDirectory: boolean;
}

export interface WalkOptions {
  /** Whether a symbolic link in the last place is followed; one that is followed by a slash always is. */
  readonly followLast: boolean;
  readonly cred?: Credentials | undefined;
  /** Takes what is found, held: the caller lets go of it (hold.ts). Without it what is found may be deleted at the caller's next wait. */
  readonly held?: Inode[] | undefined;
}

/** What a name stands for now, which meets no change half done. @param held takes it, as in WalkOptions. */
export function* lookUp(dir: Inode, name: Uint8Array, held?: Inode[]): Task<Inode | undefined> {
  if (!dir.i_sb.isWritable) return yield* dir.lookup(name);
  if (!dir.i_rwsem.tryRead()) yield* dir.i_rwsem.read();
  try {
    const inode = yield* dir.lookup(name);
    if (inode !== undefined) held?.push(hold(inode));
    return inode;
  } finally {
    dir.i_rwsem.unlockRead();
  }
}

/** A walk on its way: what remains to be walked, last part first, as a link's target is pushed on top. */
class Walk {
  rest: Uint8Array[];
  at: Dentry;
  mustBeDirectory: boolean;
  private linksLeft = LINKS_MAX;

  constructor(private readonly root: Dentry, base: Dentry, path: Uint8Array, private readonly cred: Credentials, private readonly held: Inode[] | undefined) {
    if (path.length === 0) throw new FsError("ENOENT");
    if (path.length >= PATH_MAX) throw new FsError("ENAMETOOLONG");
    this.rest = splitPath(path).reverse();
    this.mustBeDirectory = path[path.length - 1] === SLASH;
    this.at = path[0] === SLASH ? root : base;
  }

  /** Takes the next part, a link's target in its place. */
  *step(followLast: boolean): Task<void> {
    const name = this.rest.pop()!;
    const dir = this.at.d_inode;
    yield* this.checkSearch();
    if (isDot(name)) return;
    if (isDotDot(name)) {
      this.at = this.at.d_parent;
      return;
    }
    if (name.length > NAME_MAX) throw new FsError("ENAMETOOLONG");
    const inode = yield* lookUp(dir, name, this.held);
    if (inode === undefined) throw new FsError("ENOENT");
    if (inode.isSymlink() && (this.rest.length > 0 || followLast || this.mustBeDirectory)) yield* this.follow(inode);
    else this.at = new Dentry(inode, name, this.at);
  }

  /** @throws FsError ENOTDIR, EACCES. */
  *checkSearch(): Task<void> {
    const { d_inode: dir } = this.at;
    if (!dir.isDirectory()) throw new FsError("ENOTDIR");
    if (!isPrivileged(this.cred)) yield* checkPermission(dir, this.cred, MAY_EXEC);
  }

  *follow(link: Inode): Task<void> {
    if (this.linksLeft-- === 0) throw new FsError("ELOOP");
    const target = yield* link.readlink();
    if (target.length === 0) throw new FsError("ENOENT");
    if (target[0] === SLASH) this.at = this.root;
    if (this.rest.length === 0 && target[target.length - 1] === SLASH) this.mustBeDirectory = true;
    this.rest = this.rest.concat(splitPath(target).reverse());
  }
}

/**
 * Walks `path` from `base` (from the root, if the path is absolute).
 *
 * @throws FsError ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, EACCES; whatever the directories on the way throw.
 */
export function* pathLookup(root: Dentry, base: Dentry, path: Uint8Array, { followLast, cred = ROOT, held }: WalkOptions): Task<Dentry> {
  const walk = new Walk(root, base, path, cred, held);
  while (walk.rest.length > 0) yield* walk.step(followLast);
  if (walk.mustBeDirectory && !walk.at.d_inode.isDirectory()) throw new FsError("ENOTDIR");
  return walk.at;
}

/**
 * Walks to the directory in which `path`'s last name stands or will stand.
 *
 * @param followLast whether an existing symbolic link there is followed, so that what it leads to is made or opened.
 * @throws FsError as pathLookup, but not if only the last name is absent.
 */
export function* pathLookupParent(root: Dentry, base: Dentry, path: Uint8Array, { followLast, cred = ROOT, held }: WalkOptions): Task<LastName> {
  const walk = new Walk(root, base, path, cred, held);
  for (;;) {
    while (walk.rest.length > 1) yield* walk.step(true);
    const name = walk.rest[0];
    if (name === undefined) return { dir: walk.at, name: NO_NAME, isPlain: false, isDotDot: false, mustBeDirectory: walk.mustBeDirectory };
    yield* walk.checkSearch();
    const last = { dir: walk.at, name, isPlain: !isDot(name) && !isDotDot(name), isDotDot: isDotDot(name), mustBeDirectory: walk.mustBeDirectory };
    if (last.isPlain && name.length > NAME_MAX) throw new FsError("ENAMETOOLONG");
    const inode = followLast && last.isPlain ? yield* lookUp(walk.at.d_inode, name, held) : undefined;
    if (inode === undefined || !inode.isSymlink()) return last;
    walk.rest.pop();
    yield* walk.follow(inode);
  }
}

const NO_NAME = new Uint8Array(0);
