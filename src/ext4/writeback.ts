/**
 * Writing dirty pages back. Data goes first, to blocks that are claimed for it in memory only; when it is there, a handle makes the blocks the file's. So a crash shows the old file or the new
 * data, never what stood in the blocks before, and no commit has to wait for data. Source: fs/ext4/inode.c (ext4_do_writepages, mpage_map_and_submit_extent), with the order turned round.
 */
import type { Bio } from "../block/device.js";
import type { Lblk, Pblk } from "../lib/numbers.js";
import { writebackDax } from "../dax/writeback.js";
import type { AddressSpace, Folio } from "../mm/address-space.js";
import type { Task } from "../sched/task.js";
import { clusterBlock, INODE_CREDITS } from "./file-write.js";
import type { Ext4Inode } from "./inode.js";
import { journalsData, writebackJournaled } from "./journaled-data.js";
import { mapBlocks } from "./map.js";
import { checkDataBlocks, convertToWritten, insertMapping, lastMappedLblk, mapCredits } from "./map-write.js";
import type { BlockRun } from "./mballoc.js";
import type { Ext4, HandleType } from "./super.js";
import { withSpaceRetry } from "./space.js";

/** Data that is written with one set of requests. */
const BATCH_BYTES_MAX = 8 * 2 ** 20;
/** Pieces of a file's map that one handle changes. */
const PIECES_PER_HANDLE = 8;

/** Neighbouring dirty blocks, with where their data is. */
interface DirtyRun { readonly lblk: Lblk; count: number; readonly data: Uint8Array[] }

/** A change of the map that must follow when the data is on its way. `claimed`: the blocks were free. */
export interface Piece { readonly lblk: Lblk; readonly pblk: Pblk; readonly count: number; readonly kind: "insert" | "convert"; readonly claimed: BlockRun | undefined }

/** What writeback has to do for some folios. */
export interface WritePlan {
  readonly bios: readonly Bio[];
  /** Emptied as they become the file's. */
  readonly pieces: Piece[];
  /** How far the size on disk follows, if it is not there yet. */
  readonly endBytes: number;
}

/** Data first: when the blocks are the file's, nothing else stands in them. */
export function* writeOut(fs: Ext4, inode: Ext4Inode, { bios, pieces, endBytes }: WritePlan): Task<void> {
  yield* fs.device.submit(bios);
  yield* applyPieces(fs, inode, pieces, endBytes);
}

/**
 * Writes the dirty pages of bytes fromBytes .. endBytes - 1 and makes their blocks the file's. They are durable after the next commit and flush.
 * Takes: s_writepages_rwsem(r), i_writeback, jbd2_handle, i_data_sem.
 */
export function* writebackInode(fs: Ext4, inode: Ext4Inode, fromBytes = 0, endBytes = Infinity): Task<void> {
  if (inode.isDax) yield* writebackDax(inode, fromBytes, endBytes, fs.events);
  if (!inode.hasDirtyPages) return;
  const { s_writepages_rwsem: writepages } = fs;
  if (!writepages.tryRead()) yield* writepages.read();
  try {
    if (!inode.i_writeback.tryLock()) yield* inode.i_writeback.lock();
    try {
      yield* writebackLocked(fs, inode, fromBytes, endBytes);
    } finally {
      inode.i_writeback.unlock();
    }
  } finally {
    writepages.unlockRead();
  }
}

/** Requires: i_writeback. */
export function* writebackLocked(fs: Ext4, inode: Ext4Inode, fromBytes = 0, endBytes = Infinity): Task<void> {
  const { i_mapping: mapping } = inode;
  for (let at = fromBytes; isDirtyWithin(mapping, at, endBytes);) {
    // Pages from the size on disk on go along, also those that became dirty anew: the size is to pass nothing that is left behind, and no block is to come behind the size.
    const folios = nextBatch(mapping, endBytes > inode.i_disksize ? Math.min(at, inode.i_disksize) : at, endBytes);
    if (journalsData(fs, inode)) yield* writebackJournaled(fs, inode, folios);
    else yield* withSpaceRetry(fs, () => writeBatch(fs, inode, folios));
    at = Math.max(at, (folios.at(-1)!.index + 1) * mapping.folioBytes);
  }
}

/** Writes back files until a good part of what is dirty is on disk. Called by who made too much of it. */
export function* writebackSome(fs: Ext4): Task<void> {
  const target = fs.pageCache.limitBytes / 4;
  for (const inode of fs.dirtyInodes()) {
    if (fs.pageCache.dirtyBytes <= target) return;
    yield* writebackInode(fs, inode);
  }
}

function isDirtyWithin({ dirtyFolios, folioBytes }: AddressSpace, fromBytes: number, endBytes: number): boolean {
  const first = Math.floor(fromBytes / folioBytes);
  const end = Math.ceil(endBytes / folioBytes);
  for (const { index } of dirtyFolios) if (index >= first && index < end) return true;
  return false;
}

function nextBatch(mapping: AddressSpace, fromBytes: number, endBytes: number): Folio[] {
  const first = Math.floor(fromBytes / mapping.folioBytes);
  const end = Math.ceil(endBytes / mapping.folioBytes);
  const dirty = [...mapping.dirtyFolios].filter(({ index }) => index >= first && index < end).sort((a, b) => a.index - b.index);
  return dirty.slice(0, Math.max(1, BATCH_BYTES_MAX / mapping.folioBytes));
}

function* writeBatch(fs: Ext4, inode: Ext4Inode, folios: readonly Folio[]): Task<void> {
  const { i_mapping: mapping } = inode;
  // From here on a store through a mapping faults first, and so makes a new version.
  for (const folio of folios) mapping.writeProtect(folio);
  const versions = folios.map(({ version }) => version);
  const bios: Bio[] = [];
  const pieces: Piece[] = [];
  const endBytes = sizeToFollow(inode, folios);
  try {
    for (const run of dirtyRuns(inode, fs.blockBytes, folios)) yield* planRun(fs, inode, run, bios, pieces);
    yield* fs.strategy.writeOut(fs, inode, { bios, pieces, endBytes });
  } catch (error) {
    releaseClaims(fs, pieces);
    throw error;
  }
  folios.forEach((folio, index) => {
    if (folio.version === versions[index]) mapping.markClean(folio);
  });
}

/** The size that the disk may have when the folios are written: what the file has now, as later bytes are not written now, and no further than to the first dirty page that is left behind. */
function sizeToFollow({ i_mapping: mapping, i_size, i_disksize }: Ext4Inode, folios: readonly Folio[]): number {
  const { folioBytes } = mapping;
  const written = new Set(folios);
  let endBytes = i_size;
  for (const folio of mapping.dirtyFolios) {
    if (!written.has(folio) && (folio.index + 1) * folioBytes > i_disksize) endBytes = Math.min(endBytes, folio.index * folioBytes);
  }
  return endBytes;
}

/** Gives back what was claimed for pieces that did not become the file's. */
export function releaseClaims(fs: Ext4, pieces: readonly Piece[]): void {
  for (const { claimed } of pieces) if (claimed !== undefined) fs.allocator.release(claimed);
}

function dirtyRuns(inode: Ext4Inode, blockBytes: number, folios: readonly Folio[]): DirtyRun[] {
  const { i_mapping: mapping } = inode;
  const runs: DirtyRun[] = [];
  let last: DirtyRun | undefined;
  for (const folio of folios) {
    const bytes = bytesToWrite(inode, folio);
    for (let block = 0; block < mapping.blocksPerFolio; block++) {
      if ((folio.dirtyBlocks & (1 << block)) === 0) continue;
      const lblk = folio.index * mapping.blocksPerFolio + block;
      const data = bytes.subarray(block * blockBytes, (block + 1) * blockBytes);
      if (last !== undefined && last.lblk + last.count === lblk) {
        last.count++;
        last.data.push(data);
      } else runs.push(last = { lblk, count: 1, data: [data] });
    }
  }
  return runs;
}

/** What a program stores behind the file's end does not get to the disk: a longer file, as an older commit may still have it, would have it for its own. @kernel ext4_bio_write_folio */
function bytesToWrite({ i_mapping: mapping, i_size }: Ext4Inode, { index, data }: Folio): Uint8Array {
  const inFolio = i_size - index * mapping.folioBytes;
  if (inFolio <= 0 || inFolio >= mapping.folioBytes) return data;
  // Where it is mapped, more may be stored until the request is done.
  return (mapping.isMapped ? data.slice() : data).fill(0, inFolio);
}

/** Finds or claims blocks for a run, and adds its requests. */
function* planRun(fs: Ext4, inode: Ext4Inode, run: DirtyRun, bios: Bio[], pieces: Piece[]): Task<void> {
  for (let done = 0; done < run.count;) {
    const lblk = run.lblk + done;
    const { state, pblk, count } = yield* mapBlocks(fs, inode, lblk, run.count - done);
    const piece = state === "hole" ? yield* claimPiece(fs, inode, lblk, count, pieces) : { lblk, pblk, count, kind: "convert" as const, claimed: undefined };
    if (state !== "hole") checkDataBlocks(fs, inode, piece.pblk, piece.count);
    if (state !== "written") pieces.push(piece);
    addWrites(fs, bios, piece.pblk, run.data.slice(done, done + piece.count));
    done += piece.count;
  }
}

/** Blocks for a hole: with bigalloc those of a cluster that the file has already, else free ones near what comes before. */
export function* claimPiece(fs: Ext4, inode: Ext4Inode, lblk: Lblk, count: number, pieces: readonly Piece[], isReserved = true, aligned = (goal: Pblk): Pblk => goal): Task<Piece> {
  const ratio = fs.sb.clusterBlocks;
  const cluster = Math.floor(lblk / ratio);
  const skipped = lblk - cluster * ratio;
  if (ratio > 1) {
    const before = pieces.findLast((piece) => Math.floor((piece.lblk + piece.count - 1) / ratio) === cluster);
    const known = before !== undefined ? before.pblk - (before.lblk - cluster * ratio) : yield* clusterBlock(fs, inode, cluster);
    if (known !== undefined) return { lblk, pblk: known + skipped, count: Math.min(count, ratio - skipped), kind: "insert", claimed: undefined };
    // The hole may end inside a cluster whose later blocks the file has already: that one is for the next piece.
    const lastCluster = Math.floor((lblk + count - 1) / ratio);
    if (lastCluster > cluster && (yield* clusterBlock(fs, inode, lastCluster)) !== undefined) count = lastCluster * ratio - lblk;
  }
  const last = pieces.at(-1);
  const goal = last !== undefined && last.kind === "insert" ? last.pblk + last.count + (lblk - last.lblk - last.count) : yield* goalFor(fs, inode, lblk);
  const claimed = yield* fs.allocator.claim({ goal: aligned(goal), count: Math.ceil((skipped + count) / ratio) * ratio, lblk: lblk - skipped, isReserved });
  return { lblk, pblk: claimed.pblk + skipped, count: Math.min(count, claimed.count - skipped), kind: "insert", claimed };
}

/** Behind the block that comes before in the file, at the same distance. */
function* goalFor(fs: Ext4, inode: Ext4Inode, lblk: Lblk): Task<Pblk> {
  const last = yield* lastMappedLblk(fs, inode);
  if (last === undefined) return fs.allocator.goalFor(inode);
  if (last.lblk < lblk) return last.pblk + 1;
  return fs.allocator.goalFor(inode);
}

/** Requests for neighbouring blocks; memory that lies together is one request. */
function addWrites(fs: Ext4, bios: Bio[], pblk: Pblk, blocks: readonly Uint8Array[]): void {
  const { blockBytes } = fs;
  for (let from = 0; from < blocks.length;) {
    const first = blocks[from]!;
    let end = from + 1;
    while (end < blocks.length && blocks[end]!.buffer === first.buffer && blocks[end]!.byteOffset === first.byteOffset + (end - from) * blockBytes) end++;
    bios.push({ op: "write", offsetBytes: (pblk + from) * blockBytes, data: new Uint8Array(first.buffer as ArrayBuffer, first.byteOffset, (end - from) * blockBytes) });
    from = end;
  }
}

/** Makes the blocks the file's, in handles of a few pieces each, and lets the size on disk follow to `endBytes`, with each handle as far as its pieces go: blocks behind the end would be a mistake to e2fsck. */
export function* applyPieces(fs: Ext4, inode: Ext4Inode, pieces: Piece[], endBytes: number, type: HandleType = "WRITE_PAGE"): Task<void> {
  if (pieces.length === 0 && endBytes <= inode.i_disksize) return;
  do {
    // A small journal, or a map without extents, allows fewer.
    let count = Math.min(pieces.length, PIECES_PER_HANDLE);
    const creditsFor = (pieceCount: number): number => mapCredits(fs, inode, pieceCount) + pieceCount * 2 + INODE_CREDITS;
    while (count > 1 && creditsFor(count) > fs.journal.transactionBlocksMax / 2) count--;
    const batch = pieces.slice(0, count);
    yield* fs.change(creditsFor(count), function* (handle) {
      if (!inode.i_data_sem.tryWrite()) yield* inode.i_data_sem.write();
      try {
        for (const { lblk, pblk, count, kind, claimed } of batch) {
          if (kind === "insert") yield* insertMapping(handle, fs, inode, { lblk, pblk, count, unwritten: false });
          else yield* convertToWritten(handle, fs, inode, lblk, count);
          // Only now: where the map finds no room for the piece, nothing was changed.
          if (claimed !== undefined) yield* fs.allocator.mark(handle, inode, claimed);
          pieces.shift();
          keepPromise(fs, inode, lblk, count);
        }
        const last = batch.at(-1);
        const reachedBytes = pieces.length === 0 || last === undefined ? endBytes : Math.min(endBytes, (last.lblk + last.count) * fs.blockBytes);
        inode.i_disksize = Math.max(inode.i_disksize, reachedBytes);
      } finally {
        inode.i_data_sem.unlockWrite();
      }
      inode.i_datasync_tid = handle.transaction.t_tid;
      yield* inode.markDirty(handle);
    }, type);
  } while (pieces.length > 0);
}

/** Space was chosen for what it was promised for. */
export function keepPromise(fs: Ext4, inode: Ext4Inode, lblk: Lblk, count: number): void {
  const ratio = fs.sb.clusterBlocks;
  for (let cluster = Math.floor(lblk / ratio); cluster * ratio < lblk + count; cluster++) {
    if (inode.delayedClusters.delete(cluster)) fs.allocator.unreserve(1);
  }
}
