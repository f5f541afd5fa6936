/**
 * Files whose data is journaled: by their flag, or because the mount says so. A write changes blocks of the file through the buffer cache, in a handle, as if they were metadata: data and map are
 * whole together. Such files have pages only where they are mapped. Source: ext4_journalled_write_end, ext4_should_journal_data (fs/ext4).
 */
import { EXT4_JOURNAL_DATA_FL } from "../format/inode.js";
import type { Handle } from "../jbd2/handle.js";
import type { Lblk, Pblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { clusterBlock, extendSize, INODE_CREDITS, reserveBlocks } from "./file-write.js";
import type { Ext4Inode } from "./inode.js";
import { mapBlocks } from "./map.js";
import { checkDataBlocks, convertToWritten, insertMapping, mapCredits } from "./map-write.js";
import { withSpaceRetry } from "./space.js";
import { keepPromise } from "./writeback.js";
import type { Folio } from "../mm/address-space.js";
import type { Ext4 } from "./super.js";

/** Blocks of data in one handle. */
const BLOCKS_PER_HANDLE = 32;

/** Whether the file's data goes through the journal. With delayed allocation the flag alone does not bring that about, as in Linux. @kernel ext4_inode_journal_mode */
export function journalsData(fs: Ext4, inode: Ext4Inode, flags = inode.i_flags): boolean {
  return inode.isRegular() && fs.journal.hasLog && (fs.dataMode === "journal" || ((flags & EXT4_JOURNAL_DATA_FL) !== 0 && fs.options.delalloc === false));
}

/** Requires: inode.i_rwsem(w). Takes: i_writeback, jbd2_handle, i_data_sem. */
export function* writeJournaledData(fs: Ext4, inode: Ext4Inode, offsetBytes: number, data: Uint8Array): Task<void> {
  // What mappings stored is not on its way to the journal meanwhile: it would arrive behind this, and be older.
  if (!inode.i_writeback.tryLock()) yield* inode.i_writeback.lock();
  try {
    yield* writeJournaledLocked(fs, inode, offsetBytes, data);
  } finally {
    inode.i_writeback.unlock();
  }
}

/** Requires: i_writeback. Takes: jbd2_handle, i_data_sem. */
export function* writeJournaledLocked(fs: Ext4, inode: Ext4Inode, offsetBytes: number, data: Uint8Array): Task<void> {
  for (let done = 0; done < data.length;) {
    const at = offsetBytes + done;
    const pieceEnd = (Math.floor(at / fs.blockBytes) + BLOCKS_PER_HANDLE) * fs.blockBytes;
    const piece = data.subarray(done, done + pieceEnd - at);
    yield* withSpaceRetry(fs, () => writePiece(fs, inode, at, piece));
    done += piece.length;
  }
}

function* writePiece(fs: Ext4, inode: Ext4Inode, offsetBytes: number, data: Uint8Array): Task<void> {
  const { blockBytes } = fs;
  const end = offsetBytes + data.length;
  // All that the piece needs is promised first, so that it is not cut short in its midst.
  yield* reserveBlocks(fs, inode, offsetBytes, end);
  try {
    yield* fs.change(BLOCKS_PER_HANDLE * 2 + mapCredits(fs, inode, 4) + INODE_CREDITS, function* (handle) {
      if (!inode.i_data_sem.tryWrite()) yield* inode.i_data_sem.write();
      try {
        for (let at = offsetBytes; at < end;) {
          const lblk = Math.floor(at / blockBytes);
          const inBlock = at - lblk * blockBytes;
          const length = Math.min(blockBytes - inBlock, end - at);
          const bytes = data.subarray(at - offsetBytes, at - offsetBytes + length);
          yield* writeBlock(handle, fs, inode, lblk, inBlock, bytes);
          copyIntoFolio(inode, at, bytes);
          at += length;
        }
      } finally {
        inode.i_data_sem.unlockWrite();
      }
      inode.i_mtime = inode.i_ctime = fs.now();
      extendSize(fs, inode, end, offsetBytes);
      inode.i_disksize = inode.i_size;
      inode.i_datasync_tid = handle.transaction.t_tid;
      yield* inode.markDirty(handle);
    });
  } finally {
    releasePromises(fs, inode, offsetBytes, end);
  }
}

/** What is mapped sees a block's bytes as soon as its buffer has them; who reads the folio right now reads anew. */
function copyIntoFolio({ i_mapping: mapping }: Ext4Inode, atBytes: number, bytes: Uint8Array): void {
  const index = Math.floor(atBytes / mapping.folioBytes);
  const folio = mapping.find(index);
  if (folio === undefined) mapping.changedOnDisk(index);
  else folio.data.set(bytes, atBytes % mapping.folioBytes);
}

/** What a journaled file has behind its end, in its last block and in memory, becomes zeroes. */
export function* zeroJournaledTail(fs: Ext4, inode: Ext4Inode, sizeBytes: number): Task<void> {
  const inBlock = sizeBytes % fs.blockBytes;
  const { i_mapping: mapping } = inode;
  const inFolio = sizeBytes % mapping.folioBytes;
  if (inFolio > 0) mapping.find(Math.floor(sizeBytes / mapping.folioBytes))?.data.fill(0, inFolio);
  if (inBlock === 0) return;
  const { state, pblk } = yield* mapBlocks(fs, inode, Math.floor(sizeBytes / fs.blockBytes), 1);
  if (state !== "written") return;
  yield* fs.change(INODE_CREDITS, function* (handle) {
    const buffer = handle.tryWriteAccess(pblk) ?? (yield* handle.getWriteAccess(pblk));
    buffer.data.fill(0, inBlock);
    handle.dirty(buffer);
  });
}

/** Stores that mappings made reach the disk through the journal, too. Requires: i_writeback. Takes: jbd2_handle, i_data_sem. */
export function* writebackJournaled(fs: Ext4, inode: Ext4Inode, folios: readonly Folio[]): Task<void> {
  const { i_mapping: mapping } = inode;
  for (const folio of folios) {
    mapping.writeProtect(folio);
    const { version } = folio;
    const start = folio.index * mapping.folioBytes;
    // Not a copy: what is stored or written meanwhile goes along.
    yield* writeJournaledLocked(fs, inode, start, folio.data.subarray(0, Math.max(0, Math.min(mapping.folioBytes, inode.i_size - start))));
    if (folio.version === version) mapping.markClean(folio);
  }
}

function* writeBlock(handle: Handle, fs: Ext4, inode: Ext4Inode, lblk: Lblk, inBlock: number, bytes: Uint8Array): Task<void> {
  const { state, pblk } = yield* mapBlocks(fs, inode, lblk, 1);
  if (state !== "hole") checkDataBlocks(fs, inode, pblk, 1);
  const isWhole = bytes.length === fs.blockBytes;
  let block = pblk;
  if (state === "hole") block = yield* mapNewBlock(handle, fs, inode, lblk);
  else if (state === "unwritten") yield* convertToWritten(handle, fs, inode, lblk, 1);
  // What stands behind the file's end on disk may be anything, so a block that the file only now reaches starts as zeroes.
  const isNew = state !== "written" || lblk * fs.blockBytes >= inode.i_size;
  const buffer = isNew || isWhole ? handle.getCreateAccess(block) : yield* handle.getWriteAccess(block);
  if (!isNew && inode.i_size < (lblk + 1) * fs.blockBytes) buffer.data.fill(0, inode.i_size - lblk * fs.blockBytes);
  buffer.data.set(bytes, inBlock);
  handle.dirty(buffer);
}

function* mapNewBlock(handle: Handle, fs: Ext4, inode: Ext4Inode, lblk: Lblk): Task<Pblk> {
  const ratio = fs.sb.clusterBlocks;
  const cluster = Math.floor(lblk / ratio);
  const known = ratio > 1 ? yield* clusterBlock(fs, inode, cluster) : undefined;
  if (known !== undefined) {
    const pblk = known + lblk - cluster * ratio;
    yield* insertMapping(handle, fs, inode, { lblk, pblk, count: 1, unwritten: false });
    return pblk;
  }
  const before = lblk === 0 ? undefined : yield* mapBlocks(fs, inode, lblk - 1, 1);
  const goal = before === undefined || before.state === "hole" ? fs.allocator.goalFor(inode) : before.pblk + 1;
  const claimed = yield* fs.allocator.claim({ goal, count: ratio, lblk: cluster * ratio, isReserved: true });
  const pblk = claimed.pblk + lblk - cluster * ratio;
  try {
    yield* insertMapping(handle, fs, inode, { lblk, pblk, count: 1, unwritten: false });
  } catch (error) {
    fs.allocator.release(claimed);
    throw error;
  }
  yield* fs.allocator.mark(handle, inode, claimed);
  return pblk;
}

function releasePromises(fs: Ext4, inode: Ext4Inode, fromBytes: number, endBytes: number): void {
  const first = Math.floor(fromBytes / fs.blockBytes);
  keepPromise(fs, inode, first, Math.ceil(endBytes / fs.blockBytes) - first);
}
