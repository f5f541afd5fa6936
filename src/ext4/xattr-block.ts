/**
 * The block of attributes that an inode has beside its own room. Inodes with equal attributes share one, up to 1024; a shared block never changes but for its reference count,
 * so who wants to change it makes a copy. What is shared and with how many is decided in plain code, when all waits are over: others join and leave while a task waits.
 * Locks: the owner's xattr_sem(w), which keeps i_file_acl and what is read through it. Source: fs/ext4/xattr.c (ext4_xattr_block_set, ext4_xattr_release_block).
 */
import type { BufferHead } from "../block/buffer-cache.js";
import { xattrBlockChecksum } from "../format/checksum.js";
import { EXT4_XATTR_MAGIC, EXT4_XATTR_REFCOUNT_MAX, ext4_xattr_header as H, xattrBlockHash } from "../format/xattr.js";
import type { Handle } from "../jbd2/handle.js";
import { bytesEqual } from "../lib/bytes.js";
import type { Task } from "../sched/task.js";
import { takeReferences } from "./ea-inode.js";
import type { Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";
import { markXattrBlockVerified, xattrBlockEntries } from "./xattr.js";
import { blockList, isSameKey, writeEntries, type XattrEntry } from "./xattr-entries.js";

const SECTOR_BYTES = 512;

export interface BlockChange {
  /** What the block has now. */
  readonly before: readonly XattrEntry[];
  /** What it is to have, sorted. Empty: the inode needs no block any more. */
  readonly after: readonly XattrEntry[];
  /** The entry of `after`, if any, for whose value in another inode the caller has taken a reference. */
  readonly held: readonly XattrEntry[];
}

/**
 * Gives the inode a block with other entries: another inode's equal one, its own if it shares it with nobody, or a new one. Sets i_file_acl and i_blocks; the caller marks
 * the inode dirty.
 * @returns the entries whose references to other inodes are no longer needed.
 * @throws FsError ENOSPC, EIO: nothing is changed.
 */
export function* changeBlock(handle: Handle, fs: Ext4, inode: Ext4Inode, change: BlockChange, dead: Ext4Inode[]): Task<XattrEntry[]> {
  const { before, after, held } = change;
  const old = inode.i_file_acl === 0 ? undefined : handle.tryWriteAccess(inode.i_file_acl) ?? (yield* handle.getWriteAccess(inode.i_file_acl));
  const isOwn = old !== undefined && H.h_refcount.get(old.view, 0) <= 1;
  // From here on nobody may join it.
  if (isOwn) fs.xattrBlocks.remove(old.b_blocknr);
  let joined: BufferHead | undefined;
  let target: BufferHead | undefined;
  try {
    joined = yield* joinEqual(handle, fs, inode, after);
    if (joined === undefined && isOwn && after.length > 0) {
      fillBlock(handle, fs, old, after);
      return withoutReferencesOf([...before, ...held], after);
    }
    target = joined ?? (yield* createBlock(handle, fs, inode, change, dead));
  } catch (error) {
    if (isOwn) remember(fs, old);
    throw error;
  }
  inode.i_file_acl = target?.b_blocknr ?? 0;
  const unneeded = joined === undefined ? [] : [...held];
  return old === undefined ? unneeded : [...unneeded, ...(yield* releaseBlock(handle, fs, inode, old))];
}

/** Whether another inode has the same block, at this moment. */
export function* sharesBlock(fs: Ext4, inode: Ext4Inode): Task<boolean> {
  if (inode.i_file_acl === 0) return false;
  const { view } = fs.cache.peek(inode.i_file_acl) ?? (yield* fs.cache.read(inode.i_file_acl));
  return H.h_refcount.get(view, 0) > 1;
}

/** Entries whose values stand in inodes that `kept` does not refer to as often. */
export function withoutReferencesOf(entries: readonly XattrEntry[], kept: readonly XattrEntry[]): XattrEntry[] {
  const keptInums = kept.map(({ valueInum }) => valueInum);
  return entries.filter(({ valueInum }) => {
    const at = keptInums.indexOf(valueInum);
    if (at >= 0) keptInums.splice(at, 1);
    return at < 0 && valueInum !== 0;
  });
}

/** Takes part in a block that has just these entries; undefined: none is known. */
function* joinEqual(handle: Handle, fs: Ext4, inode: Ext4Inode, entries: readonly XattrEntry[]): Task<BufferHead | undefined> {
  const hash = hashOf(entries);
  if (hash === 0) return undefined;
  for (const block of fs.xattrBlocks.find(hash)) {
    const buffer = yield* fs.cache.read(block);
    // While it came in its last owner may have changed it or let it go. Write access to a block that was freed would take its revocation back, so it is asked for only now.
    if (!fs.xattrBlocks.has(hash, block) || !areEqual(xattrBlockEntries(fs, buffer), entries)) continue;
    handle.tryWriteAccess(block);
    setRefcount(handle, fs, buffer, H.h_refcount.get(buffer.view, 0) + 1);
    inode.i_blocks += fs.sb.clusterBytes / SECTOR_BYTES;
    return buffer;
  }
  return undefined;
}

const hashOf = (entries: readonly XattrEntry[]): number => xattrBlockHash(entries.map(({ hash }) => hash));

function areEqual(a: readonly XattrEntry[], b: readonly XattrEntry[]): boolean {
  return a.length === b.length && a.every((entry, index) => {
    const other = b[index]!;
    return isSameKey(entry, other) && entry.sizeBytes === other.sizeBytes && entry.valueInum === other.valueInum && bytesEqual(entry.value, other.value);
  });
}

function* createBlock(handle: Handle, fs: Ext4, inode: Ext4Inode, { after, held }: BlockChange, dead: Ext4Inode[]): Task<BufferHead | undefined> {
  if (after.length === 0) return undefined;
  const block = yield* fs.allocator.allocateMetadata(handle, inode, fs.allocator.goalFor(inode));
  try {
    yield* takeReferences(handle, fs, inode, withoutReferencesOf(after, held), dead);
  } catch (error) {
    yield* freeBlock(handle, fs, inode, block);
    throw error;
  }
  const buffer = handle.getCreateAccess(block);
  H.h_magic.set(buffer.view, 0, EXT4_XATTR_MAGIC);
  H.h_refcount.set(buffer.view, 0, 1);
  H.h_blocks.set(buffer.view, 0, 1);
  markXattrBlockVerified(buffer);
  fillBlock(handle, fs, buffer, after);
  return buffer;
}

function fillBlock(handle: Handle, fs: Ext4, buffer: BufferHead, entries: readonly XattrEntry[]): void {
  writeEntries(blockList(buffer.data, buffer.view, {}), entries);
  H.h_hash.set(buffer.view, 0, hashOf(entries));
  markDirty(handle, fs, buffer);
  remember(fs, buffer);
}

function markDirty(handle: Handle, fs: Ext4, buffer: BufferHead): void {
  handle.dirty(buffer, ({ data, view, b_blocknr }) => {
    if (fs.sb.hasMetadataCsum) H.h_checksum.set(view, 0, xattrBlockChecksum(data, b_blocknr, fs.sb.csumSeed));
  });
}

function setRefcount(handle: Handle, fs: Ext4, buffer: BufferHead, count: number): void {
  H.h_refcount.set(buffer.view, 0, count);
  markDirty(handle, fs, buffer);
  remember(fs, buffer);
}

/** Others may join the block from now on, if it has room for another reference and its hash says that it may be shared. */
function remember(fs: Ext4, { view, b_blocknr }: BufferHead): void {
  const hash = H.h_hash.get(view, 0);
  if (hash !== 0 && H.h_refcount.get(view, 0) < EXT4_XATTR_REFCOUNT_MAX) fs.xattrBlocks.insert(hash, b_blocknr);
  else fs.xattrBlocks.remove(b_blocknr);
}

/**
 * Lets go of the inode's block, which i_file_acl no longer names. @returns the entries whose references to other inodes go with it.
 */
function* releaseBlock(handle: Handle, fs: Ext4, inode: Ext4Inode, buffer: BufferHead): Task<XattrEntry[]> {
  const count = H.h_refcount.get(buffer.view, 0);
  if (count > 1) {
    setRefcount(handle, fs, buffer, count - 1);
    inode.i_blocks -= fs.sb.clusterBytes / SECTOR_BYTES;
    return [];
  }
  fs.xattrBlocks.remove(buffer.b_blocknr);
  // What is freed is zeroed when it is used again, perhaps while the references are still being dropped.
  const entries = xattrBlockEntries(fs, buffer).map((entry) => ({ ...entry, name: entry.name.slice(), value: entry.value.slice() }));
  yield* freeBlock(handle, fs, inode, buffer.b_blocknr);
  return entries;
}

/** The block has its cluster for itself. */
function* freeBlock(handle: Handle, fs: Ext4, inode: Ext4Inode, block: number): Task<void> {
  const { clusterBlocks } = fs.sb;
  yield* fs.allocator.free(handle, inode, block - ((block - fs.sb.firstDataBlock) % clusterBlocks), clusterBlocks, true);
}
