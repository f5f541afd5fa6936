/**
 * Changing one area of directory entries: a block, or a piece of an inline directory. Plain code over areas that were checked. An area is always full of entries: free
 * space is an unused entry, or slack behind a used one. What is freed is wiped, so that no deleted name stays on disk. Directories with hashes behind their
 * names (encrypted and casefolded) only lose entries here: adding one takes a key.
 * Source: fs/ext4/namei.c (ext4_find_dest_de, ext4_insert_dentry, ext4_generic_delete_entry).
 */
import type { BufferHead } from "../block/buffer-cache.js";
import { sealDirLeaf, sealDxBlock } from "../format/checksum.js";
import { CorruptionError } from "../format/corruption.js";
import { EXT4_FT_DIR_CSUM, ext4_dir_entry_2, ext4_dir_entry_tail, recLenFromDisk, recLenToDisk, HEAD_BYTES, roundUp4 } from "../format/dir-entry.js";
import { bytesEqual } from "../lib/bytes.js";
import type { Ino, Lblk } from "../lib/numbers.js";
import type { Handle } from "../jbd2/handle.js";
import type { Task } from "../sched/task.js";
import { S_IFDIR } from "../vfs/inode.js";
import { entryName, fileTypeOf, nameLength, TAIL_BYTES } from "./dir.js";
import type { Ext4Inode } from "./inode.js";
import type { Ext4 } from "./super.js";

const DOT = 0x2e;
const DOT_NAME = Uint8Array.of(DOT);
const DOTDOT_NAME = Uint8Array.of(DOT, DOT);

/** A name that is about to be stored, and what it leads to. */
export interface NewEntry {
  readonly name: Uint8Array;
  readonly ino: Ino;
  /** Of the inode: the entry says its type. */
  readonly mode: number;
}

/** Bytes of an entry without slack. */
export const entryBytes = (nameBytes: number): number => roundUp4(HEAD_BYTES + nameBytes);
export const ENTRY_BYTES_MAX = entryBytes(255);

/** Bytes that an entry needs for itself: none, if it is unused. */
export function usedBytes(fs: Ext4, view: DataView, at: number): number {
  return ext4_dir_entry_2.inode.get(view, at) === 0 ? 0 : entryBytes(nameLength(fs, view, at));
}

function recLenAt(fs: Ext4, view: DataView, at: number): number {
  return recLenFromDisk(ext4_dir_entry_2.rec_len.get(view, at), fs.blockBytes);
}

function setRecLen(fs: Ext4, view: DataView, at: number, recLen: number): void {
  ext4_dir_entry_2.rec_len.set(view, at, recLenToDisk(recLen, fs.blockBytes));
}

/** The first entry with room for `neededBytes` more, or -1. */
export function findGap(fs: Ext4, view: DataView, from: number, end: number, neededBytes: number): number {
  for (let at = from; at < end;) {
    const recLen = recLenAt(fs, view, at);
    if (recLen >= neededBytes && recLen - usedBytes(fs, view, at) >= neededBytes) return at;
    at += recLen;
  }
  return -1;
}

/** Puts an entry into the room at `at`, which findGap found. */
export function placeEntry(fs: Ext4, view: DataView, at: number, entry: NewEntry): void {
  const recLen = recLenAt(fs, view, at);
  const used = usedBytes(fs, view, at);
  if (used > 0) setRecLen(fs, view, at, used);
  writeEntry(fs, view, at + used, recLen - used, entry);
}

function writeEntry(fs: Ext4, view: DataView, at: number, recLen: number, { name, ino, mode }: NewEntry): void {
  ext4_dir_entry_2.inode.set(view, at, ino);
  setRecLen(fs, view, at, recLen);
  ext4_dir_entry_2.name_len.set(view, at, name.length);
  ext4_dir_entry_2.file_type.set(view, at, fileTypeOf(fs, mode));
  bytesOf(view).set(name, at + HEAD_BYTES);
}

/** Lets the entry lead to another inode. */
export function retargetEntry(fs: Ext4, view: DataView, at: number, ino: Ino, mode: number): void {
  ext4_dir_entry_2.inode.set(view, at, ino);
  ext4_dir_entry_2.file_type.set(view, at, fileTypeOf(fs, mode));
}

/** Removes the entry at `at` of the area that begins at `from`: the entry before it takes its room. */
export function removeEntry(fs: Ext4, view: DataView, from: number, at: number): void {
  const recLen = recLenAt(fs, view, at);
  if (at === from) {
    ext4_dir_entry_2.inode.set(view, at, 0);
    bytesOf(view).fill(0, at + ext4_dir_entry_2.name_len.at, at + recLen);
    return;
  }
  let before = from;
  for (let next = from; next < at; next += recLenAt(fs, view, next)) before = next;
  setRecLen(fs, view, before, at - before + recLen);
  bytesOf(view).fill(0, at, at + recLen);
}

function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** Fills an area anew, entry by entry, each without slack; `close` gives what is left to the last one. What stood there before is gone. */
export class AreaFiller {
  private readonly data: Uint8Array;
  private last = -1;

  constructor(private readonly fs: Ext4, private readonly view: DataView, private at: number, private readonly end: number) {
    this.data = bytesOf(view);
  }

  add(entry: NewEntry): void {
    this.last = this.at;
    writeEntry(this.fs, this.view, this.at, entryBytes(entry.name.length), entry);
    this.at += entryBytes(entry.name.length);
  }

  /** Copies the entry at `at` of an area that is not this one. */
  copy(source: DataView, at: number): void {
    const sizeBytes = usedBytes(this.fs, source, at);
    this.data.set(bytesOf(source).subarray(at, at + sizeBytes), this.at);
    setRecLen(this.fs, this.view, this.at, sizeBytes);
    this.last = this.at;
    this.at += sizeBytes;
  }

  close(): void {
    this.data.fill(0, this.at, this.end);
    const last = this.last < 0 ? this.at : this.last;
    setRecLen(this.fs, this.view, last, this.end - last);
  }
}

/** Lets the last entry of the area [0, end) reach up to `newEnd`. */
export function stretchLast(fs: Ext4, view: DataView, end: number, newEnd: number): void {
  let last = 0;
  for (let at = 0; at < end; at += recLenAt(fs, view, at)) last = at;
  setRecLen(fs, view, last, newEnd - last);
}

/** Puts the first two entries into a directory's first block. */
export function addDots(filler: AreaFiller, ino: Ino, parent: Ino): void {
  filler.add({ name: DOT_NAME, ino, mode: S_IFDIR });
  filler.add({ name: DOTDOT_NAME, ino: parent, mode: S_IFDIR });
}

/** Makes a block a leaf and returns what fills it with entries; must be closed. */
export function leafFiller(fs: Ext4, view: DataView): AreaFiller {
  if (!fs.sb.hasMetadataCsum) return new AreaFiller(fs, view, 0, fs.blockBytes);
  const tail = fs.blockBytes - TAIL_BYTES;
  bytesOf(view).fill(0, tail);
  ext4_dir_entry_tail.det_rec_len.set(view, tail, TAIL_BYTES);
  ext4_dir_entry_tail.det_reserved_ft.set(view, tail, EXT4_FT_DIR_CSUM);
  return new AreaFiller(fs, view, 0, tail);
}

/** Where ".." stands in a directory's first block. @throws CorruptionError dir-entry. */
export function dotDotAt(fs: Ext4, dir: Ext4Inode, first: BufferHead): number {
  const { view } = first;
  const at = recLenAt(fs, view, 0);
  const isDots = isName(fs, view, 0, DOT_NAME) && at < fs.blockBytes && isName(fs, view, at, DOTDOT_NAME);
  if (!isDots) throw new CorruptionError("dir-entry", { ino: dir.i_ino, block: first.b_blocknr, offset: 0, expected: "\".\" and \"..\"" });
  return at;
}

function isName(fs: Ext4, view: DataView, at: number, name: Uint8Array): boolean {
  return bytesEqual(entryName(fs, view, at), name);
}

/** What brings a changed leaf's checksum up to date, for Handle.dirty. */
export function leafSeal(fs: Ext4, dir: Ext4Inode): ((buffer: BufferHead) => void) | undefined {
  const { csumSeed } = dir;
  return fs.sb.hasMetadataCsum ? ({ data }) => sealDirLeaf(data, csumSeed) : undefined;
}

/** The same for a node of the hash tree; block 0 of an indexed directory is its root. */
export function indexSeal(fs: Ext4, dir: Ext4Inode, lblk: Lblk): ((buffer: BufferHead) => void) | undefined {
  const { csumSeed } = dir;
  return fs.sb.hasMetadataCsum ? ({ data }) => sealDxBlock(data, lblk === 0, csumSeed) : undefined;
}

/** Write access to a block of the directory that was just read and checked. Its checksum need not be true again before the transaction is sealed. */
export function* changeDirBlock(handle: Handle, dir: Ext4Inode, { b_blocknr }: BufferHead): Task<BufferHead> {
  const buffer = handle.tryWriteAccess(b_blocknr) ?? (yield* handle.getWriteAccess(b_blocknr));
  buffer.verifiedAs = dir.verifiedToken("directory");
  return buffer;
}
