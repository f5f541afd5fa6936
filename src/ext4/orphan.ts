/**
 * Inodes that were unlinked while open, or caught in a truncate, so that a mount after a crash finishes the work: a list through the inodes' i_dtime from the superblock on, and slots in the
 * orphan file, which spares the blocks of other inodes and of the superblock. Who has the file uses the list only when it is full.
 *
 * In core the list is known by number, from each inode to the one before it, whose link must change when it goes. Every change is one plain step, after all buffers
 * were got, so there is no lock. Source: fs/ext4/orphan.c.
 */
import type { BufferHead } from "../block/buffer-cache.js";
import { orphanBlockChecksum } from "../format/checksum.js";
import { CorruptionError } from "../format/corruption.js";
import { COMPAT } from "../format/features.js";
import { EXT4_ORPHAN_BLOCK_MAGIC, ext4_orphan_block_tail } from "../format/orphan.js";
import { ext4_super_block as S } from "../format/superblock.js";
import type { Handle } from "../jbd2/handle.js";
import type { Ino, Pblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import type { Ext4Inode } from "./inode.js";
import { listExtents } from "./map.js";
import type { Ext4 } from "./super.js";

const TAIL_BYTES = ext4_orphan_block_tail.$.size;
const SLOT_BYTES = 4;

/** All orphans, those of the list first. @throws CorruptionError orphan-list (out of range, or a loop), orphan-file, orphan-checksum. */
export function* listOrphans(fs: Ext4): Task<Ino[]> {
  const orphans = new Set(yield* walkList(fs));
  const file = yield* orphanFile(fs);
  if (file === undefined) return [...orphans];
  for (const block of yield* fileBlocks(fs, file)) forEachSlot(fs, yield* readFileBlock(fs, file, block), (ino) => orphans.add(ino));
  return [...orphans];
}

/** Puts the inode among the orphans of the disk, if it is not there already. Requires: the inode does not change hands meanwhile (i_rwsem, or nobody knows it). */
export function* orphanAdd(handle: Handle, inode: Ext4Inode): Task<void> {
  yield* inode.i_sb.strategy.addOrphan(handle, inode);
}

/** Takes it from there, if it is there. */
export function* orphanDel(handle: Handle, inode: Ext4Inode): Task<void> {
  yield* inode.i_sb.orphans.remove(handle, inode);
}

/** Takes what is on disk into core, so that orphanDel finds it. */
export function* rememberOrphans(fs: Ext4): Task<void> {
  yield* fs.orphans.load();
}

interface FileBlock { readonly block: Pblk; freeCount: number }

export class Orphans {
  /** Of each inode on the list: the one whose link leads to it, 0 for the superblock. */
  private readonly before = new Map<Ino, Ino>();
  /** Of each inode in the orphan file. */
  private readonly slots = new Map<Ino, { readonly in: FileBlock; readonly at: number }>();
  /** The orphan file's blocks, once they are needed; none if there is no such file. */
  private blocks: readonly FileBlock[] | undefined;
  private file: Ext4Inode | undefined;

  constructor(private readonly fs: Ext4) {}

  *load(): Task<void> {
    let before: Ino = 0;
    for (const ino of yield* walkList(this.fs)) {
      this.before.set(ino, before);
      before = ino;
    }
    yield* this.loadFile();
  }

  private *loadFile(): Task<readonly FileBlock[]> {
    const { fs } = this;
    this.file = yield* orphanFile(fs);
    const blocks: FileBlock[] = [];
    const slots: [Ino, FileBlock, number][] = [];
    for (const block of this.file === undefined ? [] : yield* fileBlocks(fs, this.file)) {
      const buffer = yield* readFileBlock(fs, this.file!, block);
      const entry = { block, freeCount: (fs.blockBytes - TAIL_BYTES) / SLOT_BYTES };
      forEachSlot(fs, buffer, (ino, at) => {
        entry.freeCount--;
        slots.push([ino, entry, at]);
      });
      blocks.push(entry);
    }
    // Another task may have been faster, and may have added orphans since.
    if (this.blocks !== undefined) return this.blocks;
    for (const [ino, entry, at] of slots) this.slots.set(ino, { in: entry, at });
    return this.blocks = blocks;
  }

  *add(handle: Handle, inode: Ext4Inode): Task<void> {
    if (this.before.has(inode.i_ino) || this.slots.has(inode.i_ino)) return;
    for (const entry of this.blocks ?? (yield* this.loadFile())) {
      if (entry.freeCount === 0) continue;
      const buffer = handle.tryWriteAccess(entry.block) ?? (yield* handle.getWriteAccess(entry.block));
      const at = freeSlot(this.fs, buffer);
      if (at < 0) continue;
      entry.freeCount--;
      this.slots.set(inode.i_ino, { in: entry, at });
      return this.setSlot(handle, buffer, at, inode.i_ino);
    }
    yield* this.addToList(handle, inode);
  }

  private *addToList(handle: Handle, inode: Ext4Inode): Task<void> {
    const { fs } = this;
    yield* inode.markDirty(handle);
    yield* fs.markSuperDirty(handle);
    const { view } = fs.sb;
    inode.i_dtime = S.s_last_orphan.get(view, 0);
    S.s_last_orphan.set(view, 0, inode.i_ino);
    this.before.set(inode.i_ino, 0);
    if (inode.i_dtime !== 0) this.before.set(inode.i_dtime, inode.i_ino);
  }

  *remove(handle: Handle, inode: Ext4Inode): Task<void> {
    const slot = this.slots.get(inode.i_ino);
    if (slot !== undefined) {
      const buffer = handle.tryWriteAccess(slot.in.block) ?? (yield* handle.getWriteAccess(slot.in.block));
      this.slots.delete(inode.i_ino);
      slot.in.freeCount++;
      return this.setSlot(handle, buffer, slot.at, 0);
    }
    yield* inode.markDirty(handle);
    while (this.before.has(inode.i_ino)) {
      const before = this.before.get(inode.i_ino)!;
      const previous = before === 0 ? undefined : yield* this.fs.igetSpecial(before);
      if (previous === undefined) yield* this.fs.markSuperDirty(handle);
      else yield* previous.markDirty(handle);
      // While this waited, its neighbour may have gone.
      if (this.before.get(inode.i_ino) === before) this.unlink(inode, previous);
    }
  }

  private unlink(inode: Ext4Inode, previous: Ext4Inode | undefined): void {
    const next = inode.i_dtime;
    if (previous === undefined) S.s_last_orphan.set(this.fs.sb.view, 0, next);
    else previous.i_dtime = next;
    inode.i_dtime = 0;
    this.before.delete(inode.i_ino);
    if (next !== 0) this.before.set(next, previous?.i_ino ?? 0);
  }

  private setSlot(handle: Handle, buffer: BufferHead, at: number, ino: Ino): void {
    const { csumSeed } = this.file!;
    buffer.view.setUint32(at, ino, true);
    handle.dirty(buffer, this.fs.sb.hasMetadataCsum ? (sealed) => sealBlock(sealed, csumSeed) : undefined);
  }
}

function sealBlock({ view, data, b_blocknr }: BufferHead, seed: number): void {
  ext4_orphan_block_tail.ob_checksum.set(view, data.length - TAIL_BYTES, orphanBlockChecksum(data, b_blocknr, seed));
}

function* walkList(fs: Ext4): Task<Ino[]> {
  const orphans = new Set<Ino>();
  for (let ino = S.s_last_orphan.get(fs.sb.view, 0); ino !== 0;) {
    if (ino < fs.sb.firstIno || ino > fs.sb.inodesCount) throw new CorruptionError("orphan-list", { ino, expected: `${fs.sb.firstIno}..${fs.sb.inodesCount}` });
    if (orphans.has(ino)) throw new CorruptionError("orphan-list", { ino, found: "a loop" });
    orphans.add(ino);
    ino = (yield* fs.igetSpecial(ino)).i_dtime;
  }
  return [...orphans];
}

function* orphanFile(fs: Ext4): Task<Ext4Inode | undefined> {
  const ino = S.s_orphan_file_inum.get(fs.sb.view, 0);
  return fs.sb.has(COMPAT.orphan_file, "compat") && ino !== 0 ? yield* fs.igetSpecial(ino) : undefined;
}

function* fileBlocks(fs: Ext4, file: Ext4Inode): Task<Pblk[]> {
  const blocks: Pblk[] = [];
  for (const { pblk, count } of yield* listExtents(fs, file, 0, Math.ceil(file.i_size / fs.blockBytes))) {
    yield* fs.cache.readAhead(pblk, count);
    for (let block = pblk; block < pblk + count; block++) blocks.push(block);
  }
  return blocks;
}

/** @throws CorruptionError orphan-file, orphan-checksum. */
function* readFileBlock(fs: Ext4, file: Ext4Inode, block: Pblk): Task<BufferHead> {
  const buffer = fs.cache.peek(block) ?? (yield* fs.cache.read(block));
  const place = { ino: file.i_ino, block };
  const tail = fs.blockBytes - TAIL_BYTES;
  const magic = ext4_orphan_block_tail.ob_magic.get(buffer.view, tail);
  if (magic !== EXT4_ORPHAN_BLOCK_MAGIC) throw new CorruptionError("orphan-file", { ...place, found: magic, expected: EXT4_ORPHAN_BLOCK_MAGIC });
  // A block that a transaction has changed gets its checksum when that is sealed.
  if (fs.sb.hasMetadataCsum && fs.verifyChecksums && buffer.seal === undefined) {
    const found = ext4_orphan_block_tail.ob_checksum.get(buffer.view, tail);
    const expected = orphanBlockChecksum(buffer.data, block, file.csumSeed);
    if (found !== expected) throw new CorruptionError("orphan-checksum", { ...place, found, expected });
  }
  return buffer;
}

/** Calls `visit` with each orphan of a block, and where it stands. @throws CorruptionError orphan-file. */
function forEachSlot(fs: Ext4, { view, b_blocknr: block }: BufferHead, visit: (ino: Ino, at: number) => void): void {
  for (let at = 0; at < fs.blockBytes - TAIL_BYTES; at += SLOT_BYTES) {
    const ino = view.getUint32(at, true);
    if (ino > fs.sb.inodesCount) throw new CorruptionError("orphan-file", { block, offset: at, found: ino });
    if (ino !== 0) visit(ino, at);
  }
}

/** Where a block has room for one more; -1: it is full. */
function freeSlot(fs: Ext4, { view }: BufferHead): number {
  for (let at = 0; at < fs.blockBytes - TAIL_BYTES; at += SLOT_BYTES) if (view.getUint32(at, true) === 0) return at;
  return -1;
}
