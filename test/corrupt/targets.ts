/** Where the structures of an image stand, by layout: what the tests spoil. Of those that come by the hundred some are taken. */
import { isIndexed, indexBlock, indexEntries, readRoot } from "../../src/ext4/htree.js";
import { entryAt, nodeDepth, walkExtentTree } from "../../src/ext4/extents.js";
import { readDirBlock, walkEntries } from "../../src/ext4/dir.js";
import { findGroupDesc } from "../../src/ext4/groups.js";
import { findInode, hasMap, type Ext4Inode } from "../../src/ext4/inode.js";
import { openJournal } from "../../src/ext4/journal.js";
import { ibodyXattrs } from "../../src/ext4/xattr.js";
import { ext4_acl_entry, ext4_acl_header } from "../../src/format/acl.js";
import { ext4_dir_entry_2, ext4_dir_entry_tail } from "../../src/format/dir-entry.js";
import { ext4_extent, ext4_extent_header, ext4_extent_idx, ext4_extent_tail } from "../../src/format/extent.js";
import { ext4_group_desc } from "../../src/format/group-desc.js";
import { DX_NODE_ENTRIES_AT, DX_ROOT_INFO_AT, dx_countlimit, dx_entry, dx_root_info, dx_tail } from "../../src/format/htree.js";
import { EXT4_EXTENTS_FL, EXT4_INLINE_DATA_FL, EXT4_JOURNAL_INO, ext4_inode } from "../../src/format/inode.js";
import { layout, le32, u8, type AnyLayout } from "../../src/format/layout.js";
import { mmp_struct } from "../../src/format/mmp.js";
import { ext4_orphan_block_tail } from "../../src/format/orphan.js";
import { ext4_super_block } from "../../src/format/superblock.js";
import { ext4_xattr_entry, ext4_xattr_header, ext4_xattr_ibody_header } from "../../src/format/xattr.js";
import { Ext4, MemoryDevice, type Task, type Volume } from "../../src/platform/node/index.js";
import { rootDentry } from "../../src/vfs/namei.js";
import { walkTree } from "../../src/vfs/walk.js";
import { addJournalTargets } from "./journal-targets.js";

/** A structure at its place in the image. */
export interface Target {
  readonly layout: AnyLayout;
  /** Byte on the device. */
  readonly at: number;
  /** Bytes that are there: old inodes and group descriptors end early. */
  readonly sizeBytes: number;
  /** Brings a checksum over the structure up to date, where the reader does not pass it over on demand. */
  readonly reseal?: ((image: Uint8Array) => void) | undefined;
}

export interface AddOptions {
  readonly sizeBytes?: number;
  /** How many of this layout are enough. */
  readonly countMax?: number;
  readonly reseal?: Target["reseal"];
}
/** Takes a structure, unless there are enough of its kind. */
export type Add = (of: AnyLayout, at: number, options?: AddOptions) => void;

/** What has no table in format/, as it is but numbers side by side. */
const indirect_pointer = layout("indirect_pointer", 4, { pointer: le32(0) });
const bitmap_byte = layout("bitmap_byte", 1, { bits: u8(0) });
const orphan_slot = layout("orphan_slot", 4, { inode: le32(0) });
const inline_parent = layout("inline_parent", 4, { inode: le32(0) });

const PER_LAYOUT_MAX = 6;
const SUPERBLOCK_AT = 1024;
const I_BLOCK_AT = ext4_inode.i_block.at;

export function targetsOf(image: Uint8Array): Target[] {
  const volume = Ext4.openSync(new MemoryDevice(image, { readOnly: true }));
  const finder = new Finder(volume.fs);
  volume.runSync(finder.all());
  return finder.targets;
}

class Finder {
  readonly targets: Target[] = [];
  private readonly counts = new Map<AnyLayout, number>();

  constructor(private readonly fs: Volume["fs"]) {}

  *all(): Task<void> {
    const { fs } = this;
    this.add(ext4_super_block, SUPERBLOCK_AT);
    yield* this.groups();
    // Where recovery has its say, what stands in the log counts and not what stands at home, so the other images are the ones to spoil there.
    const inodes = fs.recovery === undefined ? yield* this.inodesOfEachKind() : [];
    if (fs.sb.hasJournal) inodes.push(yield* fs.igetSpecial(EXT4_JOURNAL_INO));
    for (const inode of inodes) yield* this.inode(inode);
    yield* this.orphanFile();
    const mmpBlock = ext4_super_block.s_mmp_block.get(fs.sb.view, 0);
    if (mmpBlock !== 0) this.add(mmp_struct, mmpBlock * fs.blockBytes);
    // A log that is not replayed is not read.
    const journal = fs.recovery === undefined ? undefined : yield* openJournal(fs);
    if (journal !== undefined) yield* addJournalTargets(fs, journal, (of, at, options) => this.add(of, at, options));
  }

  private add(of: AnyLayout, at: number, options: AddOptions = {}): void {
    const count = (this.counts.get(of) ?? 0) + 1;
    this.counts.set(of, count);
    if (count <= (options.countMax ?? PER_LAYOUT_MAX)) this.targets.push({ layout: of, at, sizeBytes: options.sizeBytes ?? of.$.size, reseal: options.reseal });
  }

  private *groups(): Task<void> {
    const { fs } = this;
    for (let group = 0; group < fs.sb.groupsCount; group++) {
      const { buffer, at } = yield* findGroupDesc(fs, group);
      this.add(ext4_group_desc, buffer.b_blocknr * fs.blockBytes + at, { sizeBytes: Math.min(fs.sb.descBytes, ext4_group_desc.$.size) });
      const { blockBitmap, inodeBitmap } = yield* fs.groupDesc(group);
      this.add(bitmap_byte, blockBitmap * fs.blockBytes);
      this.add(bitmap_byte, inodeBitmap * fs.blockBytes);
    }
  }

  /** The first inode of each type, with each set of flags, empty or not, and with each set of attributes. */
  private *inodesOfEachKind(): Task<Ext4Inode[]> {
    const { fs } = this;
    const inodes = new Map<string, Ext4Inode>();
    yield* walkTree(rootDentry(fs.root), {
      *enter({ d_inode }) {
        const inode = d_inode as Ext4Inode;
        const attributes = ibodyXattrs(fs, inode);
        const kind = [inode.i_mode >> 12, inode.i_flags, Math.sign(inode.i_size), Math.sign(inode.i_file_acl), ...attributes.map(({ index }) => index)].join(" ");
        if (!inodes.has(kind)) inodes.set(kind, inode);
        for (const { valueInum } of attributes) if (valueInum !== 0) inodes.set("ea_inode", yield* fs.igetSpecial(valueInum));
      },
    });
    return [...inodes.values()];
  }

  private *inode(inode: Ext4Inode): Task<void> {
    const { fs } = this;
    const { buffer, at } = yield* findInode(fs, inode.i_ino);
    const inodeAt = buffer.b_blocknr * fs.blockBytes + at;
    this.add(ext4_inode, inodeAt, { sizeBytes: Math.min(128 + inode.i_extra_isize, ext4_inode.$.size), countMax: Infinity });
    this.attributes(inode, inodeAt);
    if ((inode.i_flags & EXT4_INLINE_DATA_FL) !== 0) {
      if (!inode.isDirectory()) return;
      this.add(inline_parent, inodeAt + I_BLOCK_AT);
      this.add(ext4_dir_entry_2, inodeAt + I_BLOCK_AT + 4);
      return;
    }
    if (!hasMap(fs, inode)) return;
    if ((inode.i_flags & EXT4_EXTENTS_FL) !== 0) yield* this.extentTree(inode, inodeAt);
    else yield* this.indirectMap(inode, inodeAt);
    if (inode.isDirectory()) yield* this.directory(inode);
  }

  private attributes(inode: Ext4Inode, inodeAt: number): void {
    const { fs } = this;
    const headerAt = 128 + inode.i_extra_isize;
    if (headerAt + 8 <= fs.sb.inodeBytes && ext4_xattr_ibody_header.h_magic.get(inode.rawView, headerAt) !== 0) {
      this.add(ext4_xattr_ibody_header, inodeAt + headerAt);
      this.add(ext4_xattr_entry, inodeAt + headerAt + 4);
      for (const { index, value } of ibodyXattrs(fs, inode)) {
        if (index !== 2 || value.length === 0) continue;
        const aclAt = inodeAt + value.byteOffset - inode.raw.byteOffset;
        this.add(ext4_acl_header, aclAt);
        for (const [step, sizeBytes] of [[4, 4], [8, 8], [16, 4]] as const) this.add(ext4_acl_entry, aclAt + step, { sizeBytes });
      }
    }
    if (inode.i_file_acl === 0) return;
    this.add(ext4_xattr_header, inode.i_file_acl * fs.blockBytes);
    this.add(ext4_xattr_entry, inode.i_file_acl * fs.blockBytes + 32);
  }

  private *extentTree(inode: Ext4Inode, inodeAt: number): Task<void> {
    const { fs } = this;
    this.add(ext4_extent_header, inodeAt + I_BLOCK_AT);
    yield* walkExtentTree(fs, inode, (node, slot) => {
      const base = node.block === undefined ? inodeAt : node.block * fs.blockBytes;
      if (slot === 0 && node.block !== undefined) {
        this.add(ext4_extent_header, base, { countMax: PER_LAYOUT_MAX * 2 });
        this.add(ext4_extent_tail, base + 12 * (1 + ext4_extent_header.eh_max.get(node.view, 0)));
      }
      this.add(nodeDepth(node) === 0 ? ext4_extent : ext4_extent_idx, base + entryAt(node, slot));
    });
  }

  private *indirectMap(inode: Ext4Inode, inodeAt: number): Task<void> {
    const { fs } = this;
    for (let slot = 12; slot < 15; slot++) {
      const block = inode.rawView.getUint32(I_BLOCK_AT + slot * 4, true);
      if (block !== 0) this.add(indirect_pointer, block * fs.blockBytes);
      if (block !== 0) this.add(indirect_pointer, inodeAt + I_BLOCK_AT + slot * 4, { countMax: PER_LAYOUT_MAX * 2 });
    }
    this.add(indirect_pointer, inodeAt + I_BLOCK_AT, { countMax: PER_LAYOUT_MAX * 2 });
  }

  private *directory(dir: Ext4Inode): Task<void> {
    const { fs } = this;
    for (let lblk = 0; lblk < Math.min(3, dir.i_size / fs.blockBytes); lblk++) {
      const { buffer, view, end } = yield* readDirBlock(fs, dir, lblk);
      const blockAt = buffer.b_blocknr * fs.blockBytes;
      let taken = 0;
      walkEntries(fs, view, 0, end, (entry) => { this.add(ext4_dir_entry_2, blockAt + entry, { countMax: PER_LAYOUT_MAX * 2 }); return ++taken < 3; });
      if (end < fs.blockBytes) this.add(ext4_dir_entry_tail, blockAt + end);
    }
    if (isIndexed(fs, dir)) yield* this.index(dir, 0, readRoot(fs, dir, (yield* readDirBlock(fs, dir, 0)).buffer).levels, true);
  }

  /** A node of the hash tree and, if there is a level below, the first node of that. */
  private *index(dir: Ext4Inode, lblk: number, levels: number, isRoot: boolean): Task<void> {
    const { fs } = this;
    const { buffer, view } = yield* readDirBlock(fs, dir, lblk);
    const blockAt = buffer.b_blocknr * fs.blockBytes;
    const { entriesAt, count } = indexEntries(fs, dir, buffer, isRoot);
    if (isRoot) this.add(dx_root_info, blockAt + DX_ROOT_INFO_AT);
    else this.add(ext4_dir_entry_2, blockAt, { sizeBytes: DX_NODE_ENTRIES_AT, countMax: Infinity });
    this.add(dx_countlimit, blockAt + entriesAt);
    this.add(dx_entry, blockAt + entriesAt, { countMax: PER_LAYOUT_MAX * 2 });
    for (let slot = 1; slot < Math.min(3, count); slot++) this.add(dx_entry, blockAt + entriesAt + slot * 8, { countMax: PER_LAYOUT_MAX * 2 });
    if (fs.sb.hasMetadataCsum) this.add(dx_tail, blockAt + entriesAt + dx_countlimit.limit.get(view, entriesAt) * 8);
    if (levels > 0) yield* this.index(dir, indexBlock(view, entriesAt, 0), levels - 1, false);
  }

  private *orphanFile(): Task<void> {
    const { fs } = this;
    const ino = ext4_super_block.s_orphan_file_inum.get(fs.sb.view, 0);
    if (ino === 0) return;
    const file = yield* fs.igetSpecial(ino);
    yield* this.inode(file);
    for (const { pblk } of yield* file.fiemap(0, 1)) {
      this.add(orphan_slot, pblk * fs.blockBytes);
      this.add(ext4_orphan_block_tail, (pblk + 1) * fs.blockBytes - ext4_orphan_block_tail.$.size);
    }
  }
}
