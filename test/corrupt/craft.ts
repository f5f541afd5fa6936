/** Making images that no kernel makes: a fixture whose bytes are changed by name. Checksums are not brought up to date: who reads passes them over. */
import { blockBitmap } from "../../src/ext4/bitmaps.js";
import { readDirBlock, walkEntries } from "../../src/ext4/dir.js";
import { findInode, type Ext4Inode } from "../../src/ext4/inode.js";
import { DX_NODE_ENTRIES_AT, DX_ROOT_ENTRIES_AT, dx_entry } from "../../src/format/htree.js";
import { ext4_dir_entry_2 } from "../../src/format/dir-entry.js";
import { EXT4_EXT_MAGIC, ext4_extent, ext4_extent_header, ext4_extent_idx } from "../../src/format/extent.js";
import { EXT4_EXTENTS_FL, ext4_inode } from "../../src/format/inode.js";
import type { Field } from "../../src/format/layout.js";
import { testBit } from "../../src/lib/bitmap.js";
import { viewOf } from "../../src/lib/view.js";
import { Ext4, MemoryDevice, type OpenOptions, type Task, type Volume } from "../../src/platform/node/index.js";
import { fixtureImage, type Fixture } from "../support/fixtures.js";

const SUPERBLOCK_AT = 1024;
const I_BLOCK_AT = ext4_inode.i_block.at;
const I_BLOCK_BYTES = ext4_inode.i_block.size;
const EXTENT_BYTES = 12;
const ENTRY_HEAD_BYTES = 8;

/** One entry of an extent tree's node: of `length` blocks in a leaf, else the block of a node below. */
export interface TreeEntry { readonly lblk: number; readonly pblk: number; readonly length?: number }

/** An entry of a directory; the name is bytes, one per character. */
export interface NewEntry { readonly name: string; readonly ino: number; readonly type?: number }

export class Craft {
  readonly image: Uint8Array<ArrayBuffer>;
  readonly view: DataView;
  readonly blockBytes: number;
  private readonly pristine: Volume;
  private nextFreeBlock: number;

  constructor(fixture: Fixture) {
    const pristine = fixtureImage(fixture);
    this.pristine = Ext4.openSync(new MemoryDevice(pristine, { readOnly: true }));
    this.image = pristine.slice();
    this.view = viewOf(this.image);
    this.blockBytes = this.pristine.blockSize;
    const { sb } = this.pristine.fs;
    this.nextFreeBlock = Math.min(sb.blocksCount, sb.firstDataBlock + sb.blocksPerGroup) - 1;
  }

  /** The volume as it is by now. */
  open(options: OpenOptions = {}): Volume {
    return Ext4.openSync(new MemoryDevice(this.image.slice(), { readOnly: true }), { checksum: false, ...options });
  }

  /** Where things stood before anything was changed. */
  ask<T>(work: (volume: Volume) => Task<T>): T {
    return this.pristine.runSync(work(this.pristine));
  }

  inodeOf(path: string): number {
    return this.pristine.lstatSync(path).ino;
  }

  /** Byte of an inode, by path or number. */
  inodeAt(file: string | number): number {
    const ino = typeof file === "number" ? file : this.inodeOf(file);
    const { buffer, at } = this.ask(({ fs }) => findInode(fs, ino));
    return buffer.b_blocknr * this.blockBytes + at;
  }

  /** Disk block behind block `lblk` of a file. */
  blockOf(path: string, lblk = 0): number {
    return this.pristine.fiemapSync(path, lblk * this.blockBytes, this.blockBytes)[0]!.pblk;
  }

  /** A block that is free, from the end of group 0: all zeroes. */
  freeBlock(): number {
    const { sb } = this.pristine.fs;
    const bitmap = this.ask(({ fs }) => blockBitmap(fs, 0));
    while (testBit(bitmap, this.nextFreeBlock - sb.firstDataBlock)) this.nextFreeBlock--;
    const block = this.nextFreeBlock--;
    this.image.fill(0, block * this.blockBytes, (block + 1) * this.blockBytes);
    return block;
  }

  set(field: Field, at: number, value: number): this {
    field.set(this.view, at, value);
    return this;
  }

  setInode(file: string | number, field: Field, value: number): this {
    return this.set(field, this.inodeAt(file), value);
  }

  setSuperblock(field: Field, value: number): this {
    return this.set(field, SUPERBLOCK_AT, value);
  }

  /** Byte of the entry of `name` in a directory. */
  entryAt(directory: string, name: string): number {
    const ino = this.inodeOf(directory);
    return this.ask(function* ({ fs }) {
      const dir = (yield* fs.igetSpecial(ino)) as Ext4Inode;
      for (let lblk = 0; lblk < dir.i_size / fs.blockBytes; lblk++) {
        const { buffer, view, end } = yield* readDirBlock(fs, dir, lblk);
        const stop = walkEntries(fs, view, 0, end, (at) => Buffer.from(view.buffer, view.byteOffset + at + ENTRY_HEAD_BYTES, ext4_dir_entry_2.name_len.get(view, at)).toString("latin1") !== name);
        if (stop !== end) return buffer.b_blocknr * fs.blockBytes + stop;
      }
      throw new Error(`${directory} has no ${name}`);
    });
  }

  /** Lets a name lead to another inode. */
  redirect(directory: string, name: string, ino: number, type: number): this {
    const at = this.entryAt(directory, name);
    return this.set(ext4_dir_entry_2.inode, at, ino).set(ext4_dir_entry_2.file_type, at, type);
  }

  /** Fills the first block of a directory that has no index with these entries, which need not be names; "." and ".." stay in front. */
  setEntries(directory: string, entries: readonly NewEntry[]): this {
    const start = this.blockOf(directory) * this.blockBytes;
    const dots: NewEntry[] = [{ name: ".", ino: this.inodeOf(directory), type: 2 }, { name: "..", ino: 2, type: 2 }];
    let at = start;
    let last = start;
    for (const { name, ino, type = 0 } of [...dots, ...entries]) {
      const recLen = (ENTRY_HEAD_BYTES + Math.max(1, name.length) + 3) & ~3;
      this.set(ext4_dir_entry_2.inode, at, ino).set(ext4_dir_entry_2.rec_len, at, recLen).set(ext4_dir_entry_2.name_len, at, name.length).set(ext4_dir_entry_2.file_type, at, type);
      this.image.set(Buffer.from(name, "latin1"), at + ENTRY_HEAD_BYTES);
      last = at;
      at += recLen;
    }
    if (at > start + this.blockBytes) throw new Error("the entries do not fit a block");
    return this.set(ext4_dir_entry_2.rec_len, last, start + this.blockBytes - last);
  }

  /** An inode made anew, with what is common to all kinds: one link, no blocks. */
  newInode(ino: number, mode: number, i_block: Uint8Array = new Uint8Array(0), sizeBytes = 0, flags = 0): this {
    const at = this.inodeAt(ino);
    this.image.fill(0, at, at + this.pristine.fs.sb.inodeBytes);
    this.image.set(i_block, at + I_BLOCK_AT);
    this.set(ext4_inode.i_mode, at, mode).set(ext4_inode.i_links_count, at, 1).set(ext4_inode.i_flags, at, flags);
    return this.set(ext4_inode.i_size_lo, at, sizeBytes % 2 ** 32).set(ext4_inode.i_size_high, at, Math.floor(sizeBytes / 2 ** 32));
  }

  newSymlink(ino: number, target: string): this {
    return this.newInode(ino, 0o120777, Buffer.from(target, "latin1"), target.length);
  }

  /** A regular file of one block, with this content. */
  newFile(ino: number, content: string, mode = 0o100644): this {
    const block = this.freeBlock();
    this.image.set(Buffer.from(content, "latin1"), block * this.blockBytes);
    this.newInode(ino, mode, new Uint8Array(0), content.length, EXT4_EXTENTS_FL);
    return this.setRoot(ino, 0, [{ lblk: 0, pblk: block, length: 1 }]);
  }

  /** The root of an inode's extent tree. */
  setRoot(file: string | number, depth: number, entries: readonly TreeEntry[]): this {
    return this.setNode(this.inodeAt(file) + I_BLOCK_AT, I_BLOCK_BYTES, depth, entries);
  }

  /** A node in a block of its own. */
  setNodeBlock(block: number, depth: number, entries: readonly TreeEntry[]): this {
    return this.setNode(block * this.blockBytes, this.blockBytes, depth, entries);
  }

  private setNode(at: number, roomBytes: number, depth: number, entries: readonly TreeEntry[]): this {
    this.set(ext4_extent_header.eh_magic, at, EXT4_EXT_MAGIC).set(ext4_extent_header.eh_entries, at, entries.length);
    this.set(ext4_extent_header.eh_max, at, Math.floor(roomBytes / EXTENT_BYTES) - 1).set(ext4_extent_header.eh_depth, at, depth);
    entries.forEach(({ lblk, pblk, length }, index) => {
      const to = at + EXTENT_BYTES * (index + 1);
      if (depth === 0) this.set(ext4_extent.ee_block, to, lblk).set(ext4_extent.ee_len, to, length ?? 1).set(ext4_extent.ee_start_hi, to, 0).set(ext4_extent.ee_start_lo, to, pblk);
      else this.set(ext4_extent_idx.ei_block, to, lblk).set(ext4_extent_idx.ei_leaf_lo, to, pblk).set(ext4_extent_idx.ei_leaf_hi, to, 0);
    });
    return this;
  }

  /** Byte of entry `slot` of the index in block `lblk` of a directory. */
  indexEntryAt(directory: string, lblk: number, slot: number): number {
    return this.blockOf(directory, lblk) * this.blockBytes + (lblk === 0 ? DX_ROOT_ENTRIES_AT : DX_NODE_ENTRIES_AT) + slot * dx_entry.$.size;
  }

  /** Fills a block with one 32-bit pointer. */
  fillPointers(block: number, pointer: number): this {
    for (let at = block * this.blockBytes; at < (block + 1) * this.blockBytes; at += 4) this.view.setUint32(at, pointer, true);
    return this;
  }

  /** Pointer `slot` of an inode's indirect map: 0 to 11 lead to data, 12 to 14 to trees of one to three levels. */
  setPointer(file: string | number, slot: number, pointer: number): this {
    this.view.setUint32(this.inodeAt(file) + I_BLOCK_AT + slot * 4, pointer, true);
    return this;
  }
}

