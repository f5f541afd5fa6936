/**
 * The bitmaps of a group: one bit per cluster, one per inode. A group that was never used has none on disk, only a flag, and its bitmap is what its own structures take.
 * A bitmap is held against its checksum once, when it comes in: in a running transaction the checksum follows only when that is sealed.
 * Source: fs/ext4/balloc.c (ext4_init_block_bitmap, ext4_validate_block_bitmap), fs/ext4/ialloc.c.
 */
import type { BufferHead } from "../block/buffer-cache.js";
import { bitmapChecksum } from "../format/checksum.js";
import { CorruptionError } from "../format/corruption.js";
import { EXT4_BG_BLOCK_UNINIT, EXT4_BG_INODE_UNINIT } from "../format/group-desc.js";
import { fillBits } from "../lib/bitmap.js";
import type { GroupNo, Pblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { clustersIn, descBlocksIn, hasSuper, inodeTableBlocks, superblockOf, type GroupDesc } from "./groups.js";
import type { Ext4 } from "./super.js";
import type { Superblock } from "./superblock.js";

type Kind = "block" | "inode";

/** Which clusters of the group are in use; bits past its end are set. */
export function* blockBitmap(fs: Ext4, group: GroupNo): Task<Uint8Array> {
  const desc = yield* fs.groupDesc(group);
  if ((desc.flags & EXT4_BG_BLOCK_UNINIT) === 0) return yield* readBitmap(fs, desc, "block", desc.blockBitmap);
  const bitmap = new Uint8Array(fs.blockBytes);
  fillInitialBlockBitmap(fs.sb, desc, bitmap);
  return bitmap;
}

/** Which inodes of the group are in use. */
export function* inodeBitmap(fs: Ext4, group: GroupNo): Task<Uint8Array> {
  const desc = yield* fs.groupDesc(group);
  if ((desc.flags & EXT4_BG_INODE_UNINIT) === 0) return yield* readBitmap(fs, desc, "inode", desc.inodeBitmap);
  const bitmap = new Uint8Array(fs.blockBytes);
  fillInitialInodeBitmap(fs.sb, bitmap);
  return bitmap;
}

function* readBitmap(fs: Ext4, desc: GroupDesc, kind: Kind, block: Pblk): Task<Uint8Array> {
  const buffer = fs.cache.peek(block) ?? (yield* fs.cache.read(block));
  checkBitmap(fs, desc, kind, buffer);
  return buffer.data;
}

/** What a buffer is marked with once it has passed as this bitmap; inodes mark theirs with positive numbers. */
function verifiedToken(group: GroupNo, kind: Kind): number {
  return -(group * 2 + (kind === "block" ? 1 : 2));
}

/** Says that the buffer was made here and not read. */
export function trustBitmap(group: GroupNo, kind: Kind, buffer: BufferHead): void {
  buffer.verifiedAs = verifiedToken(group, kind);
}

/** @throws CorruptionError bitmap-checksum. */
export function checkBitmap(fs: Ext4, desc: GroupDesc, kind: Kind, buffer: BufferHead): void {
  if (buffer.verifiedAs === verifiedToken(desc.group, kind)) return;
  if (fs.sb.hasMetadataCsum && fs.verifyChecksums) {
    const found = kind === "block" ? desc.blockBitmapChecksum : desc.inodeBitmapChecksum;
    const expected = bitmapSum(fs.sb, kind, buffer.data);
    if (found !== expected) throw new CorruptionError("bitmap-checksum", { group: desc.group, block: buffer.b_blocknr, found, expected });
  }
  trustBitmap(desc.group, kind, buffer);
}

/** The checksum as a descriptor has it: its short form holds 16 bits. */
export function bitmapSum(sb: Superblock, kind: Kind, bitmap: Uint8Array): number {
  const bits = kind === "block" ? sb.clustersPerGroup : sb.inodesPerGroup;
  const full = bitmapChecksum(bitmap, bits / 8, sb.csumSeed);
  return sb.descBytes >= 64 ? full : full & 0xffff;
}

/** Fills a bitmap of zeroes as that of a group in which nothing is in use but its own structures. */
export function fillInitialBlockBitmap(sb: Superblock, desc: GroupDesc, bitmap: Uint8Array): void {
  const first = sb.firstBlockOf(desc.group);
  const end = first + sb.blocksIn(desc.group);
  const mark = (block: Pblk, length: number): void => {
    const from = Math.floor((Math.max(block, first) - first) / sb.clusterBlocks);
    const to = Math.ceil((Math.min(block + length, end) - first) / sb.clusterBlocks);
    if (from < to) fillBits(bitmap, from, to - from, true);
  };
  const { count: descs, reserved } = descBlocksIn(sb, desc.group);
  const superCount = hasSuper(sb, desc.group) ? superblockOf(sb, desc.group) - first + 1 : 0;
  mark(first, superCount + descs + reserved);
  mark(desc.blockBitmap, 1);
  mark(desc.inodeBitmap, 1);
  mark(desc.inodeTable, inodeTableBlocks(sb));
  fillEnd(bitmap, clustersIn(sb, desc.group));
}

export function fillInitialInodeBitmap(sb: Superblock, bitmap: Uint8Array): void {
  fillEnd(bitmap, sb.inodesPerGroup);
}

/** Bits that stand for nothing are set. */
function fillEnd(bitmap: Uint8Array, from: number): void {
  fillBits(bitmap, from, bitmap.length * 8 - from, true);
}
