/**
 * Writing a regular file. A write goes into the page cache; where the file has no block yet, space is promised and chosen when the data is written back (delayed allocation), so that a file
 * written in small pieces lands in few extents. Files with journaled data write into the buffer cache, inside a handle. Source: fs/ext4/inode.c (ext4_da_write_begin), fs/ext4/file.c.
 */
import { EXT4_EXTENTS_FL, EXT4_INLINE_DATA_FL, EXT4_NDIR_BLOCKS } from "../format/inode.js";
import { RO_COMPAT } from "../format/features.js";
import { FsError } from "../lib/errno.js";
import type { Lblk } from "../lib/numbers.js";
import type { AddressSpace, Folio } from "../mm/address-space.js";
import { PAGE_BYTES } from "../mm/memory.js";
import { writeProtectPages } from "../mm/rmap.js";
import { assertHeld } from "../sched/lockdep.js";
import type { Task } from "../sched/task.js";
import { writeDax, zeroDax } from "./dax.js";
import { checkData, readFolio } from "./file.js";
import { writeInline } from "./inline-write.js";
import type { Ext4Inode } from "./inode.js";
import { journalsData, writeJournaledData, zeroJournaledTail } from "./journaled-data.js";
import { mapBlocks } from "./map.js";
import type { Ext4 } from "./super.js";
import { withSpaceRetry } from "./space.js";
import { writebackSome } from "./writeback.js";

/** Files from this size on must be announced in the superblock. */
export const LARGE_FILE_BYTES = 2 ** 31;
/** Credits of a handle that changes one inode and perhaps the superblock. */
export const INODE_CREDITS = 3;
const SECTOR_BYTES = 512;
/** A write is cut into pieces of so many bytes, so that neither memory nor reservations pile up. */
const PIECE_BYTES_MAX = 4 * 2 ** 20;
/** Where nothing piles up, for a device's own pages, handles are what is to be saved. */
const DAX_PIECE_BYTES_MAX = 64 * 2 ** 20;

/** The largest size that the inode's map allows, and its count of blocks: without the feature huge_file that has 32 bits, for sectors. @kernel ext4_max_size, ext4_max_bitmap_size */
export function sizeBytesMax(fs: Ext4, inode: Ext4Inode): number {
  const mapEnd = fs.mapEnd(inode);
  if (fs.sb.hasHugeFile) return mapEnd * fs.blockBytes;
  const blocksMax = Math.floor((2 ** 32 - 1) / (fs.blockBytes / SECTOR_BYTES));
  const isIndirect = (inode.i_flags & EXT4_EXTENTS_FL) === 0;
  return (isIndirect ? indirectDataMax(mapEnd, blocksMax, fs.blockBytes / 4) : Math.min(mapEnd, blocksMax)) * fs.blockBytes;
}

/** How many blocks of data a file has that has at most `blocksMax` blocks with those of its map, which name `perBlock` blocks each. */
function indirectDataMax(mapEnd: Lblk, blocksMax: number, perBlock: number): number {
  if (mapEnd + 3 + 2 * perBlock + perBlock ** 2 <= blocksMax) return mapEnd;
  const behindSingle = blocksMax - EXT4_NDIR_BLOCKS - perBlock;
  if (behindSingle < perBlock ** 2) return blocksMax - 2 - Math.ceil(behindSingle / perBlock);
  const behindDouble = behindSingle - perBlock ** 2;
  return blocksMax - 3 - perBlock - Math.ceil(behindDouble / perBlock) - Math.ceil(behindDouble / perBlock ** 2);
}

/**
 * Writes all of `data`, or throws; what was written before an error stays, and the caller sees it in i_size.
 * Requires: inode.i_rwsem(w). Takes: jbd2_handle, i_data_sem.
 * @throws FsError ENOSPC nothing of the failing piece was written; EFBIG; EIO; ENOKEY, EPERM its data is not to be changed.
 */
export function* writeData(fs: Ext4, inode: Ext4Inode, offsetBytes: number, data: Uint8Array): Task<void> {
  assertHeld(inode.i_rwsem, "write");
  checkData(inode, true);
  if (data.length === 0) return;
  if (offsetBytes + data.length > sizeBytesMax(fs, inode)) throw new FsError("EFBIG");
  for (let done = 0; done < data.length;) {
    const piece = data.subarray(done, done + (inode.isDax ? DAX_PIECE_BYTES_MAX : PIECE_BYTES_MAX));
    yield* writePiece(fs, inode, offsetBytes + done, piece);
    done += piece.length;
    if (fs.pageCache.hasTooMuchDirty) yield* writebackSome(fs);
  }
}

function* writePiece(fs: Ext4, inode: Ext4Inode, offsetBytes: number, data: Uint8Array): Task<void> {
  if ((inode.i_flags & EXT4_INLINE_DATA_FL) !== 0 && (yield* writeInline(fs, inode, offsetBytes, data))) return;
  if (journalsData(fs, inode)) {
    if (offsetBytes > inode.i_size) yield* zeroJournaledTail(fs, inode, inode.i_size);
    return yield* writeJournaledData(fs, inode, offsetBytes, data);
  }
  if (offsetBytes > inode.i_size) yield* zeroTail(fs, inode, inode.i_size);
  if (inode.isDax) {
    yield* writeDax(fs, inode, offsetBytes, data);
    return yield* stampWrite(fs, inode, offsetBytes + data.length, offsetBytes + data.length);
  }
  yield* withSpaceRetry(fs, () => fillFolios(fs, inode, offsetBytes, data));
  yield* stampWrite(fs, inode, offsetBytes + data.length);
}

/** Size and times in memory and in a handle. @param diskEndBytes how far the data is on disk: so far the size there follows at once, and is part of what fdatasync is for. */
export function* stampWrite(fs: Ext4, inode: Ext4Inode, endBytes: number, diskEndBytes = 0): Task<void> {
  yield* fs.change(INODE_CREDITS, function* (handle) {
    inode.i_mtime = inode.i_ctime = fs.now();
    extendSize(fs, inode, endBytes);
    if (diskEndBytes > inode.i_disksize) {
      inode.i_disksize = diskEndBytes;
      inode.i_datasync_tid = handle.transaction.t_tid;
    }
    if (endBytes > LARGE_FILE_BYTES && !fs.sb.has(RO_COMPAT.large_file, "roCompat")) {
      fs.sb.setFeature("roCompat", RO_COMPAT.large_file, true);
      yield* fs.markSuperDirty(handle);
    }
    yield* inode.markDirty(handle);
  });
}

/**
 * The size, if it is larger than before. What mappings have stored behind the old end, up to now, is nothing of the file's. Where a page has more blocks than one, those that the file only now reaches were
 * never asked for: who may store into the page has to ask again.
 * @param dataFrom where what was just written begins. @kernel pagecache_isize_extended
 */
export function extendSize(fs: Ext4, inode: Ext4Inode, endBytes: number, dataFrom = endBytes): void {
  const { i_size: before } = inode;
  if (endBytes <= before) return;
  inode.i_size = endBytes;
  if (!inode.hasPages) return;
  const { i_mapping: mapping } = inode;
  const inFolio = before % mapping.folioBytes;
  const last = inFolio > 0 && dataFrom > before ? mapping.find(Math.floor(before / mapping.folioBytes)) : undefined;
  last?.data.fill(0, inFolio, Math.min(mapping.folioBytes, inFolio + dataFrom - before));
  if (fs.blockBytes >= PAGE_BYTES || before % PAGE_BYTES === 0) return;
  const page = Math.floor(before / PAGE_BYTES);
  writeProtectPages(mapping, page, page + 1);
}

/** Copies data into folios and promises space for what has no block. Either all of the piece is taken, or nothing. */
function* fillFolios(fs: Ext4, inode: Ext4Inode, offsetBytes: number, data: Uint8Array): Task<void> {
  const { i_mapping: mapping } = inode;
  const held: Folio[] = [];
  try {
    yield* fillHeld(fs, inode, offsetBytes, data, held);
  } finally {
    for (const folio of held) mapping.letGo(folio);
  }
}

/** `held` gets the folios that were read: they stay in memory until the data is in them. */
function* fillHeld(fs: Ext4, inode: Ext4Inode, offsetBytes: number, data: Uint8Array, held: Folio[]): Task<void> {
  const { i_mapping: mapping } = inode;
  const { folioBytes } = mapping;
  const end = offsetBytes + data.length;
  const first = Math.floor(offsetBytes / folioBytes);
  const last = Math.floor((end - 1) / folioBytes);
  // Folios at the edges are read if they are not overwritten whole; those between need not be.
  if (offsetBytes % folioBytes !== 0) held.push(mapping.hold(yield* readFolio(fs, inode, first)));
  if (end % folioBytes !== 0 && end < inode.i_size) held.push(mapping.hold(yield* readFolio(fs, inode, last)));
  yield* reserveBlocks(fs, inode, offsetBytes, end);
  for (let index = first; index <= last;) {
    const folio = mapping.find(index);
    const count = folio === undefined ? absentFolios(mapping, index, last) : 1;
    for (const target of folio === undefined ? mapping.create(index, count) : [folio]) copyInto(fs, inode, target, offsetBytes, data);
    index += count;
  }
  // With the data, and before a handle is waited for: who writes the folios back lets the size on disk follow as far as this one, and then takes them for done.
  extendSize(fs, inode, end, offsetBytes);
}

function absentFolios(mapping: AddressSpace, first: number, last: number): number {
  let count = 1;
  while (first + count <= last && mapping.find(first + count) === undefined) count++;
  return count;
}

/** Promises a cluster for each that has no block and no promise yet. Returns these. @throws FsError ENOSPC nothing was promised. */
export function* reserveBlocks(fs: Ext4, inode: Ext4Inode, fromBytes: number, endBytes: number): Task<readonly number[]> {
  const ratio = fs.sb.clusterBlocks;
  const needed: number[] = [];
  const end = Math.ceil(endBytes / fs.blockBytes);
  for (let lblk: Lblk = Math.floor(fromBytes / fs.blockBytes); lblk < end;) {
    const { state, count } = yield* mapBlocks(fs, inode, lblk, end - lblk);
    if (state === "hole") {
      for (let cluster = Math.floor(lblk / ratio); cluster * ratio < lblk + count; cluster++) {
        const isKnown = inode.delayedClusters.has(cluster) || needed.at(-1) === cluster;
        if (!isKnown && (ratio === 1 || (yield* clusterBlock(fs, inode, cluster)) === undefined)) needed.push(cluster);
      }
    }
    lblk += count;
  }
  if (needed.length === 0) return needed;
  // A fault and a write may ask for the same at the same time.
  const missing = needed.filter((cluster) => !inode.delayedClusters.has(cluster));
  if (!fs.allocator.reserve(missing.length)) throw new FsError("ENOSPC");
  for (const cluster of missing) inode.delayedClusters.add(cluster);
  return missing;
}

/** With bigalloc: the first block of the disk cluster that the file has for this cluster of its own, if any of its blocks is mapped. */
export function* clusterBlock(fs: Ext4, inode: Ext4Inode, cluster: number): Task<number | undefined> {
  const ratio = fs.sb.clusterBlocks;
  for (let lblk = cluster * ratio; lblk < (cluster + 1) * ratio;) {
    const { state, pblk, count } = yield* mapBlocks(fs, inode, lblk, (cluster + 1) * ratio - lblk);
    if (state !== "hole") return pblk - (lblk - cluster * ratio);
    lblk += count;
  }
  return undefined;
}

function copyInto(fs: Ext4, inode: Ext4Inode, folio: Folio, offsetBytes: number, data: Uint8Array): void {
  const { i_mapping: mapping } = inode;
  const start = folio.index * mapping.folioBytes;
  const from = Math.max(offsetBytes, start);
  const to = Math.min(offsetBytes + data.length, start + mapping.folioBytes);
  folio.data.set(data.subarray(from - offsetBytes, to - offsetBytes), from - start);
  const firstBlock = Math.floor((from - start) / fs.blockBytes);
  const endBlock = Math.ceil((to - start) / fs.blockBytes);
  mapping.markDirty(folio, mapping.blockBits(firstBlock, endBlock - firstBlock));
}

/** The rest of the last block reads as zeroes once the file is longer: what the disk has there may be anything. Of further blocks of its page only memory has anything (extendSize). */
export function* zeroTail(fs: Ext4, inode: Ext4Inode, sizeBytes: number): Task<void> {
  const inBlock = sizeBytes % fs.blockBytes;
  if (inBlock === 0) return;
  if (inode.isDax) return yield* zeroDax(fs, inode, sizeBytes, sizeBytes - inBlock + fs.blockBytes);
  const { i_mapping: mapping } = inode;
  const lblk = Math.floor(sizeBytes / fs.blockBytes);
  const index = Math.floor(sizeBytes / mapping.folioBytes);
  const isOnDisk = (yield* mapBlocks(fs, inode, lblk, 1)).state === "written";
  if (!isOnDisk && mapping.find(index) === undefined) return;
  const folio = yield* readFolio(fs, inode, index);
  const inFolio = sizeBytes % mapping.folioBytes;
  folio.data.fill(0, inFolio, inFolio - inBlock + fs.blockBytes);
  const bit = mapping.blockBits(lblk % mapping.blocksPerFolio, 1);
  // A block that is on its way to disk is written once more.
  if (isOnDisk || (folio.dirtyBlocks & bit) !== 0) mapping.markDirty(folio, bit);
}
