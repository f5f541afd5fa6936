/**
 * Directory blocks: reading them, checking them whole before any entry is used, and walking their entries. Index blocks of a hash tree look like one empty entry, so a
 * walk over all blocks in order reads any directory. Source: fs/ext4/dir.c (__ext4_check_dir_entry, ext4_readdir), fs/ext4/namei.c (__ext4_read_dirblock).
 */
import type { BufferHead } from "../block/buffer-cache.js";
import { dirLeafChecksum, dxBlockChecksum } from "../format/checksum.js";
import { CorruptionError, type CorruptionPlace } from "../format/corruption.js";
import { EXT4_FT_DIR_CSUM, ext4_dir_entry_2, ext4_dir_entry_tail, recLenFromDisk, HEAD_BYTES, roundUp4 } from "../format/dir-entry.js";
import { EXT4_CASEFOLD_FL, EXT4_ENCRYPT_FL, EXT4_INDEX_FL, EXT4_INLINE_DATA_FL } from "../format/inode.js";
import { dirHash, type DirHash } from "../lib/dir-hash.js";
import type { Ino, Lblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { DT_UNKNOWN, S_IFMT, type DirContext } from "../vfs/inode.js";
import { CIPHERTEXT_BYTES_MIN, noKeyName } from "./crypto.js";
import { shownHashVersion } from "./htree.js";
import { iterateInline } from "./inline.js";
import type { Ext4Inode } from "./inode.js";
import { listExtents, mapBlocks } from "./map.js";
import type { Ext4 } from "./super.js";

/** In front of an entry's name. */
export const TAIL_BYTES = ext4_dir_entry_tail.$.size;
/** Hash and minor hash behind the name, in directories that are both encrypted and casefolded. */
const STORED_HASH_BYTES = 8;
/** Directory blocks that are fetched together ahead of a walk. */
const READAHEAD_BLOCKS = 32;

/** file_type on disk, to getdents' DT_ values. */
const DT_OF_FILE_TYPE = [DT_UNKNOWN, 8, 4, 2, 6, 1, 12, 10];

/** What the directory entry of a file of this type says. */
export function fileTypeOf(fs: Ext4, mode: number): number {
  return fs.sb.hasFiletype ? Math.max(0, DT_OF_FILE_TYPE.indexOf((mode & S_IFMT) >>> 12)) : 0;
}

/** Entries of one area: a block, or one of the two pieces of an inline directory. Receives the entry's offset; returns false to stop. */
export type EntryVisitor = (at: number) => boolean;

/** Walks the entries of a checked area. Returns where it stopped: `end`, or the entry that was refused. */
export function walkEntries(fs: Ext4, view: DataView, from: number, end: number, visit: EntryVisitor): number {
  let at = from;
  while (at < end) {
    if (!visit(at)) return at;
    at += recLenFromDisk(ext4_dir_entry_2.rec_len.get(view, at), fs.blockBytes);
  }
  return end;
}

export function nameLength(fs: Ext4, view: DataView, at: number): number {
  // Without the filetype feature name_len has 16 bits; none of the upper ones may be set, as the check has seen to.
  return fs.sb.hasFiletype || ext4_dir_entry_2.file_type.get(view, at) === 0 ? ext4_dir_entry_2.name_len.get(view, at) : 0;
}

/** A window on the entry's name; it lives as long as the block. */
export function entryName(fs: Ext4, view: DataView, at: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + at + HEAD_BYTES, nameLength(fs, view, at));
}

export function entryType(fs: Ext4, view: DataView, at: number): number {
  if (!fs.sb.hasFiletype) return DT_UNKNOWN;
  return DT_OF_FILE_TYPE[ext4_dir_entry_2.file_type.get(view, at)] ?? DT_UNKNOWN;
}

/**
 * Checks every entry of an area: after this, walking it stays inside it and every name does, too.
 * `place` names the area in an error; `dotsBytes` is what an entry must at least have in the area.
 */
export function checkEntries(fs: Ext4, dir: Ext4Inode, view: DataView, from: number, end: number, place: CorruptionPlace): void {
  const extra = hasStoredHash(dir) ? STORED_HASH_BYTES : 0;
  const smallest = roundUp4(HEAD_BYTES + 1 + extra);
  const isEncrypted = (dir.i_flags & EXT4_ENCRYPT_FL) !== 0;
  for (let at = from; at < end;) {
    const damaged = (field: string, found: number, expected?: number): CorruptionError =>
      new CorruptionError("dir-entry", { ino: dir.i_ino, ...place, offset: at, field, found, expected });
    if (end - at < HEAD_BYTES) throw damaged("rec_len", end - at, HEAD_BYTES);
    const recLen = recLenFromDisk(ext4_dir_entry_2.rec_len.get(view, at), fs.blockBytes);
    const nameLen = ext4_dir_entry_2.name_len.get(view, at);
    if (!fs.sb.hasFiletype && ext4_dir_entry_2.file_type.get(view, at) !== 0) {
      throw damaged("name_len", nameLen + 256 * ext4_dir_entry_2.file_type.get(view, at), 255);
    }
    const isDots = at - from <= HEAD_BYTES + 4 && nameLen <= 2;
    const needed = roundUp4(HEAD_BYTES + nameLen + (isDots ? 0 : extra));
    if (recLen < roundUp4(HEAD_BYTES + 1) || recLen % 4 !== 0 || recLen < needed) throw damaged("rec_len", recLen, needed);
    const left = end - at - recLen;
    // What is left must hold another entry, or nothing.
    if (left < 0 || (left > 0 && left < (isDots ? roundUp4(HEAD_BYTES + 1) : smallest))) throw damaged("rec_len", recLen, end - at);
    const ino = ext4_dir_entry_2.inode.get(view, at);
    if (ino > fs.sb.inodesCount) throw damaged("inode", ino, fs.sb.inodesCount);
    if (ino !== 0) checkName(view, at, nameLen, isEncrypted, damaged);
    at += recLen;
  }
}

/**
 * A name that is empty or holds a slash or a NUL would not be a name in any path, and might lead an extraction outside its target. Ciphertext may hold anything, as it is shown encoded,
 * but it has whole blocks of the cipher.
 */
function checkName(view: DataView, at: number, length: number, isEncrypted: boolean, damaged: (field: string, found: number, expected?: number) => CorruptionError): void {
  if (length === 0) throw damaged("name_len", 0);
  if (isEncrypted && !isDotName(new Uint8Array(view.buffer, view.byteOffset + at + HEAD_BYTES, length))) {
    if (length < CIPHERTEXT_BYTES_MIN) throw damaged("name_len", length, CIPHERTEXT_BYTES_MIN);
    return;
  }
  for (let index = 0; index < length; index++) {
    const char = view.getUint8(at + HEAD_BYTES + index);
    if (char === 0 || char === 0x2f) throw damaged("name", char);
  }
}

export function hasStoredHash(dir: Ext4Inode): boolean {
  const both = EXT4_ENCRYPT_FL | EXT4_CASEFOLD_FL;
  return (dir.i_flags & both) === both;
}

/** Whether the block is a node of the hash tree. With checksums a leaf leaves room for its tail, so only a node spans the block. */
function isIndexBlock(fs: Ext4, dir: Ext4Inode, lblk: Lblk, view: DataView): boolean {
  if ((dir.i_flags & EXT4_INDEX_FL) === 0 || !fs.sb.hasDirIndex) return false;
  return lblk === 0 || recLenFromDisk(ext4_dir_entry_2.rec_len.get(view, 0), fs.blockBytes) === fs.blockBytes;
}

/** The end of the entries: a leaf with a checksum ends in a tail that looks like an unused entry. A root may hold the remains of one. */
function entriesEnd(fs: Ext4, dir: Ext4Inode, lblk: Lblk, { view, verifiedAs }: BufferHead): number {
  if (!fs.sb.hasMetadataCsum || isIndexBlock(fs, dir, lblk, view)) return fs.blockBytes;
  const tail = fs.blockBytes - TAIL_BYTES;
  // A leaf whose checksum was found right has one.
  if (fs.verifyChecksums && verifiedAs === dir.verifiedToken("directory")) return tail;
  const hasTail = ext4_dir_entry_tail.det_reserved_ft.get(view, tail) === EXT4_FT_DIR_CSUM &&
    ext4_dir_entry_tail.det_rec_len.get(view, tail) === TAIL_BYTES && ext4_dir_entry_tail.det_reserved_zero1.get(view, tail) === 0;
  return hasTail ? tail : fs.blockBytes;
}

/** A checked block of a directory, and where its entries end. */
export interface DirBlock {
  readonly lblk: Lblk;
  readonly buffer: BufferHead;
  readonly view: DataView;
  readonly end: number;
}

/** Reads block `lblk` of a directory, checked; if it is not in memory, then the next ones with it, `count` in all. @throws CorruptionError dir-hole, dir-checksum, dir-entry. */
export function* readDirBlock(fs: Ext4, dir: Ext4Inode, lblk: Lblk, count = 1): Task<DirBlock> {
  const mapping = yield* mapBlocks(fs, dir, lblk, 1);
  if (mapping.state !== "written") throw new CorruptionError("dir-hole", { ino: dir.i_ino, found: `no block ${lblk}` });
  let buffer = fs.cache.peek(mapping.pblk);
  if (buffer === undefined) {
    if (count > 1) yield* readAhead(fs, dir, lblk, count);
    buffer = yield* fs.cache.read(mapping.pblk);
  }
  const end = entriesEnd(fs, dir, lblk, buffer);
  verifyDirBlock(fs, dir, lblk, buffer, end);
  return { lblk, buffer, view: buffer.view, end };
}

/** The same for who walks over all of a directory's `blocks` blocks. */
export function readNextDirBlock(fs: Ext4, dir: Ext4Inode, lblk: Lblk, blocks: number): Task<DirBlock> {
  return readDirBlock(fs, dir, lblk, Math.min(READAHEAD_BLOCKS, blocks - lblk));
}

export function blocksOf(fs: Ext4, dir: Ext4Inode): number {
  return Math.ceil(dir.i_size / fs.blockBytes);
}

function verifyDirBlock(fs: Ext4, dir: Ext4Inode, lblk: Lblk, buffer: BufferHead, end: number): void {
  const token = dir.verifiedToken("directory");
  if (buffer.verifiedAs === token) return;
  const { view, data } = buffer;
  const place = { ino: dir.i_ino, block: buffer.b_blocknr };
  if (fs.sb.hasMetadataCsum && fs.verifyChecksums) {
    const sums = isIndexBlock(fs, dir, lblk, view) ? dxBlockChecksum(data, lblk === 0, dir.csumSeed) : dirLeafChecksum(data, dir.csumSeed);
    if (sums === undefined) throw new CorruptionError("dir-checksum", { ...place, found: "no room for a checksum" });
    if (sums.stored !== sums.computed) throw new CorruptionError("dir-checksum", { ...place, found: sums.stored, expected: sums.computed });
  }
  checkEntries(fs, dir, view, 0, end, { block: buffer.b_blocknr });
  buffer.verifiedAs = token;
}

/** Positions are byte offsets in the directory, or in what an inline directory would be with "." and ".." in front. */
export function* iterate(fs: Ext4, dir: Ext4Inode, context: DirContext): Task<void> {
  if ((dir.i_flags & EXT4_INLINE_DATA_FL) !== 0) return yield* iterateInline(fs, dir, context);
  const { blockBytes } = fs;
  const shown = yield* shownNames(fs, dir);
  const blocks = blocksOf(fs, dir);
  for (let lblk = Math.floor(context.pos / blockBytes); lblk < blocks; lblk++) {
    const { view, end } = yield* readNextDirBlock(fs, dir, lblk, blocks);
    const base = lblk * blockBytes;
    const stop = walkEntries(fs, view, 0, end, (at) => base + at < context.pos || emit(fs, view, at, shown, context));
    context.pos = stop === end ? base + blockBytes : base + stop;
    if (stop !== end) return;
  }
}

/** Hands one entry over, unless it is unused. */
export function emit(fs: Ext4, view: DataView, at: number, shown: ShownName, context: DirContext): boolean {
  const ino: Ino = ext4_dir_entry_2.inode.get(view, at);
  if (ino === 0) return true;
  return context.actor(shown(view, at).slice(), ino, entryType(fs, view, at));
}

/** The name of an entry as Linux shows it. */
export type ShownName = (view: DataView, at: number) => Uint8Array;

/** Encrypted names have an encoded form while their key is away. */
export function* shownNames(fs: Ext4, dir: Ext4Inode): Task<ShownName> {
  if ((dir.i_flags & EXT4_ENCRYPT_FL) === 0) return (view, at) => entryName(fs, view, at);
  const hashOf = hasStoredHash(dir) ? storedHash : shownHash(fs, yield* shownHashVersion(fs, dir));
  return (view, at) => {
    const name = entryName(fs, view, at);
    if (isDotName(name)) return name;
    const { hash, minor } = hashOf(name, view, at);
    return noKeyName(name, hash, minor);
  };
}

function shownHash({ sb }: Ext4, version: number | undefined): (name: Uint8Array) => DirHash {
  return version === undefined ? () => ({ hash: 0, minor: 0 }) : (name) => dirHash(version, name, sb.hashSeed);
}

/** It takes the key to compute, so it stands behind the name. */
function storedHash(name: Uint8Array, view: DataView, at: number): DirHash {
  const hashAt = at + roundUp4(HEAD_BYTES + name.length);
  return { hash: view.getUint32(hashAt, true), minor: view.getUint32(hashAt + 4, true) };
}

/** "." or "..", which are never encrypted. */
function isDotName(name: Uint8Array): boolean {
  return name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e));
}

function* readAhead(fs: Ext4, dir: Ext4Inode, lblk: Lblk, count: number): Task<void> {
  for (const extent of yield* listExtents(fs, dir, lblk, count)) {
    if (extent.count > 1) yield* fs.cache.readAhead(extent.pblk, extent.count);
  }
}
