/**
 * Replaying fast commits: each record says how an inode, a range of its map or a name ends up, so all are gathered per inode and directory first, and then written out
 * once, into whatever device the filesystem is mounted on. A directory that changed is laid out anew and linearly: its hash tree is dropped, as
 * any kernel may do. Fast commits do not record directories' own inodes; link counts follow from the names.
 * Source: ext4_fc_replay (fs/ext4/fast_commit.c); the result, not the way, is the same.
 */
import { writeBytes } from "../block/device.js";
import type { BufferHead } from "../block/buffer-cache.js";
import { dirLeafChecksum, inodeChecksum, inodeSeed } from "../format/checksum.js";
import { CorruptionError } from "../format/corruption.js";
import { EXT4_FT_DIR_CSUM, ext4_dir_entry_2, ext4_dir_entry_tail, recLenToDisk } from "../format/dir-entry.js";
import { EXT4_EXTENTS_FL, EXT4_INDEX_FL, EXT4_INLINE_DATA_FL, ext4_inode, I_BLOCK_AT, I_BLOCK_BYTES } from "../format/inode.js";
import type { FastCommitRecord } from "../jbd2/fast-commit.js";
import { testBit } from "../lib/bitmap.js";
import { fromHalves, TWO_32, type Ino, type Lblk, type Pblk } from "../lib/numbers.js";
import { viewOf } from "../lib/view.js";
import type { Task } from "../sched/task.js";
import { S_IFDIR, S_IFMT, S_IFREG, type FileExtent } from "../vfs/inode.js";
import { listDirectory } from "../vfs/walk.js";
import { Allocation } from "./allocation.js";
import { inodeBitmap } from "./bitmaps.js";
import { buildExtentTree, extentTreeBlocks } from "./extent-tree.js";
import { type Ext4Inode, findInode, hasMap, readInode } from "./inode.js";
import { listExtents } from "./map.js";
import type { Ext4 } from "./super.js";

const ROOM_FOR_HEAD_BYTES = 8;
/** file_type of a directory entry, by i_mode's type. */
const FILE_TYPES: Record<number, number> = { 0o100000: 1, 0o040000: 2, 0o020000: 3, 0o060000: 4, 0o010000: 5, 0o140000: 6, 0o120000: 7 };

/** An inode as the records leave it. */
interface Draft {
  readonly ino: Ino;
  readonly raw: Uint8Array;
  readonly view: DataView;
  /** Blocks that it held before: they are freed, but for those that it holds still. */
  readonly oldBlocks: readonly FileExtent[];
  extents: FileExtent[];
  readonly wasUsed: boolean;
  readonly wasDirectory: boolean;
}

interface Name { readonly name: Uint8Array; readonly ino: Ino }

/** A directory's names as the records leave them, by name as a byte string. */
interface Names { parent: Ino; readonly names: Map<string, Name> }

export function* replayFastCommits(fs: Ext4, records: readonly FastCommitRecord[]): Task<void> {
  const replay = new Replay(fs);
  for (const record of records) yield* replay.apply(record);
  yield* replay.write();
}

const keyOf = (name: Uint8Array): string => Array.from(name, (byte) => String.fromCharCode(byte)).join("");

class Replay {
  private readonly drafts = new Map<Ino, Draft>();
  private readonly directories = new Map<Ino, Names>();

  constructor(private readonly fs: Ext4) {}

  *apply(record: FastCommitRecord): Task<void> {
    switch (record.tag) {
      case "inode":
        return this.setInode(yield* this.draft(record.ino), record.raw);
      case "add-range": {
        const { ino, lblk, pblk, count, unwritten } = record;
        const draft = yield* this.draft(ino);
        if (count === 0 || lblk + count > TWO_32 || !this.fs.sb.containsBlocks(pblk, count)) throw damaged(ino, "fc_ex", `${count} blocks at ${pblk}`);
        cut(draft.extents, lblk, count);
        insert(draft.extents, { lblk, pblk, count, unwritten });
        return;
      }
      case "del-range":
        return cut((yield* this.draft(record.ino)).extents, record.lblk, record.count);
      case "creat":
        return yield* this.create(record.parent, record.ino, record.name);
      case "link":
        return yield* this.link(record.parent, record.ino, record.name);
      case "unlink":
        return yield* this.unlink(record.parent, record.ino, record.name);
    }
  }

  /** The inode's state before the records, or an empty one where the slot is not in use. */
  private *draft(ino: Ino): Task<Draft> {
    const known = this.drafts.get(ino);
    if (known !== undefined) return known;
    const { fs } = this;
    const { buffer, at } = yield* findInode(fs, ino);
    const index = (ino - 1) % fs.sb.inodesPerGroup;
    const wasUsed = testBit(yield* inodeBitmap(fs, Math.floor((ino - 1) / fs.sb.inodesPerGroup)), index);
    const raw = wasUsed ? buffer.data.slice(at, at + fs.sb.inodeBytes) : new Uint8Array(fs.sb.inodeBytes);
    let extents: FileExtent[] = [];
    let oldBlocks: FileExtent[] = [];
    let wasDirectory = false;
    if (wasUsed) {
      const inode = yield* readInode(fs, ino);
      wasDirectory = inode.isDirectory();
      if (hasMap(fs, inode) && inode.i_nlink > 0) {
        extents = yield* listExtents(fs, inode, 0, TWO_32);
        oldBlocks = [...extents, ...(yield* extentTreeBlocks(fs, inode))];
      }
    }
    const draft: Draft = { ino, raw, view: viewOf(raw), oldBlocks, extents, wasUsed, wasDirectory };
    this.drafts.set(ino, draft);
    return draft;
  }

  /** All but the map is taken as recorded: the map comes in records of its own. */
  private setInode(draft: Draft, recorded: Uint8Array): void {
    const length = Math.min(recorded.length, draft.raw.length);
    const keepsMap = (ext4_inode.i_flags.get(viewOf(recorded), 0) & EXT4_EXTENTS_FL) !== 0;
    const map = draft.raw.slice(I_BLOCK_AT, I_BLOCK_AT + I_BLOCK_BYTES);
    draft.raw.set(recorded.subarray(0, length));
    if (keepsMap) draft.raw.set(map, I_BLOCK_AT);
  }

  private *names(ino: Ino): Task<Names> {
    let directory = this.directories.get(ino);
    if (directory === undefined) {
      const inode = yield* readInode(this.fs, ino);
      if (!inode.isDirectory()) throw damaged(ino, "fc_parent_ino", `a mode of 0${inode.i_mode.toString(8)}`);
      const names = (yield* listDirectory(inode)).map(({ name, ino: child }) => [keyOf(name), { name, ino: child }] as const);
      directory = { parent: yield* parentOf(inode), names: new Map(names) };
      this.directories.set(ino, directory);
    }
    return directory;
  }

  private *create(parent: Ino, ino: Ino, name: Uint8Array): Task<void> {
    const draft = yield* this.draft(ino);
    const isDirectory = isDirectoryDraft(draft);
    if (isDirectory && !this.directories.has(ino)) this.directories.set(ino, { parent, names: new Map() });
    const directory = yield* this.names(parent);
    const isNew = directory.names.get(keyOf(name))?.ino !== ino;
    directory.names.set(keyOf(name), { name, ino });
    setLinks(draft, isDirectory ? 2 : 1);
    if (isDirectory && isNew) addLinks(yield* this.draft(parent), 1);
  }

  private *link(parent: Ino, ino: Ino, name: Uint8Array): Task<void> {
    const { names } = yield* this.names(parent);
    if (names.get(keyOf(name))?.ino === ino) return;
    names.set(keyOf(name), { name, ino });
    addLinks(yield* this.draft(ino), 1);
  }

  private *unlink(parent: Ino, ino: Ino, name: Uint8Array): Task<void> {
    const { names } = yield* this.names(parent);
    if (names.get(keyOf(name))?.ino !== ino) return;
    names.delete(keyOf(name));
    const draft = yield* this.draft(ino);
    if (isDirectoryDraft(draft)) {
      setLinks(draft, 0);
      addLinks(yield* this.draft(parent), -1);
    } else addLinks(draft, -1);
    if (linksOf(draft) === 0) this.erase(draft);
  }

  /** Frees what is no longer held, takes what is, and writes directories, maps and inodes. */
  *write(): Task<void> {
    const { fs } = this;
    for (const ino of this.directories.keys()) yield* this.draft(ino);
    const allocation = new Allocation(fs);
    const kept = [...this.drafts.values()].filter((draft) => linksOf(draft) > 0);
    this.checkTotal(kept.flatMap(({ extents }) => extents));
    this.checkTotal([...this.drafts.values()].flatMap(({ oldBlocks }) => oldBlocks));
    for (const { oldBlocks } of this.drafts.values()) for (const { pblk, count } of oldBlocks) yield* allocation.setBlocks(pblk, count, false);
    for (const { extents } of kept) for (const { pblk, count } of extents) yield* allocation.setBlocks(pblk, count, true);
    for (const draft of this.drafts.values()) {
      const isUsed = linksOf(draft) > 0;
      yield* allocation.setInode(draft.ino, isUsed);
      const isDirectory = isUsed && isDirectoryDraft(draft);
      if (isDirectory !== draft.wasDirectory) yield* allocation.addDirectories(draft.ino, isDirectory ? 1 : -1);
    }
    for (const [ino, directory] of this.directories) {
      const draft = this.drafts.get(ino)!;
      if (linksOf(draft) > 0) yield* this.writeDirectory(draft, directory, allocation);
    }
    for (const draft of this.drafts.values()) {
      if (linksOf(draft) > 0) yield* this.writeMap(draft, allocation);
      yield* this.writeInode(draft);
    }
    yield* allocation.write();
  }

  /** No block is in two files, so all of them together have no more than there are: what is done for each block is so bounded. */
  private checkTotal(extents: readonly FileExtent[]): void {
    const total = extents.reduce((sum, { count }) => sum + count, 0);
    if (total > this.fs.sb.blocksCount) throw new CorruptionError("map-overrun", { field: "fc_ex", found: `${total} blocks in all files`, expected: this.fs.sb.blocksCount });
  }

  /** Without a link an inode is free, and a later record may use it for something else. */
  private erase(draft: Draft): void {
    draft.extents = [];
    this.directories.delete(draft.ino);
    ext4_inode.i_dtime.set(draft.view, 0, ext4_inode.i_ctime.get(draft.view, 0) >>> 0);
    ext4_inode.i_size_lo.set(draft.view, 0, 0);
    ext4_inode.i_size_high.set(draft.view, 0, 0);
    ext4_inode.i_blocks_lo.set(draft.view, 0, 0);
    draft.raw.fill(0, I_BLOCK_AT, I_BLOCK_AT + I_BLOCK_BYTES);
  }

  /** Packs the names into the directory's blocks, with more of them where these do not do. */
  private *writeDirectory(draft: Draft, directory: Names, allocation: Allocation): Task<void> {
    const { fs } = this;
    if (sizeOf(draft) > fs.sb.blocksCount * fs.blockBytes) throw damaged(draft.ino, "i_size", `${sizeOf(draft)} bytes of a directory`);
    const seed = inodeSeed(fs.sb.csumSeed, draft.ino, ext4_inode.i_generation.get(draft.view, 0));
    const dots = [{ name: Uint8Array.of(0x2e), ino: draft.ino }, { name: Uint8Array.of(0x2e, 0x2e), ino: directory.parent }];
    const blocks: Uint8Array[] = [];
    for (let rest: Name[] = [...dots, ...directory.names.values()]; rest.length > 0 || blocks.length * fs.blockBytes < sizeOf(draft);) {
      const block = new Uint8Array(fs.blockBytes);
      rest = rest.slice(yield* this.packBlock(block, rest));
      if (fs.sb.hasMetadataCsum) sealBlock(block, seed);
      blocks.push(block);
    }
    const flags = ext4_inode.i_flags.get(draft.view, 0) & ~(EXT4_INDEX_FL | EXT4_INLINE_DATA_FL);
    ext4_inode.i_flags.set(draft.view, 0, (flags | EXT4_EXTENTS_FL) >>> 0);
    ext4_inode.i_size_lo.set(draft.view, 0, blocks.length * fs.blockBytes);
    for (const [lblk, block] of blocks.entries()) {
      let pblk = blockAt(draft, lblk);
      if (pblk === undefined) {
        pblk = yield* allocation.takeBlock(draft.ino);
        insert(draft.extents, { lblk, pblk, count: 1, unwritten: false });
      }
      yield* writeBytes(fs.device, pblk * fs.blockBytes, block);
      fs.cache.invalidate(pblk);
    }
  }

  /** Fills one block from the front of `names`; returns how many it took. */
  private *packBlock(block: Uint8Array, names: readonly Name[]): Task<number> {
    const { fs } = this;
    const view = viewOf(block);
    const end = block.length - (fs.sb.hasMetadataCsum ? ext4_dir_entry_tail.$.size : 0);
    let at = 0;
    let last = 0;
    let taken = 0;
    for (const { name, ino } of names) {
      const recLen = (ROOM_FOR_HEAD_BYTES + name.length + 3) & ~3;
      if (at + recLen > end) break;
      const mode = this.drafts.has(ino) ? ext4_inode.i_mode.get(this.drafts.get(ino)!.view, 0) : (yield* readInode(fs, ino)).i_mode;
      ext4_dir_entry_2.inode.set(view, at, ino);
      ext4_dir_entry_2.rec_len.set(view, at, recLenToDisk(recLen, fs.blockBytes));
      ext4_dir_entry_2.name_len.set(view, at, name.length);
      if (fs.sb.hasFiletype) ext4_dir_entry_2.file_type.set(view, at, FILE_TYPES[mode & S_IFMT] ?? 0);
      block.set(name, at + ROOM_FOR_HEAD_BYTES);
      last = at;
      at += recLen;
      taken++;
    }
    ext4_dir_entry_2.rec_len.set(view, last, recLenToDisk(end - last, fs.blockBytes));
    return taken;
  }

  private *writeMap(draft: Draft, allocation: Allocation): Task<void> {
    const { fs } = this;
    if ((ext4_inode.i_flags.get(draft.view, 0) & EXT4_EXTENTS_FL) === 0) return;
    const seed = inodeSeed(fs.sb.csumSeed, draft.ino, ext4_inode.i_generation.get(draft.view, 0));
    const treeBlocks = yield* buildExtentTree(fs, draft.raw.subarray(I_BLOCK_AT, I_BLOCK_AT + I_BLOCK_BYTES), draft.extents, seed, () => allocation.takeBlock(draft.ino));
    const clusters = new Set<number>();
    for (const { pblk, count } of draft.extents) {
      for (let cluster = Math.floor(pblk / fs.sb.clusterBlocks); cluster * fs.sb.clusterBlocks < pblk + count; cluster++) clusters.add(cluster);
    }
    const attributeBlocks = ext4_inode.i_file_acl_lo.get(draft.view, 0) !== 0 || ext4_inode.i_file_acl_high.get(draft.view, 0) !== 0 ? 1 : 0;
    const sectors = (clusters.size + treeBlocks + attributeBlocks) * (fs.sb.clusterBytes / 512);
    ext4_inode.i_blocks_lo.set(draft.view, 0, sectors % TWO_32);
    ext4_inode.i_blocks_high.set(draft.view, 0, Math.floor(sectors / TWO_32));
  }

  private *writeInode(draft: Draft): Task<void> {
    const { fs } = this;
    if (fs.sb.hasMetadataCsum) {
      const sum = inodeChecksum(draft.raw, inodeSeed(fs.sb.csumSeed, draft.ino, ext4_inode.i_generation.get(draft.view, 0)));
      ext4_inode.i_checksum_lo.set(draft.view, 0, sum & 0xffff);
      const hasHi = draft.raw.length > 128 && ext4_inode.i_extra_isize.get(draft.view, 0) >= 4;
      if (hasHi) ext4_inode.i_checksum_hi.set(draft.view, 0, sum >>> 16);
    }
    const { buffer, at } = yield* findInode(fs, draft.ino);
    buffer.data.set(draft.raw, at);
    yield* writeBuffer(fs, buffer);
  }
}

export function* writeBuffer(fs: Ext4, buffer: BufferHead): Task<void> {
  yield* writeBytes(fs.device, buffer.b_blocknr * fs.blockBytes, buffer.data);
}

function* parentOf(inode: Ext4Inode): Task<Ino> {
  let parent = inode.i_ino;
  yield* inode.iterate({
    pos: 0,
    actor(name, ino) {
      if (name.length !== 2 || name[0] !== 0x2e || name[1] !== 0x2e) return true;
      parent = ino;
      return false;
    },
  });
  return parent;
}

const linksOf = (draft: Draft): number => ext4_inode.i_links_count.get(draft.view, 0);
const setLinks = (draft: Draft, count: number): void => ext4_inode.i_links_count.set(draft.view, 0, count);
const isDirectoryDraft = (draft: Draft): boolean => (ext4_inode.i_mode.get(draft.view, 0) & S_IFMT) === S_IFDIR;

/** A directory with one link has too many to be counted, and stays so. */
function addLinks(draft: Draft, count: number): void {
  if (isDirectoryDraft(draft) && linksOf(draft) === 1) return;
  setLinks(draft, Math.max(0, linksOf(draft) + count));
}

function sizeOf(draft: Draft): number {
  const isInline = (ext4_inode.i_flags.get(draft.view, 0) & EXT4_INLINE_DATA_FL) !== 0;
  return isInline ? 0 : fromHalves((ext4_inode.i_mode.get(draft.view, 0) & S_IFMT) === S_IFREG ? ext4_inode.i_size_high.get(draft.view, 0) : 0, ext4_inode.i_size_lo.get(draft.view, 0));
}

function blockAt(draft: Draft, lblk: Lblk): Pblk | undefined {
  const extent = draft.extents[firstBehind(draft.extents, lblk)];
  return extent === undefined || extent.lblk > lblk ? undefined : extent.pblk + lblk - extent.lblk;
}

/** Index of the first extent that ends behind `lblk`: they are in order, and there may be many. */
function firstBehind(extents: readonly FileExtent[], lblk: Lblk): number {
  let low = 0;
  let high = extents.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (extents[middle]!.lblk + extents[middle]!.count <= lblk) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Takes lblk .. lblk + count - 1 out of the map. */
function cut(extents: FileExtent[], lblk: Lblk, count: number): void {
  const end = lblk + count;
  const from = firstBehind(extents, lblk);
  let to = from;
  const rest: FileExtent[] = [];
  for (; to < extents.length && extents[to]!.lblk < end; to++) {
    const extent = extents[to]!;
    const extentEnd = extent.lblk + extent.count;
    if (extent.lblk < lblk) rest.push({ ...extent, count: lblk - extent.lblk });
    if (extentEnd > end) rest.push({ ...extent, lblk: end, pblk: extent.pblk + end - extent.lblk, count: extentEnd - end });
  }
  extents.splice(from, to - from, ...rest);
}

/** Puts an extent where nothing is mapped. */
function insert(extents: FileExtent[], extent: FileExtent): void {
  extents.splice(firstBehind(extents, extent.lblk), 0, extent);
}

function damaged(ino: Ino, field: string, found: string): CorruptionError {
  return new CorruptionError("fast-commit", { ino, field, found });
}

/** Gives a leaf its tail and checksum. */
function sealBlock(block: Uint8Array, seed: number): void {
  const view = viewOf(block);
  const at = block.length - ext4_dir_entry_tail.$.size;
  ext4_dir_entry_tail.det_rec_len.set(view, at, ext4_dir_entry_tail.$.size);
  ext4_dir_entry_tail.det_reserved_ft.set(view, at, EXT4_FT_DIR_CSUM);
  ext4_dir_entry_tail.det_checksum.set(view, at, dirLeafChecksum(block, seed)!.computed);
}

