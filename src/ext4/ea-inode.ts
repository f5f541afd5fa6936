/**
 * Values too large for the inode and its block: each stands in an inode of its own, a regular file without a name, which counts the attributes that refer to it; equal values share
 * one. The count stands where other inodes have their change time (upper half) and version (lower half), the value's hash in the access time.
 *
 * A value is written to blocks that were claimed for it, before the transaction that leads to them is on disk. A holder that nothing refers to any more waits on the orphan list until
 * its blocks are freed, which is done when the owner's attributes are whole again and unlocked, for it may take more than one transaction.
 * Locks: counts change in plain code and need none; i_data_sem(w) covers the holder's map. Source: fs/ext4/xattr.c (ext4_xattr_inode_lookup_create, ext4_xattr_inode_update_ref).
 */
import { INCOMPAT } from "../format/features.js";
import { EXT4_EA_INODE_FL, EXT4_EXTENTS_FL, ext4_inode, EXT4_GOOD_OLD_INODE_BYTES } from "../format/inode.js";
import { ext4_super_block as S } from "../format/superblock.js";
import type { Handle } from "../jbd2/handle.js";
import { bytesEqual } from "../lib/bytes.js";
import { TWO_32, type Lblk } from "../lib/numbers.js";
import { viewOf } from "../lib/view.js";
import type { Task } from "../sched/task.js";
import { S_IFREG } from "../vfs/inode.js";
import { readBlocks } from "./file.js";
import { Ext4Inode } from "./inode.js";
import type { BlockRun } from "./mballoc.js";
import { initMap, insertMapping, removeMappings } from "./map-write.js";
import { orphanAdd, orphanDel } from "./orphan.js";
import type { Ext4 } from "./super.js";
import { heldValueHash, igetHolder, isLustreHolder } from "./xattr.js";
import type { XattrEntry } from "./xattr-entries.js";

function references(holder: Ext4Inode): number {
  return holder.i_ctime.sec * TWO_32 + ext4_inode.i_version.get(holder.rawView, 0);
}

function setReferences(holder: Ext4Inode, count: number): void {
  holder.i_ctime = { sec: Math.floor(count / TWO_32), nsec: 0 };
  ext4_inode.i_version.set(holder.rawView, 0, count % TWO_32);
}

/**
 * An inode that holds `value`, with a reference that is the caller's. Requires: a handle, the owner's xattr_sem(w).
 * @param dead gets a holder that was made and then found no room.
 * @throws FsError ENOSPC nothing is changed.
 */
export function* holdValue(handle: Handle, fs: Ext4, owner: Ext4Inode, value: Uint8Array, dead: Ext4Inode[]): Task<Ext4Inode> {
  const hash = heldValueHash(fs, value);
  return (yield* takeEqual(handle, fs, value, hash)) ?? (yield* makeHolder(handle, fs, owner, value, hash, dead));
}

function* takeEqual(handle: Handle, fs: Ext4, value: Uint8Array, hash: number): Task<Ext4Inode | undefined> {
  for (const ino of fs.xattrHolders.find(hash)) {
    const holder = yield* fs.igetForXattr(ino);
    if (holder.i_size !== value.length) continue;
    const bytes = new Uint8Array(value.length);
    yield* readBlocks(fs, holder, 0, bytes);
    // The last attribute that referred to it may have gone while it was read.
    if (!bytesEqual(bytes, value) || holder.i_nlink === 0) continue;
    yield* takeReference(handle, holder);
    fs.xattrHolders.insert(hash, ino);
    return holder;
  }
  return undefined;
}

function* takeReference(handle: Handle, holder: Ext4Inode): Task<void> {
  setReferences(holder, references(holder) + 1);
  try {
    yield* holder.markDirty(handle);
  } catch (error) {
    setReferences(holder, references(holder) - 1);
    throw error;
  }
}

/** One more reference for each entry whose value has an inode of its own: all of them, or none. */
export function* takeReferences(handle: Handle, fs: Ext4, owner: Ext4Inode, entries: readonly XattrEntry[], dead: Ext4Inode[]): Task<void> {
  const taken: XattrEntry[] = [];
  handle.tryExtend(entries.length); // if the transaction has no room, what was reserved may yet do
  try {
    for (const entry of entries) {
      if (entry.valueInum === 0) continue;
      yield* takeReference(handle, yield* igetHolder(fs, entry));
      taken.push(entry);
    }
  } catch (error) {
    yield* dropReferences(handle, fs, owner, taken, dead);
    throw error;
  }
}

/** One reference less for each such entry. Holders that have none left join `dead`. */
export function* dropReferences(handle: Handle, fs: Ext4, owner: Ext4Inode, entries: readonly XattrEntry[], dead: Ext4Inode[]): Task<void> {
  for (const entry of entries) {
    if (entry.valueInum === 0) continue;
    const holder = yield* igetHolder(fs, entry);
    yield* dropReference(handle, fs, holder, isLustreHolder(holder, owner) ? 1 : references(holder), dead);
  }
}

function* dropReference(handle: Handle, fs: Ext4, holder: Ext4Inode, count: number, dead: Ext4Inode[]): Task<void> {
  setReferences(holder, Math.max(count - 1, 0));
  if (count <= 1) {
    // From here on nobody can find it: no wait may come before this.
    holder.i_nlink = 0;
    fs.xattrHolders.remove(holder.i_ino);
    dead.push(holder);
    yield* orphanAdd(handle, holder);
  }
  yield* holder.markDirty(handle);
}

function* makeHolder(handle: Handle, fs: Ext4, owner: Ext4Inode, value: Uint8Array, hash: number, dead: Ext4Inode[]): Task<Ext4Inode> {
  const unmapped = yield* claimRuns(fs, owner, Math.ceil(value.length / fs.blockBytes));
  let holder: Ext4Inode | undefined;
  try {
    yield* writeValue(fs, unmapped, value);
    holder = yield* newHolder(handle, fs, owner, hash);
    yield* mapRuns(handle, fs, holder, unmapped, Math.ceil(value.length / fs.blockBytes));
    holder.i_size = holder.i_disksize = value.length;
    yield* holder.markDirty(handle);
  } catch (error) {
    for (const run of unmapped) fs.allocator.release(run);
    if (holder !== undefined) yield* dropReference(handle, fs, holder, 1, dead);
    throw error;
  }
  fs.xattrHolders.insert(hash, holder.i_ino);
  return holder;
}

/** Whole clusters for so many blocks, in as few runs as the free space has. */
function* claimRuns(fs: Ext4, owner: Ext4Inode, blocks: number): Task<BlockRun[]> {
  const runs: BlockRun[] = [];
  let goal = fs.allocator.goalFor(owner);
  try {
    for (let left = Math.ceil(blocks / fs.sb.clusterBlocks) * fs.sb.clusterBlocks; left > 0;) {
      const run = yield* fs.allocator.claim({ goal, count: left });
      runs.push(run);
      left -= run.count;
      goal = run.pblk + run.count;
    }
  } catch (error) {
    for (const run of runs) fs.allocator.release(run);
    throw error;
  }
  return runs;
}

function* writeValue(fs: Ext4, runs: readonly BlockRun[], value: Uint8Array): Task<void> {
  const whole = new Uint8Array(Math.ceil(value.length / fs.blockBytes) * fs.blockBytes);
  whole.set(value);
  let at = 0;
  yield* fs.device.submit(runs.map(({ pblk, count }) => {
    const data = whole.subarray(at, at + count * fs.blockBytes);
    at += data.length;
    return { op: "write" as const, offsetBytes: pblk * fs.blockBytes, data };
  }));
}

/** An empty holder with one reference, near its owner. */
function* newHolder(handle: Handle, fs: Ext4, owner: Ext4Inode, hash: number): Task<Ext4Inode> {
  const ino = yield* fs.inodeAllocator.allocate(handle, undefined, S_IFREG | 0o600, owner.i_ino + 1);
  const raw = new Uint8Array(fs.sb.inodeBytes);
  ext4_inode.i_generation.set(viewOf(raw), 0, fs.random());
  const holder = new Ext4Inode(fs, ino, raw);
  if (fs.sb.inodeBytes > EXT4_GOOD_OLD_INODE_BYTES) openExtraSpace(fs, holder);
  holder.i_mode = S_IFREG | 0o600;
  holder.i_nlink = 1;
  holder.i_uid = owner.i_uid;
  holder.i_gid = owner.i_gid;
  holder.i_flags = EXT4_EA_INODE_FL | (fs.sb.has(INCOMPAT.extent, "incompat") ? EXT4_EXTENTS_FL : 0);
  holder.i_mtime = holder.i_crtime = fs.now();
  // As 32 bits with a sign, which every inode has room for.
  holder.i_atime = { sec: hash | 0, nsec: 0 };
  setReferences(holder, 1);
  initMap(holder);
  fs.keepInode(holder);
  yield* holder.markDirty(handle);
  return holder;
}

/** The fields behind byte 128, of an inode that has had none: what stands there may be anything. */
export function openExtraSpace(fs: Ext4, inode: Ext4Inode): void {
  inode.i_extra_isize = S.s_want_extra_isize.get(fs.sb.view, 0) || ext4_inode.$.size - EXT4_GOOD_OLD_INODE_BYTES;
  inode.raw.fill(0, EXT4_GOOD_OLD_INODE_BYTES);
  ext4_inode.i_extra_isize.set(inode.rawView, 0, inode.i_extra_isize);
}

/** Takes each run that is mapped out of `runs`. */
function* mapRuns(handle: Handle, fs: Ext4, holder: Ext4Inode, runs: BlockRun[], blocks: number): Task<void> {
  if (!holder.i_data_sem.tryWrite()) yield* holder.i_data_sem.write();
  try {
    for (let lblk: Lblk = 0; runs.length > 0;) {
      const run = runs[0]!;
      yield* insertMapping(handle, fs, holder, { lblk, pblk: run.pblk, count: Math.min(run.count, blocks - lblk), unwritten: false });
      runs.shift();
      yield* fs.allocator.mark(handle, holder, run);
      lblk += run.count;
    }
  } finally {
    holder.i_data_sem.unlockWrite();
  }
}

/** Deletes holders that nothing refers to. May restart the handle: what it did before must be whole by itself, and no xattr_sem held. */
export function* deleteHolders(handle: Handle, fs: Ext4, dead: readonly Ext4Inode[]): Task<void> {
  for (const holder of dead) {
    if (!holder.i_data_sem.tryWrite()) yield* holder.i_data_sem.write();
    try {
      yield* removeMappings(handle, fs, holder, 0, fs.mapEnd(holder));
    } finally {
      holder.i_data_sem.unlockWrite();
    }
    yield* orphanDel(handle, holder);
    holder.i_size = holder.i_disksize = 0;
    holder.i_dtime = fs.now().sec >>> 0;
    yield* holder.markDirty(handle);
    yield* fs.inodeAllocator.free(handle, holder.i_ino, false);
    fs.forgetInode(holder);
  }
}
