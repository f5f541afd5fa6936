/**
 * The checksum rules, one function per structure, over the bytes as on disk: nothing is changed, the checksum's own field is fed as zeroes. All are crc32c
 * without final inversion, started with the filesystem's seed, the inode's, or all ones. Source: fs/ext4 (*_csum*), checklist section 3.
 */
import { crc16 } from "../lib/crc16.js";
import { crc32c } from "../lib/crc32c.js";
import { EXT4_FT_DIR_CSUM, ext4_dir_entry_tail } from "./dir-entry.js";
import { ext4_extent_header } from "./extent.js";
import { ext4_group_desc } from "./group-desc.js";
import { DX_ENTRY_BYTES, DX_NODE_ENTRIES_AT, DX_ROOT_ENTRIES_AT, dx_countlimit, dx_tail } from "./htree.js";
import { ext4_inode } from "./inode.js";
import { viewOf } from "./layout.js";
import { ext4_orphan_block_tail } from "./orphan.js";
import { ext4_super_block } from "./superblock.js";
import { ext4_xattr_header } from "./xattr.js";

const ALL_ONES = 0xffff_ffff;
const ZEROES = new Uint8Array(8);
const scratch = new Uint8Array(8);
const scratchView = viewOf(scratch);

function crcOfLe32(crc: number, value: number): number {
  scratchView.setUint32(0, value, true);
  return crc32c(crc, scratch, 0, 4);
}

function crcOfLe64(crc: number, value: number): number {
  scratchView.setUint32(0, value % 2 ** 32, true);
  scratchView.setUint32(4, Math.floor(value / 2 ** 32), true);
  return crc32c(crc, scratch, 0, 8);
}

/** Start value of all checksums of a filesystem without metadata_csum_seed. */
export function fsSeed(uuid: Uint8Array): number {
  return crc32c(ALL_ONES, uuid);
}

/** Start value of an inode's checksum and of those of the blocks that only it leads to. */
export function inodeSeed(seed: number, ino: number, generation: number): number {
  return crcOfLe32(crcOfLe32(seed, ino), generation);
}

export function superblockChecksum(superblock: Uint8Array): number {
  return crc32c(ALL_ONES, superblock, 0, ext4_super_block.s_checksum.at);
}

/** With metadata_csum: 16 bits of crc32c. */
export function groupDescChecksum(block: Uint8Array, at: number, descBytes: number, seed: number, group: number): number {
  const { bg_checksum: field } = ext4_group_desc;
  let crc = crc32c(crcOfLe32(seed, group), block, at, at + field.at);
  crc = crc32c(crc, ZEROES, 0, field.size);
  return crc32c(crc, block, at + field.at + field.size, at + descBytes) & 0xffff;
}

/** With uninit_bg only: crc16, which leaves the checksum's field out. */
export function groupDescChecksum16(block: Uint8Array, at: number, descBytes: number, uuid: Uint8Array, group: number): number {
  const { bg_checksum: field } = ext4_group_desc;
  scratchView.setUint32(0, group, true);
  const crc = crc16(crc16(crc16(0xffff, uuid), scratch, 0, 4), block, at, at + field.at);
  return crc16(crc, block, at + field.at + field.size, at + descBytes);
}

/** Of a bitmap's first `bytes`, which are as many as the group has clusters or inodes, in eighths. */
export function bitmapChecksum(bitmap: Uint8Array, bytes: number, seed: number): number {
  return crc32c(seed, bitmap, 0, bytes);
}

/** `inode` is the whole record of s_inode_size bytes. */
export function inodeChecksum(inode: Uint8Array, seed: number): number {
  const { i_checksum_lo: lo, i_checksum_hi: hi } = ext4_inode;
  let crc = crc32c(seed, inode, 0, lo.at);
  crc = crc32c(crc, ZEROES, 0, lo.size);
  const hasHi = inode.length > 128 && hi.at + hi.size <= 128 + ext4_inode.i_extra_isize.get(viewOf(inode), 0);
  if (!hasHi) return crc32c(crc, inode, lo.at + lo.size);
  crc = crc32c(crc, inode, lo.at + lo.size, hi.at);
  crc = crc32c(crc, ZEROES, 0, hi.size);
  return crc32c(crc, inode, hi.at + hi.size);
}

export interface StoredChecksum {
  readonly stored: number;
  readonly computed: number;
}

/** Of a leaf of a directory; undefined: the block has no tail for it. */
export function dirLeafChecksum(block: Uint8Array, seed: number): StoredChecksum | undefined {
  const view = viewOf(block);
  const at = block.length - ext4_dir_entry_tail.$.size;
  const isTail = ext4_dir_entry_tail.det_reserved_zero1.get(view, at) === 0 && ext4_dir_entry_tail.det_rec_len.get(view, at) === ext4_dir_entry_tail.$.size &&
    ext4_dir_entry_tail.det_reserved_ft.get(view, at) === EXT4_FT_DIR_CSUM;
  if (!isTail) return undefined;
  return { stored: ext4_dir_entry_tail.det_checksum.get(view, at), computed: crc32c(seed, block, 0, at) };
}

/** Of a root or node of a directory's hash tree: only entries in use count; undefined: limit or count leave no room for it. */
export function dxBlockChecksum(block: Uint8Array, isRoot: boolean, seed: number): StoredChecksum | undefined {
  const view = viewOf(block);
  const entriesAt = isRoot ? DX_ROOT_ENTRIES_AT : DX_NODE_ENTRIES_AT;
  const limit = dx_countlimit.limit.get(view, entriesAt);
  const count = dx_countlimit.count.get(view, entriesAt);
  const tail = entriesAt + limit * DX_ENTRY_BYTES;
  if (count > limit || tail + dx_tail.$.size > block.length) return undefined;
  let crc = crc32c(seed, block, 0, entriesAt + count * DX_ENTRY_BYTES);
  crc = crc32c(crc, block, tail, tail + dx_tail.dt_checksum.at);
  return { stored: dx_tail.dt_checksum.get(view, tail), computed: crc32c(crc, ZEROES, 0, 4) };
}

/** Brings a leaf's checksum up to date. A leaf without a tail stays without: it is older than the filesystem's checksums. */
export function sealDirLeaf(block: Uint8Array, seed: number): void {
  const sums = dirLeafChecksum(block, seed);
  if (sums !== undefined) ext4_dir_entry_tail.det_checksum.set(viewOf(block), block.length - ext4_dir_entry_tail.$.size, sums.computed);
}

/** Brings the checksum of a root or node up to date. */
export function sealDxBlock(block: Uint8Array, isRoot: boolean, seed: number): void {
  const view = viewOf(block);
  const entriesAt = isRoot ? DX_ROOT_ENTRIES_AT : DX_NODE_ENTRIES_AT;
  const sums = dxBlockChecksum(block, isRoot, seed);
  if (sums !== undefined) dx_tail.dt_checksum.set(view, entriesAt + dx_countlimit.limit.get(view, entriesAt) * DX_ENTRY_BYTES, sums.computed);
}

/** Of a block of an extent tree: up to where the checksum stands, behind the last possible entry. */
export function extentBlockChecksum(block: Uint8Array, seed: number): number {
  const max = ext4_extent_header.eh_max.get(viewOf(block), 0);
  return crc32c(seed, block, 0, ext4_extent_header.$.size * (1 + max));
}

/** Of a block of extended attributes, which takes its own number in. */
export function xattrBlockChecksum(block: Uint8Array, blockNumber: number, seed: number): number {
  const { h_checksum: field } = ext4_xattr_header;
  let crc = crc32c(crcOfLe64(seed, blockNumber), block, 0, field.at);
  crc = crc32c(crc, ZEROES, 0, field.size);
  return crc32c(crc, block, field.at + field.size);
}

/** Of a block of the orphan file, by the file's inode's seed. */
export function orphanBlockChecksum(block: Uint8Array, blockNumber: number, seed: number): number {
  return crc32c(crcOfLe64(seed, blockNumber), block, 0, block.length - ext4_orphan_block_tail.$.size);
}
