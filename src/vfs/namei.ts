/**
 * The path walk. A path becomes a chain of dentries from the root, so ".." is the dentry's parent and not what the disk says, and a
 * symbolic link that climbs above the root stays at the root: an image cannot lead outside itself. Source: fs/namei.c, path_resolution(7).
 */
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";
import type { Inode } from "./inode.js";

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

/** The components of a path; empty ones (from "//" or a trailing "/") are left out. */
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

/**
 * Walks `path` from `base` (from the root, if the path is absolute).
 *
 * @param followLast whether a symbolic link in the last place is followed; one that is followed by a slash always is.
 * @throws FsError ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG; whatever the directories on the way throw.
 */
export function* pathLookup(root: Dentry, base: Dentry, path: Uint8Array, followLast: boolean): Task<Dentry> {
  if (path.length === 0) throw new FsError("ENOENT");
  if (path.length >= PATH_MAX) throw new FsError("ENAMETOOLONG");
  // What remains to be walked, last part first: a link's target is pushed on top.
  let rest = splitPath(path).reverse();
  let mustBeDirectory = path[path.length - 1] === SLASH;
  let at = path[0] === SLASH ? root : base;
  let linksLeft = LINKS_MAX;
  while (rest.length > 0) {
    const name = rest.pop()!;
    if (!at.d_inode.isDirectory()) throw new FsError("ENOTDIR");
    if (isDot(name)) continue;
    if (isDotDot(name)) {
      at = at.d_parent;
      continue;
    }
    if (name.length > NAME_MAX) throw new FsError("ENAMETOOLONG");
    const inode = yield* at.d_inode.lookup(name);
    if (inode === undefined) throw new FsError("ENOENT");
    if (inode.isSymlink() && (rest.length > 0 || followLast || mustBeDirectory)) {
      if (linksLeft-- === 0) throw new FsError("ELOOP");
      const target = yield* inode.readlink();
      if (target.length === 0) throw new FsError("ENOENT");
      if (target[0] === SLASH) at = root;
      if (rest.length === 0 && target[target.length - 1] === SLASH) mustBeDirectory = true;
      rest = rest.concat(splitPath(target).reverse());
      continue;
    }
    at = new Dentry(inode, name, at);
  }
  if (mustBeDirectory && !at.d_inode.isDirectory()) throw new FsError("ENOTDIR");
  return at;
}
