/**
 * The bitmaps of a group: one bit per cluster, one per inode. A group that was never used has none on disk, only a flag, and its bitmap is what its own structures take.
 * Source: fs/ext4/balloc.c (ext4_init_block_bitmap, ext4_validate_block_bitmap), fs/ext4/ialloc.c.
 */
import { bitmapChecksum } from "../format/checksum.js";
import { CorruptionError } from "../format/corruption.js";
import { EXT4_BG_BLOCK_UNINIT, EXT4_BG_INODE_UNINIT } from "../format/group-desc.js";
import { setBit } from "../lib/bitmap.js";
import type { GroupNo, Pblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { descBlocksIn, hasSuper, superblockOf, type GroupDesc } from "./groups.js";
import type { Ext4 } from "./super.js";

/** Which clusters of the group are in use; bits past its end are set. */
export function* blockBitmap(fs: Ext4, group: GroupNo): Task<Uint8Array> {
  const desc = yield* fs.groupDesc(group);
  if ((desc.flags & EXT4_BG_BLOCK_UNINIT) !== 0) return initialBlockBitmap(fs, desc);
  return yield* readBitmap(fs, desc.blockBitmap, group, fs.sb.clustersPerGroup, desc.blockBitmapChecksum);
}

/** Which inodes of the group are in use. */
export function* inodeBitmap(fs: Ext4, group: GroupNo): Task<Uint8Array> {
  const desc = yield* fs.groupDesc(group);
  if ((desc.flags & EXT4_BG_INODE_UNINIT) === 0) return yield* readBitmap(fs, desc.inodeBitmap, group, fs.sb.inodesPerGroup, desc.inodeBitmapChecksum);
  const bitmap = new Uint8Array(fs.blockBytes);
  markEnd(bitmap, fs.sb.inodesPerGroup);
  return bitmap;
}

function* readBitmap(fs: Ext4, block: Pblk, group: GroupNo, bits: number, stored: number): Task<Uint8Array> {
  const { data } = fs.cache.peek(block) ?? (yield* fs.cache.read(block));
  if (fs.sb.hasMetadataCsum && fs.verifyChecksums) {
    const full = bitmapChecksum(data, bits / 8, fs.sb.csumSeed);
    const expected = fs.sb.descBytes >= 64 ? full : full & 0xffff;
    if (stored !== expected) throw new CorruptionError("bitmap-checksum", { group, block, found: stored, expected });
  }
  return data;
}

function initialBlockBitmap(fs: Ext4, desc: GroupDesc): Uint8Array {
  const { sb } = fs;
  const bitmap = new Uint8Array(fs.blockBytes);
  const first = sb.firstBlockOf(desc.group);
  const count = sb.blocksIn(desc.group);
  const mark = (block: Pblk, length: number): void => {
    for (let at = Math.max(block, first); at < Math.min(block + length, first + count); at++) setBit(bitmap, Math.floor((at - first) / sb.clusterBlocks));
  };
  const { count: descs, reserved } = descBlocksIn(sb, desc.group);
  const superCount = hasSuper(sb, desc.group) ? superblockOf(sb, desc.group) - first + 1 : 0;
  mark(first, superCount + descs + reserved);
  mark(desc.blockBitmap, 1);
  mark(desc.inodeBitmap, 1);
  mark(desc.inodeTable, Math.ceil((sb.inodesPerGroup * sb.inodeBytes) / sb.blockBytes));
  markEnd(bitmap, Math.ceil(count / sb.clusterBlocks));
  return bitmap;
}

function markEnd(bitmap: Uint8Array, from: number): void {
  for (let bit = from; bit < bitmap.length * 8; bit++) setBit(bitmap, bit);
}
