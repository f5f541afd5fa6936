/**
 * Reading a regular file's data: what is in memory from there, all else straight from the device into the reader's buffer, one request per run of blocks, all of them
 * submitted at once. Holes and unwritten extents are zeroes. Source: fs/ext4/file.c, fs/ext4/readpage.c.
 */
import type { Bio } from "../block/device.js";
import { EXT4_EA_INODE_FL, EXT4_ENCRYPT_FL, EXT4_INLINE_DATA_FL, EXT4_VERITY_FL } from "../format/inode.js";
import { FsError } from "../lib/errno.js";
import type { Folio } from "../mm/address-space.js";
import type { Task } from "../sched/task.js";
import { readDax } from "./dax.js";
import { readInlineData } from "./inline.js";
import type { Ext4Inode } from "./inode.js";
import { journalsData } from "./journaled-data.js";
import { lookUpBlocks } from "./map.js";
import type { Ext4 } from "./super.js";

/**
 * Whether a regular file's data can be had, or changed. Linux asks when the file is opened; whoever reads or writes asks again, as not everybody opens.
 * @throws FsError ENOKEY the file is encrypted; EPERM it is under verity, which seals its data and size for good.
 */
export function checkData(inode: Ext4Inode, isWriting: boolean): void {
  if (!inode.isRegular()) return;
  if ((inode.i_flags & EXT4_ENCRYPT_FL) !== 0) throw new FsError("ENOKEY", "the file is encrypted, and its key is not here");
  if (isWriting && (inode.i_flags & EXT4_VERITY_FL) !== 0) throw new FsError("EPERM", "the file is sealed by verity");
}

/** @throws FsError ENOKEY; EIO; CorruptionError the map is damaged. */
export function* readData(fs: Ext4, inode: Ext4Inode, offsetBytes: number, into: Uint8Array): Task<number> {
  checkData(inode, false);
  return yield* readBlocks(fs, inode, offsetBytes, into);
}

/** The same without a look at the encryption flag: directories, EA inodes and the journal are read so, too. */
export function* readBlocks(fs: Ext4, inode: Ext4Inode, offsetBytes: number, into: Uint8Array): Task<number> {
  const wanted = Math.max(0, Math.min(into.length, inode.i_size - offsetBytes));
  if (wanted === 0) return 0;
  if ((inode.i_flags & EXT4_INLINE_DATA_FL) !== 0) {
    const data = yield* readInlineData(fs, inode);
    into.fill(0, 0, wanted);
    into.set(data.subarray(Math.min(offsetBytes, data.length), Math.min(offsetBytes + wanted, data.length)));
    return wanted;
  }
  const bytes = into.subarray(0, wanted);
  if (inode.isDax) return yield* readDax(fs, inode, offsetBytes, bytes);
  const bios: Bio[] = [];
  if (inode.hasPages) yield* readCached(fs, inode, offsetBytes, bytes, bios);
  else yield* addRequests(fs, inode, offsetBytes, bytes, bios);
  if (bios.length > 0) yield* fs.device.submit(bios);
  return wanted;
}

/** Copies what is in folios, and adds requests for the rest. */
function* readCached(fs: Ext4, inode: Ext4Inode, offsetBytes: number, bytes: Uint8Array, bios: Bio[]): Task<void> {
  const { i_mapping: mapping } = inode;
  const { folioBytes } = mapping;
  let absentFrom = 0; // in `bytes`: where what is not in memory begins
  for (let done = 0; done < bytes.length;) {
    const index = Math.floor((offsetBytes + done) / folioBytes);
    const skipped = offsetBytes + done - index * folioBytes;
    const length = Math.min(folioBytes - skipped, bytes.length - done);
    const folio = mapping.find(index);
    if (folio !== undefined) {
      bytes.set(folio.data.subarray(skipped, skipped + length), done);
      if (absentFrom < done) yield* addRequests(fs, inode, offsetBytes + absentFrom, bytes.subarray(absentFrom, done), bios);
      absentFrom = done + length;
    }
    done += length;
  }
  if (absentFrom < bytes.length) yield* addRequests(fs, inode, offsetBytes + absentFrom, bytes.subarray(absentFrom), bios);
}

/** Adds the requests that fill `bytes` from disk; holes are filled at once. A journaled block that is newer in the buffer cache comes from there. */
function* addRequests(fs: Ext4, inode: Ext4Inode, offsetBytes: number, bytes: Uint8Array, bios: Bio[]): Task<void> {
  const { blockBytes } = fs;
  const isJournaled = fs.writable !== undefined && writesThroughJournal(fs, inode);
  for (let done = 0; done < bytes.length;) {
    const lblk = Math.floor((offsetBytes + done) / blockBytes);
    const skippedBytes = offsetBytes + done - lblk * blockBytes;
    const mapping = yield* lookUpBlocks(fs, inode, lblk, Math.ceil((skippedBytes + bytes.length - done) / blockBytes));
    const length = Math.min(mapping.count * blockBytes - skippedBytes, bytes.length - done);
    const data = bytes.subarray(done, done + length);
    if (mapping.state !== "written") data.fill(0);
    else if (isJournaled) addUnlessCached(fs, mapping.pblk * blockBytes + skippedBytes, data, bios);
    else bios.push({ op: "read", offsetBytes: mapping.pblk * blockBytes + skippedBytes, data });
    done += length;
  }
}

/** Whether blocks of this file's data are written as metadata is: by a journaled file, a symbolic link, the value of an attribute. */
function writesThroughJournal(fs: Ext4, inode: Ext4Inode): boolean {
  return !inode.isRegular() || (inode.i_flags & EXT4_EA_INODE_FL) !== 0 || journalsData(fs, inode);
}

/** What the journal has not written home yet is pinned in the buffer cache, so a block that is absent there is right on disk. */
function addUnlessCached(fs: Ext4, atBytes: number, data: Uint8Array, bios: Bio[]): void {
  const { blockBytes } = fs;
  for (let done = 0; done < data.length;) {
    const block = Math.floor((atBytes + done) / blockBytes);
    const skipped = atBytes + done - block * blockBytes;
    const length = Math.min(blockBytes - skipped, data.length - done);
    const into = data.subarray(done, done + length);
    const buffer = fs.cache.peek(block);
    if (buffer === undefined) bios.push({ op: "read", offsetBytes: atBytes + done, data: into });
    else into.set(buffer.data.subarray(skipped, skipped + length));
    done += length;
  }
}

/** Folios before and behind a faulting one that are read along with it. */
const READAROUND_BYTES = 65536;

/** The folio, and its neighbours that are not in memory, in one go. */
export function* readFolioAround(fs: Ext4, inode: Ext4Inode, index: number): Task<Folio> {
  const { i_mapping: mapping } = inode;
  const window = Math.max(1, READAROUND_BYTES / mapping.folioBytes);
  if ((inode.i_flags & EXT4_INLINE_DATA_FL) !== 0 || window === 1) return yield* readFolio(fs, inode, index);
  let first = index;
  let end = index + 1;
  const endOfFile = Math.ceil(inode.i_size / mapping.folioBytes);
  while (first > index - (index % window) && mapping.find(first - 1) === undefined) first--;
  while (end < Math.min(index - (index % window) + window, endOfFile) && mapping.find(end) === undefined) end++;
  const bytes = new Uint8Array((end - first) * mapping.folioBytes);
  const start = first * mapping.folioBytes;
  const bios: Bio[] = [];
  const reading = mapping.beginReading(first, end - first);
  try {
    yield* addRequests(fs, inode, start, bytes.subarray(0, Math.min(bytes.length, inode.i_size - start)), bios);
    if (bios.length > 0) yield* fs.device.submit(bios);
  } finally {
    mapping.endReading(reading);
  }
  if (reading.isStale) return yield* readFolio(fs, inode, index);
  for (let at = first; at < end; at++) {
    // Another task may have brought some in meanwhile, or the file may be shorter now.
    if (mapping.find(at) === undefined && at * mapping.folioBytes < inode.i_size) mapping.create(at, 1)[0]!.data.set(bytes.subarray((at - first) * mapping.folioBytes, (at - first + 1) * mapping.folioBytes));
  }
  return mapping.find(index) ?? (yield* readFolio(fs, inode, index));
}

/** The folio, read if it is not in memory. Behind the file's end it is zeroes, whatever the disk has there. */
export function* readFolio(fs: Ext4, inode: Ext4Inode, index: number): Task<Folio> {
  const { i_mapping: mapping } = inode;
  for (;;) {
    const known = mapping.find(index);
    if (known !== undefined) return known;
    const reading = mapping.beginReading(index, 1);
    let bytes: Uint8Array;
    try {
      bytes = yield* readWhole(fs, inode, index * mapping.folioBytes, mapping.folioBytes);
    } finally {
      mapping.endReading(reading);
    }
    if (reading.isStale) continue;
    const meanwhile = mapping.find(index);
    if (meanwhile !== undefined) return meanwhile;
    const folio = mapping.create(index, 1)[0]!;
    folio.data.set(bytes);
    return folio;
  }
}

/** What the file has there now, less at its end. */
function* readWhole(fs: Ext4, inode: Ext4Inode, start: number, lengthBytes: number): Task<Uint8Array> {
  const bytes = new Uint8Array(Math.max(0, Math.min(lengthBytes, inode.i_size - start)));
  const bios: Bio[] = [];
  if ((inode.i_flags & EXT4_INLINE_DATA_FL) !== 0) bytes.set((yield* readInlineData(fs, inode)).subarray(start, start + bytes.length));
  else if (bytes.length > 0) yield* addRequests(fs, inode, start, bytes, bios);
  if (bios.length > 0) yield* fs.device.submit(bios);
  return bytes;
}
