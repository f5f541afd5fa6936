/**
 * Files whose pages are those of a persistent memory: which they are, where their bytes stand, and what a store fault or a write does for its blocks. A store fault looks first, and starts one
 * handle only if blocks must be allocated or converted; where 2 MiB cannot be had in one aligned piece it says so before anything is changed.
 * Source: ext4_should_enable_dax, ext4_iomap_begin, ext4_iomap_alloc (fs/ext4/inode.c), ext4_dax_write_iter (fs/ext4/file.c), parse_apply_sb_mount_options, ext4_fill_super.
 */
import { OverlayDevice } from "../block/overlay.js";
import { EXT4_DAX_FL, EXT4_ENCRYPT_FL, EXT4_EXTENTS_FL, EXT4_INLINE_DATA_FL, EXT4_VERITY_FL } from "../format/inode.js";
import { FsError } from "../lib/errno.js";
import type { Lblk, Pblk } from "../lib/numbers.js";
import { daxDeviceOf, type DaxDevice } from "../dax/device.js";
import type { Iomap } from "../dax/iomap.js";
import { invalidateClean } from "../dax/writeback.js";
import { PAGE_BYTES } from "../mm/memory.js";
import type { Task } from "../sched/task.js";
import { INODE_CREDITS } from "./file-write.js";
import type { Ext4Inode } from "./inode.js";
import { journalsData } from "./journaled-data.js";
import { lookUpBlocks } from "./map.js";
import { checkDataBlocks } from "./map-write.js";
import { withSpaceRetry } from "./space.js";
import type { Ext4 } from "./super.js";
import { applyPieces, claimPiece, releaseClaims, type Piece } from "./writeback.js";

export type DaxMode = "always" | "inode" | "never";

/** The device to map; undefined: files have a page cache. @throws FsError EINVAL dax=always is asked for, and cannot be. */
export function daxDeviceFor(fs: Ext4): DaxDevice | undefined {
  const { dax } = fs.options;
  const device = fs.blockBytes === PAGE_BYTES ? daxDeviceOf(fs.device) : undefined;
  if (dax !== "always") return dax === "never" ? undefined : device;
  if (fs.dataMode === "journal") throw new FsError("EINVAL", "can't mount with both data=journal and dax");
  fs.strategy.checkInlineData(fs);
  if (fs.blockBytes !== PAGE_BYTES) throw new FsError("EINVAL", "unsupported blocksize for DAX");
  // Who only reads sees a dirty journal's blocks in memory, over the device: what lies on the device alone is not the file.
  if (fs.device instanceof OverlayDevice) throw new FsError("EINVAL", "DAX needs the journal recovered on the device, by a mount that may write");
  if (device === undefined) throw new FsError("EINVAL", "DAX unsupported by block device.");
  return device;
}

/** Whether a file that comes into core is one: S_DAX, which then stays as it is. */
export function isDaxFile(fs: Ext4, inode: Ext4Inode, flags = inode.i_flags): boolean {
  if (fs.daxDevice === undefined || !inode.isRegular() || (fs.writable !== undefined && journalsData(fs, inode, flags))) return false;
  if ((flags & (EXT4_INLINE_DATA_FL | EXT4_ENCRYPT_FL | EXT4_VERITY_FL)) !== 0) return false;
  return fs.options.dax === "always" || (flags & EXT4_DAX_FL) !== 0;
}

/**
 * What stands behind bytes of the file. Offset and length are multiples of a page. An indirect map is asked once: what it says of a hole ends with a block of the map, and so 2 MiB of such a hole
 * are read page by page, as in Linux.
 */
export function iomapRead(fs: Ext4, inode: Ext4Inode, offsetBytes: number, lengthBytes: number): Task<Iomap> {
  return iomapOf(fs, inode, offsetBytes, lengthBytes, (inode.i_flags & EXT4_EXTENTS_FL) !== 0);
}

function* iomapOf(fs: Ext4, inode: Ext4Inode, offsetBytes: number, lengthBytes: number, joinsHoles: boolean): Task<Iomap> {
  const { state, pblk, count } = yield* lookUpBlocks(fs, inode, offsetBytes / fs.blockBytes, lengthBytes / fs.blockBytes);
  let blocks = count;
  // A hole's length is a lower bound.
  while (joinsHoles && state === "hole" && blocks * fs.blockBytes < lengthBytes) {
    const next = yield* lookUpBlocks(fs, inode, offsetBytes / fs.blockBytes + blocks, lengthBytes / fs.blockBytes - blocks);
    if (next.state !== "hole") break;
    blocks += next.count;
  }
  return {
    type: state === "written" ? "mapped" : state, addressBytes: pblk * fs.blockBytes, lengthBytes: Math.min(lengthBytes, blocks * fs.blockBytes), isNew: false, isDirty: false,
  };
}

/**
 * Makes all of a page, or of 2 MiB, written, for a store through a mapping. Undefined: not in one aligned piece. Takes: i_writeback, jbd2_handle, i_data_sem.
 * @throws FsError ENOSPC, EROFS, EIO.
 */
export function* iomapFault(fs: Ext4, inode: Ext4Inode, offsetBytes: number, lengthBytes: number): Task<Iomap | undefined> {
  fs.checkWritable();
  fs.journal.checkUsable();
  const isHuge = lengthBytes > PAGE_BYTES;
  const attempt = (): Task<Iomap | undefined> => prepareStore(fs, inode, offsetBytes, lengthBytes, isHuge);
  return isHuge ? yield* attempt() : yield* withSpaceRetry(fs, attempt);
}

function* prepareStore(fs: Ext4, inode: Ext4Inode, offsetBytes: number, lengthBytes: number, isHuge: boolean): Task<Iomap | undefined> {
  if (!inode.i_writeback.tryLock()) yield* inode.i_writeback.lock();
  try {
    const iomap = yield* iomapOf(fs, inode, offsetBytes, lengthBytes, true);
    if (iomap.lengthBytes < lengthBytes) return undefined;
    if (iomap.type !== "hole") checkDataBlocks(fs, inode, iomap.addressBytes / fs.blockBytes, lengthBytes / fs.blockBytes);
    if (iomap.type !== "hole" && isHuge && !fs.daxDevice!.isAligned(iomap.addressBytes, lengthBytes)) return undefined;
    if (iomap.type === "mapped") {
      yield* stampFault(fs, inode);
      return { ...iomap, isDirty: isUnsynced(fs, inode, offsetBytes + lengthBytes) };
    }
    const piece = yield* pieceFor(fs, inode, offsetBytes / fs.blockBytes, lengthBytes / fs.blockBytes, iomap);
    if (piece === undefined) return undefined;
    try {
      fs.daxDevice!.zero(piece.pblk * fs.blockBytes, lengthBytes);
      inode.i_mtime = inode.i_ctime = fs.now();
      yield* applyPieces(fs, inode, [piece], inode.i_disksize, "MAP_BLOCKS");
    } catch (error) {
      releaseClaims(fs, [piece]);
      throw error;
    }
    return { type: "mapped", addressBytes: piece.pblk * fs.blockBytes, lengthBytes, isNew: true, isDirty: true };
  } finally {
    inode.i_writeback.unlock();
  }
}

/** Blocks for all of the range, there or claimed; undefined: the free space does not have them in one piece that can be mapped so. */
function* pieceFor(fs: Ext4, inode: Ext4Inode, lblk: Lblk, count: number, { type, addressBytes }: Iomap): Task<Piece | undefined> {
  if (type === "unwritten") return { lblk, pblk: addressBytes / fs.blockBytes, count, kind: "convert", claimed: undefined };
  const device = fs.daxDevice!;
  const skew = (device.pmem.physicalAddress / fs.blockBytes) % count;
  const piece = yield* claimPiece(fs, inode, lblk, count, [], false, (goal) => Math.ceil((goal + skew) / count) * count - skew);
  if (piece.count === count && device.isAligned(piece.pblk * fs.blockBytes, count * fs.blockBytes)) return piece;
  releaseClaims(fs, [piece]);
  return undefined;
}

/** Times change once per tick of the clock, at the fault. */
export function* stampFault(fs: Ext4, inode: Ext4Inode): Task<void> {
  const now = fs.now();
  const isSame = (time: { sec: number; nsec: number }): boolean => time.sec === now.sec && time.nsec === now.nsec;
  if (isSame(inode.i_mtime) && isSame(inode.i_ctime)) return;
  yield* fs.change(INODE_CREDITS, function* (handle) {
    inode.i_mtime = inode.i_ctime = now;
    yield* inode.markDirty(handle);
  }, "INODE");
}

/** Whether the way to the bytes before `endBytes` would be lost by a crash. */
function isUnsynced(fs: Ext4, inode: Ext4Inode, endBytes: number): boolean {
  return endBytes > inode.i_size || (inode.i_datasync_tid !== undefined && fs.journal.isPending(inode.i_datasync_tid));
}

/**
 * Copies out of the device. A bad page ends it: what came before it counts. The whole range lies in the file. Returns the bytes read.
 * @throws FsError EIO the first page is bad. @kernel dax_iomap_iter
 */
export function* readDax(fs: Ext4, inode: Ext4Inode, offsetBytes: number, into: Uint8Array): Task<number> {
  const { blockBytes } = fs;
  for (let done = 0; done < into.length;) {
    const lblk = Math.floor((offsetBytes + done) / blockBytes);
    const skipped = offsetBytes + done - lblk * blockBytes;
    const { state, pblk, count } = yield* lookUpBlocks(fs, inode, lblk, Math.ceil((skipped + into.length - done) / blockBytes));
    const length = Math.min(count * blockBytes - skipped, into.length - done);
    if (state !== "written") into.fill(0, done, done + length);
    else {
      const bytes = goodBytes(fs, pblk * blockBytes + skipped, length);
      into.set(bytes, done);
      if (bytes.length < length) {
        if (done + bytes.length === 0) throw new FsError("EIO", `${fs.device.name} is poisoned at ${pblk * blockBytes + skipped}`);
        return done + bytes.length;
      }
    }
    done += length;
  }
  return into.length;
}

/** The device's bytes up to the first that cannot be read. */
function goodBytes(fs: Ext4, atBytes: number, lengthBytes: number): Uint8Array {
  try {
    return fs.daxDevice!.pmem.directAccess(atBytes, lengthBytes);
  } catch (error) {
    if (error instanceof FsError && error.code === "EHWPOISON") return new Uint8Array(0);
    throw error;
  }
}

/**
 * Writes past the page cache, straight into the device. Where blocks come to a hole they hold the data before they are the file's. Requires: i_rwsem(w). Takes: i_writeback, jbd2_handle, i_data_sem.
 * @throws FsError ENOSPC, EIO.
 */
export function* writeDax(fs: Ext4, inode: Ext4Inode, offsetBytes: number, data: Uint8Array): Task<void> {
  yield* withSpaceRetry(fs, function* () {
    const endBytes = offsetBytes + data.length;
    if (!inode.i_writeback.tryLock()) yield* inode.i_writeback.lock();
    const pieces: Piece[] = [];
    try {
      const end = Math.ceil(endBytes / fs.blockBytes);
      for (let lblk = Math.floor(offsetBytes / fs.blockBytes); lblk < end;) lblk += yield* writeBlocks(fs, inode, lblk, end - lblk, offsetBytes, data, pieces);
      if (pieces.length === 0) return;
      // The data is there, so the size may be, too: a block behind the end would be a mistake to e2fsck.
      yield* applyPieces(fs, inode, pieces, Math.max(inode.i_disksize, endBytes), "MAP_BLOCKS");
    } catch (error) {
      releaseClaims(fs, pieces);
      throw error;
    } finally {
      inode.i_writeback.unlock();
    }
    yield* invalidateClean(inode, offsetBytes, endBytes);
  });
}

/** One run of blocks in one state. Returns how many. */
function* writeBlocks(fs: Ext4, inode: Ext4Inode, lblk: Lblk, countMax: number, offsetBytes: number, data: Uint8Array, pieces: Piece[]): Task<number> {
  const { blockBytes } = fs;
  const { state, pblk, count } = yield* lookUpBlocks(fs, inode, lblk, countMax);
  if (state !== "hole") checkDataBlocks(fs, inode, pblk, count);
  if (state === "written") {
    storeInto(fs, lblk, pblk, count, offsetBytes, data, inode.i_size);
    return count;
  }
  const piece = state === "hole" ? yield* claimPiece(fs, inode, lblk, count, pieces, false) : { lblk, pblk, count, kind: "convert" as const, claimed: undefined };
  pieces.push(piece);
  // What the data leaves of the first and the last block reads as zeroes.
  const from = Math.max(offsetBytes, lblk * blockBytes) - lblk * blockBytes;
  const to = Math.min(offsetBytes + data.length, (lblk + piece.count) * blockBytes) - lblk * blockBytes;
  const device = fs.daxDevice!;
  if (from > 0) device.zero(piece.pblk * blockBytes, from);
  if (to < piece.count * blockBytes) device.zero(piece.pblk * blockBytes + to, piece.count * blockBytes - to);
  storeInto(fs, lblk, piece.pblk, piece.count, offsetBytes, data, Infinity);
  return piece.count;
}

/** Copies what of `data` lies in blocks, past the processor's caches. Behind `sizeBytes`, up to where the data begins, stands nothing that is to be read. */
function storeInto(fs: Ext4, lblk: Lblk, pblk: Pblk, count: number, offsetBytes: number, data: Uint8Array, sizeBytes: number): void {
  const { pmem } = fs.daxDevice!;
  const shift = (pblk - lblk) * fs.blockBytes;
  const from = Math.max(offsetBytes, lblk * fs.blockBytes);
  const to = Math.min(offsetBytes + data.length, (lblk + count) * fs.blockBytes);
  if (sizeBytes < from && from - sizeBytes < fs.blockBytes && sizeBytes >= lblk * fs.blockBytes) fs.daxDevice!.zero(sizeBytes + shift, from - sizeBytes);
  const bytes = data.subarray(from - offsetBytes, to - offsetBytes);
  if (pmem.isPoisoned(from + shift, to - from)) return writePoisoned(fs, from + shift, bytes);
  pmem.storeNonTemporal(from + shift, bytes);
}

/** A write that covers a bad page whole makes it good; one in part cannot know the rest. @throws FsError EIO. */
function writePoisoned(fs: Ext4, atBytes: number, bytes: Uint8Array): void {
  const { pmem } = fs.daxDevice!;
  for (let done = 0; done < bytes.length;) {
    const at = atBytes + done;
    const length = Math.min(PAGE_BYTES - (at % PAGE_BYTES), bytes.length - done);
    const piece = bytes.subarray(done, done + length);
    if (!pmem.isPoisoned(at, length)) pmem.storeNonTemporal(at, piece);
    else if (length === PAGE_BYTES) pmem.recoveryWrite(at, piece);
    else throw new FsError("EIO", `${pmem.name} is poisoned at ${at}`);
    done += length;
  }
}

/** Zeroes bytes that a file keeps, where they have a block. */
export function* zeroDax(fs: Ext4, inode: Ext4Inode, fromBytes: number, endBytes: number): Task<void> {
  for (let at = fromBytes; at < endBytes;) {
    const lblk = Math.floor(at / fs.blockBytes);
    const { state, pblk } = yield* lookUpBlocks(fs, inode, lblk, 1);
    const end = Math.min(endBytes, (lblk + 1) * fs.blockBytes);
    if (state === "written") fs.daxDevice!.zero(pblk * fs.blockBytes + at - lblk * fs.blockBytes, end - at);
    at = end;
  }
}
