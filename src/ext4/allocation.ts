/**
 * Bits of the bitmaps, and the counts that follow from them: what recovery needs to give a filesystem its books back. Changes gather in memory and are written once, with the
 * groups' checksums and the superblock's counts. Source: ext4_mb_mark_bb, ext4_mark_inode_used (fs/ext4).
 */
import { writeBytes } from "../block/device.js";
import { bitmapChecksum, superblockChecksum } from "../format/checksum.js";
import { CorruptionError } from "../format/corruption.js";
import { EXT4_BG_BLOCK_UNINIT, EXT4_BG_INODE_UNINIT, ext4_group_desc, groupDescField, setGroupDescField } from "../format/group-desc.js";
import { ext4_super_block as S } from "../format/superblock.js";
import { clearBit, findClearBit, setBit, testBit } from "../lib/bitmap.js";
import { TWO_32, type GroupNo, type Ino, type Pblk } from "../lib/numbers.js";
import type { Task } from "../sched/task.js";
import { blockBitmap, inodeBitmap } from "./bitmaps.js";
import { clustersIn, descChecksum, findGroupDesc, groupOfBlock, readGroupDesc } from "./groups.js";
import type { Ext4 } from "./super.js";
import { SUPERBLOCK_AT } from "./superblock.js";

interface Group {
  readonly blocks: Uint8Array;
  readonly inodes: Uint8Array;
  /** How the counts change. */
  freeClusters: number;
  freeInodes: number;
  usedDirs: number;
  /** The highest inode index that came into use here, or -1. */
  lastInode: number;
}

export class Allocation {
  private readonly groups = new Map<GroupNo, Group>();

  constructor(private readonly fs: Ext4) {}

  private *group(group: GroupNo): Task<Group> {
    let state = this.groups.get(group);
    if (state === undefined) {
      state = { blocks: (yield* blockBitmap(this.fs, group)).slice(), inodes: (yield* inodeBitmap(this.fs, group)).slice(), freeClusters: 0, freeInodes: 0, usedDirs: 0, lastInode: -1 };
      this.groups.set(group, state);
    }
    return state;
  }

  /** Marks the clusters of a run of blocks; those that are marked so already stay. */
  *setBlocks(pblk: Pblk, count: number, isUsed: boolean): Task<void> {
    const { sb } = this.fs;
    for (let at = pblk; at < pblk + count; at++) {
      const group = groupOfBlock(sb, at);
      const state = yield* this.group(group);
      const bit = Math.floor((at - sb.firstBlockOf(group)) / sb.clusterBlocks);
      if (testBit(state.blocks, bit) === isUsed) continue;
      if (isUsed) setBit(state.blocks, bit);
      else clearBit(state.blocks, bit);
      state.freeClusters += isUsed ? -1 : 1;
    }
  }

  /** The first free cluster in the inode's group or a later one. @throws CorruptionError fast-commit: what Linux recorded it had found room for. */
  *takeBlock(near: Ino): Task<Pblk> {
    const { sb } = this.fs;
    const first = Math.floor((near - 1) / sb.inodesPerGroup);
    for (let step = 0; step < sb.groupsCount; step++) {
      const group = (first + step) % sb.groupsCount;
      const state = yield* this.group(group);
      const bit = findClearBit(state.blocks, 0, clustersIn(sb, group));
      if (bit < 0) continue;
      setBit(state.blocks, bit);
      state.freeClusters--;
      return sb.firstBlockOf(group) + bit * sb.clusterBlocks;
    }
    throw new CorruptionError("fast-commit", { ino: near, found: "no free block" });
  }

  *setInode(ino: Ino, isUsed: boolean): Task<void> {
    const index = (ino - 1) % this.fs.sb.inodesPerGroup;
    const state = yield* this.group((ino - 1 - index) / this.fs.sb.inodesPerGroup);
    if (testBit(state.inodes, index) === isUsed) return;
    if (isUsed) setBit(state.inodes, index);
    else clearBit(state.inodes, index);
    state.freeInodes += isUsed ? -1 : 1;
    if (isUsed) state.lastInode = Math.max(state.lastInode, index);
  }

  /** Counts directories among the inode's group. */
  *addDirectories(ino: Ino, change: number): Task<void> {
    (yield* this.group(Math.floor((ino - 1) / this.fs.sb.inodesPerGroup))).usedDirs += change;
  }

  *write(): Task<void> {
    for (const [group, state] of this.groups) yield* this.writeGroup(group, state);
    yield* this.writeSuperblock();
  }

  private *writeGroup(group: GroupNo, state: Group): Task<void> {
    const { fs } = this;
    const { sb } = fs;
    const desc = yield* fs.groupDesc(group);
    const { buffer, at } = yield* findGroupDesc(fs, group);
    const { view } = buffer;
    const add = (name: "bg_free_blocks_count" | "bg_free_inodes_count" | "bg_used_dirs_count", change: number): void =>
      setGroupDescField(name, view, at, sb.descBytes, groupDescField(name, view, at, sb.descBytes) + change);
    add("bg_free_blocks_count", state.freeClusters);
    add("bg_free_inodes_count", state.freeInodes);
    add("bg_used_dirs_count", state.usedDirs);
    let flags = ext4_group_desc.bg_flags.get(view, at);
    if (state.freeClusters !== 0) flags &= ~EXT4_BG_BLOCK_UNINIT;
    if (state.freeInodes !== 0) flags &= ~EXT4_BG_INODE_UNINIT;
    if (sb.hasGroupChecksums) {
      ext4_group_desc.bg_flags.set(view, at, flags);
      const unused = Math.min(groupDescField("bg_itable_unused", view, at, sb.descBytes), sb.inodesPerGroup - state.lastInode - 1);
      setGroupDescField("bg_itable_unused", view, at, sb.descBytes, unused);
    }
    if ((flags & EXT4_BG_BLOCK_UNINIT) === 0) yield* this.writeBitmap("bg_block_bitmap_csum", desc.blockBitmap, state.blocks, sb.clustersPerGroup, view, at);
    if ((flags & EXT4_BG_INODE_UNINIT) === 0) yield* this.writeBitmap("bg_inode_bitmap_csum", desc.inodeBitmap, state.inodes, sb.inodesPerGroup, view, at);
    if (sb.hasGroupChecksums) ext4_group_desc.bg_checksum.set(view, at, descChecksum(sb, group, buffer.data, at));
    yield* writeBytes(fs.device, buffer.b_blocknr * fs.blockBytes, buffer.data);
  }

  private *writeBitmap(field: "bg_block_bitmap_csum" | "bg_inode_bitmap_csum", block: Pblk, bitmap: Uint8Array, bits: number, view: DataView, at: number): Task<void> {
    const { fs } = this;
    if (fs.sb.hasMetadataCsum) setGroupDescField(field, view, at, fs.sb.descBytes, bitmapChecksum(bitmap, bits / 8, fs.sb.csumSeed));
    yield* writeBytes(fs.device, block * fs.blockBytes, bitmap);
    fs.cache.invalidate(block);
  }

  /** The superblock's counts are advisory while a filesystem is in use, so they are summed up anew. */
  private *writeSuperblock(): Task<void> {
    const { sb, device } = this.fs;
    const { view } = sb;
    let freeClusters = 0;
    let freeInodes = 0;
    for (let group = 0; group < sb.groupsCount; group++) {
      const desc = yield* readGroupDesc(this.fs, group);
      freeClusters += desc.freeClusters;
      freeInodes += desc.freeInodes;
    }
    const freeBlocks = freeClusters * sb.clusterBlocks;
    S.s_free_blocks_count_lo.set(view, 0, freeBlocks % TWO_32);
    if (sb.has64bit) S.s_free_blocks_count_hi.set(view, 0, Math.floor(freeBlocks / TWO_32));
    S.s_free_inodes_count.set(view, 0, freeInodes);
    const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    if (sb.hasMetadataCsum) S.s_checksum.set(view, 0, superblockChecksum(bytes));
    yield* writeBytes(device, SUPERBLOCK_AT, bytes);
  }
}
