/**
 * Names come and go: each of these is one handle, so it is there whole after a crash or not at all. Who may do it, and whether the names exist, the caller has found out; it holds the directories' i_rwsem.
 * An inode whose last name goes is put on the orphan list in the same handle and deleted when nobody holds it. Source: fs/ext4/namei.c.
 */
import { RO_COMPAT } from "../format/features.js";
import { EXT4_ENCRYPT_FL } from "../format/inode.js";
import type { Handle } from "../jbd2/handle.js";
import { FsError } from "../lib/errno.js";
import type { Task } from "../sched/task.js";
import type { NewInode } from "../vfs/inode.js";
import { inheritAcl } from "./acl.js";
import { addEntry, deleteEntry, directoryCredits, initDirectory, replaceEntry, setParent } from "./dir-write.js";
import { isIndexed } from "./htree.js";
import { INODE_CREDITS as NEW_INODE_CREDITS } from "./ialloc.js";
import type { Ext4Inode } from "./inode.js";
import { mapCredits } from "./map-write.js";
import { newInode } from "./new-inode.js";
import { orphanAdd, orphanDel } from "./orphan.js";
import { withSpaceRetry } from "./space.js";
import type { Ext4 } from "./super.js";
import { writeTarget } from "./symlink.js";
import { deleteInode, ORPHAN_CREDITS } from "./truncate.js";
import { writebackInode } from "./writeback.js";
import { xattrCredits } from "./xattr-write.js";

const EXT4_LINK_MAX = 65000;
/** An inode's block in the table, for each of those that a rename changes besides its new and old directory. */
const OTHER_INODES_CREDITS = 4;

/** Makes what `wanted` says, under `name`. Requires: dir.i_rwsem(w). @throws FsError ENOSPC, EMLINK, ENAMETOOLONG (a link's target), ENOKEY. */
export function* createEntry(fs: Ext4, dir: Ext4Inode, name: Uint8Array, wanted: NewInode): Task<Ext4Inode> {
  return yield* withNewInode(fs, createCredits(fs, dir), function* (handle, keep) {
    const inode = keep(yield* newInode(handle, fs, dir, wanted));
    if (!inode.isSymlink()) yield* inheritAcl(handle, fs, dir, inode, wanted.umask);
    yield* fill(handle, fs, dir, inode, wanted);
    yield* addEntry(handle, fs, dir, name, inode.i_ino, inode.i_mode);
    if (inode.isDirectory()) addSubdirectory(fs, dir);
    yield* stampDirectory(handle, fs, dir);
    yield* inode.markDirty(handle);
    inode.i_datasync_tid = handle.transaction.t_tid;
    return inode;
  });
}

/** A change in which an inode is made, and named to `keep` at once: where the change is refused later on, the inode is deleted again. */
function* withNewInode<T>(fs: Ext4, credits: number, work: (handle: Handle, keep: (inode: Ext4Inode) => Ext4Inode) => Task<T>): Task<T> {
  return yield* withSpaceRetry(fs, function* () {
    let made: Ext4Inode | undefined;
    try {
      return yield* fs.change(credits, function* (handle) {
        try {
          return yield* work(handle, (inode) => made = inode);
        } catch (error) {
          if (made !== undefined) yield* abandon(handle, made);
          throw error;
        }
      });
    } catch (error) {
      if (made !== undefined && fs.journal.abortError === undefined) yield* deleteInode(fs, made);
      throw error;
    }
  });
}

/** A file without a name, which its close deletes unless it is given one before. */
export function* createNameless(fs: Ext4, dir: Ext4Inode, wanted: NewInode): Task<Ext4Inode> {
  return yield* withNewInode(fs, createCredits(fs, dir), function* (handle, keep) {
    const inode = keep(yield* newInode(handle, fs, dir, wanted));
    yield* inheritAcl(handle, fs, dir, inode, wanted.umask);
    yield* orphanAdd(handle, inode);
    yield* inode.markDirty(handle);
    return inode;
  });
}

function createCredits(fs: Ext4, dir: Ext4Inode): number {
  return NEW_INODE_CREDITS + directoryCredits(fs) * 2 + xattrCredits(fs, 0) * 2 + mapCredits(fs, dir) + ORPHAN_CREDITS;
}

function* fill(handle: Handle, fs: Ext4, dir: Ext4Inode, inode: Ext4Inode, wanted: NewInode): Task<void> {
  if (inode.isDirectory()) {
    checkSubdirectory(fs, dir);
    yield* initDirectory(handle, fs, inode, dir.i_ino);
  }
  if (wanted.target !== undefined) yield* writeTarget(handle, fs, inode, wanted.target);
  inode.i_disksize = inode.i_size;
  inode.i_nlink = inode.isDirectory() ? 2 : 1;
}

/** What could not be finished is taken back as if it had been deleted. */
function* abandon(handle: Handle, inode: Ext4Inode): Task<void> {
  inode.i_nlink = 0;
  yield* orphanAdd(handle, inode);
  yield* inode.markDirty(handle);
}

/** @throws FsError EMLINK. */
function checkSubdirectory(fs: Ext4, dir: Ext4Inode): void {
  const isUncounted = fs.sb.has(RO_COMPAT.dir_nlink, "roCompat") && isIndexed(fs, dir);
  if (!isUncounted && dir.i_nlink >= EXT4_LINK_MAX) throw new FsError("EMLINK");
}

/** A directory with too many subdirectories has its links counted as 1 for ever. */
function addSubdirectory(fs: Ext4, dir: Ext4Inode): void {
  dir.i_nlink++;
  if (isIndexed(fs, dir) && (dir.i_nlink > EXT4_LINK_MAX || dir.i_nlink === 2)) dir.i_nlink = 1;
}

function removeSubdirectory(dir: Ext4Inode): void {
  if (dir.i_nlink > 2) dir.i_nlink--;
}

function* stampDirectory(handle: Handle, fs: Ext4, dir: Ext4Inode): Task<void> {
  dir.i_mtime = dir.i_ctime = fs.now();
  yield* dir.markDirty(handle);
}

/** Requires: dir.i_rwsem(w), inode.i_rwsem(w). @throws FsError EMLINK, ENOSPC. */
export function* linkEntry(fs: Ext4, dir: Ext4Inode, name: Uint8Array, inode: Ext4Inode): Task<void> {
  if (inode.i_nlink >= EXT4_LINK_MAX) throw new FsError("EMLINK");
  yield* withSpaceRetry(fs, function* () {
    yield* fs.change(directoryCredits(fs) + OTHER_INODES_CREDITS + ORPHAN_CREDITS, function* (handle) {
      yield* addEntry(handle, fs, dir, name, inode.i_ino, inode.i_mode);
      if (inode.i_nlink === 0) yield* orphanDel(handle, inode); // made by O_TMPFILE
      inode.i_nlink++;
      inode.i_ctime = fs.now();
      yield* inode.markDirty(handle);
      yield* stampDirectory(handle, fs, dir);
    });
  });
}

/** Removes a name, of a directory only if that is empty. Requires: dir.i_rwsem(w), inode.i_rwsem(w). */
export function* unlinkEntry(fs: Ext4, dir: Ext4Inode, name: Uint8Array, inode: Ext4Inode): Task<void> {
  yield* fs.change(directoryCredits(fs) + OTHER_INODES_CREDITS + ORPHAN_CREDITS, function* (handle) {
    yield* deleteEntry(handle, fs, dir, name);
    if (inode.isDirectory()) removeSubdirectory(dir);
    yield* stampDirectory(handle, fs, dir);
    yield* dropLink(handle, fs, inode);
  });
}

function* dropLink(handle: Handle, fs: Ext4, inode: Ext4Inode): Task<void> {
  inode.i_ctime = fs.now();
  if (inode.isDirectory()) {
    inode.i_nlink = 0;
    inode.i_size = inode.i_disksize = 0;
  } else inode.i_nlink = Math.max(0, inode.i_nlink - 1);
  if (inode.i_nlink === 0) yield* orphanAdd(handle, inode);
  yield* inode.markDirty(handle);
}

/** A name that a rename takes from or gives to, with what it leads to. */
export interface Place { readonly dir: Ext4Inode; readonly name: Uint8Array; readonly inode: Ext4Inode }
/** A name that may be new. */
export interface Target { readonly dir: Ext4Inode; readonly name: Uint8Array; readonly inode: Ext4Inode | undefined }

/**
 * Gives `from`'s inode the name `to`; what had that name loses it. Requires: i_rwsem(w) of both directories and of what is replaced; the caller has checked types and loops.
 * @param whiteout leaves a character device 0:0 under the old name, as overlay filesystems ask for. @throws FsError ENOTEMPTY, ENOSPC, EMLINK, ENOKEY.
 */
export function* renameEntry(fs: Ext4, from: Place, to: Target, whiteout: NewInode | undefined): Task<void> {
  checkKeys(from.dir, to.dir);
  if (to.inode?.isDirectory() === true && !(yield* to.inode.isEmpty())) throw new FsError("ENOTEMPTY");
  const isMoved = from.inode.isDirectory() && from.dir !== to.dir;
  if (isMoved && to.inode === undefined) checkSubdirectory(fs, to.dir);
  // Data that replaces a file must not come after the name: an empty file would be there after a crash.
  if (to.inode !== undefined && from.inode.isRegular()) yield* writebackInode(fs, from.inode);
  const credits = directoryCredits(fs) * 2 + NEW_INODE_CREDITS + OTHER_INODES_CREDITS + ORPHAN_CREDITS * 2;
  yield* withNewInode(fs, credits, function* (handle, keep) {
    // Whatever may run out of space comes first.
    const left = whiteout === undefined ? undefined : keep(yield* newInode(handle, fs, from.dir, whiteout));
    if (to.inode === undefined) yield* addEntry(handle, fs, to.dir, to.name, from.inode.i_ino, from.inode.i_mode);
    else yield* replaceEntry(handle, fs, to.dir, to.name, from.inode.i_ino, from.inode.i_mode);
    if (left === undefined) yield* deleteEntry(handle, fs, from.dir, from.name);
    else {
      left.i_nlink = 1;
      yield* left.markDirty(handle);
      yield* replaceEntry(handle, fs, from.dir, from.name, left.i_ino, left.i_mode);
    }
    if (isMoved) {
      yield* setParent(handle, fs, from.inode, to.dir.i_ino);
      removeSubdirectory(from.dir);
      if (to.inode === undefined) addSubdirectory(fs, to.dir);
    } else if (from.inode.isDirectory() && to.inode !== undefined) removeSubdirectory(to.dir);
    if (to.inode !== undefined) yield* dropLink(handle, fs, to.inode);
    from.inode.i_ctime = fs.now();
    yield* from.inode.markDirty(handle);
    yield* stampDirectory(handle, fs, from.dir);
    yield* stampDirectory(handle, fs, to.dir);
  });
}

/** Without the key names in an encrypted directory can be removed, but not given to anything, nor taken along. @throws FsError ENOKEY. */
function checkKeys(...dirs: readonly Ext4Inode[]): void {
  if (dirs.some((dir) => (dir.i_flags & EXT4_ENCRYPT_FL) !== 0)) throw new FsError("ENOKEY");
}

/** Two names change what they lead to. Requires: as renameEntry. @throws FsError ENOKEY, EMLINK. */
export function* exchangeEntries(fs: Ext4, a: Place, b: Place): Task<void> {
  checkKeys(a.dir, b.dir);
  // Where a directory changes places with what is none, one parent loses a subdirectory, and the other gets it.
  const isMoved = a.dir !== b.dir && a.inode.isDirectory() !== b.inode.isDirectory();
  const [loser, gainer] = a.inode.isDirectory() ? [a.dir, b.dir] : [b.dir, a.dir];
  if (isMoved) checkSubdirectory(fs, gainer);
  yield* fs.change(directoryCredits(fs) * 2 + OTHER_INODES_CREDITS, function* (handle) {
    yield* replaceEntry(handle, fs, a.dir, a.name, b.inode.i_ino, b.inode.i_mode);
    yield* replaceEntry(handle, fs, b.dir, b.name, a.inode.i_ino, a.inode.i_mode);
    for (const [{ inode, dir: oldDir }, { dir: newDir }] of [[a, b], [b, a]] as const) {
      if (inode.isDirectory() && oldDir !== newDir) yield* setParent(handle, fs, inode, newDir.i_ino);
      inode.i_ctime = fs.now();
      yield* inode.markDirty(handle);
    }
    if (isMoved) {
      removeSubdirectory(loser);
      addSubdirectory(fs, gainer);
    }
    yield* stampDirectory(handle, fs, a.dir);
    yield* stampDirectory(handle, fs, b.dir);
  });
}
